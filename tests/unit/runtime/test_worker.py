"""A worker's end of the channel, before it has a house."""

from __future__ import annotations

import asyncio
import socket

from upesi.control.channel import Channel
from upesi.runtime.messages import Drain
from upesi.runtime.worker import Worker


async def test_a_worker_that_is_told_to_drain_before_it_is_configured_goes() -> None:
    """It holds nothing: a stop during the start waits for nobody."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    running = asyncio.ensure_future(Worker().run(theirs))
    channel = await Channel.open(ours, {}, failed=lambda name, error: None)
    channel.notify("drain", Drain(30.0))
    await asyncio.wait_for(running, 5)
    channel.close()
