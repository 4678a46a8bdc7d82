"""Sends DMARC's aggregate reports: once for each domain and day, by whichever worker claims it (RFC 9990).

A day is claimed for a while in the file that all workers share, its destinations are asked for their consent, the messages are queued under
ids that follow from domain, day and address, and then the day is done. Whoever finds a day that somebody else had begun asks the spool's
history which messages are queued already: a crash at any point neither loses a report nor sends it twice.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from upesi.config.settings import Config, ReportsSettings
from upesi.database.errors import DatabaseError
from upesi.database.sqlite import Database
from upesi.hooks.asking import Dns, answered
from upesi.hooks.guard import Emit
from upesi.mail.address import Address
from upesi.mail.errors import UpesiError
from upesi.mail.ids import MessageId
from upesi.mailauth.dmarc_record import ReportUri
from upesi.mailauth.report_destinations import report_destinations
from upesi.observe.metrics import Metrics
from upesi.reports.aggregate import AggregateReport
from upesi.reports.aggregate_mail import MAX_REPORT, report_id, report_mail, report_message_id, zipped
from upesi.runtime.ground import Ground
from upesi.runtime.report_queue import ReportQueue
from upesi.runtime.tasks import in_background, nothing
from upesi.session.intake import Intake
from upesi.spool.listing import trace
from upesi.spool.schema import DATABASE_NAME
from upesi.spool.store import SpoolError
from upesi.store.aggregates import AggregateDay, Aggregates

__all__ = ["ReportSender", "count_reports", "make_aggregates", "make_report_sender", "report_delay", "was_queued"]

# Seconds until the first look for reports that are due, since what was claimed before a restart waits, and between two: they are due daily
_FIRST = 1.0
_PAUSE = 60.0
# for which a claimed day is ours: some lookups and five messages. A worker that died is followed after that
_LEASE = 900.0
# until the next try where DNS or the spool could not
_RETRY = 3600.0
# tries after which a destination of which DNS still cannot say whether it wants reports has not said so: the others get theirs
_PATIENCE = 4


def report_delay(hostname: str, spread: float) -> Callable[[str], float]:
    """Return how long a domain's report waits: not all servers' at midnight, and the same at each try."""

    def delay(domain: str) -> float:
        part = int.from_bytes(hashlib.sha256(f"{hostname} {domain}".encode()).digest()[:4], "big")
        return spread * part / 2**32

    return delay


def was_queued(spool: Path, id: MessageId) -> bool:
    """Whether the spool's history knows a message; raise UpesiError. Blocks for a moment: call it in a thread."""
    database = Database.open(spool / DATABASE_NAME, busy=1.0)
    try:
        return bool(trace(database, id.hex()))
    finally:
        database.close()


class ReportSender:
    """The sending side of one worker."""

    def __init__(
        self,
        aggregates: Aggregates,
        dns: Dns,
        intake: Intake,
        queued: Callable[[MessageId], bool],
        settings: ReportsSettings,
        hostname: str,
        now: Callable[[], float],
        emit: Emit,
        finished: Callable[[bytes], bytes] = bytes,
    ) -> None:
        """`queued` says whether a message was queued already; it is called in a thread. Raises ValueError for a sender that is none."""
        self._aggregates = aggregates
        self._dns = dns
        self._queue = ReportQueue(intake, now, finished=finished)
        self._queued = queued
        self._sender = Address.parse(settings.sender or f"postmaster@{hostname}")
        self._organization = settings.organization or hostname
        self._hostname = hostname
        self._now = now
        self._emit = emit

    async def run(self) -> None:
        """Look for reports that are due, for ever; a day that is claimed when this is cancelled is somebody else's after its lease."""
        pause = _FIRST
        while True:
            await asyncio.sleep(pause)
            pause = _PAUSE
            try:
                await self.send_due()
            except Exception as error:
                self._emit("report.failed", {"exception": error})

    async def send_due(self) -> int:
        """Send every report that is due; return how many days were looked at."""
        days = 0
        while (day := await self._aggregates.claim(_LEASE)) is not None:
            days += 1
            await self._send(day)
        return days

    async def _send(self, day: AggregateDay) -> None:
        try:
            found = await answered(self._dns, report_destinations(day.domain, day.published.rua))
            if found.trouble and day.tries < _PATIENCE:
                await self._defer(day, found.trouble)
                return
            told = await self._queue_all(day, found.uris)
        except UpesiError as trouble:
            await self._defer(day, str(trouble))
            return
        await self._aggregates.sent(day)
        messages = sum(count for _, count in day.rows)
        fields = {"domain": day.domain, "day": day.day, "rows": len(day.rows), "messages": messages, "recipients": told}
        self._emit("report.sent", {**fields, "lost": day.lost})

    async def _defer(self, day: AggregateDay, text: str) -> None:
        self._emit("report.deferred", {"domain": day.domain, "day": day.day, "tries": day.tries, "text": text})
        await self._aggregates.later(day, _RETRY)

    async def _queue_all(self, day: AggregateDay, uris: tuple[ReportUri, ...]) -> int:
        """Queue the report for each address; return how many it goes to."""
        if not uris or not day.rows:
            return 0
        report = AggregateReport(
            report_id(day.domain, day.day, self._hostname), self._organization, str(self._sender), day.begins, day.ends,
            day.published, day.rows, day.lost,
        )  # fmt: skip
        # a thousand rows take 20 ms: too long for the loop
        document = await asyncio.to_thread(zipped, report)
        told = 0
        for uri in uris:
            id = report_message_id(report.id, uri.address, report.begins)
            octets = report_mail(report, document, uri.address, id, self._sender, self._hostname, self._now())
            if len(octets) > MAX_REPORT:
                continue
            told += 1
            try:
                known = await asyncio.to_thread(self._queued, id)
            except DatabaseError as error:
                raise SpoolError(str(error)) from error
            if not known:
                await self._queue.put(id, uri.address, octets)
        return told


# beside the spool; the number is that of the layout
_AGGREGATES = "dmarc-1.db"


def make_aggregates(config: Config) -> Aggregates:
    """Return what keeps the rows; its file is made when the first is kept."""
    delay = report_delay(config.node.name, float(config.reports.spread))
    return Aggregates(Path(config.spool.path) / _AGGREGATES, time.time, delay)


def count_reports(metrics: Metrics, aggregates: Aggregates) -> None:
    """Take over of how many messages nothing is kept."""
    metrics.reports_dropped.set(aggregates.dropped)


def make_report_sender(ground: Ground, intake: Intake, *, sends: bool) -> Callable[[], Awaitable[None]]:
    """Start to send in the one worker of the machine that `sends`, where anything is kept at all; return what stops it."""
    config = ground.config
    if not sends or not config.reports.send or "dmarc" not in config.plugins.enabled:
        return nothing
    spool = Path(config.spool.path)
    sender = ReportSender(
        ground.aggregates, ground.resolver, intake, lambda id: was_queued(spool, id), config.reports, config.node.name, time.time,
        ground.emit, ground.services.own_mail.finished,
    )  # fmt: skip
    return in_background(sender.run())
