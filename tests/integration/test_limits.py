"""Limits mean what they say, over all workers."""

from __future__ import annotations

import pytest

from integration.conftest import MakeServer, route_to
from integration.messages import number_of, numbered
from integration.receiver import Receiver


@pytest.mark.parametrize("limit", [1, 3])
def test_a_site_never_sees_more_connections_than_its_limit(
    upesi_server: MakeServer, receiver: Receiver, limit: int
) -> None:
    """Q3: connections on a path never exceed its limit over all workers, however many of them have mail for it; all arrives."""
    # slow enough that even a busy machine hands in faster than two connections carry away
    receiver.pause = 0.1
    server = upesi_server(route_to(receiver.port) + f"[delivery]\nsite_connections = {limit}\n", workers=2)
    for number in range(60):
        server.send(numbered(number))
    messages = receiver.wait_for(60)
    assert sorted(number_of(message.data) for message in messages) == list(range(60))
    assert receiver.most_connections == limit


def test_a_connection_carries_no_more_messages_than_its_limit(upesi_server: MakeServer, receiver: Receiver) -> None:
    """`delivery.connection_messages`: with one message for each connection, every message has its own."""
    server = upesi_server(route_to(receiver.port) + "[delivery]\nconnection_messages = 1\nsite_connections = 2\n")
    for number in range(20):
        server.send(numbered(number))
    receiver.wait_for(20)
    assert receiver.opened_in_all >= 20
    assert receiver.most_connections <= 2
