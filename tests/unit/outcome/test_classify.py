"""What replies mean."""

from __future__ import annotations

import pytest

from upesi.mail.outcome import Outcome, OutcomeKind
from upesi.outcome.classify import Stage, classify, kind_of, outcome_of, reason


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (250, OutcomeKind.DELIVERED), (251, OutcomeKind.DELIVERED), (299, OutcomeKind.DELIVERED),
        (421, OutcomeKind.DEFERRED), (450, OutcomeKind.DEFERRED), (499, OutcomeKind.DEFERRED), (354, OutcomeKind.DEFERRED),
        (550, OutcomeKind.FAILED), (554, OutcomeKind.FAILED), (599, OutcomeKind.FAILED), (199, OutcomeKind.DEFERRED),
    ],
)  # fmt: skip
def test_unknown_codes_count_by_their_first_digit(code: int, kind: OutcomeKind) -> None:
    """The first digit decides (C20, RFC 5321 section 4.3.2)."""
    assert kind_of(code) is kind


def test_552_to_rcpt_counts_as_452() -> None:
    """Old servers say 552 for too many recipients: the rest later (C13, RFC 5321 section 4.5.3.1.10)."""
    assert kind_of(552, Stage.RCPT) is OutcomeKind.DEFERRED
    assert kind_of(552, Stage.DATA) is OutcomeKind.FAILED
    assert outcome_of(552, "5.3.4", "message too large").kind is OutcomeKind.FAILED


@pytest.mark.parametrize("code", [452, 552])
@pytest.mark.parametrize(("given", "status"), [("", "4.5.3"), ("{}.5.3", "4.5.3"), ("{}.2.2", "4.2.2")])
def test_too_many_recipients_are_tried_later_with_what_was_said(code: int, given: str, status: str) -> None:
    """The code stays for logs and reports, and so does a detail that says more; only its class becomes temporary (C13)."""
    outcome = outcome_of(code, given.format(code // 100), "no", "mx", Stage.RCPT)
    assert (outcome.kind, outcome.code, outcome.status) == (OutcomeKind.DEFERRED, code, status)


@pytest.mark.parametrize(
    ("code", "status", "text", "name"),
    [
        # the enhanced status first
        (550, "5.1.1", "go away, spammer", "bad-mailbox"),
        (550, "5.2.2", "user unknown", "mailbox-full"),
        (554, "5.7.26", "unauthenticated mail", "authentication"),
        (421, "4.7.28", "slow down", "rate"),
        (554, "5.4.6", "too many hops", "loop"),
        (550, "5.4.4", "unable to route", "routing"),
        (451, "4.4.7", "expired", "expired"),
        # a status that says only "other" or "policy" leaves it to the text
        (550, "5.7.1", "listed at zen.spamhaus.org", "reputation"),
        (550, "5.7.1", "user unknown", "bad-mailbox"),
        (550, "5.7.1", "denied", "policy"),
        (451, "4.7.1", "Greylisted, please try again", "greylisted"),
        (421, "4.0.0", "too many connections from your host", "rate"),
        # then the text where there is no status
        (452, "", "mailbox is full", "mailbox-full"),
        (550, "", "relaying denied", "relaying"),
        # then the code
        (552, "", "no", "mailbox-full"),
        (550, "", "no", "bad-mailbox"),
        (503, "", "no", "protocol"),
        (421, "", "no", "connection"),
        # an unknown detail by its subject, and nothing at all
        (550, "5.7.999", "no", "policy"),
        (450, "4.3.9", "no", "system"),
        (599, "", "no", "other"),
    ],
)
def test_reasons_by_status_then_text_then_code(code: int, status: str, text: str, name: str) -> None:
    """The enhanced status says most where it says anything (C54, RFC 5248)."""
    assert reason(code, status, text) == name


def test_what_was_delivered_has_no_reason() -> None:
    """A success is not classified."""
    assert classify(Outcome(OutcomeKind.DELIVERED, 250, "2.1.5", "ok")) == (OutcomeKind.DELIVERED, "")


def test_a_status_of_another_class_is_replaced() -> None:
    """The code decides over a status that contradicts it (RFC 2034 section 4)."""
    assert outcome_of(550, "4.1.1", "unknown").status == "5.0.0"
    assert outcome_of(250, "2.1.5", "ok", "mx") == Outcome(OutcomeKind.DELIVERED, 250, "2.1.5", "ok", "mx")
