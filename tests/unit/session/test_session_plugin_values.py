"""What plugins put into a transaction by hand: never a 250 for what cannot be stored, sent, or told as it was meant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sessionkit import Dialogue

from upesi.hooks.denial import Denial
from upesi.hooks.session import Session, Transaction, TransactionRecipient
from upesi.hooks.verdict import Verdict, VerdictKind, accept, reject
from upesi.mail.address import Address
from upesi.mail.reply import Reply
from upesi.mail.route import (
    DiscardRoute,
    HostRoute,
    HttpRoute,
    LmtpRoute,
    MaildirRoute,
    MxRoute,
    PipeRoute,
    QuarantineRoute,
    check_route,
)
from upesi.mail.tls import TlsLevel, TlsPolicy


def _spoil_note(tx: Transaction) -> None:
    tx.queued_notes["spam"] = "5.1"  # type: ignore[assignment]


def _spoil_sender(tx: Transaction) -> None:
    tx.reverse_path = "srs0=x@example.org"  # type: ignore[assignment]


def _inject_sender(tx: Transaction) -> None:
    tx.reverse_path = Address("a\r\nX-Evil: 1", "example.org")


def _spoil_id(tx: Transaction) -> None:
    tx.id = b"short"  # type: ignore[assignment]


def _drop_everybody(tx: Transaction) -> None:
    tx.recipients.clear()


def _take_the_message(tx: Transaction) -> None:
    tx.body = None


@pytest.mark.parametrize(
    "spoil", [_spoil_note, _spoil_sender, _inject_sender, _spoil_id, _drop_everybody, _take_the_message]
)
def test_what_a_plugin_spoiled_is_never_acknowledged(spoil: Callable[[Transaction], None]) -> None:
    """PLG-06, Q1: a value that could only be quarantined later is found before the 250."""

    def message(tx: Transaction) -> None:
        spoil(tx)

    talk = Dialogue(message=message)
    talk.begin()
    (reply,) = talk.send()
    # where it is compiled, a value of another type is the hook's failure at once
    assert reply.startswith("451 4.3.0")
    assert talk.intake.accepted == []
    # the client goes on
    assert talk.codes("RSET") == ["250"]
    (failed,) = [fields for name, fields in talk.events if name == "plugin.failed"]
    assert (failed["plugin"], failed["hook"]) == ("plugin0", "message")


class Own(HostRoute):
    """A route of a plugin's own, which nobody else knows."""


_WRONG_ROUTES: tuple[tuple[Any, str], ...] = (
    (HostRoute("next.example", "25"), "HostRoute that cannot be kept: Expected `int`, got `str`"),  # type: ignore[arg-type]
    (HostRoute(None), "HostRoute that cannot be kept: Expected `str`, got `None`"),  # type: ignore[arg-type]
    (HostRoute("next.example", True), "HostRoute that cannot be kept: Expected `int`, got `bool`"),
    (MxRoute(b"next.example"), "MxRoute that cannot be kept: Expected `str`, got `bytes`"),  # type: ignore[arg-type]
    (MxRoute("a.example", tls="verify"), "MxRoute that cannot be kept: "),  # type: ignore[arg-type]
    (MaildirRoute(object()), "MaildirRoute that cannot be kept: "),  # type: ignore[arg-type]
    (MaildirRoute("/mail/\udc80"), "MaildirRoute that cannot be kept: "),
    (HttpRoute(["https://a.example"]), "HttpRoute that cannot be kept: "),  # type: ignore[arg-type]
    (QuarantineRoute("spam", LmtpRoute("a", "24")), "QuarantineRoute to a LmtpRoute that cannot be kept: "),  # type: ignore[arg-type]
    (QuarantineRoute("spam", "a"), "QuarantineRoute to a str is no route"),  # type: ignore[arg-type]
    (Own("a"), "a Own is no route"),
    (QuarantineRoute(""), "a QuarantineRoute has a reason"),
)


