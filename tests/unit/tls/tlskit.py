"""What the tests of TLS share: an authority, two ends of TLS without a socket, a dialogue that can shake hands."""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from sessionkit import Dialogue

from upesi.config.settings import ClientCertificates
from upesi.protocol.smtp.limits import ServerLimits
from upesi.tls.acceptor import Acceptor, Handshakes
from upesi.tls.contexts import client_context
from upesi.tls.folder import Certificates
from upesi.tls.transport import TlsTransport

# the day of these tests
NOW = datetime.datetime.now(datetime.UTC)
_PEM = serialization.Encoding.PEM


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


class Issued:
    """A certificate with its key: `pem` is the chain, `key` the private key, `both` one file with both."""

    def __init__(self, certificate: x509.Certificate, key: Any, issuers: Sequence[x509.Certificate]) -> None:
        self.certificate = certificate
        self.private = key
        self.pem = b"".join(one.public_bytes(_PEM) for one in (certificate, *issuers))
        self.key = key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        self.both = self.key + self.pem


class Authority:
    """Signs certificates; `pem` is what those must know who trust it. With `above` it is an intermediate one."""

    def __init__(self, name: str = "Authority of the tests", above: Authority | None = None) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.above = above
        signer, issuer = (above.key, above.certificate.subject) if above else (self.key, _name(name))
        self.certificate = self._build(name, issuer, self.key.public_key(), -1, 3650, (), ca=True).sign(
            signer, hashes.SHA256()
        )
        self.pem = self.certificate.public_bytes(_PEM)

    def issue(self, *names: str, begins: float = -1, ends: float = 90, common: str = "", key: Any = None) -> Issued:
        """Return a certificate for `names` (those with "@" are addresses), valid from and to so many days from now."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        builder = self._build(
            common or (names[0] if names else "nobody"),
            self.certificate.subject,
            key.public_key(),
            begins,
            ends,
            names,
            ca=False,
        )
        certificate = builder.sign(self.key, hashes.SHA256())
        return Issued(certificate, key, () if self.above is None else (self.certificate,))

    @staticmethod
    def _build(
        common: str, issuer: x509.Name, public: Any, begins: float, ends: float, names: Sequence[str], *, ca: bool
    ) -> x509.CertificateBuilder:
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(common))
            .issuer_name(issuer)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW + datetime.timedelta(days=begins))
            .not_valid_after(NOW + datetime.timedelta(days=ends))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if not names:
            return builder
        found = [x509.RFC822Name(name) if "@" in name else x509.DNSName(name) for name in names]
        return builder.add_extension(x509.SubjectAlternativeName(cast("list[x509.GeneralName]", found)), critical=False)


def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    """Return an RSA key."""
    return rsa.generate_private_key(65537, bits)


def write(folder: Path, name: str, data: bytes, mode: int = 0o600) -> Path:
    """Put a file of a folder of certificates in place, as tools do: whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".draft")
    draft.write_bytes(data)
    draft.chmod(mode)
    draft.rename(path)
    return path


class Raw:
    """The transport of a socket that is not there: what is written waits in `out` for the other end."""

    def __init__(self) -> None:
        self.out = b""
        self.protocol: Any = None
        self.closed = self.aborted = self.ended = False
        self.reading = True
        self.limits: tuple[int | None, int | None] = (None, None)
        self.writes = 0

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def get_protocol(self) -> Any:
        return self.protocol

    def write(self, data: bytes) -> None:
        assert data, "empty write"
        self.writes += 1
        self.out += bytes(data)

    def taken(self) -> bytes:
        """Take what was written."""
        data, self.out = self.out, b""
        return data

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def abort(self) -> None:
        self.aborted = self.closed = True

    def write_eof(self) -> None:
        self.ended = True

    def can_write_eof(self) -> bool:
        return True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_reading(self) -> bool:
        return self.reading

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.limits = (high, low)

    def get_write_buffer_size(self) -> int:
        return len(self.out)

    def get_extra_info(self, name: str, default: object = None) -> object:
        return ("192.0.2.1", 40000) if name == "peername" else default


