"""Compare who a message says that it is from with what SPF and DKIM vouch for, and do what that domain asks for (DMARC, RFC 9989)."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from typing import Literal, Protocol

from upesi.plugin import (
    MAX_FAILURE_HEADER,
    ArcOutcome,
    Author,
    AuthorFault,
    Clock,
    DmarcOutcome,
    DmarcRecords,
    Dns,
    Failure,
    MethodResult,
    Networks,
    Observation,
    Plugin,
    PluginLog,
    PluginSettings,
    Policy,
    Published,
    Session,
    Transaction,
    Verdict,
    author_of,
    check_dmarc,
    defer,
    domain_from,
    failure_of,
    failure_sought,
    hook,
    observation_of,
    reject,
    then,
    trusted_sealer,
)

Action = Literal["mark", "quarantine", "defer", "reject"]

# RFC 7372 section 3.3: X.7.26, several checks failed
_FAILED = ".7.26"
# the knob of each fault; one that a reader could be deceived by is no accident
_KNOBS = {
    AuthorFault.SEVERAL: "several_from",
    AuthorFault.LOOKALIKE: "several_from",
    AuthorFault.UNREADABLE: "unreadable_from",
    AuthorFault.TOO_LONG: "unreadable_from",
    AuthorFault.MISSING: "no_author",
    AuthorFault.NOBODY: "no_author",
    AuthorFault.LITERAL: "no_author",
}
# what reports call what was done
_DISPOSITIONS = {"mark": "none", "quarantine": "quarantine", "reject": "reject", "defer": "reject"}

# what the author's domain wants: told to clients, and to whoever looks at what was set aside
_ASKED = {
    Policy.REJECT: "{} asks to refuse mail that is not authenticated as its own (DMARC)",
    Policy.QUARANTINE: "{} asks to set aside mail that is not authenticated as its own (DMARC)",
    Policy.NONE: "This mail is not authenticated as {}'s own (DMARC)",
}

# and failure reports (RFC 6591 section 3.2.2); of mail that goes on, plugins behind this one decide
_DELIVERIES = {"reject": "reject", "quarantine": "policy"}


class _Reports(Protocol):
    def note(self, published: Published, observation: Observation) -> None: ...


class _Failures(Protocol):
    def note(self, failure: Failure) -> None: ...


class Dmarc(Plugin):
    """Check DMARC behind SPF and DKIM."""

    class Settings(PluginSettings):
        """What becomes of mail.

        An action is "mark" (only the result is left), "quarantine" (it is also noted that the mail is suspect), "defer" or "reject".
        """

        # what fails where the author's domain asks for that: the owner knows what its mail looks like, we do what it says
        reject: Action = "reject"
        quarantine: Action = "quarantine"
        none: Action = "mark"
        # DNS could not say and nothing aligned has passed: whoever can disturb DNS must not get mail through by that
        temperror: Literal["mark", "quarantine", "defer"] = "defer"
        # several From fields, or a line that some reader takes for one: nobody writes such mail but to deceive
        several_from: Action = "reject"
        # a From field that two readers would read differently
        unreadable_from: Action = "reject"
        # no From field, nobody in it, or an author without a domain: RFC 5322 section 3.6 asks for one
        no_author: Action = "reject"
        # by author domain, for mail that fails; ".example.com" is every domain below
        overrides: dict[str, Action] = {}  # noqa: RUF012 - a default of a Struct is copied
        # networks whose mail is not checked: our own other servers
        trusted: tuple[str, ...] = ()
        # ARC sealers who are believed that a message passed DMARC when it came to them (RFC 8617): lists that we know
        trusted_sealers: tuple[str, ...] = ()
        # keep what was found for the daily reports that domains ask for (RFC 9990)
        reports: bool = True
        # tell domains that ask for it of single messages that fail, redacted (RFC 9991): who mails whom is nobody's business unless you
        # and those whose mail it is have agreed
        failure_reports: bool = False

    def __init__(
        self, settings: Settings, dns: Dns, reports: _Reports, failures: _Failures, clock: Clock, log: PluginLog
    ) -> None:
        super().__init__(settings)
        self._settings = settings
        self._dns = dns
        self._reports = reports if settings.reports else None
        self._failures = failures if settings.failure_reports else None
        self._clock = clock
        self._log = log
        self._records = DmarcRecords()
        self._trusted = Networks(settings.trusted)
        self._sealers = frozenset(map(domain_from, settings.trusted_sealers))
        self._overrides = {_domain(name): action for name, action in settings.overrides.items()}
        self._actions: dict[Policy, Action] = {
            Policy.REJECT: settings.reject,
            Policy.QUARANTINE: settings.quarantine,
            Policy.NONE: settings.none,
        }

    @hook.message(after=["spf", "dkim", "arc"])
    def judge(self, tx: Transaction) -> Verdict | Awaitable[Verdict | None] | None:
        """Find the author, then whether anybody vouches for them, then what is to be done."""
        if not _is_stranger(tx.session) or tx.session.client.address in self._trusted:
            tx.results["dmarc"] = ("skip", "one of ours")
            return None
        headers = tx.headers
        author = author_of(headers, tx.body.read(0, headers.size) if tx.body else b"")
        if isinstance(author, AuthorFault):
            return self._refuse_author(tx, author)
        return self._check(tx, author)

    def _refuse_author(self, tx: Transaction, fault: AuthorFault) -> Verdict | None:
        tx.results["dmarc"] = ("permerror", fault.value)
        tx.authentication.append(MethodResult("dmarc", "permerror", fault.value))
        action: Action = getattr(self._settings, _KNOBS[fault])
        return _verdict(tx, action, "5.7.1", f"Message not accepted: {fault.value}")

    def _check(self, tx: Transaction, author: Author) -> Verdict | Awaitable[Verdict | None] | None:
        # what stands if this hook's time is over
        tx.results["dmarc"] = ("temperror", "the check was not finished")
        results = tx.authentication
        passed = _passed(results, "spf"), _passed(results, "dkim")
        asking = check_dmarc(author.domains, *passed, self._records)
        return then(self._dns, asking, lambda outcome: self._judged(tx, outcome))

    def _judged(self, tx: Transaction, outcome: DmarcOutcome) -> Verdict | None:
        results = tx.authentication
        unsure = any(each.result == "temperror" for each in results if each.method in ("spf", "dkim"))
        action, override, comment = self._action(tx, outcome, unsure=unsure)
        tx.results["dmarc"] = (outcome.result, _evidence(outcome, action, comment))
        self._keep(tx, outcome, action, override, comment)
        tx.authentication.append(_method_result(outcome))
        if self._failures is not None:
            self._tell(self._failures, tx, outcome, action)
        if outcome.result == "fail" and action == "defer" and unsure:
            return defer("4.7.26", "A check of the message could not be finished, please try again later")
        return _verdict(tx, action, "5.7.1" if outcome.result == "permerror" else f"5{_FAILED}", _text(outcome))

    def _action(self, tx: Transaction, outcome: DmarcOutcome, *, unsure: bool) -> tuple[Action, str, str]:
        """Return what is done, and why it is not what was asked for: a word of RFC 9990 and a comment."""
        if outcome.result == "permerror" and not outcome.author:
            return self._settings.unreadable_from, "", ""
        if outcome.result == "temperror":
            return self._settings.temperror, "", ""
        if outcome.result != "fail":
            return "mark", "", ""
        sealer = self._sealer(tx, outcome.author)
        if sealer:
            return "mark", "trusted_forwarder", f"arc=pass from {sealer}"
        override = self._overridden(outcome.author)
        action = self._actions[outcome.policy] if override is None else override
        if action == "reject" and unsure:
            # a check that could pass later must not become a refusal for good
            return "defer", "", ""
        if override is not None or _DISPOSITIONS[action] != outcome.policy.value:
            return action, "local_policy", ""
        return action, "policy_test_mode" if outcome.policy is not outcome.asked else "", ""

    def _overridden(self, domain: str) -> Action | None:
        if domain in self._overrides:
            return self._overrides[domain]
        while "." in domain:
            domain = domain.partition(".")[2]
            if f".{domain}" in self._overrides:
                return self._overrides[f".{domain}"]
        return None

    def _sealer(self, tx: Transaction, author: str) -> str:
        """Return the trusted sealer who says that the message passed DMARC at its place, "" for none."""
        arc = tx.notes.get("arc.outcome")
        return trusted_sealer(arc, author, self._sealers) if self._sealers and isinstance(arc, ArcOutcome) else ""

    def _keep(self, tx: Transaction, outcome: DmarcOutcome, action: Action, override: str, comment: str) -> None:
        if self._reports is None or outcome.result not in ("pass", "fail") or _is_report(tx, outcome):
            return
        if outcome.result == "fail" and action == "defer":
            # it comes again, and is counted then
            return
        sender = tx.reverse_path
        noted = observation_of(
            outcome,
            tx.authentication,
            source=tx.session.client.address,
            envelope_from=sender.domain if sender is not None else "",
            disposition=_disposition(outcome, action),
            override=override,
            comment=comment,
        )
        if noted is not None:
            self._reports.note(*noted)

    def _tell(self, failures: _Failures, tx: Transaction, outcome: DmarcOutcome, action: Action) -> None:
        """Have the author's domain told of this message, if it asks for that; of mail that is put off when it comes again."""
        results = tx.authentication
        kind = failure_sought(outcome, results)
        if kind is None or (action == "defer" and outcome.result == "fail") or _is_automatic(tx):
            return
        session, envelope_id = tx.session, tx.transmission.envid
        failure = failure_of(
            outcome,
            kind,
            results,
            client=(session.client.address, session.client.port),
            reverse_path=tx.reverse_path,
            envelope_id=envelope_id or "",
            arrived=self._clock.now(),
            header=tx.body.read(0, min(tx.headers.size, MAX_FAILURE_HEADER)) if tx.body is not None else b"",
            delivery=_DELIVERIES.get(action, ""),
        )
        failures.note(failure)


