"""Puts reports that this server writes of itself into its own queue: with the null reverse-path, and no notice about them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from upesi.mail.address import Address
from upesi.mail.body import MemoryBody
from upesi.mail.envelope import BodyType, Notify, Recipient, Transmission
from upesi.mail.ids import MessageId
from upesi.session.intake import Intake
from upesi.spool.records import NewDelivery, NewMessage, SpoolEvent
from upesi.spool.store import SpoolError

__all__ = ["ReportQueue"]

# for which a report is tried: what a mailbox for reports does not take in two days it does not want
_LIFETIME = 2 * 86_400.0


class ReportQueue:
    """The way into the queue of one worker."""

    __slots__ = ("_finished", "_intake", "_now", "_session")

    def __init__(
        self,
        intake: Intake,
        now: Callable[[], float],
        session: str = "dmarc-report",
        finished: Callable[[bytes], bytes] = bytes,
    ) -> None:
        """`session` is what the message's history says that it came from; `finished` puts the last touch to it, such as a signature."""
        self._finished = finished
        self._intake = intake
        self._now = now
        self._session = session

    async def put(self, id: MessageId, to: Address, octets: bytes) -> None:
        """Queue one message of ASCII; return once it is durable. Raises SpoolError."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def committed(error: SpoolError | None) -> None:
            if done.cancelled():
                return
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)

        if self._intake.full():
            raise SpoolError("the spool is full")
        # a thread: some of these reports are megabytes, and a signature takes what it takes
        octets = await asyncio.to_thread(self._finished, octets)
        self._intake.accept(self._message(id, to, octets), committed)
        await done

    def _message(self, id: MessageId, to: Address, octets: bytes) -> NewMessage:
        now = self._now()
        route = self._intake.default_route(to)
        place = self._intake.place(route)
        expires = now + min(self._intake.lifetime, _LIFETIME)
        # a report that cannot be delivered is nobody's business (RFC 9990 section 3.5)
        recipient = Recipient(to, notify=Notify.NEVER)
        delivery = NewDelivery(place.queue, route, (recipient,), now, expires, place.state, claim=place.claim)
        fields: dict[str, str | int | float] = {"recipients": 1, "size": len(octets), "session": self._session}
        return NewMessage(
            id, now, None, Transmission(BodyType.SEVEN_BIT), b"", MemoryBody(octets), (delivery,),
            {"report-for": "dmarc"}, events=(SpoolEvent(now, "message.accepted", id, fields),),
        )  # fmt: skip
