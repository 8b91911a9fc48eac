"""The lab scenario: one live migration with its QEMU, guest and settings, read from and written as TOML."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from migsim.documents import Declared, Seconds
from migsim.errors import ParameterError, ScenarioError
from migsim.qapi import CAPABILITIES, QemuVersion, check_capabilities, check_parameters, defaults
from migsim.qapi.settings import parse_setting
from migsim.reading import parse_toml, read_file_text
from migsim.scenario.guest import GuestSpec

__all__ = ["LabScenario", "MigrationSettings", "QemuSpec"]

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


class MigrationSettings(Declared):
    """Migration parameters and capabilities, in QAPI's names.

    A `LabScenario` checks its settings against its QEMU's version and holds them in QAPI's units. Settings that stand
    alone are checked and converted by `for_version`.

    Examples
    --------
    >>> MigrationSettings(parameters={"max-bandwidth": "1Gbps"}).for_version("10.0").parameters
    {'max-bandwidth': 125000000}
    """

    parameters: dict[str, Any] = Field(default_factory=dict)
    capabilities: dict[str, Any] = Field(default_factory=dict)

    def for_version(self, version: QemuVersion | str) -> Self:
        """Return the settings in QAPI's units, checked against `version`.

        Raises
        ------
        ParameterError, UnitError
            For a setting that this version refuses.
        """
        active = check_capabilities(self.capabilities, version)
        parameters = check_parameters(self.parameters, version, active)
        return type(self)(
            parameters=parameters, capabilities={name: name in active for name in self.capabilities}
        )

    def effective(self, version: QemuVersion | str) -> dict[str, Any]:
        """Return the value of every parameter of `version`: the setting, or else QEMU's default."""
        return defaults(version) | self.for_version(version).parameters

    @classmethod
    def parse(cls, settings: Iterable[str], version: QemuVersion | str) -> Self:
        """Read ``NAME=VALUE`` words, parameters and capabilities mixed, as ``--set`` takes them.

        Raises
        ------
        ParameterError, UnitError
            For a setting that `version` refuses.

        Examples
        --------
        >>> MigrationSettings.parse(["downtime-limit=300ms", "xbzrle=on"], "7.2").capabilities
        {'xbzrle': True}
        """
        return cls.read(settings, version).for_version(version)

    @classmethod
    def read(cls, settings: Mapping[str, Any] | Iterable[str] | Self, version: QemuVersion | str) -> Self:
        """Read settings one by one into QAPI's units; `for_version` checks the rules between them.

        Parameters
        ----------
        settings : mapping, iterable of ``NAME=VALUE`` words, or MigrationSettings
            Parameters and capabilities mixed; a single word may stand alone.
        version : QemuVersion or str

        Raises
        ------
        ParameterError, UnitError
            For a setting that `version` refuses, or one that is named twice.

        Examples
        --------
        >>> MigrationSettings.read({"max-bandwidth": "1Gbps"}, "7.2").parameters
        {'max-bandwidth': 125000000}
        """
        if isinstance(settings, MigrationSettings):
            named: Mapping[str, Any] = {**settings.parameters, **settings.capabilities}
        elif isinstance(settings, Mapping):
            named = settings
        else:
            named = _named([settings] if isinstance(settings, str) else settings)
        read = {name: parse_setting(name, value, version) for name, value in named.items()}
        return cls(
            parameters={name: value for name, value in read.items() if name not in CAPABILITIES},
            capabilities={name: value for name, value in read.items() if name in CAPABILITIES},
        )


def _named(words: Iterable[str]) -> dict[str, str]:
    """Split ``NAME=VALUE`` words; each name may come once."""
    named: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise ParameterError(
                f"The setting is {word!r}.", "A setting is NAME=VALUE.", "Write it like max-bandwidth=1Gbps."
            )
        if name in named:
            raise ParameterError(
                f"{name} is set to {named[name]!r} and to {value!r}.",
                "A setting has one value.",
                "Drop one of them.",
            )
        named[name] = value
    return named


