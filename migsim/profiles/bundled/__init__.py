"""Host profiles that come with migsim: measured ones, each with its machine and its command."""

from __future__ import annotations

from pathlib import Path

from migsim.errors import ProfileError
from migsim.profiles.profile import HostProfile
from migsim.qapi import QemuVersion

__all__ = ["bundled_profile", "bundled_profiles"]


def bundled_profiles() -> list[Path]:
    """Return the paths of the bundled profiles, sorted by name."""
    return sorted(Path(__file__).parent.glob("*.json"))


def bundled_profile(version: QemuVersion | str, accel: str = "kvm") -> HostProfile:
    """Load the bundled profile whose QEMU release is nearest to `version`.

    Raises
    ------
    ProfileError
        Where no bundled profile is for `accel`.

    Examples
    --------
    >>> bundled_profile("10.0").accel
    'kvm'
    """
    wanted = QemuVersion.parse(str(version))
    profiles = [p for p in map(HostProfile.load, bundled_profiles()) if p.accel == accel]
    if not profiles:
        raise ProfileError(
            f"No bundled host profile is for {accel}.",
            "Bundled profiles are measurements, and migsim comes with none of this accelerator.",
            "Measure the host with `migsim calibrate host` and give the profile as --host.",
        )

    def distance(profile: HostProfile) -> int:
        version = QemuVersion.parse(profile.qemu_version)
        return abs((version.major - wanted.major) * 100 + version.minor - wanted.minor)

    return min(profiles, key=distance)
