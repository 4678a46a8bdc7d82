"""Public: what tests of plugins and of Upesi itself stand on: virtual time, a clock to move, messages, DNS in memory, trials of plugins."""

from upesi.testkit.clock import FakeClock
from upesi.testkit.loop import Stalled, VirtualLoop, run_virtual
from upesi.testkit.messages import message
from upesi.testkit.resolver import FakeResolver
from upesi.testkit.trial import Event, Step, Trial, try_plugin

__all__ = [
    "Event",
    "FakeClock",
    "FakeResolver",
    "Stalled",
    "Step",
    "Trial",
    "VirtualLoop",
    "message",
    "run_virtual",
    "try_plugin",
]
