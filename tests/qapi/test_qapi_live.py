"""The tables against real QEMUs: `qemu-system-x86_64` on PATH and, if set, the one of MIGSIM_QEMU_10."""

import itertools
import json
import os
import shlex
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from migsim.errors import MigsimError
from migsim.qapi import (
    CAPABILITIES,
    INFO_FIELDS,
    PARAMETERS,
    QemuVersion,
    check_capabilities,
    defaults,
    parse_setting,
    validate_migration_info,
)

COMMANDS = {"path": "qemu-system-x86_64"}
if os.environ.get("MIGSIM_QEMU_10"):
    COMMANDS["env"] = os.environ["MIGSIM_QEMU_10"]

pytestmark = pytest.mark.live


class Monitor:
    """A bare QMP client: an independent witness, so it shares nothing with migsim.qmp."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(str(path))
        self.stream = self.socket.makefile("rw", encoding="utf-8")
        version = json.loads(self.stream.readline())["QMP"]["version"]["qemu"]
        self.version = QemuVersion(version["major"], version["minor"], version["micro"])
        self("qmp_capabilities")

    def __call__(self, command, **arguments):
        self.stream.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.stream.flush()
        while True:
            answer = json.loads(self.stream.readline())
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise RuntimeError(answer["error"]["desc"])

    def takes(self, command, **arguments):
        try:
            self(command, **arguments)
        except RuntimeError:
            return False
        return True


@pytest.fixture(scope="module", params=list(COMMANDS.values()), ids=list(COMMANDS))
def monitor(request):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "qmp")
        machine = ["-M", "none", "-display", "none", "-nodefaults", "-S"]
        command = [*shlex.split(request.param), *machine, "-qmp", f"unix:{path},server=on,wait=off"]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 30
            while not path.exists():
                assert process.poll() is None, "QEMU did not start"
                assert time.monotonic() < deadline
                time.sleep(0.02)
            yield Monitor(path)
        finally:
            process.kill()
            process.wait()


def test_parameters_and_defaults_are_exactly_qemus(monitor):
    assert monitor("query-migrate-parameters") == defaults(monitor.version)


def test_set_parameters_takes_exactly_our_names_and_enumerations(monitor):
    schema = {entry["name"]: entry for entry in monitor("query-qmp-schema")}
    members = schema[schema["migrate-set-parameters"]["arg-type"]]["members"]
    ours = {name: entry for name, entry in PARAMETERS.items() if monitor.version in entry.available}
    assert {member["name"] for member in members} == set(ours)
    for member in members:
        entry, kind = ours[member["name"]], schema[member["type"]]
        if entry.type == "enum":
            held = {value for value, when in entry.values if monitor.version in when}
            # qpl, uadk, qatzip are there only where the build has them
            assert set(kind["values"]) <= held
            assert held - set(kind["values"]) <= {"qpl", "uadk", "qatzip", "zstd"}
        elif kind["meta-type"] == "builtin":
            assert entry.type == {"int": "int", "boolean": "bool"}[kind["json-type"]]


def test_capabilities_are_exactly_qemus_and_off(monitor):
    theirs = {entry["capability"]: entry["state"] for entry in monitor("query-migrate-capabilities")}
    assert theirs == {name: False for name, e in CAPABILITIES.items() if monitor.version in e.available}


def test_pairs_of_capabilities_are_refused_exactly_where_qemu_refuses_them(monitor):
    # these depend on the host and on the accelerator, not on the vocabulary
    hosts = {"background-snapshot", "dirty-limit", "block", "x-colo"}
    names = [n for n, e in CAPABILITIES.items() if monitor.version in e.available and n not in hosts]
    off = [{"capability": name, "state": False} for name in names]
    wrong = []
    for pair in [*itertools.combinations(names, 1), *itertools.combinations(names, 2)]:
        monitor("migrate-set-capabilities", capabilities=off)
        on = [{"capability": name, "state": True} for name in pair]
        theirs = monitor.takes("migrate-set-capabilities", capabilities=on)
        try:
            ours = bool(check_capabilities(pair, monitor.version))
        except MigsimError:
            ours = False
        if ours != theirs:
            wrong.append((pair, theirs))
    monitor("migrate-set-capabilities", capabilities=off)
    assert not wrong


def test_limits_are_qemus(monitor):
    first = monitor("query-migrate-parameters")
    # 7.2 does not check the levels of multifd compression
    unchecked = {"multifd-zlib-level", "multifd-zstd-level"} if monitor.version < QemuVersion(8, 0) else set()
    wrong = []
    for name, value in first.items():
        entry = PARAMETERS[name]
        if entry.type != "int":
            continue
        for tried in {entry.minimum - 1, entry.minimum, entry.maximum, entry.maximum + 1, 4096, 12345, 65536}:
            theirs = tried >= 0 and monitor.takes("migrate-set-parameters", **{name: tried})
            try:
                parse_setting(name, tried, monitor.version)
                ours = True
            except MigsimError:
                ours = False
            # max-cpu-throttle's lower limit is cpu-throttle-initial's value; a huge cache does not fit memory
            skip = (name, tried) in {("max-cpu-throttle", 1), ("xbzrle-cache-size", entry.maximum)}
            if ours != theirs and not (skip or (name in unchecked and theirs)):
                wrong.append((name, tried, theirs))
        monitor("migrate-set-parameters", **{name: value})
    assert not wrong


def test_query_migrates_fields_are_exactly_qemus(monitor):
    schema = {entry["name"]: entry for entry in monitor("query-qmp-schema")}

    def walk(type_name, prefix=""):
        for member in schema[type_name]["members"]:
            kind = schema[member["type"]]
            yield f"{prefix}{member['name']}", kind, "default" in member
            if kind["meta-type"] == "object":
                yield from walk(member["type"], f"{prefix}{member['name']}.")

    theirs = {name: (kind, optional) for name, kind, optional in walk(schema["query-migrate"]["ret-type"])}
    ours = {name: field for name, field in INFO_FIELDS.items() if monitor.version in field.available}
    assert {name for name in theirs if not name.startswith("disk.")} == set(ours)
    for name, field in ours.items():
        kind, optional = theirs[name]
        assert field.optional == optional, name
        if field.type == "enum":
            assert set(kind["values"]) == {value for value, when in field.values if monitor.version in when}
        elif kind["meta-type"] == "builtin":
            assert field.type == {"int": "int", "number": "number", "string": "str"}[kind["json-type"]], name
    validate_migration_info(monitor("query-migrate"), monitor.version)
