"""Clients that drip under TLS."""

from __future__ import annotations

from pathlib import Path

import pytest
from tlskit import SecureDialogue, make_acceptor


@pytest.fixture
def talk(shelf: Path) -> SecureDialogue:
    """A client that has begun TLS."""
    talk = SecureDialogue(make_acceptor(shelf))
    talk.hello()
    talk.say("STARTTLS")
    talk.shake()
    talk.say("EHLO a.example")
    return talk


def _second(talk: SecureDialogue) -> list[str]:
    talk.loop.advance(1)
    talk.connection.check(talk.loop.now)
    return talk.heard()


def test_a_record_that_drips_is_given_a_minute(talk: SecureDialogue) -> None:
    """FLD-03: an octet a second of a record that never ends is as little of a command as one in clear."""
    assert talk.far is not None
    talk.far.tls.write(b"MAIL FROM:<" + b"a" * 400)
    record = talk.far.raw.taken()
    heard: list[str] = []
    seconds = 0
    for octet in record[:-1]:
        talk.transport.far_protocol.data_received(bytes([octet]))
        heard = _second(talk)
        seconds += 1
        if heard:
            break
    assert heard[0].startswith("421 4.4.2 ")
    assert 55 <= seconds <= 65


def test_who_thinks_under_tls_has_its_time(talk: SecureDialogue) -> None:
    """C15: behind a handshake, a reply or a whole record nothing is unfinished."""
    for _ in range(3):
        assert all(_second(talk) == [] for _ in range(200))
        assert talk.say("NOOP") == ["250 2.0.0 Ok"]
