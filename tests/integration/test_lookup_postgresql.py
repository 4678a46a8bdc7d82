"""Accounts in PostgreSQL: the real one, over a Unix socket, TCP and TLS, away and hung."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from argon2.low_level import Type, hash_secret

from integration.accounts import ORIGIN, Postgres, accounts, extra, folder_for, secret
from integration.authority import Authority
from upesi.lookup import scram
from upesi.sasl.credentials import Ability, Identity, Refused, ScramKeys, Unavailable

HASH = hash_secret(b"sesame", b"saltsaltsaltsalt", 1, 8, 1, 32, Type.ID).decode()
KEYS = scram.written(scram.make(Identity("bert"), "sesame"), Ability.SCRAM_SHA_256)
_AWKWARD = "'\"--;${7*7}{{7*7}}%n$(id)"
_QUERY = (
    "SELECT hash, keys, 'name=' || name, mail, CASE WHEN NOT active THEN 'disabled' END FROM users "
    "WHERE lower(name) = lower($1)"
)
_SQL = f"""
CREATE ROLE reader LOGIN PASSWORD 'reader-secret';
CREATE TABLE users (name text PRIMARY KEY, hash text, keys text, mail text, active boolean NOT NULL DEFAULT true);
INSERT INTO users VALUES
  ('Anna', '{HASH}', NULL, 'anna@example.org anna@example.net', true),
  ('bert', NULL, '{KEYS}', NULL, true),
  ('carl', '{HASH}', NULL, NULL, false),
  ('dora', '$2b$12$other', NULL, NULL, true),
  ('{_AWKWARD.replace("'", "''")}', '{HASH}', NULL, NULL, true);
CREATE TABLE boxes (name text, domain text, hash text);
INSERT INTO boxes VALUES ('anna', 'example.org', '{HASH}');
GRANT SELECT, INSERT ON users, boxes TO reader;
"""


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    extra("asyncpg")
    with folder_for("postgres") as folder:
        authority = Authority(folder / "tls")
        if os.geteuid() == 0:
            # PostgreSQL reads its key as its own user, and wants nobody else to
            for path in (folder / "tls", authority.key):
                subprocess.run(["chown", "postgres", str(path)], check=True)
        server = Postgres(folder, _SQL)
        with server.running():
            yield server


def table(
    postgres: Postgres, folder: Path, host: str, query: str = _QUERY, more: str = "", text: str = "reader-secret"
) -> str:
    return (
        f'source = "postgresql://reader@{host}:{postgres.port}/mail"\nquery = """{query}"""\n'
        f'secret_file = "{secret(folder, text)}"\ntimeout = "20s"\n{more}'
    )


@pytest.mark.parametrize("way", ["socket", "port"])
async def test_postgresql_knows_the_hash(postgres: Postgres, tmp_path: Path, way: str) -> None:
    """Yes with the account's own spelling and addresses, no, and no answer for a hash of another form (AUT-07)."""
    host = "127.0.0.1" if way == "port" else str(postgres.folder).replace("/", "%2F")
    async with accounts(tmp_path, table(postgres, tmp_path, host)) as source:
        anna = Identity("Anna", ("anna@example.org", "anna@example.net"))
        assert await source.verify("anna", "sesame") == anna
        assert await source.verify("ANNA", "sesame") == anna
        assert await source.verify("anna", "wrong") == Refused()
        assert await source.verify("bert", "sesame") == Identity("bert")
        assert await source.verify("carl", "wrong") == Refused()
        assert await source.verify("nobody", "sesame") == Refused()
        assert await source.source.known("anna", ORIGIN) == anna
        assert isinstance(await source.verify("dora", "sesame"), Unavailable)
        assert "sesame" not in str(source.events)


async def test_stored_keys_are_those_of_the_row(postgres: Postgres, tmp_path: Path) -> None:
    """SCRAM works from the database, which keeps keys in the form of PostgreSQL's own."""
    async with accounts(tmp_path, table(postgres, tmp_path, "127.0.0.1", more="scram = true")) as source:
        keys = await source.source.stored("bert", Ability.SCRAM_SHA_256, ORIGIN)
        assert isinstance(keys, ScramKeys)
        assert scram.matches(keys, "sesame", Ability.SCRAM_SHA_256)
        assert await source.source.stored("nobody", Ability.SCRAM_SHA_256, ORIGIN) is None


async def test_parts_of_the_name(postgres: Postgres, tmp_path: Path) -> None:
    """$2 and $3 are what stands before and behind the last "@"."""
    query = "SELECT hash FROM boxes WHERE $1 <> '' AND name = $2 AND domain = $3"
    async with accounts(tmp_path, table(postgres, tmp_path, "127.0.0.1", query)) as source:
        assert await source.verify("Anna@example.org", "sesame") == Refused()
        assert await source.verify("anna@example.org", "sesame") == Identity("anna@example.org")
        assert await source.verify("anna@example.net", "sesame") == Refused()


@pytest.mark.parametrize(
    "name", [_AWKWARD, "' OR '1'='1", '"x\'/**/UNION SELECT hash FROM users--"@d', "$1", "| cmd", "\\"]
)
async def test_a_name_is_a_value_whatever_it_looks_like(postgres: Postgres, tmp_path: Path, name: str) -> None:
    """ADR-10: bound, never part of the statement."""
    async with accounts(tmp_path, table(postgres, tmp_path, "127.0.0.1")) as source:
        answer = await source.verify(name, "sesame")
        assert answer == (Identity(_AWKWARD) if name == _AWKWARD else Refused())
        assert not source.events


async def test_what_goes_wrong_is_no_answer_and_shows_nothing(postgres: Postgres, tmp_path: Path) -> None:
    """AUT-05, AUT-07: our own password wrong, no such table, a name that the type cannot hold, a change, too many rows, too long."""
    for query, text, cause in (
        (_QUERY, "wrong", "InvalidPassword"),
        ("SELECT x FROM nowhere WHERE $1 <> ''", "reader-secret", "UndefinedTable"),
        ("SELECT hash FROM users WHERE length(name) = $1::text::int", "reader-secret", "InvalidTextRepresentation"),
        ("INSERT INTO users VALUES ($1, '')  RETURNING name", "reader-secret", ""),
        ("SELECT 'x' || i || $1 FROM generate_series(1, 2000) i", "reader-secret", "too many rows"),
        ("SELECT 1 WHERE $1 <> ''", "reader-secret", "no text"),
    ):
        async with accounts(tmp_path, table(postgres, tmp_path, "127.0.0.1", query, text=text)) as source:
            answer = await source.verify("anna-the-user", "sesame")
            assert isinstance(answer, Unavailable)
            assert cause in answer.cause
            shown = str(source.events)
            assert "anna-the-user" not in shown
            assert "sesame" not in shown


async def test_a_question_that_takes_too_long(postgres: Postgres, tmp_path: Path) -> None:
    """AUT-07: no answer within the deadline; the next ones are answered."""
    query = "SELECT hash FROM users, pg_sleep(CASE WHEN $1 = 'slow' THEN 60 ELSE 0 END) WHERE name = 'Anna'"
    toml = table(postgres, tmp_path, "127.0.0.1", query, "concurrency = 1").replace('"20s"', '"1s"')
    async with accounts(tmp_path, toml) as source:
        assert isinstance(await source.verify("slow", "sesame"), Unavailable)
        await source.until_accepted("anna", "sesame")


async def test_tls_to_another_machine(postgres: Postgres, tmp_path: Path) -> None:
    """Who is not this machine by its very name is asked over TLS with a verified certificate, or not at all."""
    from upesi.database.errors import DatabaseError
    from upesi.database.postgresql import PostgresDatabase, PostgresPlace
    from upesi.tls.contexts import client_context

    for authorities, trusted in ((postgres.folder / "tls/ca.pem", True), (Authority(tmp_path / "other").file, False)):
        context = client_context(verify=True, authorities=authorities)
        place = PostgresPlace("localhost", postgres.port, "reader", "reader-secret", "mail", context)
        database = PostgresDatabase(place, 1)
        question = database.rows(
            "SELECT ssl::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()", (), most=1, within=20.0
        )
        if trusted:
            assert await question == [("true",)]
        else:
            with pytest.raises(DatabaseError):
                await question
        await database.close()
        assert "reader-secret" not in repr(place)


async def test_a_server_that_is_away_or_hangs(postgres: Postgres, tmp_path: Path) -> None:
    """AUT-07: refused or silent: no answer within the deadline; afterwards there is one again."""
    with Path(postgres.folder / "data/postmaster.pid").open() as file:  # noqa: ASYNC230
        pid = int(file.readline())
    toml = table(postgres, tmp_path, "127.0.0.1").replace('"20s"', '"1s"')
    async with accounts(tmp_path, toml.replace(f":{postgres.port}/", ":1/")) as source:
        answer = await source.verify("anna", "sesame")
        assert isinstance(answer, Unavailable)
        assert answer.cause in ("Connection refused", "no answer in time")
    async with accounts(tmp_path, toml) as source:
        os.kill(pid, signal.SIGSTOP)
        try:
            answers = await asyncio.gather(*(source.verify("anna", "sesame") for _ in range(20)))
            assert all(isinstance(answer, Unavailable) for answer in answers)
        finally:
            os.kill(pid, signal.SIGCONT)
        await source.until_accepted("anna", "sesame")
