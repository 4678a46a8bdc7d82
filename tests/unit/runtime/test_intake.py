"""The way into the queue: who writes a message, and what follows from what the owner says of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import msgspec
import pytest
from scheduler_world import DEFERRED, DELIVERED, FAILED, World

from upesi.config.settings import Config, DeliverySettings
from upesi.control.hints import Hints
from upesi.limits.memory import MemoryBudget
from upesi.mail.envelope import Notify
from upesi.mail.ids import MessageId
from upesi.mail.outcome import Action, Outcome
from upesi.reports.dsn import DsnReporter
from upesi.runtime.handover import Handover, Told, Word
from upesi.runtime.intake import SpoolIntake
from upesi.runtime.owners import Owners
from upesi.runtime.wiring import build_routes
from upesi.spool.bodies import BodyFolder
from upesi.spool.records import NewMessage, SpoolEvent, shard_of
from upesi.spool.store import SpoolError, SpoolFull

OWN, FOREIGN, THIRD = "host:own.example:25", "host:foreign.example:25", "host:third.example:25"


class FakeHandover:
    """Remembers what was given to whom, and says what it is told to."""

    def __init__(self) -> None:
        self.takes = True
        self.given: list[tuple[str, NewMessage, Told]] = []

    def give(self, owner: str, message: NewMessage, told: Told) -> bool:
        if self.takes:
            self.given.append((owner, message, told))
        return self.takes


class FakeHints:
    """Remembers who was hinted at what."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []

    def send(self, worker: str, queue: str) -> None:
        self.sent.append((worker, queue))


class Place:
    """An intake among the scheduler's neighbours; its worker owns OWN, worker "2" FOREIGN and worker "3" THIRD."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.handover, self.hints, owners = FakeHandover(), FakeHints(), Owners()
        assert len({shard_of(queue) for queue in (OWN, FOREIGN, THIRD)}) == 3
        world.scheduler.set_shards(frozenset({shard_of(OWN)}))
        owners.set({"2": [shard_of(FOREIGN)], "3": [shard_of(THIRD)]})
        self.intake = SpoolIntake(
            world.store,
            BodyFolder(Path(), 1000),
            world.scheduler,
            world.router,
            build_routes(Config()),
            cast(DsnReporter, None),
            owners,
            cast(Hints, self.hints),
            cast(Handover, self.handover),
            world.cut_through,
            DeliverySettings(),
            MemoryBudget(10**6),
            lambda work: cast(None, world.loop.create_task(work)),
            lambda kind, fields: world.emitted.append((kind, dict(fields))),
        )
        self.outcomes: list[SpoolError | None] = []

    def message(self, *domains: str) -> NewMessage:
        message = self.world.message(*(f"a@{domain}" for domain in domains))
        return msgspec.structs.replace(
            message, events=(SpoolEvent(message.received, "message.accepted", message.id, {}),)
        )

    def accept(self, message: NewMessage) -> None:
        self.intake.accept(message, self.outcomes.append)
        self.world.pass_time(0.01)

    @property
    def written(self) -> set[MessageId]:
        return self.world.store.accepted


@pytest.fixture
def place(world: World) -> Place:
    return Place(world)


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    assert not world.failures()
    world.close()


def test_a_message_of_another_workers_goes_to_it_and_its_word_is_the_answer(place: Place) -> None:
    message = place.message("foreign.example")
    place.accept(message)
    ((owner, given, told),) = place.handover.given
    assert (owner, given) == ("2", message)
    # nothing is answered before it is durable
    assert (place.outcomes, place.written) == ([], set())
    told(Word.KEPT)
    assert (place.outcomes, place.written, place.hints.sent) == ([None], set(), [])


@pytest.mark.parametrize(
    "domains", [("own.example",), ("own.example", "foreign.example"), ("foreign.example", "third.example")]
)
def test_what_is_ours_or_several_workers_is_written_here(place: Place, domains: tuple[str, ...]) -> None:
    message = place.message(*domains)
    place.accept(message)
    assert place.handover.given == []
    assert (place.outcomes, place.written) == ([None], {message.id})


def test_what_is_not_due_is_held_or_cannot_be_found_again_is_written_here(place: Place) -> None:
    """A delay or a hold gains nothing by another's memory; without an event nobody could say whether it was written."""
    plain = place.message("foreign.example")
    replace = msgspec.structs.replace
    later = replace(plain, deliveries=tuple(replace(each, due=each.due + 60) for each in plain.deliveries))
    held = replace(plain, deliveries=tuple(replace(each, held=True) for each in plain.deliveries))
    for message in (later, held, replace(plain, events=())):
        place.accept(message)
    assert place.handover.given == []
    assert place.outcomes == [None, None, None]


