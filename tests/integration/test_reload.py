"""SIGHUP: a new configuration takes over under load, or changes nothing."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from integration.conftest import MakeServer, route_to
from integration.messages import number_of, numbered
from integration.receiver import Receiver
from integration.server import UpesiServer, run_upesi, wait_until

SESSIONS, EACH = 100, 6


class Client:
    """One of the hundred: a session for each message, and a tally of what was acknowledged and what was refused."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.acknowledged: set[int] = set()
        self.refused: list[str] = []

    async def send(self, number: int, gate: asyncio.Event | None = None) -> None:
        """Send one message in a session of its own, which waits for `gate` after RCPT; a refused connection is written down."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError as error:
            self.refused.append(repr(error))
            return
        for line in (b"", b"EHLO a.example\r\n", b"MAIL FROM:<a@example.com>\r\n", b"RCPT TO:<b@example.net>\r\n"):
            writer.write(line)
            reply = await _reply(reader)
            if not line and not reply.startswith(b"220"):
                self.refused.append(repr(reply))
        if gate is not None:
            await gate.wait()
        writer.write(b"DATA\r\n")
        if (await _reply(reader)).startswith(b"354"):
            writer.write(numbered(number) + b".\r\n")
            if (await _reply(reader)).startswith(b"250"):
                self.acknowledged.add(number)
        writer.close()


async def _reply(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(20):
        try:
            while (line := await reader.readline())[3:4] == b"-":
                pass
        except OSError:
            return b""
    return line


async def test_reload_under_a_hundred_sessions_refuses_and_loses_nothing(
    upesi_server: MakeServer, receiver: Receiver
) -> None:
    """ARCHITECTURE.md: no connection is refused and no queued message is orphaned by a reload; old sessions end their transaction."""
    server = upesi_server(route_to(receiver.port), workers=2)
    old, client, gate = Client(server.port), Client(server.port), asyncio.Event()
    before = set(server.worker_pids())
    held = [asyncio.create_task(old.send(10_000 + number, gate)) for number in range(50)]
    await asyncio.sleep(0.5)
    reload = asyncio.create_task(_reload_soon(server))

    async def session(index: int) -> None:
        for step in range(EACH):
            await client.send(index * EACH + step)
            await asyncio.sleep(0.2)

    await asyncio.gather(*(session(index) for index in range(SESSIONS)))
    await reload
    gate.set()
    await asyncio.gather(*held)
    await asyncio.to_thread(
        wait_until, lambda: not before & set(server.worker_pids()), 20, "the end of the old workers"
    )
    assert client.refused == []
    assert old.refused == []
    assert len(client.acknowledged) == SESSIONS * EACH
    acknowledged = client.acknowledged | old.acknowledged
    messages = await asyncio.to_thread(receiver.wait_for, len(acknowledged))
    assert acknowledged <= {number_of(message.data) for message in messages}


async def _reload_soon(server: UpesiServer) -> None:
    await asyncio.sleep(0.3)
    server.reload()


def test_a_reload_takes_over_a_new_route(upesi_server: MakeServer, receiver: Receiver) -> None:
    """What is accepted after the reload goes where the new configuration says."""
    server = upesi_server(route_to(receiver.port))
    server.send(numbered(1))
    receiver.wait_for(1)
    with Receiver() as other:
        before = set(server.worker_pids())
        server.configure(route_to(other.port))
        server.reload()
        wait_until(lambda: not before & set(server.worker_pids()), 20, "the end of the old workers")
        server.send(numbered(2))
        assert number_of(other.wait_for(1)[0].data) == 2
    assert len(receiver.messages) == 1


def test_a_bad_configuration_changes_nothing_and_says_why(relaying: UpesiServer, receiver: Receiver) -> None:
    """ARCHITECTURE.md: a bad configuration changes nothing; the same workers go on, and the log names the key."""
    before = relaying.worker_pids()
    relaying.file.write_text(relaying.file.read_text().replace("[spool]", "[spool]\nmin_fre = '1MB'"))
    relaying.reload()
    wait_until(lambda: "min_fre" in relaying.log.read_text(), what="the complaint in the log")
    relaying.send(numbered(1))
    receiver.wait_for(1)
    assert set(before) <= set(relaying.worker_pids())


def test_upesi_reload_reports_a_bad_configuration(relaying: UpesiServer, tmp_path: Path) -> None:
    """`upesi reload` ends with an error that names what is wrong, says that nothing was changed, and the server goes on."""
    relaying.file.write_text(relaying.file.read_text() + "\n[nonsense]\n")
    result = run_upesi("reload", "-c", relaying.file)
    assert result.returncode != 0
    assert "nonsense" in result.stderr
    assert "nothing was done, and a running server goes on unchanged" in result.stderr
    assert relaying.greets()


def test_a_reload_that_the_server_refused_is_in_its_log(relaying: UpesiServer) -> None:
    """Whoever reads the log later learns of a refusal that `upesi reload` was told, as after SIGHUP."""
    relaying.file.write_text(relaying.file.read_text() + '\n[plugins]\nenabled = ["nonsense"]\n')
    result = run_upesi("reload", "-c", relaying.file)
    assert result.returncode == 1
    assert "nonsense" in result.stderr
    wait_until(lambda: "server.reload_refused" in relaying.log.read_text(), what="the refusal in the log")
    (told,) = (line for line in relaying.log.read_text().splitlines() if "server.reload_refused" in line)
    assert "nonsense" in told


def test_a_refusal_names_the_file_that_can_be_opened(
    upesi_server: MakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads the log after SIGHUP need not know in which folder the server was started with `-c upesi.toml`."""
    server = upesi_server("")
    server.stop()
    monkeypatch.chdir(server.folder)
    absolute, server.file = server.file, Path("upesi.toml")
    server.start()
    server.file.write_text(server.file.read_text() + "\n[nonsense]\n")
    server.reload()
    wait_until(lambda: "server.reload_refused" in server.log.read_text(), what="the refusal in the log")
    (told,) = (line for line in server.log.read_text().splitlines() if "server.reload_refused" in line)
    assert f"{absolute}:" in told


