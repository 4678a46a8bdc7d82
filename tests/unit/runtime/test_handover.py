"""Handing a message over: what arrives is what was given, and each message has its word."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from enum import IntEnum
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from upesi.control.lines import MAX_OFFER
from upesi.mail.address import Address
from upesi.mail.body import MemoryBody
from upesi.mail.envelope import BodyType, Recipient, Transmission
from upesi.mail.handling import Labels
from upesi.mail.ids import MessageId
from upesi.mail.outcome import Outcome, OutcomeKind
from upesi.mail.route import HostRoute, MaildirRoute, MxRoute, Route
from upesi.mail.tls import TlsPolicy
from upesi.runtime import handover
from upesi.runtime.handover import Handover, Told, Word
from upesi.spool.body_file import FileBody
from upesi.spool.records import DeliveryState, NewDelivery, NewMessage, SpoolEvent

ROUTES: tuple[Route, ...] = (
    MxRoute("example.net", requiretls=True),
    HostRoute("127.0.0.1", 2525),
    MaildirRoute("alice"),
)


def message(
    body: bytes = b"a\r\n", *, text: bool = False, prefix: bytes = b"Received: x\r\n", route: Route = ROUTES[0]
) -> NewMessage:
    """A message in which every field says something."""
    who = Recipient(
        Address("b", "example.net"),
        original="rfc822;b@example.net",
        notify=3,
        tell_delay=5.0,
        labels=Labels("t", "c", "p"),
    )
    last = Outcome(OutcomeKind.DEFERRED, 450, "4.2.0", "later", "mx.example")
    delivery = NewDelivery("host:a:25", route, (who,), 1.5, 2.5, DeliveryState.READY, 3, last, True, False)
    id = MessageId(bytes(range(16)))
    return NewMessage(
        id, 1.25, Address("a", "example.com"), Transmission(BodyType.BINARY, smtputf8=True, envid="e"), prefix,
        MemoryBody(body, text=text), (delivery, delivery), {"client": "192.0.2.1"}, {"note": b"\0\xff"},
        (SpoolEvent(1.25, "message.accepted", id, {"size": 3, "session": "s", "score": 1.5}),),
    )  # fmt: skip


def same(one: NewMessage, other: NewMessage) -> bool:
    """Equality, bodies by their octets and what is known of them."""
    assert isinstance(one.body, MemoryBody)
    assert isinstance(other.body, MemoryBody)
    plain = MemoryBody(b"")
    return (one.body.data, one.body.text) == (other.body.data, other.body.text) and (
        msgspec.structs.replace(one, body=plain) == msgspec.structs.replace(other, body=plain)
    )


async def until(claim: Callable[[], bool]) -> None:
    """Wait until `claim` is true, five seconds at most."""
    for _ in range(1000):
        if claim():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not come true")


class Pair:
    """Worker "1" gives, worker "2" keeps, and says `word`."""

    def __init__(self, folder: Path) -> None:
        loop = asyncio.get_running_loop()
        self.word: Word | None = Word.KEPT
        self.kept: list[NewMessage] = []
        self.words: list[Word] = []
        self.giver = Handover(loop, str(folder), "1", lambda message, told: told(Word.DECLINED))
        self.keeper = Handover(loop, str(folder), "2", self._keep)

    def _keep(self, message: NewMessage, told: Told) -> None:
        self.kept.append(message)
        if self.word is None:
            raise RuntimeError("a mistake")
        told(self.word)

    async def given(self, message: NewMessage) -> Word:
        """Give until it goes, and return the word."""
        word: asyncio.Future[Word] = asyncio.get_running_loop().create_future()
        await until(lambda: self.giver.give("2", message, word.set_result))
        return await asyncio.wait_for(word, 5)


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    pair = Pair(tmp_path)
    await pair.keeper.start()
    await pair.giver.start()
    pair.giver.meet(["2"])
    pair.keeper.meet(["1"])
    yield pair
    await pair.giver.close()
    await pair.keeper.close()


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("text", [False, True])
async def test_a_message_arrives_with_all_its_fields(pair: Pair, route: Route, text: bool) -> None:
    was = message(bytes(range(256)) * 300, text=text, route=route)
    assert await pair.given(was) is Word.KEPT
    assert same(pair.kept[0], was)
    assert pair.giver.given == 1


async def test_the_null_reverse_path_stays_null(pair: Pair) -> None:
    await pair.given(msgspec.structs.replace(message(), reverse_path=None))
    assert pair.kept[0].reverse_path is None


@given(body=st.binary(max_size=200), prefix=st.binary(max_size=50), text=st.booleans())
def test_any_octets_survive(body: bytes, prefix: bytes, text: bool) -> None:
    was = message(body, text=text, prefix=prefix)
    octets = handover._encode(handover._given(was, was.body))  # type: ignore[arg-type]
    assert same(handover._message(handover._decode(octets)), was)


async def test_large_bodies_and_those_in_files_do_not_go_by_line(pair: Pair, tmp_path: Path) -> None:
    """What is that large is read in pieces, and written by whoever has it."""
    await pair.given(message())
    assert not pair.giver.give("2", message(b"x" * MAX_OFFER), pair.words.append)
    (tmp_path / "body").write_bytes(b"a\r\n")
    filed = msgspec.structs.replace(message(), body=FileBody(tmp_path / "body", 3, 0))
    assert not pair.giver.give("2", filed, pair.words.append)
    assert (pair.words, len(pair.kept)) == ([], 1)


async def test_an_envelope_that_is_too_long_does_not_go_either(pair: Pair) -> None:
    await pair.given(message())
    assert not pair.giver.give("2", message(prefix=b"x" * MAX_OFFER), pair.words.append)


@pytest.mark.parametrize("word", [Word.WAITS, Word.DECLINED])
async def test_an_owner_that_has_no_use_for_it_is_left_alone_for_a_while(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, word: Word
) -> None:
    monkeypatch.setattr(handover, "_REST", 0.05)
    pair.word = word
    assert await pair.given(message()) is word
    assert not pair.giver.give("2", message(), pair.words.append)
    await asyncio.sleep(0.06)
    pair.word = Word.KEPT
    assert pair.giver.give("2", message(), pair.words.append)


async def test_a_worker_that_is_about_to_go_declines(pair: Pair) -> None:
    """What was on its way when it said goodbye is written by who gave it: declined, not lost."""
    await pair.given(message())
    assert pair.giver.give("2", message(), pair.words.append)
    pair.keeper.leave()
    await until(lambda: bool(pair.words))
    assert pair.words == [Word.DECLINED]
    assert len(pair.kept) == 1


async def test_a_mistake_of_ours_refuses_one_message_and_ends_no_line(pair: Pair) -> None:
    """What else came by the line is being written: it would be taken for lost, and written twice."""
    errors: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: errors.append(context["exception"]))
    pair.word = None
    assert await pair.given(message()) is Word.FAILED
    assert [str(error) for error in errors] == ["a mistake"]
    pair.word = Word.KEPT
    assert await pair.given(message()) is Word.KEPT


async def test_octets_that_are_no_message_are_refused(pair: Pair) -> None:
    await pair.given(message())
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    answers: list[int] = []
    assert pair.giver._lines.offer("2", b"\x90", answers.append)
    await until(lambda: bool(answers))
    assert answers == [Word.FAILED]


def test_the_language_changes_with_any_field_within(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two versions side by side: msgpack reads over a field that it does not know, and REQUIRETLS would be lost in silence."""

    class More(msgspec.Struct, array_like=True):
        deliveries: tuple[NewDelivery, ...]
        extra: bool = False

    class Less(msgspec.Struct, array_like=True):
        deliveries: tuple[NewDelivery, ...]

    assert handover.language_of(More, Word) != handover.language_of(Less, Word)
    assert handover.language_of(Less, Word) == handover.language_of(Less, Word)
    one = msgspec.defstruct("Inner", [("a", TlsPolicy)])
    two = msgspec.defstruct("Inner", [("a", TlsPolicy), ("b", bool, False)])
    outer = [msgspec.defstruct("Outer", [("inner", inner)]) for inner in (one, two)]
    assert handover.language_of(outer[0], Word) != handover.language_of(outer[1], Word)
    other = IntEnum("Other", {"KEPT": 1})
    assert handover.language_of(Less, Word) != handover.language_of(Less, other)


