"""A receiver of our own, for what smtp-sink cannot do: 200 addresses that behave differently, and the time of each 250.

`python -m bench.receiver --help`. It writes the number of messages taken at the watched sites to standard output, a line whenever
it changed, and with --record, when it is told to stop, the number and monotonic time of each message.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import cast

import uvloop

__all__ = ["site_address"]

_HUNG, _DEFERRING, _WELL = "hung", "deferring", "well"
_REPLIES = {b"EHLO": b"250-sink\r\n250-PIPELINING\r\n250 8BITMIME\r\n", b"DATA": b"354 go\r\n"}
_MARK = b"X-Bench: "


def site_address(site: int) -> str:
    """Return the loopback address of a site: 127.1.0.1 and on."""
    return f"127.1.{site // 200}.{site % 200 + 1}"


class Ledger:
    """What came in."""

    def __init__(self, record: bool) -> None:
        self.watched = 0
        self.times: dict[int, float] | None = {} if record else None


class Receiver(asyncio.Protocol):
    """One connection. It answers what came in one piece with one write."""

    def __init__(self, ledger: Ledger, mood: str, watched: bool) -> None:
        self._ledger, self._mood, self._watched = ledger, mood, watched
        self._buffer, self._in_data = b"", False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet, or hang."""
        self._transport = cast(asyncio.Transport, transport)
        if self._mood != _HUNG:
            self._transport.write(b"220 sink ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        """Answer all that is whole."""
        if self._mood == _HUNG:
            return
        self._buffer += data
        answers = b""
        while (answer := self._data() if self._in_data else self._command()) is not None:
            answers += answer
        if answers:
            self._transport.write(answers)

    def _data(self) -> bytes | None:
        # Empty data begins with its dot; the senders here never send that
        end = self._buffer.find(b"\r\n.\r\n")
        if end < 0:
            return None
        message, self._buffer, self._in_data = self._buffer[:end], self._buffer[end + 5 :], False
        self._ledger.watched += self._watched
        if self._ledger.times is not None and (at := message.find(_MARK)) >= 0:
            number = int(message[at + len(_MARK) : message.index(b"\r\n", at)])
            self._ledger.times[number] = time.monotonic()
        return b"250 2.0.0 ok\r\n"

    def _command(self) -> bytes | None:
        line, end, rest = self._buffer.partition(b"\r\n")
        if not end:
            return None
        self._buffer = rest
        verb = line[:4].upper()
        if verb == b"QUIT":
            self._transport.write(b"221 bye\r\n")
            self._transport.close()
            return None
        if verb == b"RCPT" and self._mood == _DEFERRING:
            return b"451 4.3.0 come again\r\n"
        if verb == b"DATA" and self._mood == _DEFERRING:
            return b"503 5.5.1 no recipients\r\n"
        self._in_data = verb == b"DATA"
        return _REPLIES.get(verb, b"250 2.0.0 ok\r\n")


async def _serve(options: argparse.Namespace, ledger: Ledger) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    addresses = [site_address(site) for site in range(options.sites)] if options.sites else ["127.0.0.1"]
    for site, address in enumerate(addresses):
        mood = _HUNG if site < options.hung else _DEFERRING if site < options.hung + options.deferring else _WELL
        watched = site >= options.unwatched
        await loop.create_server(partial(Receiver, ledger, mood, watched), address, options.port)
    shown = -1
    while not stop.is_set():
        if ledger.watched != shown:
            shown = ledger.watched
            sys.stdout.write(f"{shown}\n")
            sys.stdout.flush()
        await asyncio.sleep(0.01)


def main() -> None:
    """Read the command line and serve until SIGTERM."""
    parser = argparse.ArgumentParser(description="An SMTP receiver for benchmarks.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--sites", type=int, default=0, help="listen on so many addresses, 127.1.0.1 and on")
    parser.add_argument("--hung", type=int, default=0, help="the first so many sites accept and say nothing")
    parser.add_argument("--deferring", type=int, default=0, help="the next so many answer RCPT with 451")
    parser.add_argument("--unwatched", type=int, default=0, help="the first so many sites are not counted")
    parser.add_argument("--record", help="write [[number, monotonic time], ...] there at the end")
    options = parser.parse_args()
    ledger = Ledger(options.record is not None)
    uvloop.run(_serve(options, ledger))
    if ledger.times is not None:
        Path(options.record).write_text(json.dumps(list(ledger.times.items())))


if __name__ == "__main__":
    main()
