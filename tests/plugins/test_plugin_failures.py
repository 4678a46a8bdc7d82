"""No failure of a plugin, of any kind, at any hook, yields a 250 that was not asked for, or a session that hangs (PLG-01, PLG-02)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest
from failures import CANCELS_EVERYBODY, FAILURES, Function, Liar
from tests.unit.session.authkit import AuthDialogue, authenticator

from upesi.delivery.policies import TlsPolicies
from upesi.hooks.guard import Guard
from upesi.hooks.hook import Hook
from upesi.hooks.points import POINTS
from upesi.hooks.registry import Hooks
from upesi.hooks.session import Session, Transaction, TransactionRecipient
from upesi.hooks.verdict import accept, reject
from upesi.mail.address import Address
from upesi.mail.body import MemoryBody
from upesi.mail.envelope import Recipient, Transmission
from upesi.mail.ids import MessageId
from upesi.mail.outcome import Outcome, OutcomeKind
from upesi.mail.route import MxRoute, Route
from upesi.runtime.delivery_hooks import delivery_hooks, hooked_router
from upesi.scheduler.hooks import Postpone
from upesi.scheduler.work import Destination, Host, Unroutable
from upesi.spool.records import Delivery, DeliveryState, StoredMessage
from upesi.testkit import message, run_virtual
from upesi.testkit.client import ScriptedClient

# what the client says until the message is in, and at which answer the failure of a point shows
SCRIPT = (
    ("connect", "greeting"),
    ("helo", "EHLO client.example"),
    ("command", "XPLUGIN what"),
    ("mail", "MAIL FROM:<a@example.com>"),
    ("rcpt", "RCPT TO:<b@example.org>"),
    ("data", "DATA"),
    ("message", "content"),
)
SHOWS = {"capabilities": "helo", "route": "rcpt", "denied": "mail"}
IN_SESSION = [
    name
    for name in POINTS
    if name not in ("start", "stop", "auth", "attempt", "resolve", "delivered", "deferred", "bounced")
]


class Run:
    """One session of a client that goes on whatever it is answered, with one plugin that fails, and one that votes."""

    def __init__(self, point: str, function: Function, *, defers: bool = True) -> None:
        self.point = point
        self.events: list[tuple[str, dict[str, object]]] = []
        self.answers: dict[str, str] = {}
        failing = Guard("failing", lambda: 0.0, self._emit)
        other = Guard("other", lambda: 0.0, self._emit)
        self.guard = failing
        hooks = [
            Hook(POINTS[point], failing, function, defers=defers),
            Hook(POINTS["rcpt"], other, lambda *_: accept()),
        ]
        if point == "denied":
            hooks.append(Hook(POINTS["mail"], other, lambda *_: reject("5.7.1", "No")))
        self.hooks = Hooks(hooks)
        self.accepted = 0
        self.closed = False

    def _emit(self, event: str, fields: dict[str, object]) -> None:
        self.events.append((event, fields))

    async def play(self) -> Run:
        task = asyncio.current_task()
        assert task is not None
        task.set_name("test")
        client = ScriptedClient(hooks=self.hooks)
        for point, line in SCRIPT:
            if line == "greeting":
                answers = [await client.greeting()]
            elif line == "content":
                if not self.answers["data"].startswith("354") or client.over:
                    break
                answers = await client.content(message())
            else:
                answers = await client.say(line)
            self.answers[point] = answers[0] if answers else "closed"
        if not client.over:
            assert (await client.say("RSET"))[0].startswith("250")
            assert (await client.say("QUIT"))[0].startswith("221")
        self.closed = client.over
        self.accepted = len(client.accepted)
        await client.hang_up()
        # what resists its cancellation ends at last, and leaves nothing behind that the loop complains about
        await asyncio.sleep(500)
        return self


def played(point: str, function: Function, *, defers: bool = True) -> Run:
    complaints: list[dict[str, object]] = []

    async def main() -> Run:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
        return await Run(point, function, defers=defers).play()

    run = run_virtual(main())
    assert complaints == []
    return run


@pytest.mark.parametrize("point", IN_SESSION)
def test_every_failure_at_every_point_is_told_as_trouble(point: str) -> None:
    """PLG-01, PLG-02: 451 where somebody waits for an answer; elsewhere the mail goes on. The session goes on."""
    for kind, function in FAILURES.items():
        run = played(point, function)
        where = f"{point}: {kind}"
        assert run.guard.failures, where
        assert run.closed, where
        if POINTS[point].defers:
            shown = run.answers[SHOWS.get(point, point)]
            # before the greeting a 4xx is said as 421: there is no session to go on with
            assert shown.startswith("421 4.3.0" if point == "connect" else "451 4.3.0"), (where, shown)
            # an unknown command brings no mail nearer, everything else keeps it out
            assert run.accepted == (point == "command"), where
        else:
            assert run.answers["message"].startswith("250"), where
            assert run.accepted == 1, where


@pytest.mark.parametrize("point", IN_SESSION)
def test_a_plugin_that_asked_for_it_is_passed_over_at_every_point(point: str) -> None:
    """on_error = "continue": the mail goes as if the plugin were not there."""
    for kind, function in FAILURES.items():
        run = played(point, function, defers=False)
        assert run.guard.failures, (point, kind)
        assert run.closed, (point, kind)
        if point == "denied":
            assert run.answers["mail"].startswith("550"), kind
        else:
            assert run.accepted == 1, (point, kind, run.answers)


@pytest.mark.parametrize("point", ["connect", "mail", "rcpt", "message", "denied", "queued"])
def test_a_plugin_that_cancels_all_tasks_gets_no_250(point: str) -> None:
    """PLG-02: whoever waits for the hook is cancelled with it: the session ends with a 421, or goes on without the plugin."""
    run = played(point, CANCELS_EVERYBODY)
    assert run.closed
    assert run.accepted == (point == "queued")


def _break_recipients(tx: Transaction) -> None:
    tx.recipients = None  # type: ignore[assignment]


def _break_recipient(tx: Transaction) -> None:
    tx.recipients.append("b@example.org")  # type: ignore[arg-type]


def _break_delay(tx: Transaction) -> None:
    tx.session.delay = "slowly"  # type: ignore[assignment]


def _break_verdict(tx: Transaction) -> None:
    tx.recipients[0].verdict = "250"  # type: ignore[assignment]


def _break_route(tx: Transaction) -> None:
    tx.recipients[0].route = "mx:example.org"  # type: ignore[assignment]


def _break_body(tx: Transaction) -> None:
    tx.body = b"all of it"  # type: ignore[assignment]


@pytest.mark.parametrize(
    "spoil",
    [_break_recipients, _break_recipient, _break_verdict, _break_route, _break_body],
)
@pytest.mark.parametrize("later", [False, True])
def test_a_spoiled_transaction_is_never_acknowledged(spoil: Callable[[Transaction], None], later: bool) -> None:
    """PLG-02: what a plugin puts in the place of recipients, routes and bodies ends in a 4xx, never in a 250 or silence."""

    def plain(tx: Transaction) -> None:
        spoil(tx)

    async def asynchronous(tx: Transaction) -> None:
        await asyncio.sleep(0.1)
        spoil(tx)

    run = played("message", asynchronous if later else plain)
    assert run.closed
    assert run.answers["message"][:1] in ("4", "c"), run.answers
    assert run.accepted == 0


def test_a_delay_that_is_none_ends_the_session_and_nothing_else() -> None:
    """PLG-02: `session.delay` is the plugin's to set; junk in it is a 421 and not a session that hangs."""
    run = played("data", lambda tx: _break_delay(tx))
    assert run.closed
    assert run.accepted == 0


