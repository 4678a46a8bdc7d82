"""Verify DKIM signatures while the message arrives (RFC 6376), and leave the results for DMARC and Authentication-Results."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Awaitable
from typing import Literal

from upesi.plugin import (
    Clock,
    DkimOutcome,
    DkimTerms,
    DkimVerifier,
    Dns,
    Duration,
    KeyCache,
    MethodResult,
    Plugin,
    PluginLog,
    PluginSettings,
    Rate,
    Rates,
    Transaction,
    Verdict,
    defer,
    hook,
    reject,
    then,
)

Policy = Literal["mark", "defer", "reject"]

# RFC 6008 section 4: at least so much of b= that no two signatures of a message look alike
_LEAST_OCTETS = 8
# what is said of several signatures is the best of them, in this order
_RANKS = ("pass", "temperror", "neutral", "policy", "fail", "permerror")
# what is said of signatures that are sent again and again, over all workers and all of them: who sends them could fill the log
_TOLD = Rate("10/1m")
_REPLAYED = defer("4.7.28", "Signature of this message was seen too often, try again later")
_NONE = MethodResult("dkim", "none")


class Dkim(Plugin):
    """Verify DKIM signatures."""

    class Settings(PluginSettings):
        """`none` is for mail without any signature, `fail` for mail of which none passed, `temperror` where a key could not be fetched.

        All default to "mark": a signature that does not pass is as none (RFC 6376 section 6.3), lists break them every day, and what the
        author's domain wants done is DMARC's business.
        """

        none: Policy = "mark"
        fail: Policy = "mark"
        temperror: Policy = "mark"
        # signatures of a message that are looked at, the author's own domain's first
        signatures: int = 5
        # how far the clocks of signer and receiver may be apart
        clock_skew: Duration = Duration("2h")
        # whether a signature counts that leaves a part of the body unsigned (l=): anybody may have written that part
        partial_body: bool = False
        # recipients for whom strangers may bring mail with one and the same valid signature; more are put off. Off: a list that signs once
        # brings one message to each of its subscribers here
        replay: Rate = Rate("none")

        def __post_init__(self) -> None:
            if not 1 <= self.signatures <= 20:
                raise ValueError("signatures must be 1 to 20")

    def __init__(self, settings: Settings, dns: Dns, clock: Clock, rates: Rates, log: PluginLog) -> None:
        super().__init__(settings)
        self._settings = settings
        self._dns = dns
        self._clock = clock
        self._rates = rates
        self._log = log
        self._keys = KeyCache()
        self._terms = DkimTerms(settings.signatures, float(settings.clock_skew), settings.partial_body)

    @hook.data
    def begin(self, tx: Transaction) -> None:
        """Listen to the message."""
        verifier = DkimVerifier(self._terms)
        tx.notes["dkim.verifier"] = verifier
        tx.listen(verifier)

    @hook.message(after=["spf"])
    def judge(self, tx: Transaction) -> Verdict | Awaitable[Verdict | None] | None:
        """Ask for the keys and leave what came of each signature."""
        verifier = tx.notes.pop("dkim.verifier", None)
        if not isinstance(verifier, DkimVerifier):
            return None
        asking = verifier.outcomes(self._clock.now(), self._keys)
        return then(self._dns, asking, lambda outcomes: self._judged(tx, outcomes, verifier.ignored))

    def _judged(self, tx: Transaction, outcomes: tuple[DkimOutcome, ...], ignored: int) -> Verdict | None:
        tx.authentication.extend(_method_results(outcomes))
        best = min(outcomes, key=lambda outcome: _RANKS.index(outcome.result), default=None)
        if best is None:
            tx.results["dkim"] = ("none", "")
            return self._verdict(self._settings.none, "5.7.20", "Message has no DKIM signature")
        tx.results["dkim"] = (best.result, _evidence(best, len(outcomes), ignored))
        if best.result == "pass":
            return self._replayed(tx, outcomes) if self._settings.replay.count else None
        if best.result == "temperror":
            return self._verdict(self._settings.temperror, "5.7.20", "Key of a DKIM signature cannot be fetched")
        return self._verdict(self._settings.fail, "5.7.20", "No DKIM signature of the message is valid")

    def _replayed(self, tx: Transaction, outcomes: tuple[DkimOutcome, ...]) -> Verdict | None:
        """Count the recipients of each valid signature, which nobody can make anew without the key (RFC 6376 section 8.6)."""
        if tx.session.relaying or tx.session.identity is not None:
            return None
        for outcome in outcomes:
            if outcome.result != "pass":
                continue
            # the octets of b= and not its text, which may be folded in many ways
            key = f"dkim:{outcome.domain}:{hashlib.sha256(outcome.octets).hexdigest()}"
            if not self._rates.take(key, self._settings.replay, len(tx.recipients)):
                tx.results["dkim"] = ("pass", f"replayed; d={outcome.domain} s={outcome.selector}")
                if self._rates.take("dkim:told", _TOLD):
                    self._log(
                        "replayed", domain=outcome.domain, selector=outcome.selector, client=tx.session.client.address
                    )
                return _REPLAYED
        return None

    def _verdict(self, policy: Policy, status: str, text: str) -> Verdict | None:
        # RFC 7372 section 3.1: X.7.20, no passing DKIM signature found
        if policy == "reject":
            return reject(status, text)
        return defer(f"4{status[1:]}", text) if policy == "defer" else None


def _method_results(outcomes: tuple[DkimOutcome, ...]) -> list[MethodResult]:
    if not outcomes:
        return [_NONE]
    if len(outcomes) == 1:
        return [_method_result(outcomes[0], _LEAST_OCTETS)]
    length = _telling([base64.b64encode(outcome.octets).decode() for outcome in outcomes])
    return [_method_result(outcome, length) for outcome in outcomes]


def _method_result(outcome: DkimOutcome, length: int) -> MethodResult:
    reason = outcome.reason
    if outcome.testing:
        reason = f"{reason}, testing" if reason else "testing"
    said = (
        ("header.d", outcome.domain),
        ("header.i", outcome.identity),
        ("header.s", outcome.selector),
        ("header.a", outcome.algorithm),
        ("header.b", base64.b64encode(outcome.octets).decode()[:length]),
    )
    return MethodResult("dkim", outcome.result, reason, tuple(pair for pair in said if pair[1]))


def _telling(signatures: list[str]) -> int:
    """Return how many characters tell the signatures apart (RFC 6008 section 4); all of them where one is there twice."""
    different = len(set(signatures))
    length = _LEAST_OCTETS
    longest = max(map(len, signatures))
    while length < longest and len({signature[:length] for signature in signatures}) < different:
        length *= 2
    return length


def _evidence(best: DkimOutcome, number: int, ignored: int) -> str:
    said = f"d={best.domain} s={best.selector} a={best.algorithm}" if best.domain else ""
    rest = f"{number} signatures" if number > 1 else ""
    unseen = f"{ignored} not looked at" if ignored else ""
    return "; ".join(filter(None, (best.reason, said, rest, unseen)))
