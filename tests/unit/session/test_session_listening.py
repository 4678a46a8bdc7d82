"""Plugins that hear a message while it comes."""

from __future__ import annotations

from typing import Any

import pytest
from sessionkit import Dialogue


class Ear:
    """Keeps what it hears."""

    def __init__(self, fails: str = "", error: type[BaseException] = ValueError) -> None:
        self.heard: list[bytes] = []
        self.ended = 0
        self.fails = fails
        self.error = error

    def feed(self, data: bytes) -> None:
        self.heard.append(bytes(data))
        if self.fails == "feed":
            raise self.error("secret words of the plugin")

    def finish(self) -> None:
        self.ended += 1
        if self.fails == "finish":
            raise self.error("secret words of the plugin")


def talk(*ears: Ear, **points: Any) -> Dialogue:
    def begin(tx: Any) -> None:
        for ear in ears:
            tx.listen(ear)

    dialogue = Dialogue(data=begin, **points)
    dialogue.begin()
    return dialogue


def test_a_listener_hears_what_is_stored() -> None:
    """Transparency is removed, the end is told once, and every listener hears all of it."""
    ears = Ear(), Ear()
    dialogue = talk(*ears)
    assert dialogue.send(b"Subject: x\r\n\r\n..dot\r\nend\r\n")[0].startswith("250 ")
    for ear in ears:
        assert b"".join(ear.heard) == dialogue.intake.contents[0] == b"Subject: x\r\n\r\n.dot\r\nend\r\n"
        assert ear.ended == 1


def test_a_listener_hears_chunks_too() -> None:
    """BDAT brings the same octets (RFC 3030)."""
    ear = Ear()
    dialogue = talk(ear)
    assert dialogue.codes(b"BDAT 9\r\nSubject: ", b"BDAT 8 LAST\r\nx\r\n\r\n.\r\n") == ["250", "250"]
    assert b"".join(ear.heard) == dialogue.intake.contents[0] == b"Subject: x\r\n\r\n.\r\n"


def test_the_message_hook_comes_behind_the_end() -> None:
    """What a listener found is whole when `message` asks for it."""
    ear = Ear()
    told: list[int] = []
    dialogue = talk(ear, message=lambda tx: told.append(ear.ended))
    dialogue.send(b"x\r\n")
    assert told == [1]


def test_a_refused_message_has_no_end() -> None:
    """One that is refused in its midst, or given up, is not finished: no verdict is made over a part of it."""
    ear = Ear()
    dialogue = talk(ear)
    assert dialogue.send(b"bare\nline end\r\n")[0].startswith("5")
    assert ear.ended == 0


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, RecursionError])
@pytest.mark.parametrize("when", ["feed", "finish"])
def test_a_listener_that_fails_defers_the_message(when: str, error: type[BaseException]) -> None:
    """PLG-01: whatever it raises, the message is answered 451 and the session goes on; its words are for the log and not for the client."""
    other = Ear()
    dialogue = talk(Ear(when, error), other)
    reply = dialogue.send(b"Subject: x\r\n\r\nx\r\n")
    assert reply[0].startswith("451 4.3.0 ")
    assert "secret" not in reply[0]
    assert dialogue.intake.contents == []
    assert other.ended == 0
    failed = [fields for name, fields in dialogue.events if name == "plugin.failed"]
    assert [fields["where"] for fields in failed] == ["Ear"]
    assert dialogue.codes("RSET", "MAIL FROM:<a@example.org>") == ["250", "250"]


def test_a_second_message_is_heard_by_its_own_listeners() -> None:
    """Nothing of one transaction is heard by the next."""
    ears: list[Ear] = []

    def begin(tx: Any) -> None:
        ears.append(Ear())
        tx.listen(ears[-1])

    dialogue = Dialogue(data=begin)
    for text in (b"one\r\n", b"two\r\n"):
        dialogue.begin()
        dialogue.send(text)
    assert [b"".join(ear.heard) for ear in ears] == [b"one\r\n", b"two\r\n"]