class Owner:
    """The protocol above a TlsTransport: remembers what it was told."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.established = 0
        self.failed: list[str] = []
        self.ends = 0
        self.lost: list[Exception | None] = []
        self.stays_open = False
        self.paused: list[bool] = []
        self.greeting = b""
        self.transport: TlsTransport | None = None

    @property
    def heard(self) -> bytes:
        return b"".join(self.pieces)

    def tls_established(self) -> None:
        self.established += 1
        if self.greeting and self.transport is not None:
            self.transport.write(self.greeting)

    def tls_failed(self, reason: str) -> None:
        self.failed.append(reason)

    def data_received(self, data: bytes) -> None:
        self.pieces.append(data)

    def eof_received(self) -> bool:
        self.ends += 1
        return self.stays_open

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.append(exc)

    def pause_writing(self) -> None:
        self.paused.append(True)

    def resume_writing(self) -> None:
        self.paused.append(False)


class End:
    """One end of a connection: its transport of TLS, its protocol, and the socket below."""

    def __init__(
        self, context: ssl.SSLContext, *, server: bool, hostname: str | None = None, session: Any = None
    ) -> None:
        self.raw = Raw()
        self.owner = Owner()
        self.tls = TlsTransport(
            cast("Any", self.raw), self.owner, context, server_side=server, server_hostname=hostname, session=session
        )
        self.owner.transport = self.tls

    def take(self, data: bytes, step: int = 0) -> None:
        """Let octets come in, at once or in steps."""
        for start in range(0, len(data), step or len(data) or 1):
            self.raw.protocol.data_received(data[start : start + (step or len(data))])


class Wire:
    """A server and a client, and what is between them."""

    def __init__(
        self,
        server: ssl.SSLContext,
        client: ssl.SSLContext | None = None,
        hostname: str | None = None,
        session: Any = None,
    ) -> None:
        self.server = End(server, server=True)
        self.client = End(client or client_context(verify=False), server=False, hostname=hostname, session=session)

    def shake(self, step: int = 0) -> Wire:
        """Begin on both sides and run until nobody has anything to say."""
        self.server.tls.begin()
        self.client.tls.begin()
        return self.run(step)

    def run(self, step: int = 0) -> Wire:
        """Carry octets to and fro."""
        while self.server.raw.out or self.client.raw.out:
            self.server.take(self.client.raw.taken(), step)
            self.client.take(self.server.raw.taken(), step)
        return self

    @property
    def open(self) -> bool:
        """Whether both sides call the handshake done."""
        return (self.server.owner.established, self.client.owner.established) == (1, 1)


class Clock:
    """Monotonic seconds, moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def loaded(folder: Path, hostname: str = "mx.example.net") -> Certificates:
    """Return the certificates of a folder, read today."""
    certificates = Certificates(folder, hostname)
    certificates.load(NOW.timestamp())
    return certificates


def make_acceptor(
    folder: Path,
    *,
    implicit: bool = False,
    required: bool = False,
    clients: ClientCertificates = ClientCertificates.IGNORE,
    authorities: Path | None = None,
    handshakes: Handshakes | None = None,
    hostname: str = "mx.example.net",
    clock: Clock | None = None,
) -> Acceptor:
    """Return an acceptor over what lies in `folder`."""
    return Acceptor(
        loaded(folder, hostname),
        handshakes or Handshakes(100, 100),
        clock or Clock(),
        implicit=implicit,
        required=required,
        clients=clients,
        authorities=authorities,
    )


class SecureDialogue(Dialogue):
    """A dialogue that can shake hands, and goes on under TLS."""

    def __init__(self, acceptor: Acceptor, **given: Any) -> None:
        self.far: End | None = None
        self._told = 0
        limits = ServerLimits(max_message_size=1_000_000, starttls=not acceptor.implicit)
        super().__init__(tls=acceptor, limits=limits, **given)

    def shake(self, context: ssl.SSLContext | None = None, hostname: str | None = None) -> list[str]:
        """Shake hands as the client; return the reply lines that came under TLS."""
        self.far = End(context or client_context(verify=False), server=False, hostname=hostname)
        self.far.tls.begin()
        return self.heard()

    def say(self, *lines: str | bytes) -> list[str]:
        """Send lines, encrypted once hands were shaken."""
        if self.far is None:
            return super().say(*lines)
        data = b"".join(line if isinstance(line, bytes) else line.encode() + b"\r\n" for line in lines)
        self.far.tls.write(data)
        return self.heard()

    def heard(self) -> list[str]:
        """Return the reply lines since the last call."""
        if self.far is None:
            return super().heard()
        while True:
            self.loop.turn()
            new = self.transport.written[self._seen :]
            self._seen = len(self.transport.written)
            if new:
                self.far.take(new)
            out = self.far.raw.taken()
            if out:
                self.transport.far_protocol.data_received(out)
            elif not new:
                break
        text = self.far.owner.heard[self._told :].decode()
        self._told += len(text)
        return text.split("\r\n")[:-1]
