"""The fakes of the session's tests serve here too; one real server and its next hop serve all tests that need them."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scenarios_net.next_hop import NextHop
from scenarios_net.world import ScenarioServer

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "session"))

BINARY = ("8BITMIME", "SMTPUTF8", "CHUNKING", "BINARYMIME")
TEXT = ("8BITMIME", "SMTPUTF8", "DSN")


@pytest.fixture(scope="session")
def next_hop() -> Iterator[NextHop]:
    """Where all mail goes."""
    with NextHop() as hop:
        yield hop


@pytest.fixture(scope="session")
def real_server(tmp_path_factory: pytest.TempPathFactory, next_hop: NextHop) -> Iterator[ScenarioServer]:
    """The server. It must survive everything and still end cleanly."""
    server = ScenarioServer(tmp_path_factory.mktemp("real"), next_hop)
    server.start()
    workers = server.worker_pids()
    yield server
    assert server.worker_pids() == workers, f"a worker ended:\n{server.tail()}"
    assert server.stop() == 0, server.tail()


@pytest.fixture
def text_hop(next_hop: NextHop) -> NextHop:
    """The next hop, taking text by DATA only."""
    next_hop.offer(*TEXT)
    return next_hop


@pytest.fixture
def binary_hop(next_hop: NextHop) -> NextHop:
    """The next hop, taking chunks and binary content."""
    next_hop.offer(*BINARY)
    return next_hop
