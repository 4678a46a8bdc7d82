"""XCLIENT and XFORWARD in a session: who may, what is forgotten, what is written down."""

from __future__ import annotations

from typing import Any

import pytest
from sessionkit import Dialogue

from upesi.config.networks import Networks
from upesi.hooks.session import Session, Transaction
from upesi.hooks.verdict import Verdict, defer, reject
from upesi.session.forwarding import Trusted

PROXY = ("10.0.0.9", 50000)
CLIENT = "XCLIENT NAME=mail.example.org ADDR=198.51.100.7 PORT=4711"
KEYWORD = "XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT"


def dialogue(
    *, peer: object = PROXY, xclient: str = "10.0.0.0/24", xforward: str = "10.0.1.0/24", **more: Any
) -> Dialogue:
    """A greeted client of a listener that believes some networks."""
    talk = Dialogue(peer=peer, **more)
    talk.context.trusted = Trusted(Networks([xclient]), Networks([xforward]))
    talk.heard()
    return talk


def keywords(talk: Dialogue) -> set[str]:
    verb = "LHLO" if talk.context.lmtp else "EHLO"
    return {line[4:] for line in talk.say(f"{verb} proxy.example")}


@pytest.mark.parametrize("lmtp", [False, True])
def test_only_those_who_are_listed_are_offered_it_and_never_both(lmtp: bool) -> None:
    """PRX-03: EHLO names XCLIENT or XFORWARD to whom it is for, and neither to others."""
    assert KEYWORD in keywords(dialogue(lmtp=lmtp))
    filtered = keywords(dialogue(peer=("10.0.1.9", 1), lmtp=lmtp))
    assert "XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE" in filtered
    assert KEYWORD not in filtered
    assert not [word for word in keywords(dialogue(peer=("10.0.2.9", 1), lmtp=lmtp)) if word.startswith("X")]


@pytest.mark.parametrize("peer", [("10.0.2.9", 1), ("::1", 1, 0, 0), "", ("10.0.1.9", 1)])
@pytest.mark.parametrize("said", ["XCLIENT ADDR=127.0.0.1", "XCLIENT LOGIN=root", CLIENT])
def test_nobody_else_becomes_somebody(peer: object, said: str) -> None:
    """PRX-03: 550 5.7.0 for everybody else, at any time, and nothing has changed."""
    talk = dialogue(peer=peer)
    before = talk.engine.session
    assert talk.say(said) == ["550 5.7.0 Insufficient authorization"]
    assert talk.codes("EHLO x.example") == ["250"]
    assert talk.say(said) == ["550 5.7.0 Insufficient authorization"]
    assert talk.engine.session is before
    assert (before.identity, before.via) == (None, "")


def test_a_listener_that_believes_nobody_says_the_same() -> None:
    """PRX-03: without any list the answer is that of an unlisted client."""
    talk = Dialogue(peer=PROXY)
    talk.hello()
    assert talk.say(CLIENT, "XFORWARD ADDR=192.0.2.1") == ["550 5.7.0 Insufficient authorization"] * 2


def test_the_session_is_another_clients() -> None:
    """PRX-03: address, port and name are what was said: for hooks, in Received, in the spool and in events."""
    talk = dialogue()
    assert talk.say(CLIENT) == ["220 mx.example.net ESMTP"]
    talk.begin()
    assert talk.send()[0].startswith("250 ")
    talk.hang_up()
    (message,) = talk.intake.accepted
    assert message.prefix.startswith(b"Received: from client.example.org ([198.51.100.7])\r\n")
    assert message.origin["client"] == "198.51.100.7"
    first, second = talk.named("session.ended")
    assert (first["client"], first["reason"]) == ("10.0.0.9", "XCLIENT")
    assert (second["client"], second["via"]) == ("198.51.100.7", "10.0.0.9")
    assert first["session"] != second["session"]


