"""Credentials over a table of hashes: who is let in, at which price, and what is no answer."""

from __future__ import annotations

import pytest
from lookupkit import ORIGIN, InlinePool, MemoryTable, cheap_hash

from upesi.lookup import passwords, scram, stored
from upesi.lookup.failures import LookupFailed
from upesi.lookup.stored import StoredCredentials
from upesi.sasl.credentials import Ability, Identity, Reason, Refused, ScramKeys, SharedSecret

HASH = cheap_hash("sesame")
KEYS = scram.written(scram.make(Identity("carl"), "sesame"), Ability.SCRAM_SHA_256)
TABLE = MemoryTable(
    {
        "anna": (HASH, "anna@example.org"),
        "bert": (HASH, "disabled"),
        "carl": (KEYS,),
        "dora": ("disabled",),
        "emil": ("$2b$12$other",),
        "fred": LookupFailed("connection refused"),
    }
)


def credentials(table: MemoryTable = TABLE) -> StoredCredentials:
    return StoredCredentials(table, InlinePool(), kept=(Ability.SCRAM_SHA_256,))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("user", "password", "answer"),
    [
        ("anna", "sesame", Identity("anna", ("anna@example.org",))),
        ("anna", "", Refused()),
        ("anna", "Sesame", Refused()),
        ("anna", HASH, Refused()),
        ("bert", "sesame", Refused(Reason.DISABLED)),
        ("bert", "wrong", Refused()),
        ("carl", "sesame", Identity("carl")),
        ("carl", "wrong", Refused()),
        ("dora", "sesame", Refused()),
        ("nobody", "sesame", Refused()),
    ],
)
async def test_only_the_right_password_lets_in(user: str, password: str, answer: object) -> None:
    """A disabled account says so only to whoever knows its password."""
    assert await credentials().verify(user, password, ORIGIN) == answer


@pytest.mark.parametrize("user", ["emil", "fred"])
async def test_what_cannot_be_compared_is_no_refusal(user: str) -> None:
    """AUT-07: a table that is down, or a hash of another form, says neither yes nor no."""
    for ask in (
        credentials().verify(user, "sesame", ORIGIN),
        credentials().stored(user, Ability.SCRAM_SHA_256, ORIGIN),
        credentials().known(user, ORIGIN),
    ):
        with pytest.raises(LookupFailed):
            await ask


async def test_an_unknown_user_costs_what_a_known_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """AUT-04: the same work of argon2 with the same parameters, or of PBKDF2, on the password that was sent."""
    costs: list[object] = []
    monkeypatch.setattr(stored, "spend", lambda cost, password: costs.append((cost, password)))
    source = credentials()
    await source.verify("nobody", "guess", ORIGIN)
    await source.verify("anna", "guess", ORIGIN)
    await source.verify("nobody", "guess", ORIGIN)
    assert costs == [(None, "guess"), ((8, 1, 1), "guess")]
    derived: list[int] = []
    await source.verify("carl", "guess", ORIGIN)
    monkeypatch.setattr(scram, "derive", lambda password, salt, iterations, ability: derived.append(iterations))
    await source.verify("nobody", "guess", ORIGIN)
    assert derived == [65_536]


def test_the_work_for_nobody_is_argon2s(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is spent on an unknown user is a hash with the memory, passes and lanes of the others."""
    asked: list[tuple[object, ...]] = []
    monkeypatch.setattr(passwords, "hash_secret", lambda *given: asked.append(given) or b"")
    passwords.spend((1024, 3, 4), "guess")
    assert asked[0][0] == b"guess"
    assert asked[0][2:5] == (3, 1024, 4)


async def test_comparing_happens_in_the_pool() -> None:
    """No login holds the event loop, whether the user is there or not."""
    pool = InlinePool()
    source = StoredCredentials(TABLE, pool)  # type: ignore[arg-type]
    await source.verify("anna", "sesame", ORIGIN)
    await source.verify("nobody", "sesame", ORIGIN)
    assert pool.ran == ["_matches", "_spend_like"]


async def test_stored_keys_are_given_for_accounts_that_may_log_in() -> None:
    """The caller makes up keys for everybody else, disabled accounts included."""
    source = credentials()
    keys = await source.stored("carl", Ability.SCRAM_SHA_256, ORIGIN)
    assert isinstance(keys, ScramKeys)
    assert keys.identity == Identity("carl")
    for user in ("anna", "bert", "dora", "nobody"):
        assert await source.stored(user, Ability.SCRAM_SHA_256, ORIGIN) is None


async def test_who_is_known() -> None:
    """A token or certificate lets in who has an account that is not disabled."""
    source = credentials()
    assert await source.known("anna", ORIGIN) == Identity("anna", ("anna@example.org",))
    assert await source.known("dora", ORIGIN) == Refused(Reason.DISABLED)
    assert await source.known("nobody", ORIGIN) == Refused()


async def test_scram_is_offered_only_where_every_account_has_keys() -> None:
    """A client that is offered SCRAM tries nothing else: the operator says that the keys are there."""
    assert Ability.SCRAM_SHA_256 in credentials().abilities
    without = StoredCredentials(TABLE, InlinePool())  # type: ignore[arg-type]
    assert without.abilities == {Ability.VERIFY, Ability.KNOWN}


async def test_closing_closes_the_table() -> None:
    """Connections end with the worker."""
    table = MemoryTable()
    await credentials(table).close()
    assert table.closed


async def test_a_password_is_given_for_cram_md5_where_it_is_kept() -> None:
    """RFC 2195: to the mechanism that cannot do without, for accounts that may log in; of nobody else there is one."""
    table = MemoryTable(
        {"anna": (HASH, "CRAM-MD5$c2VzYW1l"), "bert": ("CRAM-MD5$c2VzYW1l", "disabled"), "carl": (HASH,)}
    )
    source = StoredCredentials(table, InlinePool(), kept=(Ability.SHARED_SECRET,))  # type: ignore[arg-type]
    assert source.abilities == {Ability.VERIFY, Ability.KNOWN, Ability.SHARED_SECRET}
    assert await source.stored("anna", Ability.SHARED_SECRET, ORIGIN) == SharedSecret(Identity("anna"), "sesame")
    for user in ("bert", "carl", "nobody"):
        assert await source.stored(user, Ability.SHARED_SECRET, ORIGIN) is None
