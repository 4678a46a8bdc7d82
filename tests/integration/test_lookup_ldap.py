"""LDAP as the judge of passwords: the real OpenLDAP, and servers that hang or speak something else."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.accounts import ORIGIN, Accounts, Slapd, accounts, extra, folder_for, person, secret
from integration.authority import Authority
from integration.stubs import serving, until_closed
from upesi.lookup.ldap import LdapSource
from upesi.lookup.ldap_text import filled
from upesi.sasl.credentials import Ability, Identity, Refused, Unavailable

_BASE = "ou=people,dc=example,dc=org"
_PEOPLE = [
    person("anna", "sesame", "anna@example.org", "a@example.net"),
    person("bert", "s\u00e4sam", "bert@example.org"),
    person("carl", None, "carl@example.org"),
    person("dora", "sesame", "twice@example.org"),
    person("emil", "sesame", "twice@example.org"),
]


@pytest.fixture(scope="module")
def slapd() -> Iterator[Slapd]:
    extra("ldap")
    with folder_for("") as folder:
        Authority(folder / "tls")
        server = Slapd(folder, _PEOPLE)
        with server.running():
            yield server


def search(slapd: Slapd, folder: Path, more: str = "", secret_text: str = "reader-secret") -> str:
    return (
        f'source = "ldap://127.0.0.1:{slapd.port}"\nbase = "{_BASE}"\nfilter = "(|(uid={{user}})(mail={{user}}))"\n'
        f'bind_dn = "cn=reader,dc=example,dc=org"\nsecret_file = "{secret(folder, secret_text)}"\n'
        f'address_attribute = "mail"\ntimeout = "20s"\n{more}'
    )


async def test_an_entry_that_a_filter_finds(slapd: Slapd, tmp_path: Path) -> None:
    """Found with our own account, judged with the user's; called by its uid however it was typed, with its addresses."""
    anna = Identity("anna", ("anna@example.org", "a@example.net"))
    async with accounts(tmp_path, search(slapd, tmp_path)) as source:
        for user in ("anna", "ANNA", "anna@example.org", "a@example.net"):
            assert await source.verify(user, "sesame") == anna
        assert await source.verify("bert", "s\u00e4sam") == Identity("bert", ("bert@example.org",))
        for user, password in (("anna", "Sesame"), ("anna", "reader-secret"), ("nobody", "sesame"), ("carl", "sesame")):
            assert await source.verify(user, password) == Refused()
        assert await source.source.known("anna@example.org", ORIGIN) == anna
        assert await source.source.known("nobody", ORIGIN) == Refused()
        assert not source.events


async def test_an_entry_that_a_pattern_names(slapd: Slapd, tmp_path: Path) -> None:
    """One question less; the account is called as it was typed, but in one spelling."""
    toml = f'source = "ldap://127.0.0.1:{slapd.port}"\ndn = "uid={{local_part}},{_BASE}"\ntimeout = "20s"'
    async with accounts(tmp_path, toml) as source:
        assert await source.verify("anna@example.org", "sesame") == Identity("anna@example.org")
        assert await source.verify("ANNA", "sesame") == Identity("anna")
        assert await source.verify(" anna", "sesame") in (Identity("anna"), Refused())
        assert await source.verify("anna", "wrong") == Refused()
        assert await source.verify("nobody", "sesame") == Refused()
        assert Ability.KNOWN not in source.source.abilities


@pytest.mark.parametrize(
    "user",
    ["*", "a*", "anna)(uid=*", "*)(objectClass=*", "anna\0", "\\2a", "@", "@example.org", "anna,ou=people",
     "anna)(|(uid=*)", "{user}", "#anna",
     "'\"--;${7*7}{{7*7}}%n$(id)", "| cmd", "dn:uid=anna"],
)  # fmt: skip
async def test_a_name_is_a_value_whatever_it_looks_like(slapd: Slapd, tmp_path: Path, user: str) -> None:
    """ADR-10: with everybody's password, what a client types finds nobody but who is called so."""
    pattern = f'source = "ldap://127.0.0.1:{slapd.port}"\ndn = "uid={{user}},{_BASE}"\ntimeout = "20s"'
    for toml in (search(slapd, tmp_path), pattern):
        async with accounts(tmp_path, toml) as source:
            assert await source.verify(user, "sesame") == Refused()
            assert not source.events


async def test_a_name_that_needs_escaping_is_found(slapd: Slapd, tmp_path: Path) -> None:
    """What is escaped is read back by the server as what was typed."""
    assert filled("(cn={user})", "a*b") == r"(cn=a\2ab)"
    async with accounts(tmp_path, search(slapd, tmp_path)) as source:
        # "+" and "=" are letters of an address like any other: this asks for them, and for nothing else
        assert await source.verify("anna+x=y@example.org", "sesame") == Refused()
        assert not source.events


