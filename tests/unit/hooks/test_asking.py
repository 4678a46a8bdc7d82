"""A check whose answers are in memory is over inside the call; one that must ask is awaited, and finds the same."""

from __future__ import annotations

from collections.abc import Awaitable

import pytest

from upesi.hooks.asking import answered, then
from upesi.hooks.declaration import may_wait
from upesi.mail.answers import Answer, Status
from upesi.mailauth.asking import Asking, Question
from upesi.testkit import FakeResolver
from upesi.testkit.loop import run_virtual


class Remembering(FakeResolver):
    """Has some answers in memory."""

    def __init__(self, *names: str) -> None:
        super().__init__({(name, "TXT"): [name] for name in ("a.example", "b.example", "c.example")})
        self._names = names

    def known(self, name: str, kind: str) -> Answer | None:
        return Answer(Status.OK, texts=(name,)) if name in self._names else None


def three() -> Asking[str]:
    """Ask three questions."""
    first = yield Question("a.example", "TXT")
    second = yield Question("b.example", "TXT")
    third = yield Question("c.example", "TXT")
    return " ".join((*first.texts, *second.texts, *third.texts))


def test_what_is_in_memory_is_judged_without_a_coroutine() -> None:
    """No event loop runs here: there is nothing to wait for."""
    dns = Remembering("a.example", "b.example", "c.example")
    assert then(dns, three(), str.upper) == "A.EXAMPLE B.EXAMPLE C.EXAMPLE"
    assert dns.asked == []


@pytest.mark.parametrize("missing", ["a.example", "b.example", "c.example"])
def test_what_is_not_in_memory_is_asked_and_judged_alike(missing: str) -> None:
    """Wherever the first answer is missing, the check goes on from there."""
    names = {"a.example", "b.example", "c.example"} - {missing}
    dns = Remembering(*names)

    async def main() -> str:
        judged = then(dns, three(), str.upper)
        assert isinstance(judged, Awaitable)
        return await judged

    assert run_virtual(main()) == "A.EXAMPLE B.EXAMPLE C.EXAMPLE"
    assert (missing, "TXT") in dns.asked


def test_a_check_that_is_awaited_asks_only_what_is_not_in_memory() -> None:
    """`answered` looks into the memory first too."""
    dns = Remembering("a.example", "c.example")
    assert run_virtual(answered(dns, three())) == "a.example b.example c.example"
    assert dns.asked == [("b.example", "TXT")]


def test_a_plain_function_that_may_return_an_awaitable_counts_as_asynchronous() -> None:
    """Its deadline is shown, and holds when it waits."""

    def sometimes(tx: object) -> str | Awaitable[str | None] | None: ...

    def never(tx: object) -> str | None: ...

    async def always(tx: object) -> None: ...

    assert [may_wait(function) for function in (sometimes, never, always)] == [True, False, True]
