"""Sessions that begin TLS, or begin under it: what is refused, forgotten, offered and told."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from tlskit import Authority, Clock, Issued, SecureDialogue, make_acceptor

from upesi.config.settings import ClientCertificates, Role, SmtpSettings, Timeouts
from upesi.config.units import Duration
from upesi.hooks.verdict import reject
from upesi.tls.acceptor import Acceptor, Handshakes
from upesi.tls.contexts import client_context
from upesi.tls.folder import Certificates


@pytest.fixture
def talk(shelf: Path) -> SecureDialogue:
    """A client of a listener that offers STARTTLS."""
    return SecureDialogue(make_acceptor(shelf))


@pytest.fixture
def implicit(shelf: Path) -> SecureDialogue:
    """A client of a listener where TLS comes first."""
    return SecureDialogue(make_acceptor(shelf, implicit=True))


def secure(talk: SecureDialogue, **given: Any) -> SecureDialogue:
    """Go the usual way up to the handshake."""
    talk.hello()
    assert talk.say("STARTTLS") == ["220 2.0.0 Ready to start TLS"]
    assert talk.shake(**given) == []
    return talk


def ended(talk: SecureDialogue) -> dict[str, object]:
    """What the session's event says."""
    if talk.home.open:
        talk.hang_up()
    (fields,) = talk.named("session.ended")
    return fields


# -- STARTTLS


def test_starttls_is_offered_in_clear_and_not_under_tls(talk: SecureDialogue) -> None:
    """TLS-03, RFC 3207 section 4.2: the keyword is in the first answer to EHLO and in no later one."""
    talk.heard()
    assert any(line[4:] == "STARTTLS" for line in talk.say("EHLO a.example"))
    talk.say("STARTTLS")
    talk.shake()
    answer = talk.say("EHLO a.example")
    assert answer[0].startswith("250-mx.example.net")
    assert not any(line[4:] == "STARTTLS" for line in answer)


