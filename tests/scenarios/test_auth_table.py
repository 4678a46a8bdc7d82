"""The exchanges of `auth.table` against the session, without a socket; `tests/scenarios_net/test_auth_server.py` has the wire."""

from __future__ import annotations

import base64
import re
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet
from tests.scenarios.script import Line, Step, read_lines
from tests.unit.session.authkit import AuthDialogue, MemoryCredentials, authenticator

TABLE = Path(__file__).parent / "auth.table"
USER, PASSWORD = "b@test.example", "correct horse"
# what the server of the other folder has too
MECHANISMS = ("EXTERNAL", "OAUTHBEARER", "XOAUTH2", "PLAIN", "LOGIN")
_ENCODED = re.compile(r"\{([^{}]*)\}")


def exchanges() -> list[ParameterSet]:
    """Return the lines of the table."""
    return [pytest.param(line, id=f"{line.line} {line.said[:40]}") for line in read_lines(TABLE)]


def said(text: str) -> list[bytes]:
    """Return the lines of an exchange as octets, with CR LF."""

    def encoded(match: re.Match[str]) -> str:
        return base64.b64encode(Step("C>", match[1], 0).octets).decode()

    parts = [part.strip(" ") if part.strip(" ") else "" for part in text.split("|")]
    return [Step("C:", _ENCODED.sub(encoded, part), 0).octets for part in parts]


def fits(reply: str, line: Line) -> bool:
    """Whether a reply is one of those that are right."""
    return any(fnmatchcase(reply, pattern) for pattern in line.replies)


@pytest.mark.parametrize("line", exchanges())
async def test_the_exchange_ends_as_the_table_says(line: Line) -> None:
    """Each line of the table, under TLS; and whatever it was, the session goes on and is in step."""
    source = MemoryCredentials(**{USER: PASSWORD})
    client = AuthDialogue(auth=authenticator(source, mechanisms=MECHANISMS), take=False)
    client.heard()
    reply = ""
    for octets in (*(part.encode() + b"\r\n" for part in line.after), *said(line.said)):
        heard = await client.ask(octets)
        reply = heard[-1]
    assert fits(reply, line), reply
    if reply.startswith("334"):
        assert client.codes("*") == ["501"]
    assert client.codes("NOOP") == ["250"]
    assert PASSWORD not in str(client.events)


@pytest.mark.parametrize("line", exchanges())
async def test_nothing_of_it_works_without_tls(line: Line) -> None:
    """AUT-01: no challenge and no success on a link that anybody can read; the source is never asked."""
    source = MemoryCredentials(**{USER: PASSWORD})
    client = AuthDialogue(tls=False, auth=authenticator(source, mechanisms=MECHANISMS))
    client.heard()
    for octets in (*(part.encode() + b"\r\n" for part in line.after), *said(line.said)):
        for reply in await client.ask(octets):
            assert not reply.startswith(("334", "235"))
    assert source.asked == []
