"""Public: what tests of plugins and of Upesi itself stand on.

Virtual time, a clock to move, messages, DNS and the other services in memory, trials of plugins, a client with a script.
"""

from upesi.testkit.client import ScriptedClient
from upesi.testkit.clock import FakeClock
from upesi.testkit.loop import Stalled, VirtualLoop, run_virtual
from upesi.testkit.messages import message
from upesi.testkit.resolver import FakeResolver
from upesi.testkit.services import FakeAnswer, FakeConnect, FakeHttp, FakeLookup, MemoryRates, MemoryStore
from upesi.testkit.trial import Event, Step, Trial, load, try_plugin

__all__ = [
    "Event",
    "FakeAnswer",
    "FakeClock",
    "FakeConnect",
    "FakeHttp",
    "FakeLookup",
    "FakeResolver",
    "MemoryRates",
    "MemoryStore",
    "ScriptedClient",
    "Stalled",
    "Step",
    "Trial",
    "VirtualLoop",
    "load",
    "message",
    "run_virtual",
    "try_plugin",
]
