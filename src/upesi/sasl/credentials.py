"""What the mechanisms ask of a source of credentials, and what it answers. The sources themselves (file, SQL, LDAP, ...) are in `lookup`.

A source is asked in one of three ways, and says by `abilities` which of them it can serve; a mechanism is offered only where the
source can serve it:

    verify   PLAIN, LOGIN: the password itself is here; the source compares it (argon2id hash, LDAP bind, SMTP AUTH, ...)
    stored   SCRAM-*, CRAM-MD5: only a proof is here; the source gives what the proof is checked against
    known    OAUTHBEARER, XOAUTH2, EXTERNAL: somebody else has proved who it is; the source says whether that user is ours

Promises of every source:

* It raises nothing of its own: trouble is `Unavailable`, and whatever is not surely a yes is none (AUT-07). The caller sets a deadline and
  cancels; an answer that would come later must have no effect.
* A wrong password and an unknown user cost the same time (AUT-04): verify a dummy hash of the same cost for an unknown user. For `stored`
  the caller makes up keys for unknown users; the source only returns None.
* It never logs a password, nor puts one into the text of an exception, an event or `Unavailable.cause` (AUT-05).
* Work on the CPU (argon2id takes tens of milliseconds) is done in a thread, with a bound on how many wait; beyond it: `Unavailable`.
"""

from __future__ import annotations

import enum
from typing import Protocol

import msgspec

__all__ = [
    "Ability",
    "Credentials",
    "Identity",
    "Origin",
    "Reason",
    "Refused",
    "ScramKeys",
    "SharedSecret",
    "Unavailable",
]


class Ability(enum.Enum):
    """What a source can be asked for."""

    VERIFY = "verify"
    SCRAM_SHA_1 = "SCRAM-SHA-1"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    SHARED_SECRET = "CRAM-MD5"  # the password itself is kept, readable: no source should wish to
    KNOWN = "known"


class Reason(enum.Enum):
    """Why a source says no. The client is told WRONG and DISABLED in the same words."""

    WRONG = "wrong"  # no such user, or not this password: nobody learns which
    DISABLED = "disabled"  # the account is there and may not be used
    EXPIRED = "expired"  # right, and the password must be changed first (432 4.7.12)


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where an attempt comes from, for sources that judge or log it (Dovecot's auth socket, HTTP).

    `service` is "smtp", "submission" or "lmtp"; `remote` and `local` are addresses without port, "" on a Unix socket; `secured`
    says that the link is TLS.
    """

    service: str = "smtp"
    remote: str = ""
    local: str = ""
    secured: bool = False
    session: str = ""


class Identity(msgspec.Struct, frozen=True):
    """Who was let in.

    `name` is the account as the source spells it (one spelling for one account, whatever the client typed): it becomes
    `session.identity` and the key of limits. `addresses` are the addresses ("anna@example.org") and domains ("@example.org") that this
    account may send as, where the source knows them; empty where it does not.
    """

    name: str
    addresses: tuple[str, ...] = ()


class Refused(msgspec.Struct, frozen=True):
    """A sure no."""

    reason: Reason = Reason.WRONG


class Unavailable(msgspec.Struct, frozen=True):
    """No answer: the source is down, slow, overloaded or speaks nonsense. Becomes 454 4.7.0; never counts as a failed attempt.

    `cause` is for the operator's log ("connection refused"); it never reaches the client.
    """

    cause: str


class ScramKeys(msgspec.Struct, frozen=True):
    """What is stored for one user and one SCRAM hash (RFC 5802 section 3): the password cannot be had from it.

    `iterations` between 4096 and 1,000,000; anything else is treated as Unavailable.
    """

    identity: Identity
    salt: bytes
    iterations: int
    stored_key: bytes
    server_key: bytes

    def __repr__(self) -> str:
        # server_key is enough to impersonate us: no trace may hold it
        return f"ScramKeys({self.identity.name!r})"


class SharedSecret(msgspec.Struct, frozen=True):
    """The password itself, for CRAM-MD5 (prepared with `saslprep`)."""

    identity: Identity
    password: str

    def __repr__(self) -> str:
        return f"SharedSecret({self.identity.name!r})"


class Credentials(Protocol):
    """One source of credentials.

    `user` and `password` are what the client sent, prepared with `upesi.sasl.saslprep.saslprep` (RFC 4013: NFKC, no control characters, not
    empty; 255 and 1024 characters at most). Whoever stores a password or derives a key from one prepares it in the same way.
    """

    @property
    def abilities(self) -> frozenset[Ability]:
        """What this source can be asked for; does not change while it lives."""
        ...

    async def verify(self, user: str, password: str, origin: Origin) -> Identity | Refused | Unavailable:
        """Say whose password this is. Asked only with Ability.VERIFY."""
        ...

    async def stored(
        self, user: str, ability: Ability, origin: Origin
    ) -> ScramKeys | SharedSecret | Refused | Unavailable | None:
        """Return what is stored for `user` and the mechanism that `ability` names; None where there is no such user or key.

        Asked only with SCRAM_SHA_1, SCRAM_SHA_256 (answer ScramKeys) or SHARED_SECRET (answer SharedSecret).
        """
        ...

    async def known(self, user: str, origin: Origin) -> Identity | Refused | Unavailable:
        """Say whether `user`, proved by a token or a certificate, is an account of ours. Asked only with Ability.KNOWN."""
        ...
