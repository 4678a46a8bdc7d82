"""RFC 8689: mail that may only travel over verified TLS (REQUIRETLS). Each docstring names the clause."""

from __future__ import annotations

from typing import Any

import pytest
from tests.scenarios.acceptor import LIMITS, Acceptor, codes
from tests.unit.session.sessionkit import Dialogue

from upesi.config.settings import DestinationSettings, SmtpSettings
from upesi.delivery.agents.preparing import REQUIRETLS_REFUSED, refusal, transmission_for
from upesi.delivery.policies import TlsPolicies
from upesi.mail.address import Address
from upesi.mail.body import MemoryBody
from upesi.mail.envelope import Notify, Recipient, ReturnContent, Transmission
from upesi.mail.ids import MessageId
from upesi.mail.outcome import Outcome, OutcomeKind
from upesi.mail.route import HostRoute, MaildirRoute, MxRoute, Route, relaxing_tls
from upesi.mail.security import TlsInfo
from upesi.mail.tls import OPPORTUNISTIC, TlsLevel, TlsPolicy
from upesi.protocol.smtp.extensions import Extensions
from upesi.protocol.smtp.limits import ServerLimits
from upesi.reports.dsn import DsnReporter
from upesi.scheduler.work import Attempt
from upesi.spool.records import DeliveryState, NewMessage, StoredMessage

OFFERING = ServerLimits(max_message_size=100_000, requiretls=True)
MAIL = "MAIL FROM:<a@example.org> REQUIRETLS"


def talk_to(*, secure: bool) -> Dialogue:
    """Return a session that has greeted, under TLS or in clear."""

    def connect(session: Any) -> None:
        session.tls = TlsInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256) if secure else None

    return Dialogue(limits=OFFERING, connect=connect)


@pytest.mark.parametrize("secure", [True, False])
def test_it_is_announced_inside_tls_only(secure: bool) -> None:
    """C97, section 2: "The REQUIRETLS service extension ... MUST only be advertised" under TLS, without parameters."""
    talk = talk_to(secure=secure)
    talk.heard()
    words = [line[4:] for line in talk.say("EHLO client.example.org")]
    assert ("REQUIRETLS" in words) is secure


def test_outside_tls_it_is_refused() -> None:
    """C97, section 2: the parameter has no meaning in clear: 530 5.7.10, encryption needed, and no transaction."""
    talk = talk_to(secure=False)
    talk.hello()
    assert [line[:10] for line in talk.say(MAIL, "RCPT TO:<b@example.net>")] == ["530 5.7.10", "503 5.5.1 "]


@pytest.mark.parametrize("value", ["REQUIRETLS=yes", "REQUIRETLS=", "REQUIRETLS REQUIRETLS"])
def test_it_takes_no_value_and_comes_once(value: str) -> None:
    """C97, section 2: no value, as every parameter at most once."""
    assert codes(Acceptor(OFFERING).feed(f"EHLO c\r\nMAIL FROM:<a@b> {value}\r\n".encode()))[-1] == 501


def test_where_it_is_not_offered_it_is_unknown() -> None:
    """C97: what is not announced is no parameter (555)."""
    assert codes(Acceptor(LIMITS).feed(b"EHLO c\r\nMAIL FROM:<a@b> REQUIRETLS\r\n")) == [250, 555]


def test_the_message_is_marked_for_its_whole_way() -> None:
    """C97, section 4.1: "an SMTP server MUST tag that message": it is kept with the message, and its route asks for such connections."""
    talk = talk_to(secure=True)
    talk.hello()
    assert talk.codes(MAIL, "RCPT TO:<b@example.net>") == ["250", "250"]
    talk.send()
    (message,) = talk.intake.accepted
    assert message.transmission.requiretls
    assert [delivery.route for delivery in message.deliveries] == [MxRoute("example.net", requiretls=True)]


def attempt(reverse_path: Address | None) -> Attempt:
    message = StoredMessage(
        MessageId(bytes(16)),
        0.0,
        reverse_path,
        Transmission(requiretls=True),
        b"",
        MemoryBody(b"Subject: x\r\n\r\n"),
        {},
        {},
    )
    return Attempt(message, (Recipient(Address("b", "y.example")),), 1)


def test_it_goes_over_no_other_connection() -> None:
    """C97, section 4.2.1: over a connection that is not verified, or to a server without REQUIRETLS, the message is not sent."""
    mail = attempt(Address("a", "x.example"))
    assert refusal(mail, Extensions(requiretls=True), False) is REQUIRETLS_REFUSED
    assert refusal(mail, Extensions(requiretls=True), True) is None
    assert transmission_for(mail, Extensions(requiretls=True), True).requiretls


