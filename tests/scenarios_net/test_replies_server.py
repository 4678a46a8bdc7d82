"""The form of every reply of a real server, whatever the question."""

from __future__ import annotations

import re

import pytest
from tests.scenarios.script import read_scenarios
from tests.scenarios.test_scenarios import FOLDER

from scenarios_net.next_hop import NextHop
from scenarios_net.wire import SocketEndpoint
from scenarios_net.world import ScenarioServer

# every command that the dialogues say, each in a session of its own that has greeted, and in one with a recipient
LINES = sorted(
    {
        step.octets
        for path in FOLDER.glob("*.smtp")
        for one in read_scenarios(path)
        for step in one.steps
        if step.mark == "C:"
    }
)
GREETED = [b"EHLO client.example\r\n"]
ADDRESSED = [*GREETED, b"MAIL FROM:<a@client.example>\r\n", b"RCPT TO:<b@test.example>\r\n"]
WITH_STATUS = re.compile(r"([245])\d\d[ -]\1\.\d{1,3}\.\d{1,3} .*")
# RFC 2034 section 4: neither the greeting, nor the answers to HELO and EHLO, nor 3xx
WITHOUT = re.compile(r"(250[ -]test\.example( \| .*)?|354 .*)")


@pytest.mark.parametrize("before", [[], GREETED, ADDRESSED], ids=["at first", "greeted", "addressed"])
def test_every_reply_has_a_status_of_its_class(
    before: list[bytes], real_server: ScenarioServer, text_hop: NextHop
) -> None:
    """C53, CMD-28: RFC 2034 section 4; and no reply line is longer than RFC 5321 section 4.5.3.1.5 allows."""
    seen: set[str] = set()
    for line in LINES:
        with SocketEndpoint(real_server.address["smtp"], text_hop) as client:
            assert (client.reply() or "").startswith("220 test.example ")
            for each in (*before, line):
                client.send(each)
            client.end()
            while (reply := client.reply()) is not None:
                seen.add(reply)
    assert len(seen) > 12
    for reply in seen:
        assert all(len(part) <= 510 for part in reply.split(" | "))
        if not WITHOUT.fullmatch(reply):
            assert all(WITH_STATUS.fullmatch(part) for part in reply.split(" | ")), reply
