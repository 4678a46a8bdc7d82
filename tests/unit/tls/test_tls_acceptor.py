"""TLS of one listener: what is shown to whom, who is asked for a certificate, and what becomes of it."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any, cast

import pytest
from tlskit import NOW, Authority, Clock, Issued, Wire, loaded, make_acceptor, write

from upesi.config.settings import ClientCertificates
from upesi.mail.security import TlsInfo
from upesi.tls.acceptor import Acceptor, Handshakes
from upesi.tls.certificates import read_certificate
from upesi.tls.contexts import TlsError, client_context
from upesi.tls.folder import Certificates, Shelf
from upesi.tls.peers import MAX_PEER_NAMES, peer_certificate
from upesi.tls.watch import Watch

TODAY = NOW.timestamp()


def shown(acceptor: Acceptor, name: str | None) -> str:
    """The first name of the certificate that a client gets who asks for `name`."""
    wire = Wire(acceptor.context(), hostname=name).shake()
    assert wire.open
    encoded = wire.client.tls.tls.getpeercert(binary_form=True)
    assert encoded is not None
    return read_names(encoded)


def read_names(encoded: bytes) -> str:
    """The common name of a certificate."""
    from cryptography import x509

    return str(x509.load_der_x509_certificate(encoded).subject.rfc4514_string())


@pytest.fixture
def two(tmp_path: Path, authority: Authority) -> Path:
    """A folder with a certificate for one host and one for a domain."""
    write(tmp_path / "two", "mx.pem", authority.issue("mx.example.net").both)
    write(tmp_path / "two", "wild.pem", authority.issue("*.example.org").both)
    return tmp_path / "two"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mx.example.net", "CN=mx.example.net"),
        ("a.example.org", "CN=*.example.org"),
        ("A.EXAMPLE.ORG", "CN=*.example.org"),
        ("unknown.example", "CN=mx.example.net"),
        (None, "CN=mx.example.net"),
        ("x" * 63 + ".example", "CN=mx.example.net"),
    ],
)
def test_a_client_gets_the_certificate_that_it_asks_for(two: Path, name: str | None, expected: str) -> None:
    """TLS-11: exact, wildcard, and for everybody else the default."""
    assert shown(make_acceptor(two), name) == expected


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_what_was_settled_is_told(two: Path, version: ssl.TLSVersion) -> None:
    """Protocol, cipher and strength; the end point is of the certificate that was shown, not of the default."""
    acceptor = make_acceptor(two)
    client = client_context(verify=False)
    client.minimum_version = client.maximum_version = version
    wire = Wire(acceptor.context(), client, "a.example.org").shake()
    info = acceptor.info(wire.server.tls.tls)
    assert info.protocol == version.name.replace("_", ".")
    assert "AES" in info.cipher or "CHACHA" in info.cipher
    assert info.bits >= 128
    assert info.peer is None
    assert not info.resumed
    wild = read_certificate("x", (two / "wild.pem").read_bytes())
    assert info.end_point == wild.end_point
    assert str(info) == f"{info.protocol} {info.cipher}"


# -- certificates of clients


def as_client(acceptor: Acceptor, issued: Issued | None) -> tuple[Wire, TlsInfo | None]:
    """Shake hands with a client's certificate; what the server knows then, None where it refused."""
    wire = Wire(acceptor.context(), client_context(verify=False, pem=issued and issued.both)).shake()
    return wire, None if wire.server.owner.failed else acceptor.info(wire.server.tls.tls)


def test_a_verified_client_is_known_by_name(shelf: Path, trusted: Path, authority: Authority) -> None:
    """The identity is that of a certificate whose signer we trust."""
    acceptor = make_acceptor(shelf, clients=ClientCertificates.ASK, authorities=trusted)
    issued = authority.issue("client.example", "joe@client.example", common="Joe Client")
    _, info = as_client(acceptor, issued)
    assert info is not None
    assert info.peer is not None
    assert info.peer.subject == "CN=Joe Client"
    assert info.peer.issuer == "CN=Authority of the tests"
    assert info.peer.names == ("client.example", "joe@client.example")
    assert info.peer.name == "client.example"
    assert len(info.peer.fingerprint) == 64


def test_a_client_without_one_is_taken_where_it_is_only_asked(shelf: Path, trusted: Path) -> None:
    """ask: none is none; require: no handshake."""
    _, info = as_client(make_acceptor(shelf, clients=ClientCertificates.ASK, authorities=trusted), None)
    assert info is not None
    assert info.peer is None
    wire, refused = as_client(make_acceptor(shelf, clients=ClientCertificates.REQUIRE, authorities=trusted), None)
    assert refused is None
    assert wire.server.owner.established == 0