def test_a_notice_is_rather_sent_in_clear_than_lost() -> None:
    """C97, section 5: "REQUIRETLS ... SHOULD NOT cause a bounce message to be discarded" where the reverse-path is empty."""
    notice = attempt(None)
    assert refusal(notice, Extensions(), False) is None
    assert not transmission_for(notice, Extensions(requiretls=True), False).requiretls
    assert transmission_for(notice, Extensions(requiretls=True), True).requiretls


def bounced(ret: ReturnContent | None) -> NewMessage:
    def place(route: Route) -> tuple[str, DeliveryState]:
        return "domain:x.example", DeliveryState.ROUTING

    reporter = DsnReporter("mx.example.org", place, lambda address: MxRoute(address.domain), 3600.0)
    message = StoredMessage(
        MessageId(bytes(16)), 0.0, Address("a", "x.example"), Transmission(requiretls=True, ret=ret), b"",
        MemoryBody(b"Subject: secret\r\n\r\nthe text\r\n"), {}, {},
    )  # fmt: skip
    failed = Outcome(OutcomeKind.FAILED, 550, "5.7.30", "REQUIRETLS support required", "mx")
    notice = reporter.failed(
        message, ((Recipient(Address("b", "y.example")), failed),), MessageId(bytes(range(16))), 1.0
    )
    assert notice is not None
    return notice


@pytest.mark.parametrize("ret", [None, ReturnContent.HEADERS, ReturnContent.FULL])
def test_notices_are_protected_like_the_message(ret: ReturnContent | None) -> None:
    """C97, section 5: they say REQUIRETLS too, and behave "as if RET=HDRS was present"."""
    notice = bounced(ret)
    octets = notice.body.read(0, notice.body.size)
    assert notice.transmission.requiretls
    assert notice.deliveries[0].recipients[0].notify == Notify.NEVER
    assert b"Subject: secret" in octets
    assert b"the text" not in octets
    assert b"Status: 5.7.30\r\n" in octets


NO = b"TLS-Required: No\r\nSubject: your certificate has expired\r\n\r\nx\r\n"


def routed(content: bytes, *, relax: bool = True, parameter: str = "") -> Route:
    """Return where a message goes on a server that lets senders relax TLS, or does not."""

    def connect(session: Any) -> None:
        session.tls = TlsInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256)

    talk = Dialogue(settings=SmtpSettings(relax_tls=relax), limits=OFFERING, connect=connect)
    talk.hello()
    talk.say(f"MAIL FROM:<a@example.org>{parameter}", "RCPT TO:<b@example.net>")
    talk.send(content)
    return talk.intake.accepted[0].deliveries[0].route


def test_a_message_may_ask_to_go_in_clear() -> None:
    """C98, sections 3 and 4.2.2: "TLS-Required: No" has that message sent though TLS fails; the one beside it keeps its policy."""
    assert routed(NO) == MxRoute("example.net", tls=OPPORTUNISTIC)
    assert routed(b"Subject: x\r\n\r\nTLS-Required: No\r\n") == MxRoute("example.net")
    assert TlsPolicies([DestinationSettings(domains=("*",), tls=TlsLevel.VERIFY)]).policy(routed(NO)) == OPPORTUNISTIC  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "content",
    [
        b"TLS-Required: Yes\r\n\r\n", b"TLS-Required:\r\n\r\n", b"TLS-Required: No, please\r\n\r\n",
        b"TLS-Required: No\r\nTLS-Required: No\r\n\r\n", b"TLS-Required: No\r\ntls-required: Yes\r\n\r\n", b"X-TLS-Required: No\r\n\r\n",
    ],
)  # fmt: skip
def test_only_one_plain_no_counts(content: bytes) -> None:
    """C98, section 3: one field with the one value; anything else relaxes nothing."""
    assert routed(content) == MxRoute("example.net")


def test_case_and_blanks_do_not_matter() -> None:
    """C98: names and values of header fields as RFC 5322 reads them."""
    assert routed(b"Subject: x\r\ntls-required:\r\n no \r\n\r\n") == MxRoute("example.net", tls=OPPORTUNISTIC)


def test_requiretls_overrules_the_header() -> None:
    """C98, section 4.1: "If the REQUIRETLS MAIL FROM parameter is specified, the TLS-Required header field MUST be ignored"."""
    assert routed(NO, parameter=" REQUIRETLS") == MxRoute("example.net", requiretls=True)


def test_what_is_the_operators_own_stands() -> None:
    """C98: unless he lets senders change it; and never what protects a password of ours, or what a plugin has set."""
    assert routed(NO, relax=False) == MxRoute("example.net")
    for route in (
        HostRoute("relay.example", 587, user="us", password_file="/etc/secret"),
        MxRoute("example.net", tls=TlsPolicy(TlsLevel.VERIFY)),
        MaildirRoute("/var/mail/b"),
    ):
        assert relaxing_tls(route) == route
    assert relaxing_tls(HostRoute("relay.example")) == HostRoute("relay.example", tls=OPPORTUNISTIC)
