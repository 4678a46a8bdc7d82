"""What verdicts mean: PLUGINS, "Verdicts"."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable

import pytest

from upesi.hooks.chain import Chain
from upesi.hooks.denial import Denial
from upesi.hooks.registry import Hooks
from upesi.hooks.session import NULL_SENDER, TransactionRecipient
from upesi.hooks.verdict import Verdict, VerdictKind, accept, defer, reject
from upesi.mail.address import Address
from upesi.mail.route import DiscardRoute, HostRoute
from upesi.testkit import run_virtual

from .hookkit import Bench, answering, answering_later

Answering = Callable[[object], Callable[..., object]]
BOTH = pytest.mark.parametrize("answer_with", [answering, answering_later], ids=["inline", "asynchronous"])


def finish(answer: object) -> object:
    """The value of a run, awaited where it must be."""
    if not isinstance(answer, Awaitable):
        return answer

    async def main() -> object:
        return await answer

    return run_virtual(main())


def never(*arguments: object) -> None:
    raise AssertionError("this hook must not be called")


def test_an_empty_chain_says_that_there_is_nothing_to_do():
    """`chain.hooks` is empty, so that the session need not call it."""
    assert Hooks.EMPTY.rcpt.hooks == ()
    bench = Bench()
    assert Hooks.EMPTY.rcpt.run(bench.session, bench.tx, None) is None


@BOTH
def test_none_has_no_opinion_and_the_chain_goes_on(answer_with: Answering):
    """None: the next hook is asked."""
    bench = Bench()
    hooks = bench.hooks(bench.hook("mail", answer_with(None)), bench.hook("mail", answer_with(accept()), "two"))
    assert finish(hooks.mail.run(bench.session, bench.tx, None)) == accept()


@BOTH
@pytest.mark.parametrize("verdict", [reject("5.7.1", "No"), defer("4.7.1", "Later")])
def test_a_refusal_ends_the_chain(answer_with: Answering, verdict: Verdict):
    """reject and defer end the chain of this hook; the verdict names its plugin."""
    bench = Bench()
    hooks = bench.hooks(bench.hook("mail", answer_with(verdict), "strict"), bench.hook("mail", never, "two"))
    given = finish(hooks.mail.run(bench.session, bench.tx, None))
    assert isinstance(given, Verdict)
    assert (given.kind, given.reply, given.plugin) == (verdict.kind, verdict.reply, "strict")


@BOTH
def test_accept_is_a_vote_and_a_later_refusal_counts(answer_with: Answering):
    """A recipient list's yes does not silence the greylist behind it."""
    bench = Bench()
    hooks = bench.hooks(
        bench.hook("rcpt", answer_with(accept()), "list"), bench.hook("rcpt", answer_with(defer()), "greylist")
    )
    given = finish(hooks.rcpt.run(bench.session, bench.tx, None))
    assert isinstance(given, Verdict)
    assert given.kind is VerdictKind.DEFER


@BOTH
def test_a_vote_is_remembered_to_the_end(answer_with: Answering):
    """accept() of one plugin stands where the others have no opinion."""
    bench = Bench()
    hooks = bench.hooks(bench.hook("rcpt", answer_with(accept())), bench.hook("rcpt", answer_with(None), "two"))
    assert finish(hooks.rcpt.run(bench.session, bench.tx, None)) == accept()


@BOTH
def test_a_final_accept_that_is_not_allowed_is_a_vote(answer_with: Answering):
    """accept(final=True) ends the chain only for plugins that the configuration allows to."""
    bench = Bench()
    hooks = bench.hooks(
        bench.hook("message", answer_with(accept(final=True))), bench.hook("message", answer_with(reject()), "scanner")
    )
    given = finish(hooks.message.run(bench.session, bench.tx))
    assert isinstance(given, Verdict)
    assert given.kind is VerdictKind.REJECT


@BOTH
def test_behind_a_final_accept_only_mandatory_plugins_run(answer_with: Answering):
    """A plugin marked mandatory (a virus scanner) runs even after a final accept, and its word counts."""
    bench = Bench()
    scanner = bench.hook("message", answer_with(reject("5.7.1", "Virus")), "scanner", mandatory=True)
    final = bench.hook("message", answer_with(accept(final=True)), "friends", final=True)
    skipped = bench.hook("message", never, "optional")
    given = finish(bench.hooks(final, skipped, scanner).message.run(bench.session, bench.tx))
    assert isinstance(given, Verdict)
    assert given.plugin == "scanner"
    assert finish(bench.hooks(final, skipped).message.run(bench.session, bench.tx)) == accept(final=True)


@BOTH
def test_denied_overrides_and_the_remaining_plugins_still_run(answer_with: Answering):
    """accept() in `denied` takes back a refusal; the rest of the interrupted hook runs."""
    bench = Bench()
    told: list[Denial] = []

    def exempt(session: object, denial: Denial) -> object:
        told.append(denial)
        return answer_with(accept())()

    hooks = bench.hooks(
        bench.hook("mail", answer_with(reject("5.7.1", "No")), "strict"),
        bench.hook("mail", answer_with(defer("4.7.1", "Later")), "greylist"),
        bench.hook("denied", exempt, "karma"),
    )
    sender = Address("a", "example.com")
    assert finish(hooks.mail.run(bench.session, bench.tx, sender)) is None
    assert [(d.point, d.verdict.plugin, d.arguments, d.transaction) for d in told] == [
        ("mail", "strict", (sender,), bench.tx),
        ("mail", "greylist", (sender,), bench.tx),
    ]


