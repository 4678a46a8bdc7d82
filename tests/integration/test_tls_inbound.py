"""TLS on the way in, with other people's clients: swaks, openssl s_client, smtplib, Postfix."""

from __future__ import annotations

import re
import smtplib
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from integration.conftest import MakePostfix, MakeServer, program
from integration.messages import number_of, numbered
from integration.receiver import Receiver
from integration.server import UpesiServer, free_port, run_upesi, wait_until
from integration.tls_server import Authority, TlsServer, s_client, write
from upesi.tls.selfsigned import self_signed


@pytest.fixture(scope="session")
def authority() -> Authority:
    """Who signs for all servers and clients here."""
    return Authority()


@pytest.fixture
def world(upesi_server: MakeServer, tmp_path: Path, authority: Authority, receiver: Receiver) -> TlsServer:
    """A server that sends everything to `receiver`."""
    return TlsServer(upesi_server, tmp_path, authority, f"smtp://127.0.0.1:{receiver.port}")


@pytest.fixture(scope="module")
def hop() -> Iterator[Receiver]:
    """The next hop of the shared server: it remembers the mail of all tests."""
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, authority: Authority, hop: Receiver) -> Iterator[TlsServer]:
    """A server for tests that change nothing of it. It must survive them all."""
    folder = tmp_path_factory.mktemp("shared")

    def make(more: str, *, started: bool) -> UpesiServer:
        return UpesiServer(folder / "upesi", more)

    world = TlsServer(make, folder, authority, f"smtp://127.0.0.1:{hop.port}")
    workers = world.server.worker_pids()
    yield world
    assert world.server.worker_pids() == workers, world.server.tail()
    assert world.server.stop() == 0, world.server.tail()


@pytest.mark.parametrize("kind", ["starttls", "implicit"])
def test_swaks_sends_over_tls(shared: TlsServer, hop: Receiver, kind: str, tmp_path: Path) -> None:
    """swaks verifies our certificate, sends, and the next hop reads how it came: ESMTPS (RFC 3848)."""
    before = len(hop.messages)
    port = shared.server.port if kind == "starttls" else shared.implicit
    how = "--tls" if kind == "starttls" else "--tls-on-connect"
    argv = [
        program("swaks"), "--server", f"127.0.0.1:{port}", how, "--tls-verify", "--tls-sni", "upesi.test",
        "--tls-ca-path", str(shared.certificates.parent / "authority.crt"),
        "--from", "a@example.com", "--to", "b@example.net", "--body", "hello",
    ]  # fmt: skip
    result = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "=== TLS started with cipher TLSv1.3:" in result.stdout
    (message,) = hop.wait_for(before + 1)[before:]
    assert re.search(rb"by upesi\.test with ESMTPS \(TLSv1\.3 TLS_[A-Z0-9_]+\) id ", message.data)
    wait_until(lambda: any('"tls":"TLSv1.3 ' in line for line in shared.events("session.ended")), what="the event")