class QemuSpec(Declared):
    """The QEMU of a scenario, and how it is started.

    Attributes
    ----------
    command : str
        Program and arguments, as for a shell; ``$NAME`` stands for an environment variable.
    version : str
        Version of that QEMU, such as ``"10.0"``; the lab checks it.
    accel : {"kvm", "tcg"}
        Accelerator.
    dirty_ring_size : int
        Entries of the dirty ring of each vCPU (KVM); 0 for the dirty bitmap.
    extra_arguments : tuple of str
        Appended to the command line.
    """

    command: str = "qemu-system-x86_64"
    version: str
    accel: Literal["kvm", "tcg"] = "kvm"
    dirty_ring_size: int = Field(default=0, ge=0, le=65536)
    extra_arguments: tuple[str, ...] = ()

    @field_validator("version")
    @classmethod
    def _readable(cls, value: str) -> str:
        QemuVersion.parse(value)
        return value

    @model_validator(mode="after")
    def _ring(self) -> QemuSpec:
        if self.dirty_ring_size & (self.dirty_ring_size - 1):
            raise ValueError("dirty-ring-size is a power of two, or 0.")
        if self.dirty_ring_size and self.accel != "kvm":
            raise ValueError('The dirty ring is KVM\'s: dirty-ring-size needs accel = "kvm".')
        if self.dirty_ring_size and self.qemu_version < QemuVersion(6, 1):
            raise ValueError("The dirty ring came with QEMU 6.1.")
        return self

    @property
    def qemu_version(self) -> QemuVersion:
        """`version` as a `QemuVersion`, which can be compared."""
        return QemuVersion.parse(self.version)

    def expanded_command(self) -> str:
        """Return `command` with its environment variables replaced by their values.

        Raises
        ------
        ScenarioError
            Where a variable is not set.
        """

        def value(match: re.Match[str]) -> str:
            name = match[1] or match[2]
            if not os.environ.get(name):
                raise ScenarioError(
                    f"qemu.command is {self.command!r}, and the environment has no {name}.",
                    "A $NAME in the command stands for an environment variable.",
                    f"Set {name} to the command of a QEMU {self.version}.",
                )
            return os.environ[name]

        return _VARIABLE.sub(value, self.command)


class LabScenario(Declared):
    """One live migration, declared.

    Attributes
    ----------
    name : str
        Name of the scenario; all its repeats carry it.
    qemu, guest, migration : QemuSpec, GuestSpec, MigrationSettings
        QEMU, guest, and migration settings in QAPI's units.
    settle_s : float
        Time that the guest works before the migration starts.
    deadline_s : float
        Time after which a migration that has not completed is cancelled.
    transport : {"unix", "tcp"}
        A Unix socket, or TCP over loopback.
    """

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    qemu: QemuSpec
    guest: GuestSpec
    migration: MigrationSettings = MigrationSettings()
    settle_s: Seconds = Field(default=2.0, ge=0)
    deadline_s: Seconds = Field(default=120.0, gt=0)
    transport: Literal["unix", "tcp"] = "unix"

    @field_validator("migration")
    @classmethod
    def _in_qapi_units(cls, value: MigrationSettings, info: ValidationInfo) -> MigrationSettings:
        qemu = info.data.get("qemu")
        if qemu is None:  # qemu is wrong itself, which pydantic reports
            return value
        settings = value.for_version(qemu.version)
        if settings.capabilities.get("dirty-limit") and not qemu.dirty_ring_size:
            raise ValueError("dirty-limit needs KVM's dirty ring: set qemu.dirty-ring-size.")
        return settings

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a scenario from a TOML file.

        Raises
        ------
        ScenarioError
            Where the file is missing, not TOML, or has an unknown or wrong key.
        ParameterError, UnitError
            For a migration setting that the version does not take.
        """
        return cls.from_toml(read_file_text(path, ScenarioError), where=str(path))

    @classmethod
    def from_toml(cls, text: str, *, where: str = "") -> Self:
        """Read a scenario from TOML text."""
        return cls.from_dict(parse_toml(text, where or "The scenario", ScenarioError), where=where)

    def to_toml(self) -> str:
        """Return the scenario as TOML; `from_toml` reads it back."""
        import tomli_w

        return tomli_w.dumps(self.as_dict())
