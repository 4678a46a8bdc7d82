"""A DNS server process with made-up zones: d7.bench.example has MX s7.sites.example, which has A 127.1.x.y; nothing else exists.

`python -m bench.names PORT SITES`
"""

from __future__ import annotations

import asyncio
import re
import sys
from typing import cast

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from bench.receiver import site_address

__all__ = ["Names"]

_DOMAIN = re.compile(r"d(\d+)\.bench\.example\.", re.IGNORECASE)
_SITE = re.compile(r"s(\d+)\.sites\.example\.", re.IGNORECASE)


class Names(asyncio.DatagramProtocol):
    """Answers MX for the domains and A for the sites."""

    def __init__(self, sites: int) -> None:
        self._sites = sites

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        """Answer one question."""
        query = dns.message.from_wire(data)
        answer = dns.message.make_response(query, recursion_available=True)
        question = query.question[0]
        name = question.name.to_text()
        if domain := _DOMAIN.fullmatch(name):
            self._add(answer, question, dns.rdatatype.MX, f"10 s{int(domain[1]) % self._sites}.sites.example.")
        elif site := _SITE.fullmatch(name):
            self._add(answer, question, dns.rdatatype.A, site_address(int(site[1])))
        else:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        self._transport.sendto(answer.to_wire(), address)

    def _add(
        self, answer: dns.message.Message, question: dns.rrset.RRset, kind: dns.rdatatype.RdataType, text: str
    ) -> None:
        # Another type of a name that exists: an empty answer, not NXDOMAIN (RFC 2308)
        if question.rdtype == kind:
            answer.answer.append(dns.rrset.from_text(question.name, 300, "IN", kind, text))


async def _serve(port: int, sites: int) -> None:
    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(lambda: Names(sites), ("127.0.0.1", port))
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), int(sys.argv[2])))
