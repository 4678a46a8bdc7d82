"""How a pure check asks DNS: it is a generator that yields a `Question`, is sent the `Answer`, and returns what it found.

    def check(...) -> Asking[SpfOutcome]:
        answer = yield Question(domain, "TXT")

So the checks need no socket, no clock and no event loop, and a test is a table of answers. `upesi.hooks.asking` drives one with real DNS.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TypeVar

import msgspec

from upesi.mail.answers import Answer

__all__ = ["Asking", "Question", "answered_from"]

T = TypeVar("T")


class Question(msgspec.Struct, frozen=True, gc=False):
    """What to ask: `name` without a final dot, `kind` the record type in capitals ("TXT", "A", "AAAA", "MX", "PTR")."""

    name: str
    kind: str


Asking = Generator[Question, Answer, T]


def answered_from(asking: Asking[T], answers: Callable[[Question], Answer]) -> T:
    """Run a check to its end with answers that are at hand, and return what it found."""
    try:
        question = next(asking)
        while True:
            question = asking.send(answers(question))
    except StopIteration as end:
        found: T = end.value
        return found
