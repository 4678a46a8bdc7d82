"""Q8 through the whole house: the worker that owns a queue says why its mail waits, the command line says it to a person."""

from __future__ import annotations

import json
import re

from integration.conftest import MakeServer, route_to
from integration.messages import numbered
from integration.receiver import Receiver
from integration.server import free_port, run_upesi, wait_until


def test_a_site_that_is_left_alone_is_the_reason_until_an_operator_says_now(upesi_server: MakeServer) -> None:
    """Mail never tried is not sent "now": `why`, `list`, `summary` and `status` tell the pause with its end; `retry` ends it."""
    port = free_port()
    server = upesi_server(route_to(port) + "[delivery]\nretry = ['1h']\n", workers=2)
    server.send(numbered(1))
    wait_until(lambda: "Connection refused" in server.command("queue", "list"), what="the first attempt")
    server.send(numbered(2))
    # listed by delivery, whose numbers begin with the worker's: the second message may stand before the first
    rows = json.loads(server.command("queue", "list", "--json"))
    (_, row) = sorted(rows, key=lambda row: -int(row["attempts"]))
    assert (row["reason"], row["attempts"]) == ("unreachable", 0)
    said = server.command("queue", "why", row["message"])
    assert re.search(r"left alone for \d+[sm] more; last said: 4\.4\.1 .*Connection refused", said)
    assert re.search(r"next try in \d+[sm]", said)
    assert re.search(r" 0 +in \d+[sm] +to others: 4\.4\.1 ", server.command("queue", "list"))
    assert re.search(r" in \d+[sm]\n", server.command("queue", "summary"))
    page = server.command("status")
    assert re.search(r"host:127\.0\.0\.1:\d+ +0 of \d+ .* \d+[sm] +1 +4\.4\.1 .*Connection refused", page)
    with Receiver(port=port) as receiver:
        server.command("queue", "retry", "--all", "--yes")
        wait_until(lambda: server.command("queue", "count") == "0\n", what="the delivery of both")
        assert len(receiver.messages) == 2
    story = run_upesi("trace", row["message"], "-c", server.file).stdout
    assert "delivery.retried" in story


def test_a_server_is_stopped_through_its_socket_while_its_file_is_broken(upesi_server: MakeServer) -> None:
    """What runs can be looked at and ended whatever somebody has just saved."""
    server = upesi_server("")
    server.file.write_text("[node\n")
    socket = str(server.spool / "control.sock")
    assert run_upesi("status", "-c", server.file).returncode == 1
    assert "listening" in run_upesi("status", "-c", server.file, "--socket", socket).stdout
    server.ended = True
    assert run_upesi("stop", "--socket", socket).stdout == "stopped\n"
    assert server.process is not None
    assert server.process.wait(10) == 0