@pytest.mark.parametrize(("route", "said"), _WRONG_ROUTES)
def test_a_route_with_a_field_of_another_type_is_never_acknowledged(route: Any, said: str) -> None:
    """Q1: it could not be read again. The event names the plugin and the route, whoever put it there; the client tries again later."""

    def message(tx: Transaction) -> None:
        tx.recipients[0].route = route

    talk = Dialogue(message=message)
    talk.begin("b@example.net")
    assert talk.send()[0].startswith("451 4.3.0")
    assert talk.intake.accepted == []
    assert talk.codes("RSET") == ["250"]
    (failed,) = [fields for name, fields in talk.events if name == "plugin.failed"]
    assert failed["plugin"] == "plugin0"
    assert f"the route of b@example.net: a {said.removeprefix('a ')}" in str(failed["exception"])


@pytest.mark.parametrize(("route", "said"), _WRONG_ROUTES)
def test_a_route_hook_that_answers_such_a_route_has_failed(route: Any, said: str) -> None:
    """The recipient is refused for now, and the plugin named."""
    talk = Dialogue(route=lambda tx, recipient: route)
    talk.say("EHLO client.example", "MAIL FROM:<a@example.org>")
    assert talk.say("RCPT TO:<b@example.net>")[0].startswith("451 4.3.0")
    (failed,) = [fields for name, fields in talk.events if name == "plugin.failed"]
    assert (failed["plugin"], failed["hook"]) == ("plugin0", "route")
    assert said in str(failed["exception"])


def test_a_route_that_can_be_kept_is(route_kinds: tuple[Any, ...]) -> None:
    """The check refuses nothing that the constructors make as they are meant."""
    for route in route_kinds:
        check_route(route)
        check_route(QuarantineRoute("spam", route))
    check_route(QuarantineRoute("spam"))


@pytest.fixture
def route_kinds() -> tuple[Any, ...]:
    """One of each kind, with what it may carry."""
    tls = TlsPolicy(TlsLevel.VERIFY, ("mx", ".example.com"), "/ca.pem", "/own.pem")
    return (
        MxRoute("a.example", tls, True), HostRoute("h", 465, tls, True, True, "u", "/p"), LmtpRoute("/sock"), LmtpRoute("h", 24, tls),
        MaildirRoute("/m"), PipeRoute("prog"), HttpRoute("https://a.example/", "u", "/p"), DiscardRoute(),
    )  # fmt: skip


@pytest.mark.parametrize(
    "verdict",
    [
        Verdict(VerdictKind.REJECT, Reply.make(250, "2.0.0", "fine")),
        Verdict(VerdictKind.DEFER, Reply.make(550, "5.0.0", "never")),
        Verdict(VerdictKind.REJECT, "550 no"),  # type: ignore[arg-type]
    ],
)
def test_a_refusal_is_never_told_as_anything_else(verdict: Verdict) -> None:
    """PLG-02: a verdict put together by hand whose reply contradicts it is a failure of its plugin: 451, and nothing stored."""
    talk = Dialogue(message=lambda tx: verdict)
    talk.begin()
    assert talk.send()[0].startswith("451 4.3.0")
    assert talk.intake.accepted == []


def test_a_verdict_for_one_recipient_is_a_refusal_too() -> None:
    """A recipient's own REJECT with a 250 in it does not become a success for all."""

    def message(tx: Transaction) -> None:
        tx.recipients[0].verdict = Verdict(VerdictKind.REJECT, Reply.make(250, "2.0.0", "fine"))

    talk = Dialogue(message=message)
    talk.begin()
    assert talk.send()[0].startswith("4")
    assert talk.intake.accepted == []


def _refusing(*locals: str) -> Callable[[Transaction], None]:
    def message(tx: Transaction) -> None:
        for recipient in tx.recipients:
            if recipient.address.local in locals:
                recipient.verdict = reject("5.7.1", "Spam")

    return message