@pytest.mark.parametrize("junk", [[None], [5], ["SIZE 1\r\n250 INJECTED"], ["x" * 5000]])
def test_keywords_that_are_none_are_no_answer(junk: list[object]) -> None:
    """PLG-06: what `capabilities` hooks leave in the list is cleaned, or ends the session; it never becomes a line of its own."""

    def capabilities(session: Session, keywords: list[object]) -> None:
        keywords.extend(junk)

    class Silent(Run):
        async def play(self) -> Run:
            client = ScriptedClient(hooks=self.hooks)
            await client.greeting()
            client.send(b"EHLO client.example\r\nQUIT\r\n")
            await asyncio.sleep(1)
            lines = bytes(client._wire.written).split(b"\r\n")
            assert not any(line.startswith(b"250 INJECTED") for line in lines)
            assert all(len(line) <= 512 for line in lines)
            self.closed = client.over
            return self

    async def main() -> Run:
        return await Silent("capabilities", capabilities).play()

    assert run_virtual(main()).closed


def test_hooks_get_what_the_handbook_promises() -> None:
    """The arguments of each point of a session have their types, in a whole session."""
    seen: dict[str, tuple[type, ...]] = {}
    hooks = []
    for name in IN_SESSION:

        def hook(*arguments: object, name: str = name) -> object:
            seen.setdefault(name, tuple(type(argument) for argument in arguments))
            return (
                accept() if name == "rcpt" else reject("5.7.1", "No") if name == "mail" and "rcpt" not in seen else None
            )

        hooks.append(Hook(POINTS[name], Guard(name, lambda: 0.0, lambda event, fields: None), hook))

    async def main() -> None:
        client = ScriptedClient(hooks=Hooks(hooks))
        await client.greeting()
        await client.say("EHLO c.example", "XPLUGIN", "MAIL FROM:<x@example.com>")
        # the first sender is refused, so that `denied` is asked
        seen["rcpt"] = seen.get("rcpt", ())
        await client.say("MAIL FROM:<a@example.com>")
        seen.pop("rcpt")
        await client.say("RCPT TO:<b@example.org>", "DATA")
        await client.content(message())
        await client.say("QUIT")
        await client.hang_up()

    run_virtual(main())
    tx, session = (Transaction,), (Session,)
    assert seen == {
        "connect": session,
        "helo": (Session, str),
        "capabilities": (Session, list),
        "command": (Session, str, str),
        "mail": (Transaction, Address),
        "rcpt": (Transaction, TransactionRecipient),
        "route": (Transaction, TransactionRecipient),
        "data": tx,
        "message": tx,
        "queued": tx,
        "denied": (Session, seen["denied"][1]),
        "reset": tx,
        "disconnect": session,
    }
    assert seen["denied"][1].__name__ == "Denial"


