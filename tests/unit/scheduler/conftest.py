"""One world for each test; what the scheduler contained as a failure fails the test."""

from collections.abc import Iterator

import pytest
from scheduler_world import World


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    assert not world.failures()
    world.close()