@pytest.mark.parametrize("clients", [ClientCertificates.ASK, ClientCertificates.REQUIRE])
@pytest.mark.parametrize(("begins", "ends", "stranger"), [(-9, -1, False), (1, 9, False), (-1, 9, True)])
def test_what_cannot_be_verified_is_never_trusted(
    shelf: Path,
    trusted: Path,
    authority: Authority,
    clients: ClientCertificates,
    begins: float,
    ends: float,
    stranger: bool,
) -> None:
    """TLS-12: expired, not yet valid, or signed by nobody that we know: the handshake ends."""
    signer = Authority("Stranger") if stranger else authority
    acceptor = make_acceptor(shelf, clients=clients, authorities=trusted)
    _, info = as_client(acceptor, signer.issue("client.example", begins=begins, ends=ends))
    assert info is None


def test_a_certificate_that_nobody_asked_for_is_none(shelf: Path, authority: Authority) -> None:
    """TLS-12: where certificates are ignored nobody has an identity by one."""
    _, info = as_client(make_acceptor(shelf), authority.issue("client.example"))
    assert info is not None
    assert info.peer is None


class _Shown:
    """A TLS session with a verified certificate."""

    def getpeercert(self, binary_form: bool = False) -> object:
        names = (("DNS", "boss@example.net"), ("DNS", "client.example"), ("URI", "joe@example.net"))
        return b"encoded" if binary_form else {"subject": (), "issuer": (), "subjectAltName": names}


def test_a_host_name_is_no_mailbox() -> None:
    """AUT-09: who may be given certificates for host names only has none for a mail address written as one."""
    peer = peer_certificate(cast("Any", _Shown()))
    assert peer is not None
    assert peer.names == ("client.example",)


async def test_ten_thousand_names_are_cut(shelf: Path, trusted: Path, authority: Authority) -> None:
    """TLS-12: what a session keeps of a certificate is bounded; beyond OpenSSL's own 100 kB the handshake ends."""
    acceptor = make_acceptor(shelf, clients=ClientCertificates.REQUIRE, authorities=trusted)
    _, info = as_client(acceptor, authority.issue(*(f"h{number}.example" for number in range(2000))))
    assert info is not None
    assert info.peer is not None
    assert len(info.peer.names) == MAX_PEER_NAMES
    _, info = as_client(acceptor, authority.issue(*(f"h{number}.example" for number in range(10_000))))
    assert info is None


@pytest.mark.parametrize(
    "name", ["a\r\nX-Evil: 1", "a) (b", 'q"uote', "back\\slash", "<b@example.net>", "\x1b[31m", "ünïcode"]
)
def test_names_are_harmless(shelf: Path, trusted: Path, authority: Authority, name: str) -> None:
    """TLS-12, CMD-15: whoever signs, no name ends a line, a comment or a quoted string in Received or the log."""
    acceptor = make_acceptor(shelf, clients=ClientCertificates.REQUIRE, authorities=trusted)
    _, info = as_client(acceptor, authority.issue("client.example", common=name))
    assert info is not None
    assert info.peer is not None
    assert info.peer.subject.startswith("CN=")
    assert not set(info.peer.subject) & set('\r\n\x1b()<>"\\ü')


def test_a_resumed_session_keeps_its_identity_on_its_listener(shelf: Path, trusted: Path, authority: Authority) -> None:
    """TLS-15: what was verified stays verified where it was, and is worth nothing where other clients are wanted."""
    strict = make_acceptor(shelf, clients=ClientCertificates.REQUIRE, authorities=trusted)
    lax = make_acceptor(shelf, clients=ClientCertificates.ASK, authorities=trusted)
    with_it = client_context(verify=False, pem=authority.issue("client.example").both)
    first = Wire(strict.context(), with_it, "mx.example.net").shake()
    first.server.tls.write(b"220 hello\r\n")
    session = first.run().client.tls.tls.session
    again = Wire(strict.context(), with_it, "mx.example.net", session).shake()
    info = strict.info(again.server.tls.tls)
    assert info.resumed
    assert info.peer is not None
    elsewhere = Wire(lax.context(), with_it, "mx.example.net", session).shake()
    assert not lax.info(elsewhere.server.tls.tls).resumed


# -- change


