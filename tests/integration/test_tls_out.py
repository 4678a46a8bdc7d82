"""We hand mail on inside TLS: to Postfix, from a real server of ours, with policies from the configuration."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.peers.postfix import PostfixInstance

from integration.accounts import Dovecot, folder_for
from integration.authority import Authority
from integration.conftest import MakePostfix, MakeServer, route_to
from integration.messages import number_of, numbered
from integration.receiver import Receiver
from integration.server import wait_until

_TLS = """\
smtpd_tls_security_level = {level}
smtpd_tls_chain_files = {key}, {certificate}
smtpd_tls_loglevel = 2
smtpd_tls_received_header = yes
smtpd_tls_ask_ccert = {ask}
smtpd_tls_CAfile = {authority}
"""


@pytest.fixture
def authority() -> Iterator[Authority]:
    """An authority whose files the user postfix can reach."""
    folder = Path(tempfile.mkdtemp(prefix="upesi-tls-", dir="/var/tmp"))
    folder.chmod(0o755)
    yield Authority(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def guarded(postfix: MakePostfix, receiver: Receiver, authority: Authority) -> PostfixInstance:
    """Postfix that takes nothing in clear."""
    return postfix(receiver.port, tls_lines(authority))


def tls_lines(authority: Authority, level: str = "encrypt", ask: str = "no") -> str:
    return _TLS.format(
        level=level, key=authority.key, certificate=authority.certificate, ask=ask, authority=authority.file
    )


def destination(level: str, *more: str) -> str:
    """Return the table that sets the policy of everything."""
    return "\n".join(('[[destination]]\ndomains = ["*"]', f'tls = "{level}"', *more)) + "\n"


def test_postfix_takes_our_mail_inside_tls(
    upesi_server: MakeServer, guarded: PostfixInstance, receiver: Receiver
) -> None:
    """RFC 3207: without a word of configuration, over few connections that are kept, and Postfix says so in its trace field."""
    server = upesi_server("[delivery]\nsite_connections = 2\n" + route_to(guarded.port))
    for number in range(30):
        server.send(numbered(number))
    messages = receiver.wait_for(30, patience=40)
    assert sorted(number_of(message.data) for message in messages) == list(range(30))
    assert all(b"(using TLSv1.3 with cipher" in message.data for message in messages)
    assert all(re.search(rb"with ESMTPS id", message.data) for message in messages)
    log = (guarded.folder / "mail.log").read_text()
    assert "improper command pipelining" not in log
    assert log.count("TLS connection established from") <= 10
    wait_until(lambda: len(server.events("delivery.delivered")) == 30, patience=30, what="thirty outcomes")
    for event in server.events("delivery.delivered"):
        assert str(event["tls"]).startswith("TLSv1.3 TLS_")
        assert str(event["tls"]).endswith(" unverified")


def test_verified_tls_and_a_session_that_is_resumed(
    upesi_server: MakeServer, guarded: PostfixInstance, receiver: Receiver, authority: Authority
) -> None:
    """RFC 9525: Postfix's certificate is checked against the host of the route; a new connection resumes the session of the first."""
    server = upesi_server(
        "[delivery]\nconnection_messages = 1\nsite_connections = 1\n"
        + route_to(guarded.port)
        + destination("verify", f'tls_authorities = "{authority.file}"')
    )
    for number in range(3):
        server.send(numbered(number))
        receiver.wait_for(number + 1, patience=40)
    wait_until(lambda: len(server.events("delivery.delivered")) == 3, patience=30, what="three outcomes")
    assert all(str(event["tls"]).endswith(" verified") for event in server.events("delivery.delivered"))
    log = guarded.folder / "mail.log"
    wait_until(
        lambda: log.read_text().count("TLS connection established from") == 3, patience=30, what="three connections"
    )
    assert log.read_text().count("Reusing old session") == 2


def test_a_server_that_is_somebody_else_gets_nothing(
    upesi_server: MakeServer, guarded: PostfixInstance, receiver: Receiver, tmp_path: Path
) -> None:
    """OUT-04: a certificate of another authority: mail waits with 4.7.5, says why, and the event says so."""
    stranger = Authority(tmp_path / "stranger")
    server = upesi_server(route_to(guarded.port) + destination("verify", f'tls_authorities = "{stranger.file}"'))
    server.send(numbered(1))
    wait_until(lambda: server.events("delivery.deferred"), patience=30, what="a deferred delivery")
    (event, *_) = server.events("delivery.deferred")
    assert event["status"] == "4.7.5"
    assert "the certificate is not good" in str(event["text"])
    assert server.events("site.insecure")[0]["then"] == "deferred"
    assert receiver.messages == []


