"""What migrations cost a host: measured profiles, and costs that other people published.

- `profile`: `HostProfile` and its `Term`s, read from and written to JSON
- `terms`: the table of terms: unit, meaning, the mechanism that needs it, the probe that measures it
- `bundled`: the profiles that come with migsim
- `published`: published costs with their sources, as presets

Profiles are measured by `migsim.calibrate.host`; the laws that take their terms are in `migsim.models`.
"""

from migsim.profiles.profile import SIDES, HostProfile, Sides, Term

__all__ = ["SIDES", "HostProfile", "Sides", "Term"]
