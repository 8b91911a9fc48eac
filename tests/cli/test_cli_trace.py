import json
import re
import socket
import subprocess
import sys
import threading

import pytest

from migsim.trace import TraceMeta, TraceWriter


def run(*arguments):
    command = [sys.executable, "-m", "migsim", "trace", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def one_paragraph(done, *words):
    assert done.returncode == 3, done
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    for word in words:
        assert word in done.stderr


def test_info(tmp_path):
    meta = TraceMeta(
        "stream", "10.0.8", 4 << 30, accel="kvm", zero_pages=1000, zero_pages_source="the stream"
    )
    with TraceWriter(tmp_path / "a.trace", meta) as writer:
        writer.add_interval(0, 1, pages=range(25_000))
    done = run("info", tmp_path / "a.trace")
    assert done.returncode == 0
    for words in (
        "stream",
        r"4 GiB RAM, 1 vCPU, QEMU 10\.0\.8, kvm",
        r"102 MB/s over 1 s windows",
        "lost events +0",
    ):
        assert re.search(words, done.stdout)


def test_info_of_what_is_left_of_a_recording(tmp_path):
    writer = TraceWriter(tmp_path / "a.trace", TraceMeta("stream", "10.0.8", 4 << 30))
    writer.add_interval(0, 1, pages=range(25_000))
    done = run("info", tmp_path / "a.trace.part")
    assert done.returncode == 0
    assert re.search(r"complete +no", done.stdout)
    assert "cut off" in done.stdout


def test_info_of_something_else(tmp_path):
    one_paragraph(run("info", tmp_path / "missing"), "no trace")
    (tmp_path / "text").write_text("hello")
    one_paragraph(run("info", tmp_path / "text"), "Cannot read", "zip")


def test_xbzrle(tmp_path):
    with TraceWriter(tmp_path / "a.trace", TraceMeta("stream", "10.0.8", 32 << 20)) as writer:
        for second in range(4):
            if second:
                writer.add_content([5, 6], [8, 8], [1, 1], [11, 11])
            writer.add_interval(second, second + 1, pages=range(2048))
    done = run("xbzrle", tmp_path / "a.trace")
    assert done.returncode == 0
    assert re.search(r"4MiB +50\.0% +50\.0%", done.stdout)
    assert re.search(r"8MiB +100\.0% .*99\.5% +recommended", done.stdout)
    assert "A cache of 8MiB finds 100%" in done.stdout
    done = run("xbzrle", tmp_path / "a.trace", "--format", "json")
    found = json.loads(done.stdout)
    assert found["recommended-xbzrle-cache-size"] == 8 << 20
    assert [size["hit-fraction"] for size in found["sizes"]] == [0.5, 1, 1, 1]


def test_xbzrle_of_what_shows_no_pages(tmp_path):
    with TraceWriter(tmp_path / "a.trace", TraceMeta("dirty-rate", "10.0.8", 1 << 30)) as writer:
        writer.add_interval(0, 1, dirty_pages=5)
    one_paragraph(run("xbzrle", tmp_path / "a.trace"), "page numbers", "--method stream")
    done = run("xbzrle", tmp_path / "a.trace", "--format", "yaml")
    assert done.returncode == 2
    assert "table or json" in done.stderr


def test_record_from_no_socket(tmp_path):
    one_paragraph(run("record", "--qmp", tmp_path / "none", "-o", tmp_path / "a.trace"), "Cannot connect")
    assert not list(tmp_path.iterdir())


def test_record_from_a_socket_that_is_not_qmp(tmp_path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen()

        def answer():
            client, _ = server.accept()
            client.sendall(b"SSH-2.0\r\n")
            client.close()

        thread = threading.Thread(target=answer)
        thread.start()
        done = run("record", "--qmp", tmp_path / "s", "-o", tmp_path / "a.trace")
        thread.join()
    one_paragraph(done, "not a QMP")
    assert not list(tmp_path.glob("a.trace*"))


@pytest.mark.parametrize("arguments", [("--duration", "30"), ("--duration", "0s"), ("--duration", "soon")])
def test_a_duration_that_is_none(tmp_path, arguments):
    done = run("record", "--qmp", tmp_path / "s", "-o", tmp_path / "a.trace", *arguments)
    assert done.returncode in (2, 3)
    assert "Traceback" not in done.stderr