async def test_the_name_is_taken_and_not_asked_for() -> None:
    """NAME is the name of the client for hooks; without it DNS is asked about the new address, not the old one."""
    asked = []

    async def resolve(address: str) -> str | None:
        asked.append(address)
        return "resolved.example"

    talk = dialogue()
    talk.context.resolve = resolve
    talk.say(CLIENT)
    assert await talk.engine.session.client.hostname() == "mail.example.org"
    assert asked == []
    talk.say("XCLIENT NAME=[UNAVAILABLE] ADDR=198.51.100.8")
    assert await talk.engine.session.client.hostname() is None
    talk.say("XCLIENT ADDR=198.51.100.9")
    assert await talk.engine.session.client.hostname() == "resolved.example"
    assert asked == ["198.51.100.9"]


def test_everything_is_forgotten() -> None:
    """PRX-05: EHLO, results, notes, rights, identity: the next client begins with nothing, whatever the last one was."""
    talk = dialogue()
    talk.hello("first.example.org")
    session = talk.engine.session
    session.relaying, session.identity, session.delay = True, "anna", 3.0
    session.notes["mine"], session.results["dnsbl"] = 1, ("pass", "")
    assert talk.codes(CLIENT, "MAIL FROM:<a@example.org>") == ["220", "503"]
    fresh = talk.engine.session
    assert (fresh.helo, fresh.protocol, fresh.relaying, fresh.identity, fresh.delay) == ("", "SMTP", False, None, 0.0)
    assert (fresh.results, fresh.notes, fresh.messages) == ({}, {}, 0)


def test_it_may_come_again_each_time_from_the_beginning() -> None:
    """PRX-05: XCLIENT twice: the second is believed because of the connection, and keeps what it does not say."""
    talk = dialogue()
    assert talk.codes(CLIENT, "XCLIENT ADDR=192.0.2.50", "EHLO x.example") == ["220", "220", "250"]
    client = talk.engine.session.client
    assert (client.address, client.port) == ("192.0.2.50", 4711)
    assert talk.engine.session.via == "10.0.0.9"


def test_a_client_that_was_made_up_has_no_rights_by_it() -> None:
    """PRX-03: ADDR=127.0.0.1 or a listed address gives nobody the right to XFORWARD, or to XCLIENT, that the connection has not."""
    talk = dialogue()
    assert talk.codes("XCLIENT ADDR=10.0.1.9", "XFORWARD NAME=x") == ["220", "550"]


def test_hooks_run_for_the_new_client() -> None:
    """`disconnect` for the old session, `connect` for the new one: what counts sessions counts right."""
    seen: list[tuple[str, str]] = []
    talk = dialogue(
        connect=lambda session: seen.append(("connect", session.client.address)),
        disconnect=lambda session: seen.append(("disconnect", session.client.address)),
    )
    talk.say(CLIENT)
    assert seen == [("connect", "10.0.0.9"), ("disconnect", "10.0.0.9"), ("connect", "198.51.100.7")]


@pytest.mark.parametrize(
    ("verdict", "said"),
    [(reject("5.7.1", "Go away"), "554 Go away"), (defer("4.7.1", "Later"), "421 4.7.1 Later")],
)
def test_a_client_that_is_refused_has_no_session(verdict: Verdict, said: str) -> None:
    """PRX-05: a refusal by `connect` ends the connection: nobody goes on as the client before."""

    def judge(session: Session) -> Verdict | None:
        return verdict if session.client.address == "198.51.100.7" else None

    talk = dialogue(connect=judge)
    assert talk.say(CLIENT, "EHLO x.example") == [said]
    assert talk.transport.ended


def test_login_is_an_identity() -> None:
    """PRX-03: LOGIN is who authenticated in front of us; the next XCLIENT without it is nobody."""
    talk = dialogue()
    talk.say("XCLIENT ADDR=198.51.100.7 LOGIN=anna+40example.org")
    assert talk.engine.session.identity == "anna@example.org"
    talk.say("XCLIENT ADDR=198.51.100.8")
    assert talk.engine.session.identity is None
    talk.say("XCLIENT LOGIN=[UNAVAILABLE]")
    assert talk.engine.session.identity is None