@pytest.mark.parametrize(("version", "spoken"), [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")])
def test_openssl_agrees_on_tls12_and_tls13(shared: TlsServer, version: str, spoken: str) -> None:
    """C103: both versions, on STARTTLS and implicit listeners, without compression, renegotiation only in its secure sense."""
    for port, how in ((shared.server.port, ("-starttls", "smtp")), (shared.implicit, ())):
        said = s_client(port, version, *how, "-servername", "upesi.test", say="QUIT\n")
        assert f"New, {spoken}" in said or f"Protocol  : {spoken}" in said
        assert "Compression: NONE" in said
        assert "CN = upesi.test" in said


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
def test_openssl_gets_nothing_older(shared: TlsServer, version: str) -> None:
    """C103, TLS-08: TLS 1.0 and 1.1 are refused with an alert."""
    said = s_client(shared.implicit, version, "-cipher", "ALL:@SECLEVEL=0")
    assert "alert protocol version" in said
    assert "220 " not in said


def test_openssl_cannot_renegotiate(shared: TlsServer) -> None:
    """TLS-08: a renegotiation of TLS 1.2 is refused: it costs the server, and gains nobody anything."""
    argv = [program("openssl"), "s_client", "-connect", f"127.0.0.1:{shared.implicit}", "-tls1_2"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        heard = b""
        while b"220 upesi.test" not in heard:
            piece = process.stdout.read1(65536)  # type: ignore[attr-defined]
            assert piece, heard
            heard += piece
        # a line of "R" alone asks for it
        process.stdin.write(b"R\n")
        process.stdin.flush()
        rest, _ = process.communicate(timeout=30)
    assert b"RENEGOTIATING" in rest
    assert b"no renegotiation" in rest
    assert b"220 " not in rest


def test_a_session_is_resumed_on_its_listener_only(shared: TlsServer, tmp_path: Path, authority: Authority) -> None:
    """TLS-15: a ticket is good where it was given; at the listener that wants certificates it is worth nothing."""
    context = shared.client(own=authority.issue("client.example"), folder=tmp_path)

    def visit(port: int, session: ssl.SSLSession | None) -> tuple[bool, ssl.SSLSession | None]:
        raw = socket.create_connection(("127.0.0.1", port), timeout=20)
        with context.wrap_socket(raw, server_hostname="upesi.test", session=session) as conversation:
            assert conversation.recv(100).startswith(b"220 ")
            return bool(conversation.session_reused), conversation.session

    _, session = visit(shared.implicit, None)
    assert visit(shared.implicit, session)[0]
    assert not visit(shared.known, session)[0]
    _, session = visit(shared.known, None)
    assert visit(shared.known, session)[0]
    assert not visit(shared.implicit, session)[0]


def test_a_client_is_let_in_by_its_certificate(
    shared: TlsServer, hop: Receiver, tmp_path: Path, authority: Authority
) -> None:
    """A required certificate: verified, named in Received and in the event; without one, or with a stranger's, nothing is heard."""
    before = len(hop.messages)
    context = shared.client(own=authority.issue("client.example", common="Client"), folder=tmp_path)
    with smtplib.SMTP_SSL("127.0.0.1", shared.known, context=_for(context), timeout=20) as client:
        client.sendmail("a@example.com", ["b@example.net"], numbered(1))
    (message,) = hop.wait_for(before + 1)[before:]
    assert b"(verified client certificate: client.example)" in message.data
    wait_until(
        lambda: any('"certificate":"CN=Client"' in line for line in shared.events("session.ended")), what="the event"
    )
    stranger = shared.client(own=Authority("Stranger").issue("client.example"), folder=tmp_path / "stranger")
    for context in (shared.client(), stranger):
        assert _first_words(shared, context) == b""


def _first_words(world: TlsServer, context: ssl.SSLContext) -> bytes:
    """What a client hears first; with TLS 1.3 a refusal comes behind a handshake that the client believes done."""
    try:
        with world.connect(world.known, context) as conversation:
            return conversation.recv(100)
    except (ssl.SSLError, ConnectionError):
        return b""


def _for(context: ssl.SSLContext) -> ssl.SSLContext:
    # smtplib verifies the address that it connects to; the certificate is for a name
    context.check_hostname = False
    return context


def test_the_certificate_follows_the_name(world: TlsServer, authority: Authority) -> None:
    """TLS-11: exact name, wildcard, default; a certificate that is put there is shown without a reload."""
    write(world.certificates, "wild.pem", authority.issue("*.example.org").both)
    wait_until(lambda: world.events("tls.loaded"), what="the new certificate")
    for name, subject in (
        ("upesi.test", "upesi.test"),
        ("a.example.org", "*.example.org"),
        ("x.example", "upesi.test"),
    ):
        for port, how in ((world.server.port, ("-starttls", "smtp")), (world.implicit, ())):
            assert f"subject=CN = {subject}\n" in s_client(port, *how, "-servername", name, say="QUIT\n")


def test_a_hundred_sessions_outlive_a_change_of_certificates(world: TlsServer, authority: Authority) -> None:
    """TLS-14: open sessions go on, new ones get the new certificate, and a broken one is told of and never shown."""
    sessions = [world.connect(world.implicit) for _ in range(100)]
    for session in sessions:
        assert session.recv(100).startswith(b"220 ")
    old = sessions[0].getpeercert(binary_form=True)
    write(world.certificates, "upesi.pem", authority.issue("upesi.test").both)
    wait_until(lambda: world.events("tls.loaded"), what="the new certificate")
    with world.connect(world.implicit) as fresh:
        new = fresh.getpeercert(binary_form=True)
    assert new != old
    for broken in (b"broken", authority.issue("upesi.test").key + authority.issue("upesi.test").pem):
        before = len(world.events("tls.refused"))
        write(world.certificates, "upesi.pem", broken)
        wait_until(lambda before=before: len(world.events("tls.refused")) > before, what="the refusal")
        with world.connect(world.implicit) as fresh:
            assert fresh.getpeercert(binary_form=True) == new
    for session in sessions:
        session.sendall(b"NOOP\r\n")
        assert session.recv(100).startswith(b"250 ")
        session.close()


def test_a_reload_keeps_what_works(world: TlsServer) -> None:
    """TLS-14: a reload onto a broken certificate changes nothing and says why; sessions under TLS outlive a good one."""
    with world.connect(world.implicit) as session:
        assert session.recv(100).startswith(b"220 ")
        good = (world.certificates / "upesi.pem").read_bytes()
        write(world.certificates, "upesi.pem", b"broken")
        world.server.reload()
        wait_until(lambda: world.events("server.reload_refused"), 30, "the refusal of the reload")
        assert "upesi.pem" in world.events("server.reload_refused")[-1]
        with world.connect(world.implicit) as other:
            assert other.recv(100).startswith(b"220 ")
        write(world.certificates, "upesi.pem", good)
        session.sendall(b"NOOP\r\n")
        assert session.recv(100).startswith(b"250 ")


def test_commands_behind_starttls_are_not_run(shared: TlsServer) -> None:
    """TLS-01, CVE-2011-0411: what comes in clear behind STARTTLS is refused, and the connection closed."""
    with socket.create_connection(("127.0.0.1", shared.server.port), timeout=20) as client:
        assert client.recv(500).startswith(b"220 ")
        client.sendall(b"EHLO a\r\n")
        heard = b""
        while b"250 " not in heard:
            heard += client.recv(4096)
        client.sendall(b"STARTTLS\r\nEHLO evil\r\nMAIL FROM:<evil@example.com>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n")
        heard = b""
        while piece := client.recv(4096):
            heard += piece
    assert heard.startswith(b"503 5.5.1 ")
    assert heard.count(b"\r\n") == 2
    assert heard.split(b"\r\n")[1].startswith(b"421 ")


def test_half_handshakes_are_closed_and_harm_nobody(
    upesi_server: MakeServer, tmp_path: Path, authority: Authority
) -> None:
    """TLS-06, TLS-07: 200 connections that never finish: those above the limit are closed at once, the others when their time is up,
    and meanwhile a client is served as ever."""
    world = TlsServer(upesi_server, tmp_path, authority, handshake="8s")
    halves = [socket.create_connection(("127.0.0.1", world.implicit), timeout=60) for _ in range(200)]
    with smtplib.SMTP("127.0.0.1", world.server.port, timeout=20) as client:
        client.sendmail("a@example.com", ["b@example.net"], numbered(1))
    for half in halves:
        try:
            assert half.recv(100) == b""
        except ConnectionError:
            pass
        half.close()
    wait_until(lambda: len(_reasons(world, "handshake")) >= 200, what="200 ended sessions")
    reasons = _reasons(world, "handshake")
    # on a slow machine the first may have timed out before the last has come
    assert reasons.count("handshake: too many handshakes") > 0
    assert reasons.count("handshake: timeout") >= 40
    assert set(reasons) == {"handshake: too many handshakes", "handshake: timeout"}


def _ended(world: TlsServer, mark: str) -> list[str]:
    return [line for line in world.events("session.ended") if mark in line]


def _reasons(world: TlsServer, beginning: str) -> list[str]:
    found = [re.search(r'"reason":"([^"]*)"', line) for line in world.events("session.ended")]
    return [match[1] for match in found if match and match[1].startswith(beginning)]


def test_a_cut_in_mid_message_queues_nothing(shared: TlsServer, hop: Receiver) -> None:
    """TLS-10: TCP FIN without close_notify inside DATA: nothing is queued, and later mail flows."""
    before = len(hop.messages)
    raw = socket.create_connection(("127.0.0.1", shared.implicit), timeout=20)
    conversation = shared.client().wrap_socket(raw, server_hostname="upesi.test", suppress_ragged_eofs=True)
    for said in (b"", b"EHLO a\r\n", b"MAIL FROM:<a@example.com>\r\n", b"RCPT TO:<b@example.net>\r\n", b"DATA\r\n"):
        if said:
            conversation.sendall(said)
        conversation.recv(4096)
    conversation.sendall(b"Subject: cut\r\n\r\nhalf of a line")
    # the descriptor itself: no close_notify
    socket.socket(fileno=conversation.detach()).close()
    wait_until(lambda: shared.events("transaction.refused"), what="the end of the transaction")
    with smtplib.SMTP("127.0.0.1", shared.server.port, timeout=20) as client:
        client.sendmail("a@example.com", ["b@example.net"], numbered(7))
    (message,) = hop.wait_for(before + 1)[before:]
    assert number_of(message.data) == 7


def test_a_handshake_may_come_in_one_segment_with_a_proxy_header(shared: TlsServer) -> None:
    """Implicit TLS behind a proxy: the header is in clear, the ClientHello right behind it, and the session is the client's."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = shared.client().wrap_bio(incoming, outgoing, server_hostname="upesi.test")
    with socket.create_connection(("127.0.0.1", shared.proxied), timeout=20) as raw:
        pending = b"PROXY TCP4 203.0.113.99 127.0.0.1 40000 465\r\n"

        def carry(step: Callable[[], object]) -> object:
            nonlocal pending
            while True:
                try:
                    return step()
                except ssl.SSLWantReadError:
                    raw.sendall(pending + outgoing.read())
                    pending = b""
                    incoming.write(raw.recv(65536))

        carry(tls.do_handshake)
        raw.sendall(outgoing.read())
        assert b"220 upesi.test" in bytes(carry(lambda: tls.read(1000)))  # type: ignore[call-overload]
    wait_until(lambda: _ended(shared, '"client":"203.0.113.99"'), what="the end of the session")
    assert '"tls":"TLSv1.3 ' in _ended(shared, '"client":"203.0.113.99"')[0]


@pytest.mark.parametrize("name", ["x" * 64 + ".example", "..", "a/../../etc/passwd", "back\\"])
def test_strange_names_get_the_default(shared: TlsServer, name: str) -> None:
    """TLS-11: whatever a client names, it is looked up in a table; the session goes on or ends, and the server stands."""
    said = s_client(shared.implicit, "-servername", name, say="QUIT\n")
    assert "CN = upesi.test" in said or "alert" in said
    with shared.connect(shared.implicit) as session:
        assert session.recv(100).startswith(b"220 ")


def test_a_name_that_is_no_ascii_ends_one_handshake(shared: TlsServer) -> None:
    """TLS-11: octets that are no name end the handshake at most; what the log says of it is ours."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = shared.client().wrap_bio(incoming, outgoing, server_hostname="www.upesi.test")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    hello = outgoing.read()
    assert b"www.upesi.test" in hello
    with socket.create_connection(("127.0.0.1", shared.implicit), timeout=20) as client:
        client.sendall(hello.replace(b"www", b"\xff\xfe\xfd"))
        while client.recv(4096):
            pass
    wait_until(lambda: _ended(shared, "handshake: callback failed"), what="the end of the session")
    assert "Traceback" not in shared.server.log.read_text()
    with shared.connect(shared.implicit) as session:
        assert session.recv(100).startswith(b"220 ")


def test_postfix_sends_to_us_over_verified_tls(
    upesi_server: MakeServer, tmp_path: Path, authority: Authority, receiver: Receiver, postfix: MakePostfix
) -> None:
    """Postfix, told to encrypt always, finds nothing to complain of."""
    world = TlsServer(upesi_server, tmp_path, authority, f"smtp://127.0.0.1:{receiver.port}")
    front = postfix(world.server.port)
    argv = [
        program("postconf"),
        "-c",
        str(front.folder / "etc"),
        "-e",
        "smtp_tls_security_level=encrypt",
        "smtp_tls_loglevel=1",
    ]
    subprocess.run(argv, check=True, capture_output=True)
    subprocess.run([program("postfix"), "-c", str(front.folder / "etc"), "reload"], check=True, capture_output=True)
    with smtplib.SMTP("127.0.0.1", front.port, timeout=20) as client:
        for number in range(5):
            client.sendmail("a@example.com", ["b@example.net"], numbered(number))
    messages = receiver.wait_for(5)
    assert sorted(number_of(message.data) for message in messages) == list(range(5))
    assert all(b"with ESMTPS (TLSv1.3 " in message.data for message in messages)


# -- what is said at the start


def test_a_start_says_what_is_wrong_with_certificates(
    upesi_server: MakeServer, tmp_path: Path, authority: Authority
) -> None:
    """Mismatched, absent, readable by everybody: `upesi config check` and a start say so and begin nothing; expired is a warning."""
    world = TlsServer(upesi_server, tmp_path, authority)
    file = world.server.file

    def check() -> tuple[int, str]:
        result = run_upesi("config", "check", "-c", file)
        return result.returncode, result.stdout + result.stderr

    status, said = check()
    assert (status, "warning" in said) == (0, False)
    write(world.certificates, "old.pem", authority.issue("old.test", begins=-9, ends=-1).both)
    status, said = check()
    assert status == 0
    assert "warning: " in said
    assert "old.pem: expired on " in said
    for name, data, mode, problem in (
        (
            "mismatch.pem",
            authority.issue("a.test").key + authority.issue("a.test").pem,
            0o600,
            "belongs to another certificate",
        ),
        ("nokey.pem", authority.issue("a.test").pem, 0o600, "there is no private key"),
        ("open.pem", authority.issue("a.test").both, 0o644, "everybody on this machine can read the private key"),
    ):
        path = write(world.certificates, name, data, mode)
        status, said = check()
        assert status != 0
        assert f"{path}: " in said
        assert problem in said
        assert "Traceback" not in said
        started = run_upesi("serve", "-c", file, "--set", "listener.0.port=0", "--set", f"spool.path={tmp_path}/other")
        assert started.returncode != 0
        assert problem in started.stderr
        path.unlink()


def test_a_doubtful_certificate_is_told_of_once_at_a_start(upesi_server: MakeServer, tmp_path: Path) -> None:
    """By the event that the operator watches for, and not by two others besides."""
    pair = tmp_path / "certificates" / "mx.pem"
    pair.parent.mkdir()
    pair.write_bytes(self_signed("mx.test"))
    pair.chmod(0o600)
    port = free_port()
    listener = f'[[listener]]\naddress = "127.0.0.1"\nport = {port}\ntls = "starttls"\n'
    server = upesi_server(f'{listener}[tls]\ncertificates = "{pair.parent}"\n')
    wait_until(lambda: server.events("tls.warned"), what="the event")
    assert server.log.read_text().count("is self-signed") == 1
    # and whoever asks is told
    assert "is self-signed" in run_upesi("reload", "-c", server.file).stderr
