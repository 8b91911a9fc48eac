"""QEMU's migration vocabulary: parameters, capabilities and the fields of ``query-migrate``, 1.2 to 10.2."""

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
