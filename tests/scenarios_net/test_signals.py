"""RES-05, PLG-05: signals to a real server with sessions in every state."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from integration.server import PATIENCE, wait_until
from scenarios_net.next_hop import NextHop
from scenarios_net.wire import SocketEndpoint
from scenarios_net.world import ScenarioServer

Opened = Callable[[list[str]], SocketEndpoint]

# long enough for what is to be heard before its end, on a busy machine too
DRAIN = 5.0
# what a client has said; the last is inside DATA
STATES = ([], ["EHLO c.example"], ["EHLO c.example", "NOOP", "RSET"])
BUSY = ["EHLO c.example", "MAIL FROM:<a@client.example>", "RCPT TO:<b@test.example>"]


@pytest.fixture
def hop() -> Iterator[NextHop]:
    """A next hop of its own: what it gets is counted."""
    with NextHop() as hop:
        yield hop


@pytest.fixture
def server(tmp_path: Path, hop: NextHop) -> Iterator[ScenarioServer]:
    """A server with a short drain, started; killed if the test leaves it running."""
    server = ScenarioServer(tmp_path / "server", hop)
    server.file.write_text(server.file.read_text().replace('drain = "50s"', f'drain = "{DRAIN}s"'))
    server.start()
    yield server
    if not server.ended:
        server.kill()


@pytest.fixture
def opened(server: ScenarioServer, hop: NextHop) -> Iterator[Opened]:
    """Open sessions: `opened(lines)` is a client that has said these and heard the replies."""
    with contextlib.ExitStack() as clients:

        def make(said: list[str]) -> SocketEndpoint:
            client = clients.enter_context(SocketEndpoint(server.address["smtp"], hop))
            assert (client.reply() or "").startswith("220 ")
            for line in said:
                assert client.say(line)[:3] in ("250", "354"), line
            return client

        yield make


def finish(client: SocketEndpoint, content: bytes = b"x: y\r\n") -> str:
    """End the message that a client is in the midst of."""
    client.send(content + b".\r\n")
    return client.reply() or ""


def to_all(server: ScenarioServer, number: int) -> None:
    """Send a signal to the supervisor and every worker."""
    for pid in [server.pid, *server.worker_pids()]:
        os.kill(pid, number)


def test_signals_that_end_nothing_end_nothing(server: ScenarioServer, hop: NextHop, opened: Opened) -> None:
    """RES-05: SIGPIPE is ignored; stopped for a while and continued, the server goes on where it stood, and sends nothing twice."""
    workers = server.worker_pids()
    clients = [opened(said) for said in STATES]
    busy = opened([*BUSY, "DATA"])
    to_all(server, signal.SIGPIPE)
    busy.send(b"Subject: before\r\n")
    to_all(server, signal.SIGSTOP)
    busy.send(b"\r\nmeanwhile\r\n")
    # behind it there is a loop that was late: nobody may be taken for hung or slow because of it
    time.sleep(1.2)
    to_all(server, signal.SIGCONT)
    assert finish(busy, b"after\r\n").startswith("250 ")
    for client, said in zip(clients, STATES, strict=True):
        assert client.say("NOOP" if said else "EHLO c.example").startswith("250")
    assert hop.wait_for(1)[0].content.endswith(b"Subject: before\r\n\r\nmeanwhile\r\nafter\r\n")
    assert server.worker_pids() == workers
    assert len(hop.arrived) == 1


BROKEN = {
    "raises": "from upesi.plugin import Plugin\nclass Raises(Plugin):\n    raise RuntimeError('at import')\n",
    "nonsense": "this is not Python\n",
    "absent": None,
}


def test_a_reload_with_a_broken_plugin_changes_nothing(server: ScenarioServer, hop: NextHop, opened: Opened) -> None:
    """PLG-05, RES-05: SIGHUP with a plugin that fails or is not there: the same workers and sessions go on, and the log names it."""
    workers, before = server.worker_pids(), server.file.read_text()
    busy = opened([*BUSY, "DATA"])
    folder = server.folder / "plugins"
    folder.mkdir()
    for count, (name, text) in enumerate(BROKEN.items(), 1):
        if text is not None:
            (folder / f"{name}.py").write_text(text)
        server.file.write_text(
            f'{before}\n[plugins]\nenabled = ["relay", "recipients", "{name}"]\nfolder = "{folder}"\n'
        )
        server.reload()
        wait_until(lambda wanted=count: len(_refusals(server)) == wanted, 20, "the refusal in the log")
        assert name in _refusals(server)[-1]
    assert finish(busy).startswith("250 ")
    hop.wait_for(1)
    assert server.worker_pids() == workers
    assert opened(BUSY).say("DATA").startswith("354 ")


def _refusals(server: ScenarioServer) -> list[str]:
    return [line for line in server.log.read_text().splitlines() if "server.reload_refused" in line]


def test_sigterm_in_every_state(server: ScenarioServer, hop: NextHop, opened: Opened) -> None:
    """RES-05, C04: idle sessions hear 421 4.3.2 at once, a message under way is taken, whoever dawdles hears 421 when the drain ends."""
    idle = [opened(said) for said in STATES]
    dawdling = [opened(BUSY[:2]), opened(BUSY), opened([*BUSY, "DATA"])]
    busy = opened([*BUSY, "DATA"])
    began = time.monotonic()
    os.kill(server.pid, signal.SIGTERM)
    for client in idle:
        assert (client.reply() or "").startswith("421 4.3.2 ")
        assert client.closed()
    assert time.monotonic() - began < DRAIN
    assert finish(busy).startswith("250 ")
    assert (busy.reply() or "").startswith("421 4.3.2 ")
    for client in dawdling:
        assert (client.reply() or "").startswith("421 4.3.2 ")
        assert client.closed()
    assert server.stop() == 0
    assert time.monotonic() - began < DRAIN + 50
    if not hop.arrived:
        server.start()
    assert len(hop.wait_for(1)) == 1


def test_the_second_sigint_ends_at_once_and_loses_nothing(server: ScenarioServer, hop: NextHop, opened: Opened) -> None:
    """RES-05: who presses Ctrl-C twice does not wait for the drain; what was acknowledged is delivered after the next start."""
    server.file.write_text(server.file.read_text().replace(f'drain = "{DRAIN}s"', 'drain = "100s"'))
    server.reload()
    wait_until(lambda: "server.reloaded" in server.log.read_text(), 20, "the reload")
    assert finish(opened([*BUSY, "DATA"])).startswith("250 ")
    opened([*BUSY, "DATA"]).send(b"never ended")
    os.kill(server.pid, signal.SIGINT)
    wait_until(lambda: "server.stopping" in server.log.read_text(), what="the drain")
    assert server.process is not None
    assert server.process.poll() is None
    os.kill(server.pid, signal.SIGINT)
    server.process.wait(PATIENCE)
    server.start()
    assert len(hop.wait_for(1)) >= 1
    assert {arrived.content[-6:] for arrived in hop.arrived} == {b"x: y\r\n"}