def test_new_certificates_are_shown_from_the_next_handshake_on(two: Path, authority: Authority) -> None:
    """TLS-14: sessions that are open go on, new ones get what is new."""
    certificates = loaded(two, "mx.example.net")
    acceptor = Acceptor(certificates, Handshakes(9, 9), Clock())
    open_one = Wire(acceptor.context()).shake()
    before = acceptor.info(open_one.server.tls.tls).end_point
    write(two, "mx.pem", authority.issue("mx.example.net").both)
    certificates.shelf = Shelf.read(two, "mx.example.net", TODAY, certificates.shelf)
    new = Wire(acceptor.context()).shake()
    assert acceptor.info(new.server.tls.tls).end_point not in (before, b"")
    open_one.client.tls.write(b"NOOP\r\n")
    assert open_one.run().server.owner.heard == b"NOOP\r\n"


def test_keys_of_tickets_change_twice_a_day(shelf: Path) -> None:
    """TLS-15: yesterday's ticket is worth nothing; within the time it is."""
    clock = Clock()
    acceptor = make_acceptor(shelf, clock=clock)
    client = client_context(verify=False)

    def resumes(session: ssl.SSLSession | None) -> bool:
        wire = Wire(acceptor.context(), client, "mx.example.net", session).shake()
        assert wire.open
        return bool(wire.server.tls.tls.session_reused)

    first = Wire(acceptor.context(), client, "mx.example.net").shake()
    first.server.tls.write(b"220 hello\r\n")
    session = first.run().client.tls.tls.session
    clock.now += 11 * 3600
    assert resumes(session)
    clock.now += 2 * 3600
    assert not resumes(session)


def test_an_authorities_file_that_breaks_later_changes_nothing(
    shelf: Path, trusted: Path, authority: Authority
) -> None:
    """TLS-14: what was read of it goes on to be used."""
    clock = Clock()
    acceptor = make_acceptor(shelf, clients=ClientCertificates.REQUIRE, authorities=trusted, clock=clock)
    acceptor.renew()
    trusted.write_bytes(b"broken")
    clock.now += 24 * 3600
    _, info = as_client(acceptor, authority.issue("client.example"))
    assert info is not None
    assert info.peer is not None


def test_it_cannot_begin_without_its_authorities(shelf: Path, tmp_path: Path) -> None:
    """At a start the same file stops it."""
    acceptor = make_acceptor(shelf, clients=ClientCertificates.REQUIRE, authorities=tmp_path / "absent.pem")
    with pytest.raises(TlsError, match="cannot be read"):
        acceptor.renew()
    assert acceptor.context() is None


def test_what_could_not_be_made_is_tried_again(shelf: Path, tmp_path: Path, authority: Authority) -> None:
    """TLS-14: a listener without a context refuses handshakes for a minute at most after its file has been mended."""
    clock = Clock()
    late = tmp_path / "late.pem"
    acceptor = make_acceptor(shelf, clients=ClientCertificates.REQUIRE, authorities=late, clock=clock)
    assert acceptor.context() is None
    write(tmp_path, "late.pem", authority.pem)
    clock.now += 61
    assert acceptor.context() is not None


def test_without_a_certificate_there_is_no_context(tmp_path: Path, authority: Authority) -> None:
    """TLS-14: a worker that found nothing good goes on without TLS until there is something."""
    certificates = Certificates(tmp_path, "mx.example.net")
    acceptor = Acceptor(certificates, Handshakes(9, 9), Clock())
    assert acceptor.context() is None
    write(tmp_path, "mx.pem", authority.issue("mx.example.net").both)
    certificates.load(TODAY)
    assert Wire(_some(acceptor.context())).shake().open


def _some(context: ssl.SSLContext | None) -> ssl.SSLContext:
    assert context is not None
    return context


# -- how many


def test_handshakes_are_limited_for_each_client_and_in_all() -> None:
    """TLS-07: half handshakes of one client do not take everybody's room."""
    handshakes = Handshakes(5, 2)
    assert [handshakes.begin("192.0.2.1") for _ in range(3)] == [True, True, False]
    assert handshakes.begin("192.0.2.2")
    handshakes.end("192.0.2.1")
    assert handshakes.begin("192.0.2.1")
    assert [handshakes.begin(f"198.51.100.{number}") for number in range(3)] == [True, True, False]
    assert handshakes.count == 5


