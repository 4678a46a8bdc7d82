"""Dovecot's authentication protocol: what we say, and what we make of what it says."""

from __future__ import annotations

import base64
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upesi.mail.errors import RemoteProtocolError
from upesi.protocol.dovecot import MAX_LINE, DovecotAnswer, DovecotClient, plain_request

HELLO = b"VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tlogin\tplaintext\nSPID\t8\nCUID\t1\nCOOKIE\tabc\nDONE\n"
ANSWERS = HELLO + (
    b"OK\t1\tuser=anna\tnologin\tx=a\x01tb\x010\x011=\n"
    b"FAIL\t2\tuser=bert\ttemp\treason=no=way\n"
    b"CONT\t3\tZm9v\n"
    b"NEWS\tfrom\ta\tlater\tversion\n"
)
EXPECTED = [
    DovecotAnswer(1, "OK", {"user": "anna", "nologin": "", "x": "a\tb\0\x01="}),
    DovecotAnswer(2, "FAIL", {"user": "bert", "temp": "", "reason": "no=way"}),
    DovecotAnswer(3, "CONT", {"Zm9v": ""}),
]


def test_what_a_server_says() -> None:
    """Answers name their request; fields are unescaped; what later versions add is passed over."""
    client = DovecotClient()
    assert list(client.receive(ANSWERS)) == EXPECTED
    assert client.greeted
    assert client.mechanisms == ["PLAIN", "LOGIN"]


@given(st.lists(st.integers(0, len(ANSWERS)), max_size=8))
def test_however_it_is_cut(cuts: list[int]) -> None:
    """Octets come in any pieces."""
    client = DovecotClient()
    edges = [0, *sorted(cuts), len(ANSWERS)]
    answers = [one for a, b in itertools.pairwise(edges) for one in client.receive(ANSWERS[a:b])]
    assert answers == EXPECTED


@pytest.mark.parametrize(
    "octets",
    [
        b"VERSION\t2\t0\n",
        b"220 mail.example ESMTP\r\n",
        b"OK\t1\tuser=anna\n",
        b"VERSION\t1\t2\nOK\t1\tuser=anna\n",
        HELLO + b"OK\n",
        HELLO + b"OK\tone\tuser=anna\n",
        HELLO + b"OK\t-1\tuser=anna\n",
        HELLO + b"OK\t99999999999\tuser=anna\n",
        HELLO + b"FAIL\t1\treason=\xff\n",
        HELLO + b"x" * (MAX_LINE + 1),
        HELLO + b"x" * (MAX_LINE + 1) + b"\n",
        b"\n",
    ],
)
def test_what_is_none_of_the_protocol(octets: bytes) -> None:
    """AUT-07: garbage, an answer before the greeting's end, a line without end: nothing more is believed."""
    with pytest.raises(RemoteProtocolError):
        list(DovecotClient().receive(octets))


@given(st.binary(max_size=300))
def test_any_octets_are_answers_or_an_error(octets: bytes) -> None:
    """AUT-07: nothing else can come of what a server says."""
    client = DovecotClient()
    try:
        assert all(isinstance(answer, DovecotAnswer) for answer in client.receive(HELLO + octets))
    except RemoteProtocolError:
        pass


def test_mechanisms_are_bounded() -> None:
    """A server that offers without end fills nothing."""
    client = DovecotClient()
    list(client.receive(b"VERSION\t1\t1\n" + b"MECH\tX\n" * 1000))
    assert len(client.mechanisms) == 64


def test_what_we_say() -> None:
    """The response is the last field, and holds user and password in base64: neither can end the line."""
    assert DovecotClient().hello(7) == b"VERSION\t1\t1\nCPID\t7\n"
    line = plain_request(
        3, "an\tna", "ses\name", service="submission", secured=True, local="192.0.2.1", remote="2001:db8::1", session=""
    )
    *fields, response = line.decode().rstrip("\n").split("\t")
    assert fields == [
        "AUTH",
        "3",
        "PLAIN",
        "service=submission",
        "no-penalty",
        "secured",
        "lip=192.0.2.1",
        "rip=2001:db8::1",
    ]
    assert base64.b64decode(response.removeprefix("resp=")) == b"\0an\tna\0ses\name"
    assert line.count(b"\n") == 1


def test_a_field_that_holds_a_tab_is_escaped() -> None:
    """What came from elsewhere is a value, never a field."""
    line = plain_request(1, "a", "b", service="smtp", secured=False, local="", remote="", session="x\ty\nz\x01")
    assert b"\tsession=x\x01ty\x01nz\x011\t" in line
    assert b"secured" not in line