def test_what_goes_by_no_line_is_written_here_and_its_owner_hinted(place: Place) -> None:
    place.handover.takes = False
    message = place.message("foreign.example")
    place.accept(message)
    assert (place.outcomes, place.written) == ([None], {message.id})
    assert place.hints.sent == [("2", FOREIGN)]


def test_what_the_owner_declines_is_written_here(place: Place) -> None:
    message = place.message("foreign.example")
    place.accept(message)
    place.handover.given[0][2](Word.DECLINED)
    place.world.pass_time(0.01)
    assert (place.outcomes, place.written) == ([None], {message.id})


@pytest.mark.parametrize(
    ("word", "error"), [(Word.FULL, SpoolFull), (Word.FAILED, SpoolError), (Word.UNSURE, SpoolError)]
)
def test_what_the_owner_cannot_write_is_refused_for_now(place: Place, word: Word, error: type[SpoolError]) -> None:
    """A full disk is everybody's: 452 and 451, as if it had been written here."""
    place.accept(place.message("foreign.example"))
    place.handover.given[0][2](word)
    place.world.pass_time(0.01)
    assert [type(each) for each in place.outcomes] == [error]
    assert place.written == set()


def test_of_a_lost_message_the_spool_knows_whether_it_is_there(place: Place) -> None:
    """Q1, Q2: an owner died. What it had written is acknowledged and not written again; what it had not is written."""
    there, missing = place.message("foreign.example"), place.message("foreign.example")
    place.accept(there)
    place.accept(missing)
    place.world.store.accepted.add(there.id)
    for _, _, told in place.handover.given:
        told(Word.LOST)
    place.world.pass_time(0.01)
    assert place.outcomes == [None, None]
    assert place.world.store.messages.keys() == {missing.id}


