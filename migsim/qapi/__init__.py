"""QEMU's migration vocabulary: parameters, capabilities and the fields of ``query-migrate``, 1.2 to 10.2.

- `tables`: the CSV tables beside it, read
- `settings`: parameters and capabilities as a version takes them, and the rules between them
- `info`: `query-migrate`'s answer, checked
- `version`: QEMU versions and ranges of them

What the settings do is `migsim.models`'s; a question's own numbers are `migsim.study.quantities`'s.
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
