"""Dovecot's auth socket as the judge of passwords: the real Dovecot, and one that misbehaves."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.accounts import Dovecot, accounts, folder_for
from integration.stubs import serving, until_closed
from upesi.sasl.credentials import Identity, Reason, Refused, Unavailable

_USERS = """\
anna@example.org:sesame::::::
bert:s\u00e4sam \u20ac::::::
carl:sesame::::::nologin
"""


@pytest.fixture(scope="module")
def dovecot() -> Iterator[Dovecot]:
    with folder_for("") as folder:
        yield Dovecot(folder, _USERS)


@pytest.mark.parametrize("way", ["socket", "port"])
async def test_dovecot_judges(dovecot: Dovecot, tmp_path: Path, way: str) -> None:
    """AUT-07: yes with the account as Dovecot spells it, no, and no for who may not log in; over a Unix socket and over TCP."""
    with dovecot.running():
        place = f"//{dovecot.socket}" if way == "socket" else f"//127.0.0.1:{dovecot.port}"
        async with accounts(tmp_path, f'source = "dovecot:{place}"\ntimeout = "20s"') as source:
            answers = await asyncio.gather(
                source.verify("Anna@Example.org", "sesame"),
                source.verify("anna@example.org", "Sesame"),
                source.verify("nobody", "sesame"),
                source.verify("carl", "sesame"),
                source.verify("carl", "wrong"),
                source.verify("bert", "s\u00e4sam \u20ac"),
                source.verify("bert\tuser=anna", "sesame"),
                source.verify("anna@example.org\0", "sesame"),
            )
        assert answers == [
            Identity("anna@example.org"),
            Refused(),
            Refused(),
            Refused(Reason.DISABLED),
            Refused(),
            Identity("bert"),
            Refused(),
            Refused(),
        ]
        assert not source.events
        assert "service=submission" in dovecot.log
        assert "rip=192.0.2.1" in dovecot.log
        assert "sesame" not in dovecot.log


async def test_dovecot_may_be_restarted(dovecot: Dovecot, tmp_path: Path) -> None:
    """AUT-07: while it is away there is no answer; when it is back there is one again."""
    async with accounts(tmp_path, f'source = "dovecot://{dovecot.socket}"\ntimeout = "20s"') as source:
        for _ in range(2):
            with dovecot.running():
                assert await source.verify("anna@example.org", "sesame") == Identity("anna@example.org")
            answer = await source.verify("anna@example.org", "sesame")
            assert isinstance(answer, Unavailable)
        assert {event["event"] for event in source.events} == {"credentials.unavailable"}
        assert "sesame" not in str(source.events)


async def test_a_dovecot_that_hangs(dovecot: Dovecot, tmp_path: Path) -> None:
    """AUT-07: no answer within the deadline, however many ask; when it goes on, so do we, and late answers reach nobody."""
    with dovecot.running() as process:
        async with accounts(tmp_path, f'source = "dovecot://{dovecot.socket}"\ntimeout = "1s"') as source:
            await source.until_accepted("anna@example.org", "sesame")
            stopped = dovecot.children(process)
            for pid in stopped:
                os.kill(pid, signal.SIGSTOP)
            try:
                answers = await asyncio.gather(*(source.verify("anna@example.org", "sesame") for _ in range(5)))
            finally:
                for pid in stopped:
                    os.kill(pid, signal.SIGCONT)
            assert all(isinstance(answer, Unavailable) for answer in answers)
            await source.until_accepted("anna@example.org", "sesame")


_HELLO = b"VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nSPID\t8\nCUID\t1\nCOOKIE\tabc\nDONE\n"


@pytest.mark.parametrize(
    ("hello", "reply", "answer"),
    [
        (_HELLO, b"FAIL\t1\tuser=anna\ttemp\n", "databases"),
        (_HELLO, b"FAIL\t1\tuser=anna\tcode=temp_fail\n", "databases"),
        (_HELLO, b"FAIL\t1\tuser=anna\tuser_disabled\n", Refused(Reason.DISABLED)),
        (_HELLO, b"FAIL\t1\tuser=anna\tcode=pass_expired\n", Refused(Reason.EXPIRED)),
        (_HELLO, b"OK\t1\n", "without a user"),
        (_HELLO, b"OK\t1\tuser=\n", "without a user"),
        (_HELLO, b"OK\t2\tuser=anna\n", "in time"),
        (_HELLO, b"CONT\t1\tZm9v\n", "as agreed"),
        (_HELLO, b"OK\t1\tuser=anna", "in time"),
        (_HELLO, b"OK 1 user=anna\n", "in time"),
        (_HELLO, b"x" * 9000, "too long"),
        (_HELLO, b"", "in time"),
        (_HELLO.replace(b"PLAIN", b"LOGIN"), b"OK\t1\tuser=anna\n", "no PLAIN"),
        (b"220 mail.example ESMTP\r\n", b"", "another protocol"),
        (b"", b"", "in time"),
    ],
)
async def test_what_is_not_surely_yes_is_none(tmp_path: Path, hello: bytes, reply: bytes, answer: object) -> None:
    """AUT-07: temporary trouble, answers to nobody, garbage and silence are neither a yes nor a no."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(hello)
        while line := await reader.readline():
            if line.startswith(b"AUTH"):
                writer.write(reply)
                await until_closed(reader)

    timeout = "700ms" if answer == "in time" else "20s"
    toml = f'source = "dovecot://{tmp_path}/auth"\ntimeout = "{timeout}"'
    async with serving(talk, tmp_path / "auth"), accounts(tmp_path, toml) as source:
        given = await source.verify("anna", "sesame")
    if isinstance(answer, str):
        assert isinstance(given, Unavailable)
        assert answer in given.cause
    else:
        assert given == answer
