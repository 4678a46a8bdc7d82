"""Records of accounts: hashes, SCRAM keys, addresses, and what makes a record unusable."""

from __future__ import annotations

import base64

import pytest
from lookupkit import cheap_hash

from upesi.lookup import scram
from upesi.lookup.accounts import new_words, parse_account, password_matches
from upesi.lookup.passwords import MAX_HASH_MEMORY, cost_of, hash_matches, hash_password
from upesi.sasl.credentials import Ability, Identity

HASH = cheap_hash("sesame")


def test_a_new_hash_is_of_its_password_only() -> None:
    """RFC 9106: argon2id; the same password never gives the same hash twice."""
    first, second = hash_password("sesame"), hash_password("sesame")
    assert first != second
    assert first.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert hash_matches(first, "sesame")
    assert not hash_matches(first, "Sesame")


def test_scram_keys_are_those_of_the_rfc() -> None:
    """RFC 7677 section 3: the example's user "user" with the password "pencil", 4096 iterations: its server signature verifies."""
    import hashlib
    import hmac

    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    stored, server = scram.derive("pencil", salt, 4096, Ability.SCRAM_SHA_256)
    nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    message = f"n=user,r=rOprNGfwEbeRWgbNEkqO,r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r={nonce}".encode()
    assert base64.b64encode(hmac.digest(server, message, "sha256")) == b"6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
    proof = base64.b64decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
    signature = hmac.digest(stored, message, "sha256")
    assert hashlib.sha256(bytes(a ^ b for a, b in zip(proof, signature, strict=True))).digest() == stored


def test_scram_sha_1_keys_are_those_of_the_rfc() -> None:
    """RFC 5802 section 5: the same for SCRAM-SHA-1."""
    import hmac

    salt = base64.b64decode("QSXCR+Q6sek8bf92")
    _, server = scram.derive("pencil", salt, 4096, Ability.SCRAM_SHA_1)
    nonce = "fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j"
    message = f"n=user,r=fyko+d2lbbFgONRv9qkxdawL,r={nonce},s=QSXCR+Q6sek8bf92,i=4096,c=biws,r={nonce}".encode()
    assert base64.b64encode(hmac.digest(server, message, "sha1")) == b"rmF9pqV8S7suAoZWja4dJRkFsKQ="


def test_scram_keys_survive_writing() -> None:
    """What is written into the file is read back, and still knows its password."""
    keys = scram.make(Identity("anna"), "sesame")
    text = scram.written(keys, Ability.SCRAM_SHA_256)
    ability, again = scram.read(text, Identity("anna"))
    assert (ability, again) == (Ability.SCRAM_SHA_256, keys)
    assert scram.matches(again, "sesame", ability)
    assert not scram.matches(again, "sesam", ability)


def test_every_word_of_a_record_has_its_meaning() -> None:
    """A record is a hash, keys, addresses, a flag and a name, in any order."""
    words = new_words(
        Identity("anna", ("anna@example.org", "@example.net")), "sesame", kept=(Ability.SCRAM_SHA_256,), disabled=True
    )
    account = parse_account("ANNA", ["name=anna", *reversed(words)])
    assert account.identity == Identity("anna", ("@example.net", "anna@example.org"))
    assert account.disabled
    assert set(account.scram) == {Ability.SCRAM_SHA_256}
    assert account.scram[Ability.SCRAM_SHA_256].identity == account.identity
    assert password_matches(account, "sesame")
    assert not password_matches(account, "mesase")


def test_a_password_is_compared_with_scram_keys_where_there_is_no_hash() -> None:
    """PLAIN works for accounts that have only stored keys."""
    keys = scram.written(scram.make(Identity("anna"), "sesame"), Ability.SCRAM_SHA_256)
    account = parse_account("anna", [keys])
    assert password_matches(account, "sesame")
    assert not password_matches(account, "mesase")


def test_what_is_kept_besides_the_hash_is_what_was_asked_for() -> None:
    """AUT-08: keys for both kinds of SCRAM, and the password itself for CRAM-MD5, each only where it is wanted, and each compared alone."""
    kept = (Ability.SCRAM_SHA_1, Ability.SCRAM_SHA_256, Ability.SHARED_SECRET)
    words = new_words(Identity("anna"), "sésame blank", kept=kept)
    account = parse_account("anna", words)
    assert account.kept == set(kept)
    assert account.secret == "sésame blank"
    assert parse_account("anna", new_words(Identity("anna"), "sesame")).kept == frozenset()
    for alone in words[1:]:
        assert password_matches(parse_account("anna", [alone]), "sésame blank")
        assert not password_matches(parse_account("anna", [alone]), "sesame blank")


_KEYS = "SCRAM-SHA-256$4096:c2FsdA==$" + ":".join([base64.b64encode(bytes(32)).decode()] * 2)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["anna@example.org"],
        ["secret"],
        ["plain:secret"],
        [HASH, "secret"],
        [HASH, HASH],
        ["$2b$12$abcdefghijklmnopqrstuv"],
        ["$6$salt$hash"],
        [HASH.replace("argon2id", "argon2i")],
        [HASH.replace("v=19", "v=16")],
        [HASH.replace("m=8", f"m={MAX_HASH_MEMORY + 1}")],
        [HASH.replace("t=1", "t=17")],
        [HASH.replace("p=1", "p=17")],
        [HASH + "\n"],
        [_KEYS.replace("4096", "4095")],
        [_KEYS.replace("4096", "1000001")],
        [_KEYS.replace("SHA-256", "SHA-512")],
        [_KEYS.replace("SHA-256", "SHA-1")],
        [_KEYS.replace("AAAA", "A=AA", 1)],
        [_KEYS + "="],
        ["SCRAM-SHA-256$4096"],
        ["CRAM-MD5$sesame!"],
        ["CRAM-MD5$"],
        ["CRAM-MD5$/w=="],
    ],
)
def test_what_is_not_known_makes_a_record_unusable(words: list[str]) -> None:
    """AUT-08: costs are bounded; a hash in another form is an error, never an account without a password; no word of it is shown."""
    with pytest.raises(ValueError) as caught:
        parse_account("anna", words)
    assert not any(word in str(caught.value) for word in words if len(word) > 5)


def test_a_hash_tells_its_cost() -> None:
    """Memory in KiB, passes, lanes."""
    assert cost_of(HASH) == (8, 1, 1)


def test_no_record_shows_its_secrets() -> None:
    """AUT-05: what lands in a trace has no hash in it."""
    account = parse_account("anna", [HASH, _KEYS, "CRAM-MD5$c2VzYW1l"])
    assert HASH not in repr(account)
    assert "sesame" not in repr(account)
    assert "AAAA" not in repr(account)
    assert "AAAA" not in repr(account.scram)
