"""From the configuration to sources: who is asked about whom, what stops a start, and what a worker does without a source."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from lookupkit import ORIGIN, cheap_hash

from upesi.client.connecting import Connector
from upesi.config.loading import load
from upesi.config.problems import ConfigError
from upesi.config.settings import Config
from upesi.lookup import build as building
from upesi.lookup.build import Surroundings, build, check
from upesi.mail.answers import Answer, Status
from upesi.runtime.web import Web
from upesi.sasl.credentials import Ability, Identity, Refused, Unavailable

HASH = cheap_hash("sesame")


class _Nowhere:
    async def addresses(self, name: str) -> Answer:
        return Answer(Status.NXDOMAIN)


def surroundings(events: list[Mapping[str, Any]]) -> Surroundings:
    loop = asyncio.get_running_loop()
    connector = Connector(loop, _Nowhere(), allow_private=False)
    return Surroundings(
        loop, lambda name, fields: events.append({"event": name, **fields}), connector, "u.test", Web(_Nowhere()).client
    )


def configured(folder: Path, text: str, **files: str) -> Config:
    for name, content in files.items():
        (folder / name).write_text(content)
        (folder / name).chmod(0o600)
    file = folder / "upesi.toml"
    file.write_text(text)
    return load(file)


def table(source: str, more: str = "") -> str:
    return f'[[credentials]]\nsource = "{source}"\n{more}\n'


async def test_without_tables_there_is_no_source(tmp_path: Path) -> None:
    """AUTH is offered only where somebody can judge it."""
    assert build(configured(tmp_path, ""), surroundings([])) is None


async def test_the_domain_of_a_name_says_who_is_asked(tmp_path: Path) -> None:
    """Each password goes to one source: the first that names the domain, else the one for everybody, else none."""
    text = (
        table("file:a", 'domains = ["Example.org"]')
        + table("file:b", 'domains = ["example.net", "example.org"]')
        + table("file:c", 'domains = ["elsewhere.example"]')
    )
    line = "anna@{} " + HASH + "\n"
    files = {name: "".join(line.format(domain) for domain in ("example.org", "example.net")) for name in "ab"}
    files["a"] = line.format("example.org").replace(HASH, cheap_hash("first"))
    config = configured(tmp_path, text, **files, c="")
    source = build(config, surroundings([]))
    assert source is not None
    assert source.abilities == {Ability.VERIFY, Ability.KNOWN}
    assert await source.verify("anna@EXAMPLE.ORG", "first", ORIGIN) == Identity("anna@example.org")
    assert await source.verify("anna@example.org", "sesame", ORIGIN) == Refused()
    assert await source.verify("anna@example.net", "sesame", ORIGIN) == Identity("anna@example.net")
    for user in ("anna", "anna@other.example", "anna@example.org@other.example", "@"):
        assert await source.verify(user, "sesame", ORIGIN) == Refused()
        assert await source.known(user, ORIGIN) == Refused()
        assert await source.stored(user, Ability.SCRAM_SHA_256, ORIGIN) is None
    await source.close()


async def test_only_what_all_sources_can_do_is_offered(tmp_path: Path) -> None:
    """A mechanism is chosen before anybody says who he is: one that fails for some would lock them out."""
    text = table("file:a", "scram = true") + table("dovecot:///nowhere", 'domains = ["example.org"]')
    source = build(configured(tmp_path, text, a=""), surroundings([]))
    assert source is not None
    assert source.abilities == {Ability.VERIFY}
    await source.close()


def _sqlite(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE users (name, hash)")
    connection.close()


_BROKEN = [
    (table("file:absent"), "No such file"),
    (table("file:open"), "chmod 600"),
    (table("file:wrong"), "wrong:1"),
    (table("sqlite:absent.db", 'query = "SELECT hash FROM users WHERE name = $1"'), "absent.db"),
    (table("sqlite:users.db", 'query = "SELECT hash FROM people WHERE name = $1"'), "people"),
    (table("https://a.example/", 'secret_file = "absent"'), "No such file"),
    (table("https://a.example/", 'secret_file = "open"'), "chmod 600"),
    (table("https://a.example/", 'ca_file = "wrong"'), "wrong"),
    (table("smtps://a.example", 'ca_file = "absent"'), "absent"),
]


@pytest.mark.parametrize(("text", "complaint"), _BROKEN)
async def test_what_cannot_be_used_stops_a_start(tmp_path: Path, text: str, complaint: str) -> None:
    """`upesi config check`, a start and a reload name what is wrong and where."""
    config = configured(tmp_path, text, wrong="anna secret-word\n", open=f"anna {HASH}\n")
    (tmp_path / "open").chmod(0o644)
    _sqlite(tmp_path / "users.db")
    with pytest.raises(ConfigError, match=rf"credentials\[0\].*{complaint}") as caught:
        await check(config, surroundings([]))
    assert not caught.value.temporary
    assert "secret-word" not in str(caught.value)


@pytest.mark.parametrize(("text", "complaint"), _BROKEN)
async def test_a_worker_goes_on_without_a_source(tmp_path: Path, text: str, complaint: str) -> None:
    """AUT-07: one that is born while a source is broken answers nobody about it, and takes and sends mail."""
    config = configured(tmp_path, text, wrong="anna secret-word\n", open=f"anna {HASH}\n")
    (tmp_path / "open").chmod(0o644)
    _sqlite(tmp_path / "users.db")
    events: list[Mapping[str, Any]] = []
    source = build(config, surroundings(events))
    assert source is not None
    assert isinstance(await source.verify("anna", "sesame", ORIGIN), Unavailable)
    assert {event["event"] for event in events} <= {"accounts.refused", "credentials.unavailable"}
    assert events
    assert "secret-word" not in str(events)
    await source.close()


async def test_a_library_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An extra that was not installed is a sentence, not a traceback."""
    monkeypatch.setitem(building._MODULES, "file", "no_such_module")  # type: ignore[arg-type]
    config = configured(tmp_path, table("file:a"), a="")
    with pytest.raises(ConfigError, match=r"needs upesi\.lookup\.no_such_module, which is not installed"):
        await check(config, surroundings([]))


async def test_good_sources_pass_the_check(tmp_path: Path) -> None:
    """Nothing is asked or connected by it."""
    text = (
        table("file:a")
        + table("sqlite:users.db", 'query = "SELECT hash FROM users WHERE name = $1"')
        + table("postgresql://m@127.0.0.1:1/mail", 'query = "SELECT $1"\nsecret_file = "secret"')
        + table("dovecot:///nowhere")
        + table("https://127.0.0.1:1/")
        + table("smtps://127.0.0.1:1")
    )
    _sqlite(tmp_path / "users.db")
    events: list[Mapping[str, Any]] = []
    await check(configured(tmp_path, text, a=f"anna {HASH}\n", secret="sesame\n"), surroundings(events))
    assert not events