def test_where_the_spool_cannot_say_it_is_refused_for_now(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    async def kept(message: MessageId) -> bool:
        raise SpoolError("the log is suspect")

    monkeypatch.setattr(place.world.store, "kept", kept)
    place.accept(place.message("foreign.example"))
    place.handover.given[0][2](Word.LOST)
    place.world.pass_time(0.01)
    assert [type(each) for each in place.outcomes] == [SpoolError]
    assert place.written == set()


def test_what_another_worker_hands_over_is_written_and_sent_from_memory(place: Place) -> None:
    """The owner decides what it sends at once, not who took the message in; the word comes with the commit."""
    message = place.message("own.example")
    unclaimed = tuple(msgspec.structs.replace(each, claim=False) for each in message.deliveries)
    words: list[Word] = []
    place.intake.keep(msgspec.structs.replace(message, deliveries=unclaimed), words.append)
    assert words == []
    place.world.pass_time(0.01)
    assert words == [Word.KEPT]
    place.world.pass_time(1)
    assert place.world.store.loads == []
    assert [each.message for each in place.world.store.completions] == [message.id]


def test_what_is_not_ours_is_declined_unwritten(place: Place) -> None:
    words: list[Word] = []
    for domains in (("foreign.example",), ("own.example", "foreign.example")):
        place.intake.keep(place.message(*domains), words.append)
    place.world.pass_time(0.01)
    assert words == [Word.DECLINED, Word.DECLINED]
    assert place.written == set()


def test_a_worker_without_memory_declines(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place.world.store, "full", lambda: True)
    words: list[Word] = []
    place.intake.keep(place.message("own.example"), words.append)
    assert words == [Word.DECLINED]


def test_while_we_send_nothing_it_waits_in_the_spool(place: Place) -> None:
    place.world.scheduler.pause()
    words: list[Word] = []
    place.intake.keep(place.message("own.example"), words.append)
    place.world.pass_time(0.01)
    assert words == [Word.WAITS]
    place.world.scheduler.resume()


@pytest.mark.parametrize(("error", "word"), [(SpoolFull("no room"), Word.FULL), (SpoolError("disk"), Word.FAILED)])
def test_what_we_cannot_write_for_another_is_said(
    place: Place, monkeypatch: pytest.MonkeyPatch, error: SpoolError, word: Word
) -> None:
    monkeypatch.setattr(
        place.world.store, "accept", lambda message, done, begun: place.world.loop.call_soon(done, error, ())
    )
    words: list[Word] = []
    place.intake.keep(place.message("own.example"), words.append)
    place.world.pass_time(0.01)
    assert words == [word]


# Beside a slow disk: mail is sent while it is made durable, and whoever knows first that it is kept decides (runtime/cut_through.py)

SYNC, REPLY = 1.0, 0.1


@pytest.fixture
def slow(place: Place) -> Place:
    """A disk that needs a second for a sync, and receivers that answer after a tenth of one."""
    place.world.store.sync = SYNC
    for name in ("own.example", "foreign.example"):
        place.world.site(name).reply = REPLY
    return place


def test_the_receivers_word_is_as_good_as_the_disks(slow: Place) -> None:
    """Q1: delivered. Nothing is said before either, and once."""
    slow.accept(slow.message("own.example"))
    assert slow.world.site("own.example").delivered == slow.outcomes == []
    slow.world.pass_time(2 * REPLY)
    assert len(slow.world.site("own.example").delivered) == 1
    assert slow.outcomes == [None]
    slow.world.pass_time(2 * SYNC)
    assert slow.outcomes == [None]
    assert slow.world.kinds() == ["delivery.delivered"]
    assert len(slow.world.site("own.example").delivered) == 1


@pytest.mark.parametrize("outcome", [DEFERRED, FAILED])
def test_what_was_not_delivered_waits_for_the_disk(slow: Place, outcome: Outcome) -> None:
    """Q1: a receiver's no keeps nothing; nor does the notice of it before it is durable."""
    slow.world.site("own.example").outcome = lambda recipient: outcome
    slow.accept(slow.message("own.example"))
    slow.world.pass_time(SYNC / 2)
    assert len(slow.world.site("own.example").attempts) == 1
    assert slow.outcomes == []
    slow.world.pass_time(SYNC)
    assert slow.outcomes == [None]


def test_a_failure_that_nobody_is_told_of_waits_for_the_disk(slow: Place) -> None:
    """A report that is refused leaves nothing behind: no delivery, no notice. That is not kept."""
    slow.world.site("own.example").outcome = lambda recipient: FAILED
    slow.accept(msgspec.structs.replace(slow.message("own.example"), reverse_path=None))
    slow.world.pass_time(SYNC / 2)
    assert slow.world.reporter.reports == slow.outcomes == []
    slow.world.pass_time(SYNC)
    assert slow.outcomes == [None]


def test_a_notice_of_success_is_durable_before_the_answer(slow: Place) -> None:
    """RFC 3461: we owe it as soon as the mail is ours."""
    message = slow.message("own.example")
    (delivery,) = message.deliveries
    asking = tuple(msgspec.structs.replace(each, notify=Notify.SUCCESS) for each in delivery.recipients)
    slow.world.site("own.example").outcome = lambda recipient: msgspec.structs.replace(DELIVERED, action=Action.RELAYED)
    slow.accept(msgspec.structs.replace(message, deliveries=(msgspec.structs.replace(delivery, recipients=asking),)))
    slow.world.pass_time(SYNC / 2)
    assert len(slow.world.reporter.notices) == 1
    assert slow.outcomes == []
    slow.world.pass_time(SYNC)
    assert slow.outcomes == [None]


def test_all_recipients_must_have_it(slow: Place) -> None:
    """One of two receivers is late: the answer waits for it, and comes before the sync."""
    slow.world.scheduler.set_shards(frozenset({shard_of(OWN), shard_of(FOREIGN)}))
    slow.world.site("foreign.example").reply = 4 * REPLY
    slow.accept(slow.message("own.example", "foreign.example"))
    slow.world.pass_time(2 * REPLY)
    assert slow.outcomes == []
    slow.world.pass_time(3 * REPLY)
    assert slow.outcomes == [None]


def test_pieces_of_what_was_put_off_do_not_count_as_the_whole(slow: Place) -> None:
    """Two recipients of one delivery are put off until different times, and are two then: the other receiver's yes is not theirs."""
    slow.world.store.sync = 10_000.0
    slow.world.scheduler.set_shards(frozenset({shard_of(OWN), shard_of(FOREIGN)}))
    late = [DEFERRED, msgspec.structs.replace(DEFERRED, code=452)]
    slow.world.site("own.example").outcome = lambda recipient: late.pop() if late else DELIVERED
    slow.world.site("foreign.example").reply = 9000.0
    message = slow.message("own.example", "foreign.example")
    first, second = message.deliveries
    first = msgspec.structs.replace(first, recipients=first.recipients * 2)
    slow.accept(msgspec.structs.replace(message, deliveries=(first, second)))
    slow.world.pass_time(8000)
    assert len(slow.world.site("own.example").delivered) == 2
    assert slow.outcomes == []


def test_a_message_that_another_worker_sends_in_part_waits_for_the_disk(slow: Place) -> None:
    """Nobody here would hear of that part's end."""
    slow.accept(slow.message("own.example", "foreign.example"))
    slow.world.pass_time(SYNC / 2)
    assert slow.outcomes == slow.world.site("own.example").attempts == []
    slow.world.pass_time(SYNC)
    assert slow.outcomes == [None]
    assert len(slow.world.site("own.example").delivered) == 1
    assert slow.hints.sent == [("2", FOREIGN)]


def test_a_failed_sync_refuses_and_nothing_unstarted_goes_out(slow: Place) -> None:
    """Promise of STO-04: nothing is falsely acknowledged. What is taken back is not sent either, as far as it has not begun."""
    slow.world.store.failing = SpoolError("disk")
    slow.world.site("own.example").connect = 2 * SYNC
    slow.accept(slow.message("own.example"))
    slow.world.pass_time(1.5 * SYNC)
    assert [type(each) for each in slow.outcomes] == [SpoolError]
    slow.world.pass_time(10 * SYNC)
    assert slow.world.site("own.example").attempts == []
    assert slow.world.scheduler.status().deliveries == 0
    assert slow.world.kinds("message.") == []


def test_what_is_being_sent_when_the_sync_fails_is_refused_and_no_longer_answered(slow: Place) -> None:
    """A duplicate, never a loss: its client tries again, and is not told yes by a connection that is closed."""
    slow.world.store.failing = SpoolError("disk")
    slow.world.site("own.example").reply = 2 * SYNC
    slow.accept(slow.message("own.example"))
    slow.world.pass_time(10 * SYNC)
    assert [type(each) for each in slow.outcomes] == [SpoolError]
    assert len(slow.world.site("own.example").delivered) == 1
    assert slow.world.kinds() == ["delivery.stale"]


def test_what_was_answered_when_the_sync_fails_stays_answered_and_is_told_of(slow: Place) -> None:
    """It is with its receiver; only our record of it is lost, and the log says so."""
    slow.world.store.failing = SpoolError("disk")
    message = slow.message("own.example")
    slow.accept(message)
    slow.world.pass_time(2 * SYNC)
    assert slow.outcomes == [None]
    assert ("message.unrecorded", {"message": message.id.hex(), "error": "disk"}) in slow.world.emitted


def test_an_operator_may_want_the_disks_word_alone(slow: Place) -> None:
    """spool.cut_through = false: nothing is sent before it is durable."""
    slow.world.cut_through.enabled = False
    slow.accept(slow.message("own.example"))
    slow.world.pass_time(SYNC / 2)
    assert slow.outcomes == slow.world.site("own.example").attempts == []
    slow.world.pass_time(SYNC)
    assert slow.outcomes == [None]


def test_of_another_workers_mail_its_receivers_word_is_enough(slow: Place) -> None:
    slow.accept(slow.message("foreign.example"))
    slow.handover.given[0][2](Word.TAKEN)
    assert slow.outcomes == [None]


def test_what_was_handed_over_is_answered_as_early(slow: Place) -> None:
    words: list[Word] = []
    slow.intake.keep(slow.message("own.example"), words.append)
    slow.world.pass_time(2 * REPLY)
    assert words == [Word.TAKEN]
    slow.world.pass_time(2 * SYNC)
    assert words == [Word.TAKEN]
