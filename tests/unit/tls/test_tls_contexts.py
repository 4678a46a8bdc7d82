"""What is spoken, and what never is."""

from __future__ import annotations

import ssl
import warnings
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from tlskit import Authority, Issued, Wire, rsa_key, write

from upesi.config.settings import ClientCertificates
from upesi.tls.contexts import TlsError, client_context, server_context


def old_client(version: ssl.TLSVersion) -> ssl.SSLContext:
    """A client that knows nothing newer than `version`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = version
    return context


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_versions_are_refused(issued: Issued, version: ssl.TLSVersion) -> None:
    """C103, TLS-08: nothing before TLS 1.2 (RFC 8996)."""
    wire = Wire(server_context(issued.both), old_client(version)).shake()
    assert not wire.open
    assert len(wire.server.owner.failed) == 1
    assert wire.server.raw.closed


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_present_versions_are_spoken(issued: Issued, version: ssl.TLSVersion) -> None:
    """C103: TLS 1.2 and 1.3."""
    client = client_context(verify=False)
    client.maximum_version = client.minimum_version = version
    wire = Wire(server_context(issued.both), client).shake()
    assert wire.open
    assert wire.server.tls.tls.version() == version.name.replace("_", ".")


@pytest.mark.parametrize("make", [server_context, lambda: client_context(verify=False)])
def test_neither_renegotiation_nor_compression(make: object) -> None:
    """C103, TLS-08: OpenSSL is told to refuse both; of early data it takes none unless it is told to."""
    context = make()  # type: ignore[operator]
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.options & ssl.OP_NO_COMPRESSION


def test_nothing_is_compressed(issued: Issued) -> None:
    """TLS-08: a handshake of TLS 1.2, the last version that could compress, settles on none."""
    client = client_context(verify=False)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.options &= ~ssl.OP_NO_COMPRESSION
    wire = Wire(server_context(issued.both), client).shake()
    assert wire.open
    assert wire.server.tls.tls.compression() is None


def test_all_ciphers_of_tls12_keep_secrets_forward(issued: Issued) -> None:
    """C103, RFC 9325 section 4.1: a stolen key does not open what was said before; no RC4, 3DES or NULL."""
    offered = [cipher["name"] for cipher in server_context(issued.both).get_ciphers()]
    assert offered
    assert all(name.startswith(("TLS_", "ECDHE-", "DHE-")) for name in offered)
    assert not any(word in name for name in offered for word in ("RC4", "3DES", "NULL", "MD5"))


def test_ciphers_can_be_chosen(issued: Issued) -> None:
    """An operator's list holds for TLS 1.2."""
    client = client_context(verify=False)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    wire = Wire(server_context(issued.both, ciphers="ECDHE-ECDSA-CHACHA20-POLY1305"), client).shake()
    cipher = wire.server.tls.tls.cipher()
    assert cipher is not None
    assert cipher[0] == "ECDHE-ECDSA-CHACHA20-POLY1305"


def test_ciphers_that_nobody_knows_are_named() -> None:
    """What is wrong in the configuration is said in its words."""
    with pytest.raises(TlsError, match="'FOO' names no cipher"):
        server_context(ciphers="FOO")


@pytest.mark.parametrize("hostname", ["mx.example.net", "MX.example.net"])
def test_a_client_verifies_by_the_names_of_the_certificate(issued: Issued, trusted: Path, hostname: str) -> None:
    """C103, RFC 9525: the name in subjectAltName is what counts."""
    client = client_context(verify=True, authorities=trusted)
    assert Wire(server_context(issued.both), client, hostname).shake().open


@pytest.mark.parametrize("hostname", ["other.example.net", "example.net", "a.mx.example.net"])
def test_another_name_is_refused(issued: Issued, trusted: Path, hostname: str) -> None:
    """C103: a trusted certificate for another host is as good as none, and the reason says so."""
    wire = Wire(server_context(issued.both), client_context(verify=True, authorities=trusted), hostname).shake()
    (reason,) = wire.client.owner.failed
    assert "the certificate is not good" in reason
    assert hostname in reason
    assert not wire.client.owner.established