def test_a_refused_recipient_passes_the_denied_hooks() -> None:
    """PLUGINS.md, `denied`: any plugin rejected; who, where, and whom is told, and an accept there overrides it for this one."""
    heard: list[Denial] = []

    def denied(session: Session, denial: Denial) -> Verdict | None:
        heard.append(denial)
        return accept() if denial.arguments[0].address.local == "b" else None  # type: ignore[attr-defined]

    talk = Dialogue(message=(lambda tx: None, _refusing("b", "c")), denied=denied)
    talk.begin("b@example.net", "c@example.net")
    # they do not agree any more, and the client is a stranger
    assert talk.send()[0].startswith("4")
    assert [(denial.point, denial.verdict.plugin) for denial in heard] == [("message", "plugin1")] * 2
    assert heard[0].transaction is not None
    talk = Dialogue(message=_refusing("b"), denied=denied)
    talk.begin("b@example.net", "d@example.net")
    assert talk.send()[0].startswith("250")
    (delivery,) = talk.intake.accepted[0].deliveries
    assert [who.address.local for who in delivery.recipients] == ["b", "d"]
    assert len(heard) == 3


def test_what_stood_in_a_recipient_before_is_nobody_s_who_runs_now() -> None:
    """A verdict that was left at RCPT is not the first message plugin's, however often it is told of."""
    heard: list[Denial] = []

    def rcpt(tx: Transaction, recipient: TransactionRecipient) -> Verdict:
        recipient.verdict = reject("5.7.1", "Not you")
        return accept()

    talk = Dialogue(rcpt=rcpt, message=lambda tx: None, denied=lambda session, denial: heard.append(denial))
    talk.begin("b@example.net")
    assert talk.send() == ["550 5.7.1 Not you"]
    assert [denial.verdict.plugin for denial in heard] == [""]


def test_an_exemption_that_fails_defers_the_recipient() -> None:
    """PLUGINS.md: never a 250 by accident, and no refusal that the exemption might have spared."""

    def denied(session: Session, denial: Denial) -> Verdict | None:
        raise RuntimeError("out of order")

    talk = Dialogue(message=_refusing("b", "c"), denied=denied)
    talk.begin("b@example.net", "c@example.net")
    assert talk.send()[0].startswith("451 4.3.0")
    assert talk.intake.accepted == []


def test_a_message_that_is_refused_as_a_whole_is_told_of_once() -> None:
    """What stands in the recipients counts for nothing then."""
    heard: list[object] = []

    def message(tx: Transaction) -> Verdict:
        _refusing("b")(tx)
        return reject("5.7.1", "Spam for all")

    talk = Dialogue(message=message, denied=lambda session, denial: heard.append(denial.arguments))
    talk.begin("b@example.net", "c@example.net")
    assert talk.send() == ["550 5.7.1 Spam for all"]
    assert heard == [()]


@pytest.mark.parametrize("left", [None, [None], [object()]])
def test_recipients_that_are_none_end_the_session(left: object) -> None:
    """PLG-02: whatever a plugin leaves there, in a chain that waits as in one that does not, nothing is acknowledged."""

    def message(tx: Transaction) -> None:
        tx.recipients = left  # type: ignore[assignment]

    talk = Dialogue(message=(message, lambda tx: accept(final=True)), denied=lambda session, denial: None)
    talk.begin("b@example.net")
    assert talk.send()[0].startswith(("421 4.3.0", "451 4.3.0"))
    assert talk.intake.accepted == []


def test_an_address_cannot_carry_a_parameter() -> None:
    """ADR-08, PLG-06: a domain that was not parsed may not end the path and go on."""
    talk = Dialogue()
    talk.begin()
    recipient = talk.engine.session.transaction.recipients[0]
    for domain in ("x> NOTIFY=NEVER ORCPT=rfc822;<x", "x y", "a\r\nb", "[1.2.3.4"):
        with pytest.raises(ValueError):
            TransactionRecipient(Address("a", domain))
        recipient.address = Address("a", domain)
        with pytest.raises(ValueError):
            recipient.check()
    assert talk.send()[0].startswith("451 4.3.0")
    assert talk.intake.accepted == []
