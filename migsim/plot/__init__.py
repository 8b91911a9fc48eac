"""Pictures: `plot_x(data, *, ax=None) -> Axes`, never shown by themselves."""
