"""Mail that would come back to us."""

from __future__ import annotations

from integration.conftest import MakeServer
from integration.server import wait_until


def test_mail_to_our_own_address_fails_as_a_loop(upesi_server: MakeServer) -> None:
    """C22: where DNS, or an address literal, leads to a listener of ours, the mail fails with 5.4.6 instead of going in circles."""
    server = upesi_server(started=False)
    server.configure(f"[delivery]\nport = {server.port}\nallow_private = true\n")
    server.start()
    server.send(b"Subject: round\r\n\r\nand round\r\n", to="b@[127.0.0.1]", sender="")
    wait_until(lambda: server.events("delivery.failed"), what="delivery.failed in the log")
    assert [event["status"] for event in server.events("delivery.failed")] == ["5.4.6"]
    assert len(server.events("transaction.accepted")) == 1