def _is_stranger(session: Session) -> bool:
    """Whether the client speaks for its own mail: those that relay or have logged in send for us, LMTP clients have taken it already."""
    return session.role == "mx" and not session.relaying and session.identity is None


def _passed(results: Iterable[MethodResult], method: str) -> list[str]:
    """Return the domains for which a method passed: of SPF the one of MAIL FROM alone (RFC 9989 section 4.4.2)."""
    property = {"spf": "smtp.mailfrom", "dkim": "header.d"}[method]
    said = (each.said_of(property) for each in results if each.method == method and each.result == "pass")
    return [value.rpartition("@")[2] for value in said if value]


def _is_report(tx: Transaction, outcome: DmarcOutcome) -> bool:
    """Whether this is somebody's report to us: two that report on each other's reports would never stop. A forged one is reported."""
    return outcome.result == "pass" and _is_named_report(tx)


def _is_named_report(tx: Transaction) -> bool:
    """Whether the Subject is that of an aggregate report (RFC 9990 section 3.5.2)."""
    return (tx.headers.get("Subject") or "").lower().startswith("report domain:")


def _is_automatic(tx: Transaction) -> bool:
    """Whether a program wrote this: two that report on each other's reports would never stop (RFC 9991 section 5.1, RFC 3834)."""
    if tx.reverse_path is None or _is_named_report(tx):
        return True
    said = (tx.headers.get("Auto-Submitted") or "no").partition(";")[0].strip().lower()
    # anywhere in it, comments or not: of what only looks like a report nobody is told either
    kind = (tx.headers.get("Content-Type") or "").lower()
    return said != "no" or "multipart/report" in kind or "feedback-report" in kind


