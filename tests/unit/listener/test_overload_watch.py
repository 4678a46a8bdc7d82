"""The overload mode of a worker, and the places of its sessions."""

from __future__ import annotations

import pytest
from sessionkit import Dialogue, SteppedLoop

from upesi.config.settings import OverloadSettings, SmtpSettings
from upesi.limits.memory import MemoryBudget
from upesi.listener.admission import Admission, places
from upesi.listener.overload import OverloadWatch


class World:
    """A watch whose measurements are set by hand."""

    def __init__(self) -> None:
        self.loop = SteppedLoop()
        self.talk = Dialogue()
        self.sessions = self.memory = self.lag = 0.0
        self.descriptors = (100, 10_000)
        self.events: list[tuple[str, dict[str, object]]] = []
        self.admission = Admission(1000)
        self.budget = MemoryBudget(1000)
        self.watch = OverloadWatch(
            self.loop,  # type: ignore[arg-type]
            OverloadSettings(),
            self.talk.context.settings,
            contexts=[self.talk.context],
            sessions=lambda: self.sessions,
            admission=self.admission,
            budget=self.budget,
            memory=lambda: self.memory,
            descriptors=lambda: self.descriptors,
            lag=lambda: self.lag,
            emit=lambda name, fields: self.events.append((name, fields)),
        )
        self.watch.start()


def test_the_terms_change_with_the_mode_and_back() -> None:
    """FLD-06: sessions of listeners for everybody read harder settings while it lasts; each change is an event."""
    world = World()
    usual = world.talk.context.settings
    world.sessions = 0.95
    world.loop.advance(1)
    assert world.talk.context.settings.timeouts.command == 10
    assert world.watch.cause == "sessions"
    world.sessions = 0.1
    world.loop.advance(9)
    assert world.watch.cause == "sessions"
    world.loop.advance(2)
    assert world.talk.context.settings is usual
    assert [name for name, _ in world.events] == ["overload.began", "overload.ended"]
    assert world.events[0][1]["cause"] == "sessions"
    assert world.events[0][1]["sessions"] == 0.95
    assert world.watch.began == 1


def test_a_loop_that_stays_late_is_overload() -> None:
    """Loop lag: whoever computes where everybody waits is met with harder terms too."""
    world = World()
    world.lag = 0.9
    world.loop.advance(3)
    assert world.watch.cause == "lag"


def test_used_up_memory_refuses_new_mail() -> None:
    """RES-03: at the memory that counts as all, MAIL is 452 4.3.1 before the kernel kills; below it mail is taken again."""
    world = World()
    world.memory = 1.01
    world.loop.advance(1)
    assert world.budget.full
    assert world.budget.spent
    world.memory = 0.5
    world.loop.advance(1)
    assert not world.budget.spent


def test_places_shrink_with_the_descriptors_that_are_left() -> None:
    """RES-01: there are no more places than descriptors that a client could be accepted with."""
    world = World()
    world.admission.sessions = 50
    world.descriptors = (9_900, 10_000)
    world.loop.advance(1)
    assert world.admission.most == 86
    world.descriptors = (10_000, 10_000)
    world.loop.advance(1)
    assert world.admission.most == 50
    assert not world.admission.enter(favoured=True)
    world.descriptors = (100, 10_000)
    world.loop.advance(1)
    assert world.admission.most == 1000


def test_the_watch_can_be_stopped() -> None:
    """A worker that ends looks no more."""
    world = World()
    world.watch.stop()
    world.sessions = 1
    world.loop.advance(5)
    assert world.events == []


def test_the_last_places_are_for_our_own() -> None:
    """FLD-10: strangers find no place while some are kept; who is known does, to the last."""
    admission = Admission(10, kept=2)
    assert [admission.enter(favoured=False) for _ in range(9)] == [True] * 8 + [False]
    assert [admission.enter(favoured=True) for _ in range(3)] == [True, True, False]
    admission.leave()
    assert not admission.enter(favoured=False)
    assert admission.enter(favoured=True)


@pytest.mark.parametrize(("descriptors", "taken", "most"), [(20_000, 30, 15_970), (1024, 30, 790), (64, 30, 1)])
def test_sessions_leave_descriptors_for_the_rest(descriptors: int, taken: int, most: int) -> None:
    """RES-01: the spool, DNS, deliveries and the log need some, whatever listeners are configured."""
    assert places(descriptors, taken) == most


def test_settings_of_a_context_can_be_read_by_everybody() -> None:
    """The settings in a context are those of its sessions from the next look on."""
    talk = Dialogue()
    talk.context.settings = SmtpSettings(max_recipients=1)
    talk.begin("a@example.net")
    assert talk.codes("RCPT TO:<b@example.net>") == ["452"]
