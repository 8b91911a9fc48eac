"""What users ask: predictions, and predictions beside records."""
