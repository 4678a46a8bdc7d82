"""What the tests of mechanisms share: circumstances that never change, and a driver that plays source and client."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from upesi.sasl.circumstances import Circumstances, Link
from upesi.sasl.credentials import Identity
from upesi.sasl.mechanisms import MECHANISMS
from upesi.sasl.steps import Answer, Challenge, Exchange, MechanismFailed, Question

ANNA = Identity("anna", ("anna@example.org", "@anna.example"))


def circumstances(nonce: str = "abcdefghijklmnopqrstuvwx", now: float = 1896.697170952, **link: Any) -> Circumstances:
    return Circumstances(Link(**{"secured": True, **link}), "postoffice.example.net", lambda: nonce, b"s" * 32, now)


class Play:
    """What happened in one exchange: challenges sent, questions asked, and the outcome."""

    def __init__(self) -> None:
        self.challenges: list[bytes] = []
        self.questions: list[Question] = []
        self.outcome: Identity | str = "unfinished"
        self.detail = ""


def play(
    mechanism: str,
    initial: bytes | None,
    responses: Iterable[bytes | Callable[[bytes], bytes]] = (),
    answer: Answer | Callable[[Question], Answer] = ANNA,
    here: Circumstances | None = None,
    *,
    whole: bool = True,
) -> Play:
    """Run an exchange: `responses` answer challenges in turn (or are made from them), `answer` every question.

    `whole` requires that the exchange lasted for all of them.
    """
    played = Play()
    rest = iter(responses)
    exchange = Exchange(mechanism, MECHANISMS[mechanism].begin(initial, here or circumstances()))
    try:
        step = exchange.begin()
        while not isinstance(step, Identity):
            if isinstance(step, Challenge):
                played.challenges.append(step.data)
                try:
                    response = next(rest)
                except StopIteration:
                    return played
                step = exchange.respond(response(step.data) if callable(response) else response)
            else:
                played.questions.append(step)
                step = exchange.answer(answer(step) if callable(answer) else answer)
        played.outcome = step
    except MechanismFailed as failed:
        played.outcome = failed.failure.value
        played.detail = failed.detail
    assert not whole or not list(rest), "the exchange ended early"
    return played