def test_an_unknown_address_is_no_address() -> None:
    """PRX-03: [UNAVAILABLE]: no rights by network, no address in Received."""
    talk = dialogue()
    talk.say("XCLIENT NAME=[UNAVAILABLE] ADDR=[UNAVAILABLE] PORT=[UNAVAILABLE] HELO=[UNAVAILABLE]")
    client = talk.engine.session.client
    assert (client.address, client.port) == ("", 0)


def test_not_in_a_transaction_and_not_without_end() -> None:
    """PRX-03: 503 within a transaction; a loop of them ends as a loop of NOOPs does (FLD-08)."""
    talk = dialogue()
    talk.begin()
    assert talk.codes(CLIENT) == ["503"]
    talk.say("RSET")
    for _ in range(talk.context.settings.max_idle_commands + 3):
        if talk.transport.ended:
            break
        talk.say(CLIENT)
        talk.loop.advance(1)
    assert b"\r\n421 4.7.0 " in talk.transport.written


def test_errors_stay_with_the_connection() -> None:
    """A client cannot shed its errors by becoming another one."""
    talk = dialogue()
    talk.codes("FOO", "FOO")
    talk.say(CLIENT)
    assert talk.engine.session.errors == 2


# -- XFORWARD


FILTER = ("10.0.1.9", 50000)


def test_a_message_is_logged_with_where_it_came_from() -> None:
    """XFORWARD: the event and the spool name the other client beside the session's own; hooks can read all of it."""
    noted: list[object] = []

    def look(tx: Transaction, *_: object) -> None:
        noted.append(tx.notes.get("xforward"))

    talk = dialogue(peer=FILTER, mail=look)
    talk.hello()
    assert talk.codes("XFORWARD NAME=far.example ADDR=198.51.100.7", "XFORWARD HELO=far IDENT=[UNAVAILABLE]") == [
        "250",
        "250",
    ]
    assert talk.codes("MAIL FROM:<a@example.org>", "RCPT TO:<b@example.net>") == ["250", "250"]
    talk.send()
    said = {"NAME": "far.example", "ADDR": "198.51.100.7", "HELO": "far", "IDENT": None}
    assert noted == [said]
    (event,) = talk.named("transaction.accepted")
    assert event["forwarded"] == "NAME=far.example ADDR=198.51.100.7 HELO=far IDENT=[UNAVAILABLE]"
    assert event["client"] == "10.0.1.9"
    (message,) = talk.intake.accepted
    assert (message.origin["client"], message.origin["forwarded"]) == ("10.0.1.9", "198.51.100.7")
    assert b"198.51.100.7" not in message.prefix


def test_what_was_said_of_one_message_is_not_said_of_the_next() -> None:
    """XFORWARD holds until its transaction ends, however it ends."""
    talk = dialogue(peer=FILTER)
    talk.hello()
    for end in ("RSET", "EHLO x.example"):
        talk.codes("XFORWARD ADDR=198.51.100.7", "MAIL FROM:<a@example.org>", end)
        talk.codes("MAIL FROM:<a@example.org>", end)
    events = talk.named("transaction.refused")
    assert ["forwarded" in event for event in events] == [True, False, True, False]


def test_xforward_changes_nobody() -> None:
    """PRX-03: rights, limits and the session are the filter's own."""
    talk = dialogue(peer=FILTER)
    talk.hello()
    before = talk.engine.session
    talk.say("XFORWARD NAME=a.example ADDR=127.0.0.1 HELO=localhost")
    assert talk.engine.session is before
    assert (before.client.address, before.relaying, before.helo) == ("10.0.1.9", False, "client.example.org")
    assert talk.codes("XFORWARD LOGIN=root", "XCLIENT LOGIN=root") == ["501", "550"]
