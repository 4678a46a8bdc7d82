"""RFC 2852: delivery within a time (DELIVERBY). Each docstring names the clause."""

from __future__ import annotations

import pytest
from tests.scenarios.acceptor import LIMITS, Acceptor, codes
from tests.unit.session.sessionkit import NOW, Dialogue

from upesi.delivery.agents.deadline import overdue, seconds_left
from upesi.mail.address import Address
from upesi.mail.envelope import Transmission
from upesi.mail.outcome import Outcome, OutcomeKind
from upesi.mail.timing import ByMode, DeliverBy
from upesi.protocol.smtp.client import ClientConnection
from upesi.protocol.smtp.extensions import Extensions
from upesi.protocol.smtp.limits import ServerLimits

OFFERING = ServerLimits(max_message_size=100_000, deliver_by=60)


def mail(parameter: str, limits: ServerLimits = OFFERING) -> int:
    return codes(Acceptor(limits).feed(f"EHLO c\r\nMAIL FROM:<a@b> {parameter}\r\n".encode()))[-1]


def session(parameter: str) -> Dialogue:
    talk = Dialogue(limits=OFFERING)
    talk.hello()
    talk.say(f"MAIL FROM:<a@example.org> {parameter}", "RCPT TO:<b@example.net>")
    return talk


def by(seconds: float, mode: ByMode = ByMode.RETURN, *, trace: bool = False) -> Transmission:
    return Transmission(by=DeliverBy(NOW + seconds, mode, trace))


def test_the_least_time_is_announced() -> None:
    """C111, section 3: "DELIVERBY" SP min-by-time."""
    assert "DELIVERBY 60" in OFFERING.ehlo_keywords()
    assert not [word for word in LIMITS.ehlo_keywords() if "DELIVERBY" in word]


@pytest.mark.parametrize("value", ["120;R", "+120;N", "-5;N", "0;N", "120;RT", "120;nt", "999999999;R"])
def test_the_parameter_is_taken(value: str) -> None:
    """C111, section 4: by-time ";" by-mode [by-trace]; a time that is over already is fine where nothing is returned."""
    assert mail("BY=" + value) == 250


@pytest.mark.parametrize(
    "value",
    [
        "",
        "120",
        "120;",
        ";R",
        "120;X",
        "120;RR",
        "120;TR",
        "120R",
        "0;R",
        "-1;R",
        "1000000000;R",
        "1e3;R",
        "+-1;N",
        "--1;N",
    ],
)
def test_a_malformed_parameter_is_refused(value: str) -> None:
    """C111, section 4: nine digits, a mode, and no time that is over where the mail would be returned."""
    assert mail("BY=" + value) == 501


def test_where_it_is_not_offered_it_is_unknown() -> None:
    """C111: what is not announced is no parameter (555)."""
    assert mail("BY=120;R", LIMITS) == 555


def test_less_than_the_least_time_is_refused() -> None:
    """C111, section 4: with mode R a time below the announced one; mode N may ask for anything."""
    talk = Dialogue(limits=OFFERING)
    talk.hello()
    assert talk.say("MAIL FROM:<a@b.example> BY=59;R")[0].startswith("501 5.5.4")
    assert talk.codes("MAIL FROM:<a@b.example> BY=59;N") == ["250"]


def test_mode_return_is_the_expiry() -> None:
    """C111, section 4: what is not delivered by then is returned: that is when the delivery expires."""
    talk = session("BY=600;R")
    talk.send()
    (message,) = talk.intake.accepted
    assert message.transmission.by == DeliverBy(NOW + 600, ByMode.RETURN)
    (delivery,) = message.deliveries
    assert (delivery.due, delivery.expires) == (NOW, NOW + 600)


def test_mode_notify_is_a_notice_and_no_expiry() -> None:
    """C111, section 4: who waits then is told of, and tried on."""
    talk = session("BY=600;NT")
    talk.send()
    (delivery,) = talk.intake.accepted[0].deliveries
    assert delivery.expires == NOW + talk.intake.lifetime
    assert [recipient.tell_delay for recipient in delivery.recipients] == [NOW + 600]


def sent(transmission: Transmission, offered: str, now: float) -> bytes:
    client = ClientConnection()
    client.receive(b"220 x\r\n")
    client.next_reply()
    client.ehlo("us")
    client.receive(f"250-x\r\n250 {offered}\r\n".encode())
    client.next_reply()
    return client.mail(Address("a", "b.example"), transmission, None, seconds_left(transmission, now))


@pytest.mark.parametrize(
    ("transmission", "later", "parameter"),
    [
        (by(600), 0, b" BY=600;R"), (by(600), 100.4, b" BY=500;R"), (by(600), 599.5, b" BY=1;R"),
        (by(600, ByMode.NOTIFY, trace=True), 700, b" BY=-100;NT"), (Transmission(), 0, b""),
    ],
)  # fmt: skip
def test_the_time_left_goes_on(transmission: Transmission, later: float, parameter: bytes) -> None:
    """C111, section 4: the next server gets the seconds that are left, negative ones with mode N."""
    assert sent(transmission, "DELIVERBY", NOW + later) == b"MAIL FROM:<a@b.example>" + parameter + b"\r\n"
    assert sent(transmission, "SIZE", NOW + later) == b"MAIL FROM:<a@b.example>\r\n"


def outcome(
    transmission: Transmission, later: float = 0, least: int | None = None, *, final: bool = False
) -> Outcome | None:
    return overdue(transmission, Extensions(deliver_by=least), NOW + later, final=final)


def test_mode_return_goes_only_where_it_is_promised() -> None:
    """C111, section 4: not to a server without DELIVERBY, nor with less time than it wants, nor when the time is over."""
    assert outcome(by(600), least=0) is None
    assert outcome(by(600), least=600) is None
    for refused, status in (
        (outcome(by(600)), "5.3.3"), (outcome(by(600), least=601), "5.4.7"), (outcome(by(600), 600, least=0), "5.4.7"),
    ):  # fmt: skip
        assert refused is not None
        assert (refused.kind, refused.status) == (OutcomeKind.FAILED, status)


def test_mode_notify_goes_anywhere() -> None:
    """C111, section 4: mail with mode N is sent to who does not know DELIVERBY, and when its time is over."""
    assert outcome(by(600, ByMode.NOTIFY)) is None
    assert outcome(by(600, ByMode.NOTIFY), 700, least=0) is None


def test_who_delivers_need_promise_nothing() -> None:
    """An LMTP server takes the message into a mailbox now: nothing is left to promise."""
    assert outcome(by(600), final=True) is None
    assert outcome(by(600), 601, final=True) is not None
