"""One account as tables keep it: some words of text, in any order, each known by its form.

    $argon2id$v=19$m=19456,t=2,p=1$...          the hash of the password
    SCRAM-SHA-256$65536:...$...:...             stored keys (also SCRAM-SHA-1), see `scram`
    CRAM-MD5$c2VzYW1l                           the password itself in base64, which CRAM-MD5 cannot do without
    anna@example.org, @example.org              an address, a domain, that this account may send as
    disabled                                    the account may not be used
    name=anna                                   how the account is spelled, where the client may spell it otherwise

A word that is none of these makes the record unusable: a hash in a form that is not known must not look like an account without one.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Collection, Iterable

import msgspec

from upesi.lookup import scram
from upesi.lookup.passwords import check_hash, hash_matches, hash_password
from upesi.sasl.credentials import Ability, Identity, ScramKeys

__all__ = ["DISABLED", "NAME", "Account", "new_words", "parse_account", "password_matches"]

DISABLED = "disabled"
NAME = "name="
_SECRET = "CRAM-MD5$"


class Account(msgspec.Struct, frozen=True):
    """A record, read: `password_hash` is empty where there are only SCRAM keys, `secret` where the password itself is not kept."""

    identity: Identity
    password_hash: str = ""
    scram: dict[Ability, ScramKeys] = {}
    disabled: bool = False
    secret: str = ""

    @property
    def kept(self) -> frozenset[Ability]:
        """What is kept besides a hash: by which mechanisms the account can be used that show no password."""
        return frozenset((*self.scram, *((Ability.SHARED_SECRET,) if self.secret else ())))

    def __repr__(self) -> str:
        # no hash in any trace
        return f"Account({self.identity.name!r})"


def new_words(
    identity: Identity, password: str, *, kept: Collection[Ability] = (), disabled: bool = False
) -> list[str]:
    """Return the words of an account with this prepared password: its hash, what is `kept` for other mechanisms, its addresses."""
    words = [hash_password(password)]
    words += [
        scram.written(scram.make(identity, password, ability), ability)
        for ability in scram.ABILITIES
        if ability in kept
    ]
    if Ability.SHARED_SECRET in kept:
        words.append(_SECRET + base64.b64encode(password.encode()).decode())
    return [*words, *identity.addresses, *([DISABLED] if disabled else [])]


def password_matches(account: Account, password: str) -> bool:
    """Whether this is the account's password. Takes tens of milliseconds; raise ValueError where argon2 cannot read the hash."""
    if account.password_hash:
        return hash_matches(account.password_hash, password)
    if account.scram:
        return any(scram.matches(keys, password, ability) for ability, keys in account.scram.items())
    return bool(account.secret) and hmac.compare_digest(account.secret.encode(), password.encode())


def parse_account(name: str, words: Iterable[str]) -> Account:
    """Read the words of the account `name`; raise ValueError, whose text says which kind of word is wrong and shows none."""
    words = [word for word in words if word]
    names = [word.removeprefix(NAME) for word in words if word.startswith(NAME)]
    known = [word for word in words if not word.startswith(NAME)]
    identity = Identity(names[0] if names else name, tuple(word for word in known if "@" in word))
    hashes: list[str] = []
    keys: dict[Ability, ScramKeys] = {}
    secret = ""
    for word in known:
        if word.startswith("$"):
            check_hash(word)
            hashes.append(word)
        elif word.startswith("SCRAM-"):
            ability, read = scram.read(word, identity)
            keys[ability] = read
        elif word.startswith(_SECRET):
            secret = _secret_from(word.removeprefix(_SECRET))
        elif "@" not in word and word != DISABLED:
            raise ValueError("has a word that is neither a hash, an address nor 'disabled'")
    if len(hashes) > 1:
        raise ValueError("has more than one hash of its password")
    if not hashes and not keys and not secret and DISABLED not in known:
        raise ValueError("has no hash of its password")
    return Account(identity, hashes[0] if hashes else "", keys, DISABLED in known, secret)


def _secret_from(text: str) -> str:
    try:
        secret = base64.b64decode(text, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise ValueError("has a password for CRAM-MD5 that is not base64") from None
    if not secret:
        raise ValueError("has an empty password for CRAM-MD5")
    return secret
