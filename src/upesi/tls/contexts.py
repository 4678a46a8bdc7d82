"""TLS contexts for both sides: what we speak, and what we never speak (RFC 8996, RFC 9325).

TLS 1.2 and 1.3 only; no renegotiation (its handshakes cost the server and gain nobody anything), no compression (CRIME), no early data
(OpenSSL takes none unless asked). As a server we offer ciphers with forward secrecy only; as a client we take what the library takes,
since for opportunistic TLS a stricter list would mean plaintext instead. Which certificate is shown is `acceptor`; which server must
be verified is the client's policy.

OpenSSL encrypts session tickets with keys of the context, so a session is resumed where it was made: one context for each listener.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from upesi.config.settings import ClientCertificates
from upesi.mail.errors import UpesiError

__all__ = ["TlsError", "client_context", "load_pem", "server_context"]

# RFC 9325 section 3.1.1: TLS 1.2 must be there still, everything before it must not (RFC 8996)
_MINIMUM = ssl.TLSVersion.TLSv1_2
# CBC at the end, for senders of ten years ago; DHE is left out, as its parameters would have to be made and every client has ECDHE
_SERVER_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES:!aNULL:!eNULL:!PSK:!SRP:!AESCCM"
_NEVER = ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION


class TlsError(UpesiError):
    """A certificate, key or list of authorities cannot be used; the text is for operators and holds nothing secret."""


_VERIFY = {
    ClientCertificates.IGNORE: ssl.CERT_NONE,
    ClientCertificates.ASK: ssl.CERT_OPTIONAL,
    ClientCertificates.REQUIRE: ssl.CERT_REQUIRED,
}


def server_context(
    pem: bytes | None = None,
    *,
    clients: ClientCertificates = ClientCertificates.IGNORE,
    authorities: Path | None = None,
    ciphers: str = "",
) -> ssl.SSLContext:
    """Return a context of the server's side, showing the chain and key in `pem` (None: to be loaded by the caller).

    Args:
        authorities: a PEM file with those who may sign clients' certificates. None: those of the system.
        ciphers: for TLS 1.2, in OpenSSL's words; empty: those with forward secrecy.

    Raises:
        TlsError: something of it cannot be used.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER, ciphers or _SERVER_CIPHERS)
    # one ticket, not two: SMTP clients open one session after another, seldom several from one ticket
    context.num_tickets = 1
    context.verify_mode = _VERIFY[clients]
    if clients is not ClientCertificates.IGNORE:
        _trust(context, authorities, ssl.Purpose.CLIENT_AUTH)
    if pem is not None:
        load_pem(context, pem)
    return context


def client_context(
    *,
    verify: bool,
    authorities: Path | None = None,
    pem: bytes | None = None,
    ciphers: str = "",
    system: bool = True,
) -> ssl.SSLContext:
    """Return a context of the client's side; the name to be verified is given with each connection (`server_hostname`).

    Args:
        verify: whether the server's chain and name must be right (RFC 9525: names in subjectAltName only). Without it the
            connection is encrypted towards whoever answers (RFC 7435).
        authorities: a PEM file with trusted authorities. None: those of the system, if `system`.
        pem: chain and key of a certificate to show when asked.

    Raises:
        TlsError: something of it cannot be used.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT, ciphers)
    if verify:
        # RFC 9525 section 2: the common name is no name of a service
        context.hostname_checks_common_name = False
        if authorities is not None or system:
            _trust(context, authorities, ssl.Purpose.SERVER_AUTH)
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if pem is not None:
        load_pem(context, pem)
    return context


def load_pem(context: ssl.SSLContext, pem: bytes) -> None:
    """Give `context` the chain and the key in `pem`; raise TlsError where they are not a pair.

    Python's ssl reads files only. It gets one that lies in memory, so that what was checked is what is used, whatever happens to
    the folder meanwhile.
    """
    descriptor = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(pem)
        # never asks on the terminal for the password of an encrypted key
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password=_no_password)
    except ssl.SSLError as error:
        raise TlsError(_reason(error)) from error
    finally:
        os.close(descriptor)


def _context(protocol: int, ciphers: str) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = _MINIMUM
    context.options |= _NEVER
    if ciphers:
        try:
            context.set_ciphers(ciphers)
        except ssl.SSLError as error:
            raise TlsError(f"{ciphers!r} names no cipher that this OpenSSL has") from error
    return context


def _trust(context: ssl.SSLContext, authorities: Path | None, purpose: ssl.Purpose) -> None:
    if authorities is None:
        context.load_default_certs(purpose)
        return
    try:
        context.load_verify_locations(authorities)
    except ssl.SSLError as error:
        raise TlsError(f"{authorities} holds no certificates in PEM form") from error
    except OSError as error:
        raise TlsError(f"{authorities} cannot be read: {error.strerror}") from error


_REASONS = {
    "KEY_VALUES_MISMATCH": "the private key belongs to another certificate",
    "KEY_TYPE_MISMATCH": "the private key belongs to another certificate",
    "EE_KEY_TOO_SMALL": "the key is too small to be safe",
    "CA_MD_TOO_WEAK": "it is signed with a hash that is not safe any more",
}


def _reason(error: ssl.SSLError) -> str:
    return _REASONS.get(error.reason or "", "it does not hold a certificate chain and its private key in PEM form")


def _no_password() -> str:
    raise TlsError("the private key is encrypted: a server that starts by itself cannot ask for its password")
