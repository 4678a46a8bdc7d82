"""Servers of the tests that say what they are told to; when they end nothing of them is left over."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def serving(talk: Talk, path: Path | None = None, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve on a port of 127.0.0.1, which is given, or on the Unix socket `path`."""
    talks: set[asyncio.Task[None]] = set()
    writers: set[asyncio.StreamWriter] = set()

    async def handled(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        talks.add(task)
        writers.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await talk(reader, writer)
        writer.close()

    if path is None:
        server = await asyncio.start_server(handled, "127.0.0.1", 0, ssl=context)
    else:
        server = await asyncio.start_unix_server(handled, path)
    try:
        yield server.sockets[0].getsockname()[1] if path is None else 0
    finally:
        server.close()
        for task in talks:
            task.cancel()
        await asyncio.gather(*talks, return_exceptions=True)
        for writer in writers:
            if not writer.transport.is_closing():
                writer.transport.abort()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()


async def until_closed(reader: asyncio.StreamReader) -> None:
    """Say nothing more until the other side has gone."""
    while await reader.read(4096):
        pass
