"""Accounts end to end: a real server, its sources, `upesi passwd` beside it, and other people's clients."""

from __future__ import annotations

import base64
import smtplib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.accounts import Dovecot, folder_for
from integration.conftest import program
from integration.server import PATIENCE, UPESI, UpesiServer, free_port, wait_until

FILE, DOVECOT, DEAD = "anna@example.org", "bert@example.net", "carl@example.com"
PASSWORD = "canary-77c1 sesame"

_CONFIG = """\
[[listener]]
address = "127.0.0.1"
port = {port}
auth = {{ without_tls = true }}

[[credentials]]
source = "file:accounts"
domains = ["example.org"]

[[credentials]]
source = "dovecot://{dovecot}"
domains = ["example.net"]
timeout = "8s"

[[credentials]]
source = "dovecot:///nowhere/auth-client"

[auth]
delay = "10ms"
longest_delay = "10ms"
network_failures = "none"
pair_failures = "none"
account_failures = "none"
max_failures = 10

[[route]]
domains = ["*"]
to = "discard"
"""


class World:
    """A server with three sources, the last of which is not there."""

    def __init__(self, folder: Path, dovecot: Dovecot) -> None:
        self.port = free_port()
        self.accounts = folder / "upesi" / "accounts"
        self.server = UpesiServer(folder / "upesi", _CONFIG.format(port=self.port, dovecot=dovecot.socket))
        # nobody is believed for the address
        self.server.file.write_text(self.server.file.read_text().replace("127.0.0.0/8", "192.0.2.0/24"))
        self.passwd(FILE)
        self.server.start()

    def passwd(self, user: str, password: str = PASSWORD, *more: str) -> None:
        """Run `upesi passwd`."""
        argv = [str(UPESI), "passwd", str(self.accounts), user, "--stdin", *more]
        subprocess.run(argv, input=f"{password}\n".encode(), check=True, capture_output=True)

    def replace(self, text: str) -> None:
        """Put another file in the place of the accounts: one that is written over is empty for a moment, and that is a good one too."""
        other = self.accounts.with_suffix(".new")
        other.write_text(text)
        other.chmod(0o600)
        other.replace(self.accounts)

    def login(self, user: str, password: str = PASSWORD) -> int:
        """Return the code of the reply to AUTH PLAIN."""
        with smtplib.SMTP("127.0.0.1", self.port, timeout=PATIENCE) as client:
            client.ehlo("client.example")
            code, _ = client.docmd("AUTH PLAIN", base64.b64encode(f"\0{user}\0{password}".encode()).decode())
        return code

    def events(self, name: str) -> list[str]:
        return [line for line in self.server.log.read_text().splitlines() if f'"event":"{name}"' in line]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One server for all tests here; it ends cleanly, and nothing that it wrote holds a password."""
    folder = tmp_path_factory.mktemp("accounts")
    with folder_for("") as place:
        dovecot = Dovecot(place, f"{DOVECOT}:{PASSWORD}::::::\n")
        with dovecot.running():
            world = World(folder, dovecot)
            yield world
            assert world.server.stop() == 0, world.server.tail()
        needles = [b"canary-77c1", *_encoded(b"canary-77c1")]
        for path in [*folder.rglob("*"), place / "log"]:
            if path.is_file():
                data = path.read_bytes()
                assert not [needle for needle in needles if needle in data], f"{path.name} holds the password"


def _encoded(secret: bytes) -> Iterator[bytes]:
    """The base64 of a secret in each of the three places where it may begin, without the letters that depend on its neighbours."""
    for shift in range(3):
        encoded = base64.b64encode(b"x" * shift + secret)
        yield encoded[4 if shift else 0 : -4]


@pytest.mark.parametrize("user", [FILE, DOVECOT])
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_swaks_logs_in_and_sends(world: World, user: str, mechanism: str) -> None:
    """A user of each source, by each mechanism that hands the password over; the event names the account."""
    before = len(world.events("auth.succeeded"))
    argv = [
        program("swaks"), "--server", "127.0.0.1", "--port", str(world.port), "--auth", mechanism, "--auth-user", user,
        "--auth-password", PASSWORD, "--from", user, "--to", "somebody@elsewhere.example", "--h-From", user,
        "--silent", "2",
    ]  # fmt: skip
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    wait_until(lambda: len(world.events("auth.succeeded")) > before, what="the event")
    assert f'"identity":"{user}"' in world.events("auth.succeeded")[-1]


def test_each_source_gives_its_answer(world: World) -> None:
    """AUT-07: yes, no, and 454 for the users of a source that is not there, which is told and counts as no failure."""
    assert [world.login(user) for user in (FILE, DOVECOT, DEAD)] == [235, 235, 454]
    assert [world.login(user, "wrong") for user in (FILE, DOVECOT, DEAD)] == [535, 535, 454]
    assert world.login("nobody@example.org") == 535
    assert world.login("nobody@example.net") == 535
    wait_until(lambda: world.events("credentials.unavailable"), what="the event")
    assert '"source":"dovecot:///nowhere/auth-client"' in world.events("credentials.unavailable")[-1]


def test_upesi_passwd_counts_while_the_server_runs(world: World) -> None:
    """Added, changed and removed accounts count at the next login, give or take a second, without a reload."""
    user = "dora@example.org"
    assert world.login(user) == 535
    world.passwd(user)
    wait_until(lambda: world.login(user) == 235, 20, "the new account")
    world.passwd(user, "another")
    wait_until(lambda: world.login(user) == 535, 20, "the new password")
    assert world.login(user, "another") == 235
    world.passwd(user, "", "--remove")
    wait_until(lambda: world.login(user, "another") == 535, 20, "the end of the account")
    assert world.events("accounts.reloaded")


def test_a_broken_file_stops_neither_logins_nor_lets_a_reload_by(world: World) -> None:
    """The old accounts stay in force, the event names the line; a reload with it changes nothing and says why."""
    good, reloaded = world.accounts.read_text(), len(world.events("accounts.reloaded"))
    try:
        world.replace(good + "bert secret-word\n")
        wait_until(lambda: world.login(FILE) == 235 and world.events("accounts.refused"), 20, "the event")
        assert "secret-word" not in world.server.log.read_text()
        world.server.reload()
        wait_until(lambda: world.events("server.reload_refused"), 30, "the refusal")
        assert "accounts:2" in world.events("server.reload_refused")[-1]
        assert world.login(FILE) == 235
    finally:
        world.replace(good)
    # a login is when it looks
    wait_until(
        lambda: world.login(FILE) == 235 and len(world.events("accounts.reloaded")) > reloaded, what="the mended file"
    )