def test_an_ipv6_client_has_a_64_for_itself() -> None:
    """TLS-07: one host of IPv6 has as many addresses as it likes."""
    handshakes = Handshakes(10, 1)
    assert handshakes.begin("2001:db8:1:2::1")
    assert not handshakes.begin("2001:db8:1:2:ffff::9")
    assert handshakes.begin("2001:db8:1:3::1")
    assert handshakes.begin("fe80::1%eth0")
    assert handshakes.begin("")
    handshakes.end("2001:db8:1:2:ffff::9")
    assert handshakes.begin("2001:db8:1:2::1")


# -- the watch


class Told:
    """Remembers events."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, object]]] = []

    def __call__(self, name: str, fields: dict[str, object]) -> None:
        self.events.append((name, fields))

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.events]


async def test_the_watch_takes_over_what_is_good_and_tells_of_what_is_not(two: Path, authority: Authority) -> None:
    """TLS-14: one event for each change, none for a look at what is the same."""
    told, certificates = Told(), loaded(two, "mx.example.net")
    watch = Watch([certificates], 60, lambda: TODAY, told, asyncio.get_running_loop())
    await watch.look()
    assert told.events == []
    write(two, "mx.pem", authority.issue("mx.example.net").both)
    await watch.look()
    assert told.events == [("tls.loaded", {"folder": str(two), "certificates": 2, "new": [f"{two}/mx.pem"]})]
    good = certificates.shelf.default
    write(two, "mx.pem", b"broken")
    await watch.look()
    await watch.look()
    assert told.names == ["tls.loaded", "tls.refused"]
    assert "mx.pem: it holds no certificate" in str(told.events[-1][1]["text"])
    assert certificates.shelf.default is good


async def test_a_folder_that_vanishes_is_told_of_once(two: Path) -> None:
    """TLS-14: what was loaded goes on; it is said when it goes and looked for ever after."""
    told, certificates = Told(), loaded(two, "mx.example.net")
    watch = Watch([certificates], 60, lambda: TODAY, told, asyncio.get_running_loop())
    shelf = certificates.shelf
    two.rename(two.with_name("gone"))  # noqa: ASYNC240 -- nothing else runs on this loop
    for _ in range(3):
        await watch.look()
    assert told.names == ["tls.refused"]
    assert certificates.shelf is shelf
    two.with_name("gone").rename(two)
    await watch.look()
    two.rename(two.with_name("gone"))  # noqa: ASYNC240
    await watch.look()
    assert told.names == ["tls.refused", "tls.refused"]


async def test_the_watch_looks_by_itself(two: Path, authority: Authority) -> None:
    """Every so many seconds, until it is stopped."""
    told, come = [], asyncio.Event()

    def tell(name: str, fields: dict[str, object]) -> None:
        told.append(name)
        come.set()

    certificates = loaded(two, "mx.example.net")
    watch = Watch([certificates], 0.001, lambda: TODAY, tell, asyncio.get_running_loop())
    watch.start()
    write(two, "mx.pem", authority.issue("mx.example.net").both)
    await asyncio.wait_for(come.wait(), 60)
    assert told == ["tls.loaded"]
    watch.stop()
    watch.stop()


async def test_the_watch_warns_once_a_day_and_of_what_is_new(tmp_path: Path, authority: Authority) -> None:
    """What expires or proves nothing is told at the start, when it changes and once a day, by one of the workers."""
    told, day = Told(), 86400.0
    write(tmp_path, "old.pem", authority.issue("mx.example.net", begins=-9, ends=-1).both)
    clock = Clock()
    clock.now = TODAY
    watches = [
        Watch([loaded(tmp_path)], 0.001, clock, told, asyncio.get_running_loop(), warns=warns)
        for warns in (True, False)
    ]

    async def until(count: int) -> None:
        async with asyncio.timeout(60):
            while len(told.events) < count:  # noqa: ASYNC110 -- the watch has nothing to wait for
                await asyncio.sleep(0.001)

    for watch in watches:
        watch.start()
    await until(1)
    clock.now += day / 2
    write(tmp_path, "new.pem", authority.issue("other.example").both)
    # what is new is told of by both, warned of by one
    await until(4)
    clock.now += day * 1.1
    await until(5)
    for watch in watches:
        watch.stop()
    assert sorted(told.names) == ["tls.loaded"] * 2 + ["tls.warned"] * 3
    assert "old.pem: expired on " in str(told.events[0][1]["text"])


async def test_nothing_to_watch_is_no_task() -> None:
    """Without TLS nothing ticks."""
    watch = Watch([], 0.001, lambda: TODAY, Told(), asyncio.get_running_loop())
    watch.start()
    assert len(asyncio.all_tasks()) == 1
    watch.stop()
