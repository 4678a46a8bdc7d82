"""Starts that are refused say why and leave nothing behind; starts that are interrupted end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
import urllib.request

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from integration.conftest import MakeServer, route_to
from integration.messages import numbered
from integration.receiver import Receiver
from integration.server import UPESI, UpesiServer, free_port, run_upesi, wait_until


def refusal(server: UpesiServer) -> str:
    """Start a server that must not start, and return what it says."""
    result = run_upesi("serve", "-c", server.file)
    assert result.returncode == 1, result.stderr
    return result.stderr


def test_a_spool_that_is_gone_is_refused_and_no_folder_is_left(upesi_server: MakeServer) -> None:
    """STO-07: a spool that was here and is not mounted now is never replaced by an empty one, nor by an empty folder."""
    server = upesi_server()
    server.stop()
    shutil.rmtree(server.spool)
    assert "is not there" in refusal(server)
    assert not server.spool.exists()


def test_sockets_of_killed_workers_are_removed_at_the_start(upesi_server: MakeServer) -> None:
    """A worker that was killed leaves its hint socket in the spool; the next start, or its own funeral, removes it."""
    server = upesi_server(workers=2)
    wait_until(lambda: len(list(server.spool.glob("hints.*"))) == 2, what="the sockets of both workers")
    before = set(server.spool.glob("hints.*"))
    server.kill()
    assert set(server.spool.glob("hints.*")) == before
    server.start()
    assert not before & set(server.spool.glob("hints.*"))
    now = set(server.spool.glob("hints.*"))
    os.kill(server.worker_pids()[0], signal.SIGKILL)
    wait_until(lambda: now - set(server.spool.glob("hints.*")), what="the removal of the dead worker's socket")


def test_a_second_instance_says_who_holds_the_spool(upesi_server: MakeServer) -> None:
    """A second server on one spool is refused with the pid of the first."""
    server = upesi_server()
    said = refusal(server)
    assert "is held by another process" in said
    assert f"pid {server.pid}" in said
    # whoever types `make run` twice
    assert "upesi stop" in said


def test_a_port_that_is_taken_is_named_with_what_to_do(upesi_server: MakeServer, receiver: Receiver) -> None:
    """ADR: an error names the key and the way out; no worker and no lock stays."""
    for section, key in (("[[listener]]", "listener.port"), ("[metrics]", "metrics.port")):
        server = upesi_server(started=False)
        text = server.file.read_text()
        head, _, tail = text.partition(section)
        rest = tail.splitlines()
        tail = "\n".join(f"port = {receiver.port}" if line.startswith("port = ") else line for line in rest[:4])
        server.file.write_text("\n".join([head + section + tail, *rest[4:]]))
        said = refusal(server)
        assert key in said
        assert str(receiver.port) in said


def test_a_control_socket_that_cannot_be_is_named(upesi_server: MakeServer) -> None:
    """The key, the path and what must be true of it are in the message."""
    server = upesi_server('[control]\nsocket = "/nonexistent/folder/control.sock"\n', started=False)
    said = refusal(server)
    assert "control.socket" in said
    assert "/nonexistent/folder/control.sock" in said


@pytest.mark.parametrize("after", [0.0, 0.3, 0.6, 0.9, 1.2, 1.6])
def test_a_stop_during_the_start_ends_it(upesi_server: MakeServer, after: float) -> None:
    """SIGTERM at any moment of a start ends it within seconds, with 0 as soon as the spool is ours, and no worker stays."""
    server = upesi_server(workers=2, started=False)
    with server.log.open("ab") as log:
        server.process = subprocess.Popen([str(UPESI), "serve", "-c", str(server.file)], stdout=log, stderr=log)
    # from the moment the lock is there on: before it, nothing has begun
    wait_until((server.spool / "lock").exists, 20, "the lock")
    time.sleep(after)
    workers = server.worker_pids()
    began = time.monotonic()
    status = server.stop()
    assert status in (0, -signal.SIGTERM), server.tail()
    assert time.monotonic() - began < 40
    wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in workers), what="the end of the workers")


def test_the_metrics_say_what_the_server_did(upesi_server: MakeServer, receiver: Receiver) -> None:
    """Everything that is in the reference of metrics is counted, under the listener's address and port, and survives a reload."""
    port = free_port()
    server = upesi_server(route_to(receiver.port), started=False)
    server.file.write_text(server.file.read_text().replace("[metrics]\nport = 0", f"[metrics]\nport = {port}"))
    server.start()
    for number in range(3):
        server.send(numbered(number))
    receiver.wait_for(3)

    def counted(series: str) -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as page:
            lines = page.read().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(series))

    listener = f'{{listener="127.0.0.1:{server.port}"'
    wait_until(lambda: counted('upesi_deliveries_total{outcome="delivered"}') == 3, what="three deliveries")
    assert counted(f"upesi_sessions_total{listener}") >= 3
    assert counted(f"upesi_sessions_refused_total{listener}") == 0
    assert counted("upesi_messages_queued_total ") == 3
    assert counted("upesi_connections_total ") >= 1
    assert counted("upesi_queue_deliveries{") == 0
    server.send(numbered(4))
    before = set(server.worker_pids())
    server.reload()
    wait_until(lambda: not before & set(server.worker_pids()), 20, "the end of the old worker")
    # what the old worker counted after the last look has not gone with it
    wait_until(lambda: counted("upesi_messages_queued_total ") == 4, what="its last counts")


def test_the_metrics_of_two_workers_are_one_page_that_others_can_read(upesi_server: MakeServer) -> None:
    """LOG-03: once every worker has reported, /metrics is whole, again and again, for the parser of those who made the format."""
    port = free_port()
    server = upesi_server(workers=2, started=False)
    server.file.write_text(server.file.read_text().replace("[metrics]\nport = 0", f"[metrics]\nport = {port}"))
    server.start()

    def page() -> dict[str, Metric]:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            return {family.name: family for family in text_string_to_metric_families(answer.read().decode())}

    def reported() -> bool:
        late = page().get("upesi_loop_lag_seconds")
        return late is not None and any(sample.name.endswith("_count") and sample.value for sample in late.samples)

    wait_until(reported, what="the counts of the workers")
    for _ in range(2):
        families = page()
        assert [sample.value for sample in families["upesi_overloaded_workers"].samples] == [0]
        assert families["upesi_sessions"].type == "counter"
    assert "supervisor.failed" not in server.log.read_text()
