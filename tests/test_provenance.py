import getpass
import json
import os
import platform
import socket
from datetime import UTC, datetime
from pathlib import Path

import migsim
from migsim.provenance import Machine, Provenance


def test_says_who_and_when():
    made = Provenance.now(["migsim", "predict", "a b.trace"], seed=7, qemu="10.0.2")
    assert made.command == "migsim predict 'a b.trace'"
    assert made.seed == 7
    assert made.versions["migsim"] == migsim.__version__
    assert made.versions["python"] == platform.python_version()
    assert made.versions["qemu"] == "10.0.2"
    assert made.versions["numpy"][0].isdigit()
    assert abs((datetime.now(UTC) - datetime.fromisoformat(made.made)).total_seconds()) < 60


def test_round_trips_through_json():
    made = Provenance.now("x", seed=1)
    assert Provenance.from_dict(json.loads(json.dumps(made.as_dict()))) == made


def test_reads_what_a_newer_migsim_wrote():
    data = Provenance.now("x").as_dict() | {"new": 1}
    data["machine"] |= {"gpu": "none"}
    assert Provenance.from_dict(data).machine == Machine.here()
    assert Provenance.from_dict({}) == Provenance()


def test_names_no_person_and_no_host(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody-private")
    text = json.dumps(Provenance.now(f"migsim {Path.home()}/db.trace").as_dict())
    assert "somebody-private" not in text
    assert "~/db.trace" in text
    assert socket.gethostname() not in text
    user = os.environ.get("USER") or getpass.getuser()
    assert f"/{user}/" not in text


def test_the_machine_is_described():
    machine = Machine.here()
    assert machine.cpus >= 1
    assert machine.memory_bytes > 2**28
    assert machine.cpu_model
    assert machine.kernel.startswith(platform.system())
