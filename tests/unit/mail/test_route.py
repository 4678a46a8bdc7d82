"""Routes as they are kept in the spool."""

from __future__ import annotations

import msgspec
import pytest

from upesi.mail.route import (
    ROUTE_VERSION,
    DiscardRoute,
    HostRoute,
    LmtpRoute,
    MaildirRoute,
    MxRoute,
    Route,
    decode_route,
    encode_route,
)


@pytest.mark.parametrize(
    "route",
    [MxRoute("example.net"), HostRoute("mx.example", 26), LmtpRoute("/run/lmtp"), MaildirRoute("/m"), DiscardRoute()],
)
def test_route_is_read_back_as_it_was_written(route: Route) -> None:
    """A route kept for days means the same when it is read."""
    assert decode_route(encode_route(route)) == route


@pytest.mark.parametrize(
    "data",
    [
        msgspec.msgpack.encode((ROUTE_VERSION + 1, {"type": "mx", "domain": "x"})),
        msgspec.msgpack.encode((ROUTE_VERSION, {"type": "pigeon"})),
        msgspec.msgpack.encode((ROUTE_VERSION, {"type": "mx"})),
        b"",
        b"\xc1",
    ],
)
def test_unknown_route_is_refused(data: bytes) -> None:
    """QUEUE.md: a worker claims only formats that it knows, and never guesses."""
    with pytest.raises(ValueError):
        decode_route(data)
