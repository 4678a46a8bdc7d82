"""A message that takes down whoever handles it: it is set aside after three workers, and everybody else's mail goes on."""

from __future__ import annotations

import pytest

from integration.conftest import MakeServer, route_to
from integration.messages import number_of, numbered
from integration.receiver import Receiver
from integration.server import UpesiServer, wait_until

PLUGIN = """\
import os
import time

from upesi.plugin import hook


@hook.attempt
def obey(message, delivery):
    match message.reverse_path.local:
        case "block":
            time.sleep(3600)
        case "exit":
            os._exit(1)
"""
SOON = "[delivery]\nretry = ['1s']\njitter = 0.0\n"


def poisoned(server: UpesiServer) -> UpesiServer:
    """Start `server` with the plugin."""
    folder = server.folder / "plugins"
    folder.mkdir()
    (folder / "obey.py").write_text(PLUGIN)
    text = server.file.read_text()
    server.file.write_text(f'{text}\n[plugins]\nenabled = ["relay", "recipients", "obey"]\nfolder = "{folder}"\n')
    return server.start()


def events(server: UpesiServer, name: str) -> int:
    """Count an event in the log."""
    return server.log.read_text().count(f'"{name}"')


@pytest.mark.parametrize(("sender", "hung"), [("exit", 0), pytest.param("block", 3, marks=pytest.mark.crash)])
def test_a_poison_message_is_set_aside_and_the_rest_goes_on(
    upesi_server: MakeServer, receiver: Receiver, sender: str, hung: int
) -> None:
    """PLG-03: a hook that ends or blocks its worker over one message does so three times; then that message is held, with its reason."""
    server = poisoned(upesi_server(route_to(receiver.port) + SOON, started=False))
    receiver.pause = 0.3  # some of the others are in memory beside it
    for number in range(10):
        server.send(numbered(number))
    server.send(numbered(50), sender=f"{sender}@example.com")
    wait_until(lambda: events(server, "delivery.held"), 60, "delivery.held in the log")
    receiver.pause = 0.0
    # told when its mail has been dealt with
    wait_until(lambda: events(server, "worker.died") == 3, what="three ends of workers")
    assert events(server, "worker.hung") == hung
    wait_until(lambda: events(server, "worker.started") == 4, 20, "a worker that stays")
    server.send(numbered(100))
    wait_until(
        lambda: {number_of(message.data) for message in list(receiver.messages)} == {*range(10), 100},
        30,
        "all mail but that one at the next hop",
    )
    (row,) = server.command("queue", "list").splitlines()[1:]
    id, state = row.split()[:2]
    assert state == "held"
    assert "when they hung or crashed" in server.command("queue", "why", id)
    assert events(server, "worker.died") == 3
