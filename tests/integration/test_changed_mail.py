"""Mail that plugins change, on a real server: what the next hop gets, of small messages and of those that are files."""

from __future__ import annotations

import json

from integration.conftest import MakeServer, route_to
from integration.receiver import Receiver
from integration.server import UpesiServer, wait_until

_PLUGIN = """\
from upesi.plugin import hook


@hook.message
def change(tx):
    tx.remove_header("X-Forged")
    tx.replace_header("Subject", "[list] hello")
    tx.append_header("X-Bottom", "b")
    tx.add_header("X-Top", "t")
    if tx.headers.get("X-Banner"):
        tx.add_text("Footer", "<p>Footer</p>")
    if tx.headers.get("X-Suspect"):
        tx.notes["quarantine"] = "suspect"
"""
_HEAD = (
    b"X-Forged: " + b"f" * 100 + b"\r\nSubject: hello\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: multipart/mixed; boundary=b\r\nX-Long: " + b"l" * 300
)
_TEXT = b"--b\r\n\r\ntext\r\n"
_FILE = b"--b\r\nContent-Type: application/octet-stream\r\n\r\n" + b"0123456789abcdef\r\n" * 40_000 + b"\r\n--b--\r\n"


def _server(make: MakeServer, receiver: Receiver) -> UpesiServer:
    server = make(started=False)
    (server.folder / "plugins").mkdir()
    (server.folder / "plugins" / "change.py").write_text(_PLUGIN)
    server.configure('[plugins]\nenabled = ["change", "quarantine", "relay"]\n' + route_to(receiver.port))
    return server.start()


def _expected(more: bytes, text: bytes, rest: bytes) -> bytes:
    fields = _HEAD.partition(b"\r\n")[2].replace(b"Subject: hello", b"Subject: [list] hello")
    return b"X-Top: t\r\n" + fields + b"\r\n" + more + b"X-Bottom: b\r\n\r\n" + text + rest


def test_what_plugins_change_is_what_the_next_hop_gets(upesi_server: MakeServer, receiver: Receiver) -> None:
    """PLUGINS.md: fields and parts can be changed, and all that nobody changed arrives octet for octet; a file of 700 kB too."""
    server = _server(upesi_server, receiver)
    sent = [(more, rest) for more in (b"", b"X-Banner: y\r\n") for rest in (b"--b--\r\n", _FILE)]
    for more, rest in sent:
        server.send(_HEAD + b"\r\n" + more + b"\r\n" + _TEXT + rest)
    messages = receiver.wait_for(len(sent))
    # below our Received field
    got = {message.data[message.data.index(b"X-Top") :] for message in messages}
    assert got == {_expected(more, _TEXT + b"Footer\r\n\r\n" if more else _TEXT, rest) for more, rest in sent}


def test_mail_that_is_held_goes_when_it_is_released(upesi_server: MakeServer, receiver: Receiver) -> None:
    """STO-16: a suspect message is accepted and waits with its reason; the one behind it goes; released, it arrives."""
    server = _server(upesi_server, receiver)
    server.send(_HEAD + b"\r\nX-Suspect: y\r\n\r\n" + _TEXT + _FILE)
    server.send(_HEAD + b"\r\n\r\n" + _TEXT + b"--b--\r\n")
    assert b"X-Suspect" not in receiver.wait_for(1)[0].data
    (row,) = _held(server)
    assert "quarantine: suspect" in server.command("trace", row)
    server.command("queue", "release", "--state", "held", "--yes")
    wait_until(lambda: any(b"X-Suspect" in message.data for message in receiver.wait_for(2)), what="the held message")
    assert any(b"X-Quarantine: suspect\r\n" in message.data for message in receiver.wait_for(2))


def _held(server: UpesiServer) -> list[str]:
    return [row["message"] for row in json.loads(server.command("queue", "list", "--state", "held", "--json"))]