async def test_an_empty_password_is_never_right(slapd: Slapd, tmp_path: Path) -> None:
    """RFC 4513 section 5.1.2: a bind without a password succeeds as nobody; it lets nobody in."""
    for toml in (search(slapd, tmp_path), f'source = "ldap://127.0.0.1:{slapd.port}"\ndn = "uid={{user}},{_BASE}"'):
        async with accounts(tmp_path, toml) as source:
            assert await source.verify("anna", "") == Refused()


async def test_what_cannot_be_decided_is_no_answer(slapd: Slapd, tmp_path: Path) -> None:
    """AUT-07: two entries for one name, an entry without a name, our own password wrong, a base that is not there."""

    async def cause(toml: str, user: str = "anna") -> str:
        async with accounts(tmp_path, toml) as source:
            answer = await source.verify(user, "sesame")
            assert isinstance(answer, Unavailable)
            assert "sesame" not in str(source.events)
            return answer.cause

    assert "more than one" in await cause(search(slapd, tmp_path), "twice@example.org")
    assert "no employeeType" in await cause(search(slapd, tmp_path, 'name_attribute = "employeeType"'))
    assert "INVALID_CREDENTIALS" in await cause(search(slapd, tmp_path, secret_text="wrong"))
    assert "NO_SUCH_OBJECT" in await cause(search(slapd, tmp_path).replace(_BASE, "ou=nowhere,dc=example,dc=org"))


async def test_tls_and_whom_to_trust(slapd: Slapd, tmp_path: Path) -> None:
    """ldaps: the certificate must be vouched for; a server that is not trusted is sent no password."""
    authority = slapd.folder / "tls" / "ca.pem"
    toml = search(slapd, tmp_path).replace(f"ldap://127.0.0.1:{slapd.port}", f"ldaps://127.0.0.1:{slapd.tls_port}")
    async with accounts(tmp_path, f'{toml}\nca_file = "{authority}"') as source:
        assert isinstance(await source.verify("anna", "sesame"), Identity)
        assert await source.verify("anna", "wrong") == Refused()
    other = Authority(tmp_path / "other").file
    for more in ("", f'\nca_file = "{other}"'):
        async with accounts(tmp_path, toml + more) as source:
            assert isinstance(await source.verify("anna", "sesame"), Unavailable)


async def test_another_machine_is_asked_over_starttls(slapd: Slapd, tmp_path: Path) -> None:
    """ldap:// to another machine is STARTTLS with a verified certificate, or nothing (here it is made believe that it is another one)."""
    authority = slapd.folder / "tls" / "ca.pem"
    for trusted, answer in ((authority, Identity), (Authority(tmp_path / "other").file, Unavailable)):
        async with accounts(tmp_path, search(slapd, tmp_path, f'ca_file = "{trusted}"')) as source:
            judge = _judge(source)
            assert not judge._starttls
            judge._starttls = True
            assert judge._address == f"ldap://127.0.0.1:{slapd.port}"
            assert isinstance(await source.verify("anna", "sesame"), answer)


def _judge(source: Accounts) -> LdapSource:
    judge = source.source._tables[0].source._source
    assert isinstance(judge, LdapSource)
    return judge


async def test_a_server_that_is_away_or_hangs(slapd: Slapd, tmp_path: Path) -> None:
    """AUT-07: refused at once or silent for ever: no answer within the deadline, and the loop goes on meanwhile."""
    pid = slapd.pid
    toml = search(slapd, tmp_path).replace('timeout = "20s"', 'timeout = "2s"')
    async with accounts(tmp_path, toml) as source:
        await source.until_accepted("anna", "sesame")
        os.kill(pid, signal.SIGSTOP)
        try:
            start, beats = time.monotonic(), 0
            asking = asyncio.gather(*(source.verify("anna", "sesame") for _ in range(20)))
            while not asking.done():
                beats += 1
                await asyncio.sleep(0.05)
            assert all(isinstance(answer, Unavailable) for answer in await asking)
            # a loop that was held would have beaten a few times
            assert beats >= 5
            assert time.monotonic() - start < 60
        finally:
            os.kill(pid, signal.SIGCONT)
        await source.until_accepted("anna", "sesame")


@pytest.mark.parametrize("octets", [None, b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x30\x84\xff\xff\xff\xff", b""])
async def test_nonsense_is_no_answer(slapd: Slapd, tmp_path: Path, octets: bytes | None) -> None:
    """AUT-07: something else at the port."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(octets or b"")
        if octets is None:
            await until_closed(reader)

    async with serving(talk) as port:
        toml = search(slapd, tmp_path).replace(f":{slapd.port}", f":{port}").replace('"20s"', '"1s"')
        async with accounts(tmp_path, toml) as source:
            assert isinstance(await source.verify("anna", "sesame"), Unavailable)
