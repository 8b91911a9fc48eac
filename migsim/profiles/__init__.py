"""What a host's migrations cost: profiles, and the costs that other people published.

- `profile`: `HostProfile` and its `Term`s, read from and written to JSON
- `bundled`: the profiles that come with migsim, the only copies of them
- `published`: published costs with their sources, as presets

Measuring a profile is `migsim.calibrate.host.run`'s.
"""

from migsim.profiles.profile import HostProfile, Term

__all__ = ["HostProfile", "Term"]
