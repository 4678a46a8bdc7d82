"""Parameters of MAIL and RCPT: whatever they are, they are taken as something that can be written again, or refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.scenarios.acceptor import LIMITS

from upesi.mail.address import Address
from upesi.mail.envelope import Recipient
from upesi.mail.errors import RemoteProtocolError
from upesi.protocol.smtp.client import ClientConnection
from upesi.protocol.smtp.limits import ServerLimits
from upesi.protocol.smtp.parameters import mail_parameters, rcpt_parameters

ALL = msgspec.structs.replace(LIMITS, deliver_by=60, future_release=86_400, priorities=True, requiretls=True)
_VALUE = st.one_of(
    st.text(max_size=20),
    st.text(alphabet="0123456789+-;:.,=NRTZnrtxABCDEF\\{}@", max_size=24),
    st.sampled_from(
        ["120;R", "-5;NT", "3600", "2026-11-22T10:16:17Z", "9", "-9", "FULL", "HDRS", "NEVER", "SUCCESS,DELAY",
            "rfc822;a+2Bb", "utf-8;\\x{FC}",
        ]
    ),
)  # fmt: skip
_MAIL = st.sampled_from(
    ["SIZE", "BODY", "SMTPUTF8", "RET", "ENVID", "AUTH", "BY", "HOLDFOR", "HOLDUNTIL", "MT-PRIORITY", "REQUIRETLS", "X"]
)
_RCPT = st.sampled_from(["NOTIFY", "ORCPT", "RET", "X"])


def _words(keywords: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    word = st.one_of(keywords, st.builds("{}={}".format, keywords, _VALUE))
    return st.lists(word, min_size=1, max_size=4).map(" ".join)


def taken(read: Callable[[str, ServerLimits], Any], text: str) -> Any:
    """Return what was read, None where it was refused, with a reply 5xx."""
    reply = None
    try:
        return read(text, ALL)
    except RemoteProtocolError as error:
        reply = error.reply
    assert reply is not None
    assert 500 <= reply.code <= 599
    return None


@settings(max_examples=500)
@given(_words(_MAIL))
def test_what_mail_asks_is_understood_or_refused(text: str) -> None:
    """CMD-11, C55, C109, C110, C111: no other error than a reply 5xx, and what is taken is within its bounds."""
    read = taken(mail_parameters, text)
    if read is None:
        return
    transmission, size, given_as, requests = read
    assert len({keyword for keyword, _ in given_as}) == len(given_as)
    assert size is None or 0 <= size <= ALL.max_message_size
    assert transmission.envid is None or (transmission.envid.isascii() and transmission.envid.isprintable())
    if requests is not None:
        assert -9 <= requests.priority <= 9
        assert requests.hold_for is None or 1 <= requests.hold_for <= 999_999_999
        assert requests.hold_until is None or math.isfinite(requests.hold_until)
        assert requests.hold_for is None or requests.hold_until is None
        assert requests.by is None or abs(requests.by.seconds) <= 999_999_999


def _next_hop() -> ClientConnection:
    client = ClientConnection()
    client.receive(b"220 x\r\n")
    client.next_reply()
    client.ehlo("us")
    client.receive(b"250-x\r\n250-PIPELINING\r\n250 DSN\r\n")
    client.next_reply()
    return client


@settings(max_examples=500)
@given(_words(_RCPT))
def test_what_rcpt_asks_comes_out_as_it_went_in(text: str) -> None:
    """C55, C56: what is taken is written for the next hop on one line, and means the same there."""
    read = taken(rcpt_parameters, text)
    if read is None:
        return
    original, notify, _ = read
    line = _next_hop().rcpt(Recipient(Address("a", "b"), original, notify)).decode()
    assert line.startswith("RCPT TO:<a@b>")
    assert line.endswith("\r\n")
    assert line[:-2].isprintable()
    if original is not None or notify is not None:
        assert rcpt_parameters(line[len("RCPT TO:<a@b> ") : -2], ALL)[:2] == (original, notify)