def test_a_common_name_is_no_name(authority: Authority, trusted: Path) -> None:
    """C103, RFC 9525 section 2: the common name does not count."""
    server = server_context(authority.issue(common="mx.example.net").both)
    wire = Wire(server, client_context(verify=True, authorities=trusted), "mx.example.net").shake()
    assert wire.client.owner.failed


def test_without_verification_anybody_is_taken(issued: Issued) -> None:
    """RFC 7435: opportunistic TLS encrypts, whoever answers."""
    assert Wire(server_context(issued.both), client_context(verify=False), "elsewhere.example").shake().open


def test_a_client_that_needs_a_certificate_shows_it(authority: Authority, issued: Issued, trusted: Path) -> None:
    """`pem` of a client's context is shown when the server asks."""
    server = server_context(issued.both, clients=ClientCertificates.REQUIRE, authorities=trusted)
    client = client_context(verify=False, pem=authority.issue("client.example").both)
    assert Wire(server, client).shake().open
    assert Wire(server, client_context(verify=False)).shake().server.owner.failed


@pytest.mark.parametrize("clients", [ClientCertificates.ASK, ClientCertificates.REQUIRE])
def test_authorities_must_be_readable(tmp_path: Path, issued: Issued, clients: ClientCertificates) -> None:
    """A list of authorities that is absent or is none stops the start with its path."""
    with pytest.raises(TlsError, match=r"absent\.pem cannot be read: No such file"):
        server_context(issued.both, clients=clients, authorities=tmp_path / "absent.pem")
    with pytest.raises(TlsError, match=r"empty\.pem holds no certificates"):
        server_context(issued.both, clients=clients, authorities=write(tmp_path, "empty.pem", b"nothing"))


def test_a_key_of_another_certificate_is_named(authority: Authority, issued: Issued) -> None:
    """Mismatched chain and key: said in an operator's words."""
    with pytest.raises(TlsError, match="belongs to another certificate"):
        server_context(authority.issue("mx.example.net").key + issued.pem)


def test_a_weak_key_is_refused(authority: Authority) -> None:
    """What OpenSSL calls too weak to serve is found at the start."""
    with pytest.raises(TlsError, match="too small"):
        server_context(authority.issue("mx.example.net", key=rsa_key(1024)).both)


@pytest.mark.parametrize("pem", [b"", b"\x00\xff", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate_is_refused(pem: bytes) -> None:
    """Any octets give a TlsError, never anything else."""
    with pytest.raises(TlsError):
        server_context(pem)


def test_an_encrypted_key_is_refused_without_asking(issued: Issued) -> None:
    """A server that starts by itself asks nobody for a password."""
    locked = issued.private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    )
    with pytest.raises(TlsError, match="encrypted"):
        server_context(locked + issued.pem)


def test_sessions_resume_where_they_were_made_and_nowhere_else(issued: Issued) -> None:
    """TLS-15: tickets of one listener are worth nothing at another, though the certificate be the same."""
    one, other = server_context(issued.both), server_context(issued.both)
    client = client_context(verify=False)
    first = Wire(one, client, "mx.example.net").shake()
    first.server.tls.write(b"220 hello\r\n")
    session = first.run().client.tls.tls.session
    assert session is not None
    assert Wire(one, client, "mx.example.net", session).shake().server.tls.tls.session_reused
    again = Wire(other, client, "mx.example.net", session).shake()
    assert again.open
    assert not again.server.tls.tls.session_reused


def test_sessions_of_tls12_resume_nowhere_else_either(issued: Issued) -> None:
    """TLS-15: the same for the tickets and session ids of TLS 1.2."""
    client = client_context(verify=False)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    one, other = server_context(issued.both), server_context(issued.both)
    session = Wire(one, client, "mx.example.net").shake().client.tls.tls.session
    assert session is not None
    assert Wire(one, client, "mx.example.net", session).shake().server.tls.tls.session_reused
    again = Wire(other, client, "mx.example.net", session).shake()
    assert again.open
    assert not again.server.tls.tls.session_reused
