"""Mail that plugins label and hasten, on a real server: in the queue, at delivery hooks, in events, on the command line."""

from __future__ import annotations

import json

from integration.conftest import MakeServer, route_to
from integration.messages import number_of, numbered
from integration.receiver import Receiver
from integration.server import wait_until

_LABELLING = """\
from upesi.plugin import Handling, hook

@hook.route
def label(tx, recipient):
    if recipient.address.local == "acme":
        recipient.handling = Handling(priority=5, lifetime=3600, tenant="acme", campaign="spring/2027")

@hook.attempt
def attempted(message, delivery):
    open("SEEN", "a").write(f"attempt {delivery.labels.tenant or 'none'}\\n")

@hook.deferred
def deferred(message, recipient, outcome):
    open("SEEN", "a").write(f"deferred {recipient.labels.campaign or 'none'}\\n")
"""


def test_labels_go_with_mail_from_its_route_to_its_end(upesi_server: MakeServer, receiver: Receiver) -> None:
    """PLUGINS.md, `route`: tenant, campaign, priority and expiry are kept with a recipient, over a restart, and shown."""
    receiver.on_rcpt = lambda path: b"451 4.7.1 Greylisted, try later"
    server = upesi_server(started=False)
    seen = server.folder / "seen"
    (server.folder / "plugins").mkdir()
    (server.folder / "plugins" / "labelling.py").write_text(_LABELLING.replace("SEEN", str(seen)))
    server.configure(
        '[plugins]\nenabled = ["labelling", "relay"]\n[delivery]\nretry = ["1h"]\njitter = 0.0\n'
        + route_to(receiver.port)
    )
    server.start()
    server.send(numbered(1), to="acme@example.org")
    server.send(numbered(2), to="other@example.org")

    def rows(*selection: str) -> list[dict[str, object]]:
        listed = json.loads(server.command("queue", "list", "--json", *selection))
        return sorted(listed, key=lambda row: row["recipients"])

    wait_until(lambda: [row["attempts"] for row in rows()] == [1, 1], what="the first attempts")
    labels = {"tenant": "acme", "campaign": "spring/2027"}
    acme, other = rows()
    assert (acme["labels"], other["labels"]) == (labels, {})
    assert round(float(str(acme["expires"])) - float(str(acme["received"]))) == 3600
    assert [row["recipients"] for row in rows("--tenant", "acme")] == [["acme@example.org"]]
    assert rows("--campaign", "autumn") == []
    assert "tenant=acme campaign=spring/2027" in server.command("queue", "show", str(acme["message"]))
    assert "labels" not in server.command("queue", "show", str(other["message"]))
    wait_until(lambda: len(server.events("delivery.deferred")) == 2, what="two deferrals in the log")
    told = {str(event["to"]): event for event in server.events("delivery.deferred")}
    assert {name: told["acme@example.org"][name] for name in labels} == labels
    assert "tenant" not in told["other@example.org"]
    server.stop()
    server.start()
    receiver.on_rcpt = lambda path: b"250 2.1.5 ok"
    server.command("queue", "retry", "--tenant", "acme", "--yes")
    assert number_of(receiver.wait_for(1)[0].data) == 1
    wait_until(lambda: server.events("delivery.delivered"), what="the delivery in the log")
    (event,) = server.events("delivery.delivered")
    assert {name: event[name] for name in labels} == labels
    assert set(seen.read_text().splitlines()) == {
        "attempt acme", "attempt none", "deferred spring/2027", "deferred none",
    }  # fmt: skip


_SETTING_ASIDE = """\
from upesi.plugin import QuarantineRoute, hook

@hook.route
def aside(tx, recipient):
    if recipient.address.local == "odd":
        return QuarantineRoute("odd links")
"""


def test_a_quarantined_copy_waits_until_an_operator_releases_it(upesi_server: MakeServer, receiver: Receiver) -> None:
    """PLUGINS.md, `route`: quarantine; the other recipient's copy goes at once."""
    server = upesi_server(started=False)
    (server.folder / "plugins").mkdir()
    (server.folder / "plugins" / "aside.py").write_text(_SETTING_ASIDE)
    server.configure('[plugins]\nenabled = ["aside", "relay"]\n' + route_to(receiver.port))
    server.start()
    server.send(numbered(1), to="odd@example.org")
    server.send(numbered(2), to="fine@example.org")
    assert [number_of(message.data) for message in receiver.wait_for(1)] == [2]
    (held,) = json.loads(server.command("queue", "list", "--json", "--state", "held"))
    assert held["recipients"] == ["odd@example.org"]
    assert "odd links" in server.command("trace", str(held["message"]))
    server.command("queue", "release", "--id", str(held["message"]), "--yes")
    assert {number_of(message.data) for message in receiver.wait_for(2)} == {1, 2}