@BOTH
def test_an_overridden_refusal_is_not_a_vote(answer_with: Answering):
    """An exemption opens no relay: a recipient that nobody voted for stays without a vote."""
    bench = Bench()
    hooks = bench.hooks(bench.hook("rcpt", answer_with(reject())), bench.hook("denied", answer_with(accept()), "karma"))
    assert finish(hooks.rcpt.run(bench.session, bench.tx, None)) is None


@BOTH
def test_denied_without_an_opinion_lets_the_refusal_stand(answer_with: Answering):
    """None in `denied` changes nothing."""
    bench = Bench()
    hooks = bench.hooks(bench.hook("data", answer_with(reject())), bench.hook("denied", answer_with(None), "karma"))
    given = finish(hooks.data.run(bench.session, bench.tx))
    assert isinstance(given, Verdict)
    assert given.kind is VerdictKind.REJECT


def test_an_exemption_that_fails_defers():
    """A refusal that a broken exemption might have taken back is not made final."""
    bench = Bench()
    hooks = bench.hooks(bench.hook("data", answering(reject())), bench.hook("denied", answering(1 / 3), "karma"))
    given = hooks.data.run(bench.session, bench.tx)
    assert isinstance(given, Verdict)
    assert (given.kind, given.plugin) == (VerdictKind.DEFER, "karma")


def test_no_exemption_turns_a_failure_into_acceptance():
    """A scanner's outage is nobody's refusal: `denied` is not asked, and there is no 250 by accident."""
    bench = Bench()

    def broken(tx: object) -> None:
        raise OSError("scanner is gone")

    hooks = bench.hooks(bench.hook("message", broken, "scanner"), bench.hook("denied", never, "karma"))
    given = hooks.message.run(bench.session, bench.tx)
    assert isinstance(given, Verdict)
    assert str(given.reply) == "451 4.3.0 Temporary failure, please try again later"


@BOTH
def test_the_first_route_counts(answer_with: Answering):
    """A value that is no verdict ends the chain."""
    bench = Bench()
    hooks = bench.hooks(
        bench.hook("route", answer_with(None)),
        bench.hook("route", answer_with(HostRoute("a.example")), "two"),
        bench.hook("route", answer_with(DiscardRoute()), "three"),
    )
    assert finish(hooks.route.run(bench.session, bench.tx, None)) == HostRoute("a.example")


def test_a_chain_without_asynchronous_hooks_returns_values():
    """No task and no coroutine is made where nothing waits: there is no event loop here to make one on."""
    bench = Bench()
    answers: list[object] = [None, accept(), reject(), defer()]
    for answer in answers:
        chain: Chain[Verdict] = bench.hooks(bench.hook("mail", answering(answer))).mail
        assert not inspect.isawaitable(chain.run(bench.session, bench.tx, None))


def test_hooks_get_what_their_point_promises():
    """The session or the transaction comes first, then the point's own arguments; delivery points have no session."""
    bench = Bench()
    seen: list[tuple[object, ...]] = []
    names = ("connect", "helo", "mail", "rcpt", "command", "reset", "resolve")
    hooks = bench.hooks(*(bench.hook(name, lambda *arguments: seen.append(arguments)) for name in names))
    recipient = TransactionRecipient(Address("a", "example.com"))
    hooks.connect.run(bench.session, None)
    hooks.helo.run(bench.session, None, "client.example")
    hooks.mail.run(bench.session, bench.tx, Address("b", "example.com"))
    hooks.rcpt.run(bench.session, bench.tx, recipient)
    hooks.command.run(bench.session, bench.tx, "XFOO", "bar")
    hooks.reset.run(bench.session, bench.tx)
    hooks.resolve.call("example.com")
    assert seen == [
        (bench.session,),
        (bench.session, "client.example"),
        (bench.tx, Address("b", "example.com")),
        (bench.tx, recipient),
        (bench.session, "XFOO", "bar"),
        (bench.tx,),
        ("example.com",),
    ]


def test_the_null_sender_has_an_empty_domain():
    """A five-line plugin that looks at `sender.domain` does not defer every bounce."""
    bench = Bench()
    seen: list[object] = []
    bench.hooks(bench.hook("mail", lambda tx, sender: seen.append(sender))).mail.run(bench.session, bench.tx, None)
    assert seen == [NULL_SENDER]
    assert NULL_SENDER.domain == ""


def test_the_rest_of_a_chain_follows_an_asynchronous_hook_in_order():
    """Plain hooks behind an asynchronous one wait for it."""
    bench = Bench()
    order: list[int] = []

    async def second(tx: object) -> None:
        order.append(2)

    hooks = bench.hooks(
        bench.hook("data", lambda tx: order.append(1)),
        bench.hook("data", second, "two"),
        bench.hook("data", lambda tx: order.append(3), "three"),
    )
    running = hooks.data.run(bench.session, bench.tx)
    assert order == [1]
    assert finish(running) is None
    assert order == [1, 2, 3]
