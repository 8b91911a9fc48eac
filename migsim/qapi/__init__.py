"""QEMU's migration parameters, its capabilities and the fields of ``query-migrate``, for releases 1.2 to 10.2.

- `version`: `QemuVersion`, and ranges of versions
- `tables`: the CSV tables of this folder as `PARAMETERS`, `CAPABILITIES` and `INFO_FIELDS`
- `settings`: parsing and checking the values of parameters and capabilities
- `machine_type`: the release whose defaults a machine type keeps
- `info`: checking answers to ``query-migrate``, and their JSON schema

Talking to QEMU is done by `migsim.qmp`, QEMU's behaviour is modelled in `migsim.models`.
"""

from migsim.qapi.info import migration_info_schema, validate_migration_info
from migsim.qapi.settings import check_capabilities, check_parameters, defaults, parse_setting
from migsim.qapi.tables import CAPABILITIES, INFO_FIELDS, PARAMETERS, Capability, InfoField, Parameter
from migsim.qapi.version import NEWEST, OLDEST, QemuVersion, VersionRange

__all__ = [
    "CAPABILITIES",
    "INFO_FIELDS",
    "NEWEST",
    "OLDEST",
    "PARAMETERS",
    "Capability",
    "InfoField",
    "Parameter",
    "QemuVersion",
    "VersionRange",
    "check_capabilities",
    "check_parameters",
    "defaults",
    "migration_info_schema",
    "parse_setting",
    "validate_migration_info",
]