def test_a_server_without_tls_waits_where_tls_must_be(
    upesi_server: MakeServer, postfix_receiver: PostfixInstance, receiver: Receiver
) -> None:
    """TLS-05: nothing goes in clear; once the operator allows it, the same mail goes (its queue is not that of the old policy)."""
    server = upesi_server('[delivery]\nretry = ["2s"]\n' + route_to(postfix_receiver.port) + destination("encrypt"))
    server.send(numbered(1))
    wait_until(lambda: server.events("delivery.deferred"), patience=30, what="a deferred delivery")
    assert receiver.messages == []
    server.configure('[delivery]\nretry = ["2s"]\n' + route_to(postfix_receiver.port) + destination("may"))
    server.reload()
    receiver.wait_for(1, patience=40)


def test_our_certificate_is_shown_to_who_asks(
    upesi_server: MakeServer, postfix: MakePostfix, receiver: Receiver, authority: Authority
) -> None:
    """Postfix asks for a certificate and trusts ours."""
    instance = postfix(receiver.port, tls_lines(authority, ask="yes"))
    own = authority.file.parent / "own.pem"
    own.write_bytes(authority.certificate.read_bytes() + authority.key.read_bytes())
    own.chmod(0o600)
    server = upesi_server(route_to(instance.port) + destination("encrypt", f'tls_certificate = "{own}"'))
    server.send(numbered(1))
    receiver.wait_for(1, patience=40)
    log = instance.folder / "mail.log"
    # a daemon of its own writes it, behind the events
    wait_until(lambda: "Trusted TLS connection established" in log.read_text(), what="Postfix's word")


def test_tls_that_postfix_cannot_do_leads_to_plaintext(
    upesi_server: MakeServer, postfix: MakePostfix, receiver: Receiver, authority: Authority
) -> None:
    """C48: Postfix that speaks TLS 1.0 only: a second connection, in clear, and an event that says so."""
    instance = postfix(receiver.port, tls_lines(authority, "may") + "smtpd_tls_protocols = <=TLSv1\n")
    server = upesi_server(route_to(instance.port))
    server.send(numbered(1))
    receiver.wait_for(1, patience=40)
    wait_until(lambda: server.events("delivery.delivered"), patience=30, what="an outcome")
    assert {event["then"] for event in server.events("site.insecure")} == {"plaintext"}
    assert "tls" not in server.events("delivery.delivered")[0]


_SASL = """\
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = inet:127.0.0.1:{port}
smtpd_tls_auth_only = yes
smtpd_relay_restrictions = permit_sasl_authenticated, reject
smtpd_recipient_restrictions = permit_sasl_authenticated, reject
"""


@pytest.mark.parametrize("mechanisms", ["plain login scram-sha-256"])
def test_a_smarthost_lets_us_in(
    upesi_server: MakeServer, postfix: MakePostfix, receiver: Receiver, authority: Authority, mechanisms: str
) -> None:
    """RFC 4954: Postfix with Dovecot behind it takes our account by the best mechanism there is; the password stands in no log."""
    with folder_for("") as folder:
        dovecot = Dovecot(folder, "anna:ses=ame, p\u00e4p::::::\n")
        with (folder / "dovecot.conf").open("a") as more:
            more.write(f"auth_mechanisms = {mechanisms}\n")
        secret = authority.file.parent / "password"
        secret.write_text("ses=ame, p\u00e4p\n")
        secret.chmod(0o600)
        with dovecot.running():
            instance = postfix(receiver.port, tls_lines(authority) + _SASL.format(port=dovecot.port))
            server = upesi_server(
                f'[[route]]\ndomains = ["*"]\nto = "smtp://127.0.0.1:{instance.port}"\n'
                f'user = "anna"\npassword_file = "{secret}"\n'
                + destination("verify", f'tls_authorities = "{authority.file}"')
            )
            server.send(numbered(1))
            receiver.wait_for(1, patience=40)
        best = mechanisms.split()[-1].upper()
        log = instance.folder / "mail.log"
        wait_until(lambda: f"sasl_method={best}, sasl_username=anna" in log.read_text(), what="Postfix's word")
        assert "ses=ame" not in server.log.read_text()
        assert not server.events("login.failed")