def _disposition(outcome: DmarcOutcome, action: Action) -> str:
    """Return what reports call what was done; "pass" is of domains that ask for something (RFC 9990 appendix A)."""
    if outcome.result == "pass":
        return "none" if outcome.asked is Policy.NONE else "pass"
    return _DISPOSITIONS[action]


def _domain(name: str) -> str:
    return f".{domain_from(name[1:])}" if name.startswith(".") else domain_from(name)


def _verdict(tx: Transaction, action: Action, status: str, text: str) -> Verdict | None:
    if action == "quarantine":
        tx.notes["quarantine"] = f"dmarc: {text}"
    if action == "reject":
        return reject(status, text)
    return defer(f"4{status[1:]}", text) if action == "defer" else None


def _method_result(outcome: DmarcOutcome) -> MethodResult:
    properties = [("header.from", outcome.author)]
    if outcome.record is not None:
        properties.append(("policy.dmarc", outcome.policy.value))
    return MethodResult("dmarc", outcome.result, outcome.reason, tuple(pair for pair in properties if pair[1]))


def _evidence(outcome: DmarcOutcome, action: Action, comment: str) -> str:
    vouched = outcome.dkim or outcome.spf
    said = [outcome.author, f"p={outcome.policy}" if outcome.record is not None else "", outcome.reason]
    said.append(f"aligned with {vouched}" if vouched else "")
    said.append(f"{action}" if outcome.result == "fail" else "")
    return ", ".join(filter(None, [*said, comment]))


def _text(outcome: DmarcOutcome) -> str:
    if outcome.result == "temperror":
        return f"The DMARC policy of {outcome.author} could not be looked up"
    if outcome.result == "permerror":
        return f"The From field cannot be checked: {outcome.reason}"
    return _ASKED[outcome.policy].format(outcome.author)
