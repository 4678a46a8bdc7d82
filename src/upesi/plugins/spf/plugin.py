"""Ask the sender's domain whether this client may send its mail (SPF, RFC 7208)."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Literal

from upesi.plugin import (
    Address,
    Clock,
    Dns,
    MethodResult,
    Networks,
    OnError,
    Plugin,
    PluginSettings,
    Session,
    SpfOutcome,
    SpfRecords,
    SpfResult,
    Transaction,
    Verdict,
    answered,
    check_host,
    defer,
    helo_identity,
    hook,
    mail_identity,
    received_spf,
    reject,
    then,
)

Action = Literal["mark", "defer", "reject"]

# characters of a term, or of what is wrong, in a result: a term of a stranger may be as long as a record
MAX_EVIDENCE = 200

# RFC 7372 section 3.2; "neutral" and "none" are to be treated alike and are no failure of SPF (RFC 7208 section 8.2): local policy
_STATUS = {
    SpfResult.FAIL: ".7.23",
    SpfResult.SOFTFAIL: ".7.23",
    SpfResult.PERMERROR: ".7.24",
    SpfResult.TEMPERROR: ".7.24",
}
_SAID = {
    SpfResult.FAIL: "{domain} says that {client} does not send its mail (SPF, {identity})",
    SpfResult.SOFTFAIL: "{domain} says that {client} hardly sends its mail (SPF, {identity})",
    SpfResult.NEUTRAL: "{domain} does not say who sends its mail (SPF, {identity})",
    SpfResult.NONE: "{domain} does not say who sends its mail (SPF, {identity})",
    SpfResult.PERMERROR: "The SPF record of {domain} cannot be used ({identity})",
    SpfResult.TEMPERROR: "The SPF record of {domain} could not be looked up ({identity})",
}
_IDENTITIES = {"mailfrom": "MAIL FROM", "helo": "HELO"}


class Spf(Plugin):
    """Check HELO and MAIL FROM by SPF (RFC 7208); leave the results for DMARC and Authentication-Results."""

    class Settings(PluginSettings):
        """What becomes of mail with each result; all are "mark", so that a forwarder's mail reaches DMARC and its DKIM signature counts."""

        fail: Action = "mark"
        softfail: Action = "mark"
        neutral: Action = "mark"
        none: Action = "mark"
        permerror: Action = "mark"
        # trouble with DNS: never "reject", it says nothing about the sender
        temperror: Literal["mark", "defer"] = "mark"
        # whether the name that the client greeted with is checked too (RFC 7208 section 2.3), and the same for its results
        helo: bool = True
        helo_fail: Action = "mark"
        helo_softfail: Action = "mark"
        helo_neutral: Action = "mark"
        helo_none: Action = "mark"
        helo_permerror: Action = "mark"
        helo_temperror: Literal["mark", "defer"] = "mark"
        # networks that send on mail of others for us: our own secondary MX, a forwarding service
        trusted: tuple[str, ...] = ()
        # write a Received-SPF field (RFC 7208 section 9.1) for each identity; Authentication-Results says the same to more programs
        received_spf: bool = False
        # what becomes of such fields from outside: their place says who wrote them, and to take one out may break a signature; "remove" is
        # for where a program behind us believes whichever it finds
        foreign_received_spf: Literal["keep", "remove"] = "keep"
        on_error: OnError = "continue"  # a check that broke says nothing about the sender

    def __init__(self, settings: Settings, dns: Dns, clock: Clock, node: str) -> None:
        super().__init__(settings)
        self._dns = dns
        self._clock = clock
        self._node = node
        self._trusted = Networks(settings.trusted)
        self._records = SpfRecords()
        self._helo = settings.helo
        self._received_spf = settings.received_spf
        self._removes = settings.foreign_received_spf == "remove"
        self._actions: dict[tuple[str, SpfResult], Action] = {
            (kind, result): getattr(settings, f"{prefix}{result.value}")
            for kind, prefix in (("mailfrom", ""), ("helo", "helo_"))
            for result in SpfResult
            if result is not SpfResult.PASS
        }

    # RFC 7208 section 4.6.4: a check has at least 20 seconds; here are two
    @hook.mail(deadline="40s")
    def check(self, tx: Transaction, sender: Address) -> Verdict | Awaitable[Verdict | None] | None:
        """Check both identities; refuse if one of them is to be refused."""
        session = tx.session
        if not _is_stranger(session) or session.client.address in self._trusted:
            tx.results["spf"] = ("skip", "one of ours")
            return None
        if not self._helo:
            return self._check_mail(tx)
        known = session.notes.get("spf")
        # a client may greet again, with another name
        if isinstance(known, SpfOutcome) and known.identity.helo == session.helo:
            return self._said(tx, known) or self._check_mail(tx)
        return self._check_both(tx)

    @hook.message(before=["arc_seal", "dkim_sign"])
    def clean(self, tx: Transaction) -> None:
        """Take out the fields of others, if that is wanted."""
        session = tx.session
        if self._removes and _is_stranger(session) and session.client.address not in self._trusted:
            tx.remove_header("Received-SPF")

    async def _check_both(self, tx: Transaction) -> Verdict | None:
        verdict = await self._check_helo(tx)
        if verdict is None:
            mail = self._check_mail(tx)
            verdict = await mail if isinstance(mail, Awaitable) else mail
        return verdict

    async def _check_helo(self, tx: Transaction) -> Verdict | None:
        session = tx.session
        explain = self._actions["helo", SpfResult.FAIL] != "mark"
        identity = helo_identity(session.client.address, session.helo, receiver=self._node, now=self._now())
        outcome = await answered(self._dns, check_host(identity, self._records, explain=explain))
        session.notes["spf"] = outcome
        session.results["spf"] = (outcome.result.value, _evidence(outcome))
        others = [each for each in session.authentication if each.method != "spf"]
        session.authentication[:] = [*others, _method_result(outcome, ("smtp.helo", session.helo))]
        return self._said(tx, outcome)

    def _check_mail(self, tx: Transaction) -> Verdict | Awaitable[Verdict | None] | None:
        session = tx.session
        # what stands if this hook's time is over: DMARC must not take silence for "none"
        tx.results["spf"] = ("temperror", "the check was not finished")
        at = len(tx.authentication)
        tx.authentication.append(MethodResult("spf", "temperror"))
        explain = self._actions["mailfrom", SpfResult.FAIL] != "mark"
        identity = mail_identity(
            session.client.address, session.helo, tx.reverse_path, receiver=self._node, now=self._now()
        )
        asking = check_host(identity, self._records, explain=explain)
        return then(self._dns, asking, lambda outcome: self._judged(tx, outcome, at))

    def _judged(self, tx: Transaction, outcome: SpfOutcome, at: int) -> Verdict | None:
        tx.results["spf"] = (outcome.result.value, _evidence(outcome))
        shown = str(tx.reverse_path) if tx.reverse_path is not None else outcome.identity.sender
        tx.authentication[at] = _method_result(outcome, ("smtp.mailfrom", shown))
        return self._said(tx, outcome)

    def _said(self, tx: Transaction, outcome: SpfOutcome) -> Verdict | None:
        if self._received_spf:
            tx.add_header("Received-SPF", received_spf(outcome, utf8=tx.transmission.smtputf8))
        action = self._actions.get((outcome.identity.kind, outcome.result), "mark")
        if action == "mark":
            return None
        text = _text(outcome)
        status = _STATUS.get(outcome.result, ".7.1")
        return reject(f"5{status}", text) if action == "reject" else defer(f"4{status}", text)

    def _now(self) -> int:
        return int(self._clock.now())


def _is_stranger(session: Session) -> bool:
    """Whether the client speaks for its own mail: those that relay or have logged in send for us, LMTP clients have taken it already."""
    return session.role == "mx" and not session.relaying and session.identity is None


def _method_result(outcome: SpfOutcome, looked_at: tuple[str, str]) -> MethodResult:
    return MethodResult("spf", outcome.result.value, outcome.problem, (looked_at,))


def _evidence(outcome: SpfOutcome) -> str:
    why = (outcome.problem or outcome.mechanism)[:MAX_EVIDENCE]
    return f"{outcome.identity.domain}: {why}" if why else outcome.identity.domain


def _text(outcome: SpfOutcome) -> str:
    """Return our words, and those of the domain as its own (RFC 7208 section 6.2): what a stranger says must not look like ours."""
    identity = outcome.identity
    said = _SAID[outcome.result].format(
        domain=identity.domain, client=identity.client, identity=_IDENTITIES[identity.kind]
    )
    if not outcome.explanation:
        return said
    return f"{said}\n{identity.domain} explains: {outcome.explanation}"
