"""The hooks of one point, run in order until one ends them.

A chain in which nothing waits runs inside the caller and returns a value: no await. The first hook that waits for something
moves the rest into a coroutine. Both ways share one piece of logic, a generator that yields what must be awaited.
"""

from __future__ import annotations

from collections.abc import Awaitable, Generator, Iterator
from typing import Final, Generic, TypeAlias, TypeVar, cast

from upesi.hooks.begun import Begun
from upesi.hooks.denial import Denial
from upesi.hooks.hook import Hook, Running
from upesi.hooks.points import Point
from upesi.hooks.recipients import Signatures, named
from upesi.hooks.session import NULL_SENDER, Session, Transaction
from upesi.hooks.verdict import Verdict, VerdictKind, accept

__all__ = ["Answer", "Chain"]

A = TypeVar("A")
Answer: TypeAlias = A | Verdict | Awaitable[A | Verdict | None] | None

_VOTE: Final = accept()
_Awaited: TypeAlias = tuple[Hook, Running] | tuple[None, Begun]
_Steps = Generator[_Awaited, object, object]


class Chain(Generic[A]):
    """The hooks of `point` in order; `A` is what they may answer besides a verdict. `hooks` empty: there is nothing to run."""

    __slots__ = ("_denied", "_of_transaction", "_signs", "_votes", "hooks", "point")

    def __init__(self, point: Point, hooks: tuple[Hook, ...] = (), denied: Chain[Verdict] | None = None) -> None:
        self.point = point
        self.hooks = hooks
        self._denied = denied if denied is not None and denied.hooks else None
        self._of_transaction = point.arguments[:1] == ("tx",)
        self._votes = VerdictKind.ACCEPT in point.kinds
        # here verdicts may stand in the recipients too, and nothing else says whose they are
        self._signs = point.name == "message"

    def run(self, session: Session, tx: Transaction | None, /, *arguments: object) -> Answer[A]:
        """Run the hooks of one session's event; `arguments` are those of the point behind its session or tx.

        Returns the answer that ended the chain, else the accept that was voted, else None; or, if a hook waits for something, a coroutine
        (`Begun`) that returns it. Cancelling or closing the coroutine cancels the hook that runs.
        """
        first = tx if self._of_transaction else session
        if arguments and arguments[0] is None:
            # only MAIL's sender can be None; a five-line plugin that looks at its domain must not defer every bounce
            arguments = (NULL_SENDER, *arguments[1:])
        return self._run(session, tx, (first, *arguments))

    def call(self, *arguments: object) -> Answer[A]:
        """Run the hooks of a point that belongs to no session (delivery); otherwise as `run`."""
        return self._run(None, None, arguments)

    def _run(self, session: Session | None, tx: Transaction | None, arguments: tuple[object, ...]) -> Answer[A]:
        vote: Verdict | None = None
        rest = iter(self.hooks)
        votes = self._votes
        signed = Signatures(tx) if self._signs and tx is not None else None
        for hook in rest:
            # the same as `hook.call`, without its frame: a plain hook of a plugin in good health must cost next to nothing
            if hook.guard.troubled:
                answer = hook.call(arguments)
            else:
                try:
                    answer = hook.function(*arguments)
                except BaseException as error:
                    answer = hook.failed(error)
                else:
                    if signed is not None:
                        signed.sign(hook.guard.name)
                    if answer is None:
                        continue
                    if answer is _VOTE and votes:
                        vote = _VOTE
                        continue
                    answer = hook.begun(answer, arguments)
            if answer is None:
                continue
            steps = self._steps(session, tx, arguments, rest, hook, answer, vote, signed)
            try:
                waiting = next(steps)
            except StopIteration as end:
                return cast("Answer[A]", end.value)
            return cast("Answer[A]", _driven(steps, waiting))
        return vote

    def _steps(
        self,
        session: Session | None,
        tx: Transaction | None,
        arguments: tuple[object, ...],
        rest: Iterator[Hook],
        hook: Hook,
        answer: object,
        vote: Verdict | None,
        signed: Signatures | None,
    ) -> _Steps:
        """Judge `answer` of `hook` and run the rest: the whole meaning of verdicts is in this function."""
        final = False
        while True:
            if type(answer) is Running:
                answer = yield hook, answer
            if signed is not None:
                signed.sign(hook.guard.name)
            answer = hook.checked(answer)
            if type(answer) is Verdict:
                if answer.kind is VerdictKind.ACCEPT:
                    # at `auth`, a vote without a name must not take back one that has it
                    if vote is None or not vote.identity:
                        vote = answer
                    final = final or (answer.final and hook.final)
                elif answer is hook.on_error:
                    # nobody decided this: no exemption can turn a scanner's outage into a 250
                    return answer
                else:
                    answer = named(answer, hook.guard.name)
                    override = self._deny(session, tx, arguments, answer)
                    if type(override) is Begun:
                        override = yield None, override
                    if type(override) is not Verdict:
                        return answer
                    if override.kind is not VerdictKind.ACCEPT:
                        return (
                            override  # a failure of the exemption: 451 rather than a bounce that it might have spared
                        )
                    # overridden is not accepted: a relay stays closed until somebody votes
            elif answer is not None:
                return answer
            for hook in rest:
                if not final or hook.mandatory:
                    answer = hook.call(arguments)
                    if answer is not None:
                        break
                    if signed is not None:
                        signed.sign(hook.guard.name)
            else:
                return vote

    def _deny(
        self, session: Session | None, tx: Transaction | None, arguments: tuple[object, ...], verdict: Verdict
    ) -> object:
        if self._denied is None or session is None:
            return None
        return self._denied.run(session, tx, Denial(self.point.name, verdict, tx, arguments[1:]))


def _driven(steps: _Steps, waiting: _Awaited) -> Begun:
    driven = Begun(_drive(steps, waiting), contains=False)
    work = waiting[1]
    if type(work) is Begun or (type(work) is Running and work.task is not None):
        # begun here, so that whoever drops or cancels it before its first turn lets go of the hook too
        driven.step()
    return driven


async def _drive(steps: _Steps, waiting: _Awaited) -> object:
    try:
        while True:
            hook, work = waiting
            # which of the two forms it is
            answer = await (work if hook is None else hook.wait(cast("Running", work)))  # type: ignore[misc]
            waiting = steps.send(answer)
    except StopIteration as end:
        return end.value