async def test_credentials_of_a_failing_plugin_let_nobody_in() -> None:
    """PLG-01 at `auth`: a plugin that fails is no yes, whatever it fails with."""
    for kind, function in FAILURES.items():
        if kind in (
            "hangs",
            "swallows",
            "accepts when cancelled",
            "raises when cancelled",
            "cancels itself",
            "own timeout",
        ):
            # these take their time, and this loop has the real one
            continue
        talk = AuthDialogue(auth=authenticator(plugins=True), auth_=function)
        talk.hello()
        said = await talk.login()
        assert said, kind
        assert not said[-1].startswith("2"), (kind, said)
        assert talk.engine.session.identity is None, kind


_STORED = StoredMessage(MessageId(bytes(16)), 0.0, None, Transmission(), b"", MemoryBody(b""), {}, {})
_TO = Recipient(Address.parse("b@example.org"))
_DELIVERY = Delivery(1, _STORED.id, "mx:x", DeliveryState.ACTIVE, MxRoute("example.org"), (_TO,), 0.0, 0.0, 1e6)
_OUTCOME = Outcome(OutcomeKind.DEFERRED, 451, "4.3.0", "later", "mx")


@pytest.mark.parametrize("defers", [True, False])
@pytest.mark.parametrize("point", ["attempt", "delivered", "deferred", "bounced"])
def test_every_failure_in_delivery_is_later_or_nothing(point: str, defers: bool) -> None:
    """PLG-01: `attempt` that fails postpones, or is passed over; what hears of an outcome changes nothing."""
    for kind, function in FAILURES.items():
        guard = Guard("failing", lambda: 0.0, lambda event, fields: None)

        async def ask(function: Function = function, guard: Guard = guard) -> object:
            made = delivery_hooks(Hooks([Hook(POINTS[point], guard, function, defers=defers)]))
            assert made is not None
            call = getattr(made, point)
            answer = call(_STORED, _DELIVERY) if point == "attempt" else call(_STORED, _TO, _OUTCOME)
            answer = await answer if asyncio.iscoroutine(answer) else answer
            await asyncio.sleep(500)
            return answer

        answer = run_virtual(ask())
        assert guard.failures, kind
        if point == "attempt":
            assert isinstance(answer, Postpone) if defers else answer is None, kind
        else:
            assert not answer, kind


class _BadList(list):  # type: ignore[type-arg]
    """Fails when it is read."""

    def __iter__(self) -> Iterator[object]:
        raise SystemExit

    __getitem__ = __len__ = __iter__  # type: ignore[assignment]


class _Router:
    """Everything is one site."""

    def site(self, route: Route) -> str | None:
        return "mx:x"

    async def resolve(self, route: Route) -> Destination:
        return Destination("mx:x", route, (Host("mx.example.org"),))


def test_every_failure_to_resolve_is_later() -> None:
    """PLG-01: mail waits (4.3.0); a list that cannot be read, or of other things than hosts, is a failure too."""
    lists: dict[str, Function] = {"bad list": lambda domain: _BadList(), "a liar in it": lambda domain: [Liar()]}
    for function in (*FAILURES.values(), *lists.values()):
        guard = Guard("failing", lambda: 0.0, lambda event, fields: None)
        hooks = Hooks([Hook(POINTS["resolve"], guard, function)])

        async def ask(hooks: Hooks = hooks) -> None:
            router = hooked_router(_Router(), hooks, lambda event, fields: None, lambda: 0.0, TlsPolicies(), 10)
            with pytest.raises(Unroutable) as error:
                await router.resolve(MxRoute("example.org"))
            assert error.value.outcome.status == "4.3.0"
            await asyncio.sleep(500)

        run_virtual(ask())