def _accepting(server: UpesiServer) -> set[int]:
    """Open sessions enough for all workers to be heard of, and return the slots that took their mail."""
    before = len(server.events("transaction.accepted"))
    for number in range(40):
        server.send(numbered(number))
    wait_until(lambda: len(server.events("transaction.accepted")) == before + 40, what="the events of all sessions")
    return {event["worker"] for event in server.events("transaction.accepted")[before:]}


def _reloaded(server: UpesiServer, workers: int) -> None:
    before, said = set(server.worker_pids()), server.log.read_text().count('"server.reloaded"')
    text = server.file.read_text()
    server.file.write_text(re.sub(r"workers = \d+", f"workers = {workers}", text))
    server.reload()
    wait_until(lambda: server.log.read_text().count('"server.reloaded"') > said, 20, "the reload")
    wait_until(lambda: not before & set(server.worker_pids()), 20, "the end of the old workers")
    assert len(server.worker_pids()) == workers


def test_a_larger_crew_accepts_with_all_hands_and_a_smaller_one_leaves_no_client_unheard(
    upesi_server: MakeServer, receiver: Receiver
) -> None:
    """ARCHITECTURE.md: a socket for each listener and slot; a reload to more workers binds more, one to fewer deals out what is left."""
    server = upesi_server(route_to(receiver.port), workers=1)
    _reloaded(server, 3)
    assert _accepting(server) == {0, 1, 2}
    _reloaded(server, 1)
    # a socket that nobody accepts from would take a third of these clients, and they would wait in vain
    assert _accepting(server) == {0}
    receiver.wait_for(80)


@pytest.mark.parametrize(
    ("key", "old", "new"),
    [
        ("metrics.address", "[metrics]", '[metrics]\naddress = "127.0.0.2"'),
        ("node.user", "[node]", '[node]\nuser = "nobody"'),
    ],
)
def test_what_cannot_change_while_it_runs_is_refused_by_name(
    relaying: UpesiServer, key: str, old: str, new: str
) -> None:
    """A setting is applied at a reload, or the reload is refused and says which; never silently neither."""
    relaying.file.write_text(relaying.file.read_text().replace(old, new))
    result = run_upesi("reload", "-c", relaying.file)
    assert result.returncode != 0
    assert f"{key} cannot change while the server runs" in result.stdout + result.stderr


def test_the_supervisors_own_log_follows_the_configuration(relaying: UpesiServer) -> None:
    """`log` is applied by a reload to all processes."""
    other = relaying.folder / "other.log"
    relaying.file.write_text(relaying.file.read_text().replace("[log]", f'[log]\nfile = "{other}"'))
    relaying.reload()
    wait_until(lambda: other.exists() and '"server.reloaded"' in other.read_text(), 20, "the reload in the new log")
    assert '"server.reloaded"' not in relaying.log.read_text()


def test_a_log_that_cannot_be_opened_refuses_the_reload(relaying: UpesiServer) -> None:
    """The server goes on with the log that it has, and names key and file."""
    relaying.file.write_text(relaying.file.read_text().replace("[log]", '[log]\nfile = "/nonexistent/upesi.log"'))
    result = run_upesi("reload", "-c", relaying.file)
    assert result.returncode != 0
    assert "log.file" in result.stdout + result.stderr
    assert "/nonexistent/upesi.log" in result.stdout + result.stderr
    assert relaying.greets()


def test_what_cannot_be_meant_is_said_at_the_start_and_at_a_reload(
    upesi_server: MakeServer, receiver: Receiver
) -> None:
    """A route that can never count stops nothing: it is told once at the start, in the log, and by `upesi reload`."""
    never = '[[route]]\ndomains = ["example.net"]\nto = "discard"\n'
    server = upesi_server(route_to(receiver.port) + never)
    wait_until(lambda: server.events("config.doubted"), what="the event")
    (event,) = server.events("config.doubted")
    assert "never counts" in event["text"]
    # standard error is the log here
    assert server.log.read_text().count("never counts") == 1
    result = run_upesi("reload", "-c", server.file)
    assert result.returncode == 0
    assert f"warning: {event['text']}" in result.stderr
    wait_until(lambda: len(server.events("config.doubted")) == 2, what="the second event")
    server.configure(route_to(receiver.port))
    assert "warning" not in run_upesi("reload", "-c", server.file).stderr
    wait_until(lambda: len(server.events("server.reloaded")) == 2, what="the event of the second reload")
    assert len(server.events("config.doubted")) == 2
