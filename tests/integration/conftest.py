"""Fixtures that start real servers and stop them by their process ids."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bench.errors import Unavailable
from bench.peers.postfix import PostfixInstance
from bench.processes import wait_for_greeting
from bench.sink import smtp_sink_argv

from integration.receiver import Receiver
from integration.server import UpesiServer, free_port

MakeServer = Callable[..., UpesiServer]
MakePostfix = Callable[..., PostfixInstance]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A next hop of our own that remembers what it got."""
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def upesi_server(tmp_path: Path) -> Iterator[MakeServer]:
    """Make servers: `upesi_server(more_toml, workers=1)`. Each must still end cleanly on SIGTERM when the test is over."""
    servers: list[UpesiServer] = []

    def make(more: str = "", workers: int = 1, spool: Path | None = None, started: bool = True) -> UpesiServer:
        server = UpesiServer(tmp_path / f"upesi-{len(servers)}", more, workers, spool)
        servers.append(server)
        return server.start() if started else server

    yield make
    running = [server for server in servers if server.process is not None and not server.ended]
    statuses = [server.stop() for server in running]
    assert statuses == [0] * len(running), "\n".join(server.tail() for server in running)


@pytest.fixture
def relaying(upesi_server: MakeServer, receiver: Receiver) -> UpesiServer:
    """A server that sends everything to `receiver`."""
    return upesi_server(route_to(receiver.port))


def route_to(port: int) -> str:
    """Return the configuration that sends all mail to a port of this machine."""
    return f'[[route]]\ndomains = ["*"]\nto = "smtp://127.0.0.1:{port}"\n'


def program(name: str) -> str:
    """Return the path of a program; skip the test, saying so, where it is absent."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if path is None:
        pytest.skip(f"absent: {name}")
    return path


@pytest.fixture
def postfix() -> Iterator[MakePostfix]:
    """Make Postfix instances that relay everything to a port: `postfix(next_hop)`; further lines of main.cf may follow."""
    # The user postfix must reach it: pytest's own folders are closed to others
    folder = Path(tempfile.mkdtemp(prefix="upesi-postfix-", dir="/var/tmp"))
    folder.chmod(0o755)
    instances: list[PostfixInstance] = []

    def make(next_hop: int, more: str = "") -> PostfixInstance:
        instance = PostfixInstance(folder / str(len(instances)), free_port(), next_hop, more)
        try:
            instance.start()
        except Unavailable as error:
            pytest.skip(f"absent: {error}")
        instances.append(instance)
        return instance

    yield make
    for instance in instances:
        instance.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postfix_receiver(postfix: MakePostfix, receiver: Receiver) -> PostfixInstance:
    """Postfix as our next hop; what it takes it sends on to `receiver`."""
    return postfix(receiver.port)


@pytest.fixture
def smtp_sink(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """Postfix's smtp-sink as our next hop: its port, and the folder to which it writes each message."""
    program("smtp-sink")
    port = free_port()
    # It writes with the rights of the user that it becomes, into its own folder (-d)
    folder = Path(tempfile.mkdtemp(prefix="upesi-sink-", dir="/var/tmp"))
    if os.geteuid() == 0:
        shutil.chown(folder, "postfix")
    process = subprocess.Popen(
        [
            *smtp_sink_argv(port, "-d", f"{folder}/%H%M%S."),
        ],
        cwd=folder,
        stderr=subprocess.DEVNULL,
    )
    wait_for_greeting(port)
    yield port, folder
    process.terminate()
    process.wait()
    shutil.rmtree(folder, ignore_errors=True)