async def test_what_cannot_be_encoded_is_left_to_whoever_writes_it(pair: Pair) -> None:
    """A lone surrogate that a plugin left: the writer refuses that one message, and the session goes on."""
    await pair.given(message())
    assert not pair.giver.give("2", msgspec.structs.replace(message(), origin={"helo": "\ud800"}), pair.words.append)
    assert not pair.giver.give("2", msgspec.structs.replace(message(), notes={"n": object()}), pair.words.append)  # type: ignore[dict-item]
    assert await pair.given(message()) is Word.KEPT


async def test_of_workers_that_have_gone_nothing_is_remembered(pair: Pair) -> None:
    """Names are epochs: each reload brings new ones."""
    pair.word = Word.DECLINED
    await pair.given(message())
    assert set(pair.giver._rests) == {"2"}
    pair.giver.meet(["3"])
    assert pair.giver._rests == {}


async def test_work_is_exchanged_and_not_shed(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one site its owner is the busiest: it is given what others may be ahead, and beyond that as much as it gives."""
    monkeypatch.setattr(handover, "_AHEAD", 4)
    monkeypatch.setattr(handover, "_RATE", 0.0)
    await pair.given(message())
    assert [pair.giver.give("2", message(), pair.words.append) for _ in range(5)] == [True, True, True, False, False]
    await until(lambda: len(pair.words) == 3)
    back: list[Word] = []
    for _ in range(2):
        await until(lambda: pair.keeper.give("1", message(), back.append))
    await until(lambda: len(back) == 2)
    # the other one declines, being as it is; it was given all the same
    assert [pair.giver.give("2", message(), pair.words.append) for _ in range(3)] == [True, True, False]


async def test_an_owner_whose_receivers_are_quicker_than_its_disk_is_given_all(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever writes such mail waits longer. Later nobody is in debt for it, and the rule of exchange holds again."""
    monkeypatch.setattr(handover, "_AHEAD", 2)
    monkeypatch.setattr(handover, "_RATE", 0.0)
    monkeypatch.setattr(handover, "_EAGER", 0.3)
    pair.word = Word.TAKEN
    await pair.given(message())
    assert all(pair.giver.give("2", message(), pair.words.append) for _ in range(5))
    await until(lambda: len(pair.words) == 5)
    assert pair.giver.given == 6
    pair.word = Word.KEPT
    await asyncio.sleep(0.4)
    # one went before anything was known
    assert [pair.giver.give("2", message(), pair.words.append) for _ in range(2)] == [True, False]


async def test_a_little_goes_at_any_time(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "_AHEAD", 1)
    monkeypatch.setattr(handover, "_RATE", 50.0)
    await pair.given(message())
    assert not pair.giver.give("2", message(), pair.words.append)
    await asyncio.sleep(0.03)
    assert pair.giver.give("2", message(), pair.words.append)
    # nor is what one was given remembered for ever
    pair.giver._ahead = -3.0
    await asyncio.sleep(0.1)
    assert not pair.giver._is_ahead()
    assert pair.giver._ahead == 0
