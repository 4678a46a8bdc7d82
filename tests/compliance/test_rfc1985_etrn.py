"""RFC 1985: remote message queue starting. Each docstring names the clause."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.session.sessionkit import Dialogue

from upesi.config.settings import EtrnSettings
from upesi.protocol.smtp.limits import ServerLimits
from upesi.session.etrn import QueueStart


async def asked(lines: list[str], *, identity: str | None = None, waiting: int = 1, etrn: bool = True) -> list[str]:
    """Say the lines behind EHLO as somebody whom only an identity lets in; return the replies."""

    async def start(selector: dict[str, str]) -> int:
        return waiting

    talk = Dialogue(limits=ServerLimits(max_message_size=1000, etrn=etrn))
    talk.context.etrn = QueueStart(EtrnSettings(identities=("site@example.org",)), start) if etrn else None
    talk.hello()
    talk.engine.session.identity = identity
    said = []
    for line in lines:
        said += talk.say(line)
        for _ in range(10):
            await asyncio.sleep(0)
        said += talk.heard()
    return said


async def test_it_is_for_those_who_are_known() -> None:
    """C112: a stranger is answered 459, whichever the domain; who authenticated and is named, 250."""
    assert [line[:3] for line in await asked(["ETRN example.org", "ETRN @example.org", "ETRN #x"])] == ["459"] * 3
    assert [line[:3] for line in await asked(["ETRN example.org"], identity="site@example.org")] == ["250"]


async def test_nothing_waits() -> None:
    """C112, section 5.3: 251 where no mail waits for the node."""
    assert [line[:3] for line in await asked(["ETRN example.org"], identity="site@example.org", waiting=0)] == ["251"]


@pytest.mark.parametrize("argument", ["", "a b", "exa_mple.org", "@", "$(id)"])
async def test_an_argument_that_is_no_node_is_refused(argument: str) -> None:
    """C112, section 5.3: 501 for a syntax error."""
    (line,) = await asked([f"ETRN {argument}".strip()], identity="site@example.org")
    assert line.startswith("501 5.5.4 ")


async def test_it_is_not_there_unless_it_is_wished() -> None:
    """C112: by default neither ETRN nor ATRN (RFC 2645) exists, nor TURN, which would give mail away."""
    said = await asked(["ETRN example.org", "ATRN example.org", "TURN"], identity="site@example.org", etrn=False)
    assert [line[:9] for line in said] == ["502 5.5.1"] * 3
