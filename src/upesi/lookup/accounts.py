"""One account as tables keep it: some words of text, in any order, each known by its form.

    $argon2id$v=19$m=19456,t=2,p=1$...          the hash of the password
    SCRAM-SHA-256$65536:...$...:...             stored keys (also SCRAM-SHA-1), see `scram`
    anna@example.org, @example.org              an address, a domain, that this account may send as
    disabled                                    the account may not be used
    name=anna                                   how the account is spelled, where the client may spell it otherwise

A word that is none of these makes the record unusable: a hash in a form that is not known must not look like an account without one.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from upesi.lookup import scram
from upesi.lookup.passwords import check_hash, hash_matches, hash_password
from upesi.sasl.credentials import Ability, Identity, ScramKeys

__all__ = ["DISABLED", "NAME", "Account", "new_words", "parse_account", "password_matches"]

DISABLED = "disabled"
NAME = "name="


class Account(msgspec.Struct, frozen=True):
    """A record, read: `password_hash` is empty where there are only SCRAM keys."""

    identity: Identity
    password_hash: str = ""
    scram: dict[Ability, ScramKeys] = {}
    disabled: bool = False

    def __repr__(self) -> str:
        # no hash in any trace
        return f"Account({self.identity.name!r})"


def new_words(identity: Identity, password: str, *, scram_keys: bool, disabled: bool = False) -> list[str]:
    """Return the words of an account with this prepared password: its hash, `scram_keys` for SCRAM-SHA-256, its addresses."""
    words = [hash_password(password)]
    if scram_keys:
        words.append(scram.written(scram.make(identity, password), Ability.SCRAM_SHA_256))
    return [*words, *identity.addresses, *([DISABLED] if disabled else [])]


def password_matches(account: Account, password: str) -> bool:
    """Whether this is the account's password. Takes tens of milliseconds; raise ValueError where argon2 cannot read the hash."""
    if account.password_hash:
        return hash_matches(account.password_hash, password)
    return any(scram.matches(keys, password, ability) for ability, keys in account.scram.items())


def parse_account(name: str, words: Iterable[str]) -> Account:
    """Read the words of the account `name`; raise ValueError, whose text says which kind of word is wrong and shows none."""
    words = [word for word in words if word]
    names = [word.removeprefix(NAME) for word in words if word.startswith(NAME)]
    known = [word for word in words if not word.startswith(NAME)]
    identity = Identity(names[0] if names else name, tuple(word for word in known if "@" in word))
    hashes: list[str] = []
    keys: dict[Ability, ScramKeys] = {}
    for word in known:
        if word.startswith("$"):
            check_hash(word)
            hashes.append(word)
        elif word.startswith("SCRAM-"):
            ability, read = scram.read(word, identity)
            keys[ability] = read
        elif "@" not in word and word != DISABLED:
            raise ValueError("has a word that is neither a hash, an address nor 'disabled'")
    if len(hashes) > 1:
        raise ValueError("has more than one hash of its password")
    if not hashes and not keys and DISABLED not in known:
        raise ValueError("has no hash of its password")
    return Account(identity, hashes[0] if hashes else "", keys, DISABLED in known)