def test_a_message_goes_through_tls(talk: SecureDialogue) -> None:
    """RFC 3848: what came under TLS says ESMTPS, with protocol and cipher, in Received and in the event."""
    secure(talk)
    talk.say("EHLO a.example", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.net>")
    assert talk.send()[0].startswith("250 2.0.0 Ok: queued as ")
    assert talk.intake.contents == [b"Subject: x\r\n\r\nHello\r\n"]
    assert re.search(rb" with ESMTPS \(TLSv1\.3 TLS_[A-Z0-9_]+\) id ", talk.intake.accepted[0].prefix)
    assert str(ended(talk)["tls"]).startswith("TLSv1.3 TLS_")


def test_commands_behind_starttls_are_never_run(talk: SecureDialogue) -> None:
    """TLS-01: what came in clear behind STARTTLS gets 503, and the session ends; nothing of it is answered."""
    talk.hello()
    replies = talk.say("STARTTLS", "EHLO evil.example", "MAIL FROM:<a@example.org>")
    assert [reply[:3] for reply in replies] == ["503", "421"]
    assert talk.transport.ended
    assert talk.engine.session.transaction is None
    assert ended(talk)["helo"] == "client.example.org"


@pytest.mark.parametrize("behind", [b"E", b"\r\n", b"\x16\x03\x01", b"RSET\r\n", b"\x00" * 1000])
def test_any_octet_behind_starttls_ends_the_session(talk: SecureDialogue, behind: bytes) -> None:
    """TLS-01: one octet is enough, were it the beginning of a handshake."""
    talk.hello()
    assert [reply[:3] for reply in talk.say(b"STARTTLS\r\n" + behind)] == ["503", "421"]


def test_commands_in_the_place_of_a_handshake_are_never_run(talk: SecureDialogue) -> None:
    """TLS-01: the same in a segment of their own: they are no handshake, and no reply comes."""
    talk.hello()
    talk.say("STARTTLS")
    talk.transport.far_protocol.data_received(b"EHLO evil.example\r\nMAIL FROM:<a@example.org>\r\n")
    assert talk.transport.closed
    assert talk.engine.session.helo == "client.example.org"
    assert talk.engine.session.transaction is None
    assert str(ended(talk)["reason"]).startswith("handshake: ")
    assert "tls" not in ended(talk)


@pytest.mark.parametrize("command", ["MAIL FROM:<a@example.org>", "RCPT TO:<b@example.net>", "DATA"])
def test_after_the_handshake_the_session_begins_anew(talk: SecureDialogue, command: str) -> None:
    """TLS-02, RFC 3207 section 4.2: without another EHLO there is no mail."""
    secure(talk)
    assert [reply[:3] for reply in talk.say(command)] == ["503"]


def test_what_was_said_in_clear_is_forgotten(talk: SecureDialogue) -> None:
    """TLS-02: name, protocol and identity; what the connection is known by stays."""
    talk.hello("before.example")
    session = talk.engine.session
    session.identity, session.relaying = "joe", True
    session.errors = 3
    session.results["dnsbl"] = ("pass", "not listed")
    talk.say("STARTTLS")
    talk.shake()
    assert (session.helo, session.protocol, session.identity, session.relaying) == ("", "SMTP", None, False)
    assert session.errors == 3
    assert session.results["dnsbl"] == ("pass", "not listed")
    assert session.tls is not None


def test_rights_by_address_stay(shelf: Path) -> None:
    """What a connect hook granted was not told by the client."""

    def grant(session: Any) -> None:
        session.relaying = True

    talk = secure(SecureDialogue(make_acceptor(shelf), connect=grant))
    assert talk.engine.session.relaying


def test_starttls_comes_once(talk: SecureDialogue) -> None:
    """TLS-03: under TLS it is refused, and the session goes on."""
    secure(talk)
    talk.say("EHLO a.example")
    assert talk.say("STARTTLS") == ["503 5.5.1 TLS is active already"]
    assert talk.codes("NOOP") == ["250"]


def test_starttls_has_no_place_in_a_transaction(talk: SecureDialogue) -> None:
    """TLS-03: between MAIL and the end of data: 503, and the transaction goes on in clear."""
    talk.begin()
    assert talk.codes("STARTTLS") == ["503"]
    assert talk.send()[0].startswith("250 ")


def test_starttls_takes_no_argument(talk: SecureDialogue) -> None:
    """RFC 3207 section 4: 501 for parameters."""
    talk.hello()
    assert talk.codes("STARTTLS now") == ["501"]


def test_starttls_before_ehlo_is_taken(talk: SecureDialogue) -> None:
    """RFC 3207 does not ask for EHLO first, nor do we."""
    talk.heard()
    assert talk.codes("STARTTLS") == ["220"]
    talk.shake()
    assert talk.codes("EHLO a.example") == ["250"]


def test_where_there_is_none_it_is_not_implemented() -> None:
    """TLS-03: 502 on a listener without TLS."""
    from sessionkit import Dialogue

    talk = Dialogue()
    talk.hello()
    assert talk.codes("STARTTLS") == ["502"]


def test_a_handshake_may_come_in_pieces(talk: SecureDialogue) -> None:
    """TLS-06: octet by octet it is the same handshake."""
    talk.hello()
    talk.say("STARTTLS")
    receive = talk.transport.far_protocol.data_received

    class Slow:
        """Hands on single octets."""

        def data_received(self, data: bytes) -> None:
            for octet in data:
                receive(bytes([octet]))

    talk.transport.far_protocol = Slow()
    talk.shake()
    assert talk.codes("EHLO a.example") == ["250"]


def test_a_handshake_that_does_not_end_is_ended(shelf: Path) -> None:
    """TLS-06: the deadline is for all of it, and single octets do not move it; the client hears nothing in clear."""
    talk = SecureDialogue(make_acceptor(shelf), settings=SmtpSettings(timeouts=Timeouts(handshake=Duration("30s"))))
    talk.hello()
    talk.say("STARTTLS")
    written = talk.transport.written
    for octet in b"\x16\x03\x01\x02\x00" + b"\x01" * 20:
        talk.loop.advance(1)
        talk.transport.far_protocol.data_received(bytes([octet]))
        talk.connection.check(talk.loop.now)
    assert not talk.transport.closed
    talk.loop.advance(6)
    talk.connection.check(talk.loop.now)
    assert talk.transport.closed
    assert talk.transport.written == written
    assert ended(talk)["reason"] == "handshake: timeout"


def test_too_many_handshakes_wait_their_turn(shelf: Path) -> None:
    """TLS-07, RFC 3207 section 4: 454, the session goes on, and there is room again when a handshake has ended."""
    handshakes = Handshakes(10, 1)
    acceptor = make_acceptor(shelf, handshakes=handshakes)
    first, second = SecureDialogue(acceptor), SecureDialogue(acceptor)
    for talk in (first, second):
        talk.hello()
    assert first.codes("STARTTLS") == ["220"]
    assert second.say("STARTTLS") == ["454 4.7.0 TLS not available due to temporary reason"]
    assert second.codes("NOOP") == ["250"]
    first.shake()
    assert second.codes("STARTTLS") == ["220"]
    second.hang_up()
    assert handshakes.count == 0


@pytest.mark.parametrize("how", ["hang up", "garbage", "timeout", "eof", "stop"])
def test_every_handshake_is_uncounted(shelf: Path, how: str) -> None:
    """TLS-07: however a handshake ends, its place is free again, once."""
    handshakes = Handshakes(10, 10)
    talk = SecureDialogue(make_acceptor(shelf, handshakes=handshakes))
    talk.hello()
    talk.say("STARTTLS")
    assert handshakes.count == 1
    if how == "garbage":
        talk.transport.far_protocol.data_received(b"x" * 100)
    elif how == "timeout":
        talk.loop.advance(100)
        talk.connection.check(talk.loop.now)
    elif how == "eof":
        talk.transport.far_protocol.eof_received()
    elif how == "stop":
        talk.connection.evict()
    talk.hang_up()
    assert handshakes.count == 0
    assert len(talk.named("session.ended")) == 1


def test_a_stopping_server_lets_a_handshake_end_and_says_so_then(talk: SecureDialogue) -> None:
    """421 is said where the client can read it: under TLS."""
    talk.hello()
    talk.say("STARTTLS")
    talk.home.draining = True
    talk.connection.retire()
    assert not talk.transport.closed
    assert talk.shake() == ["421 4.3.2 Service is stopping, try again later"]


def test_a_cut_in_mid_message_stores_nothing(talk: SecureDialogue) -> None:
    """TLS-10: FIN without close_notify inside DATA: nothing is queued."""
    secure(talk)
    talk.say("EHLO a.example", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.net>", "DATA")
    talk.say(b"Subject: x\r\n\r\nHalf")
    talk.transport.far_protocol.eof_received()
    talk.hang_up()
    assert talk.intake.accepted == []


def test_lmtp_has_starttls_too(shelf: Path) -> None:
    """RFC 3848: LMTPS."""
    talk = secure(SecureDialogue(make_acceptor(shelf), lmtp=True))
    talk.say("LHLO a.example", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.net>")
    talk.send()
    assert b" with LMTPS (TLSv1.3 " in talk.intake.accepted[0].prefix


def test_utf8_under_tls(talk: SecureDialogue) -> None:
    """RFC 6531 section 4.3: UTF8SMTPS."""
    secure(talk)
    talk.say("EHLO a.example", "MAIL FROM:<a@example.org> SMTPUTF8", "RCPT TO:<b@example.net>")
    talk.send()
    assert b" with UTF8SMTPS (TLSv1.3 " in talk.intake.accepted[0].prefix


@pytest.mark.parametrize(("identity", "keyword"), [(None, b"ESMTPS"), ("joe", b"ESMTPSA")])
def test_the_keyword_says_who_authenticated(shelf: Path, identity: str | None, keyword: bytes) -> None:
    """RFC 3848: A for AUTH, behind S."""
    talk = secure(SecureDialogue(make_acceptor(shelf), role=Role.SUBMISSION))
    talk.say("EHLO a.example")
    talk.engine.session.identity = identity
    talk.engine.session.relaying = True
    talk.say("MAIL FROM:<a@example.org>", "RCPT TO:<b@example.net>")
    if talk.engine.session.transaction is not None:
        talk.send()
        assert b" with " + keyword + b" (" in talk.intake.accepted[0].prefix
    else:
        # a submission listener takes no mail of strangers
        assert identity is None


# -- required


def test_where_tls_is_required_mail_waits_for_it(shelf: Path) -> None:
    """RFC 3207 section 4: 530 to MAIL in clear, everything else goes on; under TLS mail is taken."""
    talk = SecureDialogue(make_acceptor(shelf, required=True))
    talk.hello()
    assert talk.say("MAIL FROM:<a@example.org>") == ["530 5.7.0 Must issue a STARTTLS command first"]
    assert talk.codes("NOOP") == ["250"]
    assert talk.codes("STARTTLS") == ["220"]
    talk.shake()
    assert talk.codes("EHLO a.example", "MAIL FROM:<a@example.org>") == ["250", "250"]


def test_without_a_certificate_starttls_is_not_available_now(tmp_path: Path) -> None:
    """TLS-14, RFC 3207 section 4: 454, mail in clear goes on; where TLS is implicit the connection is closed."""
    for implicit in (False, True):
        talk = SecureDialogue(Acceptor(Certificates(tmp_path, "x"), Handshakes(9, 9), Clock(), implicit=implicit))
        if implicit:
            assert talk.transport.closed
            assert ended(talk)["reason"] == "handshake: no certificate"
        else:
            talk.hello()
            assert talk.codes(
                "STARTTLS",
            ) == ["454"]
            assert talk.codes("MAIL FROM:<a@example.org>") == ["250"]


# -- implicit TLS


def test_nothing_is_said_before_the_handshake(implicit: SecureDialogue) -> None:
    """RFC 8314 section 3: the greeting comes under TLS, and STARTTLS is not offered."""
    assert implicit.transport.written == b""
    assert implicit.shake()[0].startswith("220 mx.example.net ")
    answer = implicit.say("EHLO a.example")
    assert not any(line[4:] == "STARTTLS" for line in answer)
    assert implicit.codes("STARTTLS") in (["502"], ["503"])
    implicit.say("MAIL FROM:<a@example.org>", "RCPT TO:<b@example.net>")
    implicit.send()
    assert b" with ESMTPS (TLSv1.3 " in implicit.intake.accepted[0].prefix


def test_plain_smtp_on_an_implicit_listener_gets_nothing(implicit: SecureDialogue) -> None:
    """A client that speaks in clear is closed without a word that it could take for a reply."""
    implicit.transport.far_protocol.data_received(b"EHLO a.example\r\n")
    assert implicit.transport.closed
    assert not implicit.transport.written.startswith((b"2", b"4", b"5"))
    assert str(ended(implicit)["reason"]).startswith("handshake: ")


def test_connect_hooks_know_of_tls(shelf: Path) -> None:
    """On an implicit listener the handshake comes before the hooks: they can decide by certificate."""
    seen = []

    def connect(session: Any) -> object:
        seen.append(session.tls.protocol)
        return reject("5.7.1", "Not you")

    talk = SecureDialogue(make_acceptor(shelf, implicit=True), connect=connect)
    assert seen == []
    assert talk.shake()[0].startswith("554 ")
    assert seen == ["TLSv1.3"]


def test_implicit_handshakes_are_limited_too(shelf: Path) -> None:
    """TLS-07: beyond the limit the connection is closed."""
    acceptor = make_acceptor(shelf, implicit=True, handshakes=Handshakes(10, 1))
    first, second = SecureDialogue(acceptor), SecureDialogue(acceptor)
    assert second.transport.closed
    assert second.transport.written == b""
    assert ended(second)["reason"] == "handshake: too many handshakes"
    assert first.shake()[0].startswith("220 ")


def test_an_implicit_handshake_has_its_deadline(implicit: SecureDialogue) -> None:
    """TLS-06: a connection that says nothing is closed after the handshake's time."""
    implicit.loop.advance(31)
    implicit.connection.check(implicit.loop.now)
    assert implicit.transport.closed
    assert ended(implicit)["reason"] == "handshake: timeout"


def test_http_over_tls_is_sent_away(implicit: SecureDialogue) -> None:
    """TLS-13: a browser that was led here (ALPACA) is refused at its first line, and its headers are no commands."""
    context = client_context(verify=False)
    context.set_alpn_protocols(["http/1.1"])
    implicit.shake(context)
    replies = implicit.say(b"POST / HTTP/1.1\r\nHost: mx.example.net\r\n\r\nMAIL FROM:<a@example.org>\r\n")
    assert replies[0].startswith("421 ")
    assert implicit.engine.session.transaction is None


# -- certificates of clients


def test_a_client_is_known_by_its_certificate(shelf: Path, trusted: Path, authority: Authority) -> None:
    """The verified identity is in the session for plugins, in Received, and in the event."""
    seen = []

    def helo(session: Any, name: str) -> None:
        seen.append(session.tls and session.tls.peer and session.tls.peer.names)

    acceptor = make_acceptor(shelf, clients=ClientCertificates.REQUIRE, authorities=trusted)
    talk = SecureDialogue(acceptor, helo=helo)
    context = client_context(verify=False, pem=authority.issue("client.example", common="Joe").both)
    secure(talk, context=context)
    talk.say("EHLO a.example", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.net>")
    talk.send()
    assert seen == [None, ("client.example",)]
    assert b"(verified client certificate: client.example) id " in talk.intake.accepted[0].prefix
    assert ended(talk)["certificate"] == "CN=Joe"


def test_who_shows_none_where_one_is_required_is_closed(shelf: Path, trusted: Path, issued: Issued) -> None:
    """TLS-12: with TLS 1.3 a client believes itself connected before the server says no: nothing that it said is run."""
    acceptor = make_acceptor(shelf, implicit=True, clients=ClientCertificates.REQUIRE, authorities=trusted)
    talk = SecureDialogue(acceptor)
    assert talk.shake() == []
    assert talk.transport.closed
    assert talk.engine.session.tls is None
    assert "did not return a certificate" in str(ended(talk)["reason"])
