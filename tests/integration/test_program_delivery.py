"""Mail that is handed to programs and web services, on a real server."""

from __future__ import annotations

import json

from integration.conftest import MakeServer
from integration.messages import number_of, numbered
from integration.server import wait_until

_PROGRAM = """\
#!/bin/sh
# keeps each message under its recipient; "later" only when there is a file that lets it
[ "$1" = gone ] && { echo "never heard of $1"; exit 67; }
[ "$1" = later ] && [ ! -e "$2/open" ] && exit 75
cat > "$2/$1.part" && mv "$2/$1.part" "$2/$1"
"""

_ROUTING = """\
from upesi.plugin import PipeRoute, hook

@hook.route
def to_program(tx, recipient):
    if recipient.address.domain == "plugin.example":
        return PipeRoute("keep")
"""


def _number(text: bytes) -> int:
    """Return the number of a message whose lines end as files' do."""
    return number_of(text.replace(b"\n", b"\r\n"))


def test_a_program_gets_mail_by_route_and_by_plugin(upesi_server: MakeServer) -> None:
    """PLUGINS.md, `route`: pipe; delivered by status 0, tried again by 75, returned with its words by 67."""
    server = upesi_server(started=False)
    program, kept = server.folder / "keep.sh", server.folder / "kept"
    program.write_text(_PROGRAM)
    program.chmod(0o755)
    kept.mkdir()
    (server.folder / "plugins").mkdir()
    (server.folder / "plugins" / "routing.py").write_text(_ROUTING)
    server.configure(
        f'[[program]]\nname = "keep"\ncommand = ["{program}", "{{local}}", "{kept}"]\n'
        '[[route]]\ndomains = ["program.example"]\nto = "pipe:keep"\n'
        '[[route]]\ndomains = ["*"]\nto = "discard"\n'
        '[plugins]\nenabled = ["routing", "relay"]\n[delivery]\nretry = ["1h"]\njitter = 0.0\n'
    )
    server.start()
    server.send(numbered(1), to="anna@program.example")
    server.send(numbered(2), to="bert@plugin.example")
    server.send(numbered(3), to="gone@plugin.example")
    server.send(numbered(4), to="later@program.example")
    wait_until(lambda: {"anna", "bert"} <= {path.name for path in kept.iterdir()}, what="two messages")
    assert [_number((kept / name).read_bytes()) for name in ("anna", "bert")] == [1, 2]
    wait_until(lambda: server.events("delivery.failed"), what="the refusal")
    (failed,) = server.events("delivery.failed")
    assert (failed["status"], failed["text"]) == ("5.1.1", "no such user: never heard of gone")
    wait_until(lambda: server.events("delivery.deferred"), what="the deferral")
    (row,) = json.loads(server.command("queue", "list", "--json"))
    assert (row["queue"], row["recipients"]) == ("pipe:keep", ["later@program.example"])
    (kept / "open").touch()
    server.command("queue", "retry", "--all", "--yes")
    wait_until((kept / "later").exists, what="the message that waited")
    assert _number((kept / "later").read_bytes()) == 4
