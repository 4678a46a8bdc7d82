"""Sends DMARC's failure reports: soon after the message, to whoever the record names and who agreed, and few of them (RFC 9991).

What failed waits in memory, some of it, for one task of the worker. Reports are rated over all workers of the machine: of one policy
domain, to one destination, and in all; what is beyond is not sent later. Nothing here is owed to anybody: a worker that ends forgets what
waits, and trouble with DNS or the spool costs the report, not a second try.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from os import urandom

from upesi.config.settings import ReportsSettings
from upesi.config.units import Rate
from upesi.hooks.asking import Dns, answered
from upesi.hooks.guard import Emit
from upesi.mail.address import Address
from upesi.mail.errors import UpesiError
from upesi.mail.ids import MessageId
from upesi.mailauth.failure import Failure, failed_identities
from upesi.mailauth.report_destinations import report_destinations
from upesi.reports.arf import MAX_FAILURE_REPORT, FailureReport, failure_report
from upesi.runtime.ground import Ground
from upesi.runtime.report_queue import ReportQueue
from upesi.runtime.tasks import in_background, nothing
from upesi.session.intake import Intake
from upesi.store.counters import Counters
from upesi.store.failures import Failures
from upesi.store.keys import Keys, KeysUnavailable

__all__ = ["FailureSender", "make_failure_sender"]

# Seconds for which the secret of redaction stands: long enough to see that two reports tell of one person, not for years
_KEY_LIFETIME = 30 * 86_400.0
_KEY = "dmarc:redaction"
_KEY_SIZE = 32
# how often a limit is told of
_ONCE = Rate("1/1h")


class FailureSender:
    """The sending side of one worker."""

    def __init__(
        self,
        failures: Failures,
        dns: Dns,
        queue: ReportQueue,
        counters: Counters,
        keys: Keys,
        settings: ReportsSettings,
        hostname: str,
        ids: Callable[[], MessageId],
        entropy: Callable[[int], bytes],
        now: Callable[[], float],
        emit: Emit,
    ) -> None:
        """`entropy` makes secrets. Raises ValueError for a sender that is none."""
        self._failures = failures
        self._dns = dns
        self._queue = queue
        self._counters = counters
        self._keys = keys
        self._domain_rate = settings.failures_of_domain
        self._destination_rate = settings.failures_to_destination
        self._rate = settings.failures
        self._sender = Address.parse(settings.sender or f"postmaster@{hostname}")
        self._hostname = hostname
        self._ids = ids
        self._entropy = entropy
        self._now = now
        self._emit = emit

    async def run(self) -> None:
        """Report messages that fail, for ever; what waits when this is cancelled is forgotten."""
        while True:
            failure, incidents = await self._failures.next()
            try:
                await self.report(failure, incidents)
            except UpesiError as trouble:
                self._emit("report.failure_dropped", {"domain": failure.holder, "text": str(trouble)})
            except Exception as error:
                self._emit("report.failure_failed", {"exception": error})

    async def report(self, failure: Failure, incidents: int) -> int:
        """Send reports about one message; return how many. Raises UpesiError: some of them may be on their way then."""
        # in front of all that costs something: who forges a thousand messages must not cause a thousand lookups
        if not self._counters.take(b"failures:of:" + failure.holder.encode(), self._domain_rate):
            self._limited(failure, "domain")
            return 0
        found = await answered(self._dns, report_destinations(failure.holder, failure.wanted, "ruf"))
        told = [uri.address for uri in found.uris if self._may_tell(failure, uri.address)]
        if told:
            identities = await answered(self._dns, failed_identities(failure))
            report = FailureReport(failure, identities, self._sender, self._hostname, incidents, self._now())
            key = await self._key()
            for address in told:
                await self._send(report, address, key)
        return len(told)

    def _may_tell(self, failure: Failure, address: Address) -> bool:
        """Count a report to an address, where that is within both rates."""
        key = b"failures:to:" + address.domain.encode()
        if not self._counters.take(key, self._destination_rate):
            self._limited(failure, "destination")
            return False
        if not self._counters.take(b"failures", self._rate):
            self._counters.give_back(key, self._destination_rate)
            self._limited(failure, "all")
            return False
        return True

    def _limited(self, failure: Failure, limit: str) -> None:
        # said once an hour for each of the three: a flood of mail must not become one of events
        if self._counters.take(f"failures:said:{limit}".encode(), _ONCE):
            self._emit("report.failure_limited", {"domain": failure.holder, "limit": limit})

    async def _send(self, report: FailureReport, to: Address, key: bytes) -> None:
        id = self._ids()
        octets = failure_report(report, to, id, key)
        if len(octets) > MAX_FAILURE_REPORT:
            return
        await self._queue.put(id, to, octets)
        failure = report.failure
        self._emit(
            "report.failure_sent",
            {"domain": failure.holder, "destination": to.domain, "about": failure.kind, "message": id.hex()},
        )

    async def _key(self) -> bytes:
        """Return the secret that all workers redact with; where it cannot be had one for this report alone, and never again."""
        fresh = self._entropy(_KEY_SIZE)
        try:
            if await self._keys.add(_KEY, fresh, _KEY_LIFETIME):
                return fresh
            return await self._keys.get(_KEY) or fresh
        except KeysUnavailable:
            return fresh


def make_failure_sender(ground: Ground, intake: Intake) -> Callable[[], Awaitable[None]]:
    """Start to send, in each worker, where the plugin may ask for it; return what stops it."""
    config = ground.config
    if not config.reports.send or "dmarc" not in config.plugins.enabled:
        return nothing
    queue = ReportQueue(intake, time.time, "dmarc-failure", ground.services.own_mail.finished)
    sender = FailureSender(
        ground.failures, ground.resolver, queue, ground.counters, ground.keys,
        config.reports, config.node.name, ground.ids.next, urandom, time.time, ground.emit,
    )  # fmt: skip
    return in_background(sender.run())
