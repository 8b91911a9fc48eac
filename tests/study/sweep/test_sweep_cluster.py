"""A sweep on a Dask cluster: a real scheduler and worker processes, started and ended here."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from migsim.errors import HostError
from migsim.study.sweep import jobs as sweep_run
from migsim.study.sweep.run import sweep
from tests.factories import host_profile, small_guest

GUEST = small_guest()

MORE = {
    "host": host_profile(),
    "vary": {"max-bandwidth": "30MB/s:200MB/s:48"},
    "draws": 8,
    "engine": "events",
}


def start(*words):
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "DASK_DISTRIBUTED__ADMIN__LOW_LEVEL_LOG_LENGTH": "0",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "dask", *words],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def end(process):
    process.kill()
    process.wait(timeout=20)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def scheduler(tmp_path_factory):
    """Its address, at a port that it chose: one found free beforehand could be taken meanwhile."""
    told = tmp_path_factory.mktemp("scheduler") / "told.json"
    process = start(
        "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(told)
    )
    try:
        deadline, address = time.monotonic() + 60, None
        while address is None:
            assert process.poll() is None, "the scheduler ended"
            assert time.monotonic() < deadline, "the scheduler does not say where it is"
            time.sleep(0.1)
            with contextlib.suppress(
                FileNotFoundError, json.JSONDecodeError
            ):  # not written yet, or not whole
                address = json.loads(told.read_text())["address"]
        yield address
    finally:
        end(process)


@pytest.fixture
def workers(scheduler):
    from distributed import Client

    processes = [
        start("worker", scheduler, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--name", f"w{k}")
        for k in range(2)
    ]
    with Client(scheduler, timeout=30, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
    yield processes
    for process in processes:
        end(process)


@pytest.fixture(scope="module")
def here():
    return sweep(GUEST, **MORE).dataset.drop_attrs(deep=False)


def test_the_numbers_there_are_the_numbers_here(scheduler, workers, here):
    made = sweep(GUEST, **MORE, cluster=scheduler)
    assert made.dataset.drop_attrs(deep=False).identical(here)


def test_a_worker_killed_in_the_middle_costs_no_cell(scheduler, workers, here, tmp_path):
    killed = []

    def kill(done, _of):
        if not killed and done < 48:
            killed.append(done)
            workers[0].send_signal(signal.SIGKILL)
            workers[0].wait(timeout=20)

    made = sweep(GUEST, **MORE, cluster=scheduler, folder=tmp_path, progress=kill)
    assert killed and workers[0].poll() == -signal.SIGKILL
    assert made.dataset.drop_attrs(deep=False).identical(here)
    assert not made.counts["error"]


def test_without_workers_it_ends_and_what_is_finished_is_kept(
    scheduler, workers, here, tmp_path, monkeypatch
):
    monkeypatch.setattr(sweep_run, "LOST_S", 2.0)

    def kill(_done, _of):
        for process in workers:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)

    with pytest.raises(HostError, match="none came back"):
        sweep(GUEST, **MORE, cluster=scheduler, folder=tmp_path, progress=kill)
    kept = len(list(tmp_path.glob("*.parquet")))
    assert kept >= 1
    resumed = sweep(GUEST, **MORE, folder=tmp_path)
    assert resumed.dataset.drop_attrs(deep=False).identical(here)
    assert "already" in resumed.notes[0]


def test_a_scheduler_that_dies_ends_it(scheduler, workers, tmp_path):
    import psutil

    port = int(scheduler.rpartition(":")[2])
    own = [
        child
        for child in psutil.Process().children()
        if any(c.laddr.port == port and c.status == psutil.CONN_LISTEN for c in child.net_connections())
    ]
    assert len(own) == 1
    with pytest.raises(HostError, match="went away"):
        sweep(GUEST, **MORE, cluster=scheduler, folder=tmp_path, progress=lambda *_: own[0].kill())
    assert list(tmp_path.glob("*.parquet"))


def test_a_scheduler_that_is_not_there_is_an_error_in_seconds(monkeypatch):
    monkeypatch.setattr(sweep_run, "CONNECT_S", 1.0)
    begun = time.monotonic()
    with pytest.raises(HostError, match="does not answer"):
        sweep(GUEST, **MORE, cluster=f"tcp://127.0.0.1:{free_port()}")
    with pytest.raises(HostError, match="does not answer"):
        sweep(GUEST, **MORE, cluster="no such:address")
    assert time.monotonic() - begun < 60


def test_a_scheduler_without_workers_is_an_error_in_seconds(scheduler, monkeypatch):
    monkeypatch.setattr(sweep_run, "WORKERS_S", 1.0)
    with pytest.raises(HostError, match="no workers"):
        sweep(GUEST, **MORE, cluster=scheduler)


def test_workers_of_another_migsim_are_refused(scheduler, workers, monkeypatch):
    monkeypatch.setattr(sweep_run, "laws_hash", lambda: "other laws")
    with pytest.raises(HostError, match="another migsim"):
        sweep(GUEST, **MORE, cluster=scheduler)


@pytest.mark.parametrize(
    ("status", "task", "words"),
    [("closed", "pending", "went away"), ("running", "error", "died over the same cells")],
)
def test_a_cluster_that_gives_up_is_an_error(status, task, words):
    client = SimpleNamespace(
        status=status,
        scheduler_info=lambda: {"workers": {"w": {}}},
        futures={"key": SimpleNamespace(status=task)},
    )
    with pytest.raises(HostError, match=words):
        sweep_run._still_alone(client, "tcp://made.up:1", None)


def test_a_cluster_may_be_alone_for_a_while(monkeypatch):
    gone = SimpleNamespace(status="running", scheduler_info=lambda: {"workers": {}}, futures={})
    since = sweep_run._still_alone(gone, "tcp://made.up:1", None)
    assert since == sweep_run._still_alone(gone, "tcp://made.up:1", since)
    back = SimpleNamespace(status="running", scheduler_info=lambda: {"workers": {"w": {}}}, futures={})
    assert sweep_run._still_alone(back, "tcp://made.up:1", since) is None


def test_without_the_package_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(HostError, match="migsim\\[cluster\\]"):
        sweep(GUEST, **MORE, cluster="tcp://127.0.0.1:1")
