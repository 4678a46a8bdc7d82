"""CRAM-MD5 and SCRAM-SHA-1 with other people's clients: a listener of ours in this process, over a source that can serve them."""

from __future__ import annotations

import asyncio
import smtplib
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "session"))

from tests.unit.session.authkit import AuthDialogue, MemoryCredentials, authenticator

from integration.conftest import MakeServer, program
from integration.server import UPESI, free_port, run_upesi
from integration.tls_server import write
from upesi.listener.listener import Listener
from upesi.lookup import scram
from upesi.sasl.credentials import Ability, Identity, ScramKeys

USER, PASSWORD = "tim@example.org", "tanstaaftanstaaf"


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """A listener without TLS that offers these two and nothing else."""
    source = MemoryCredentials(**{USER: PASSWORD})
    keys = scram.derive(PASSWORD, b"salt", 4096, Ability.SCRAM_SHA_1)
    source.keys[USER, Ability.SCRAM_SHA_1] = ScramKeys(Identity(USER), b"salt", 4096, *keys)
    given = authenticator(source, without_tls=True, mechanisms=("CRAM-MD5", "SCRAM-SHA-1"))
    context = AuthDialogue(auth=given, tls=False).context
    spawned: set[asyncio.Future[object]] = set()
    context.spawn = lambda awaitable: spawned.add(asyncio.ensure_future(awaitable))
    with socket.create_server(("127.0.0.1", 0)) as sock:
        listener = Listener(sock.dup(), context, max_sessions=10, backlog=10)
        await listener.start()
        yield sock.getsockname()[1]
        await listener.drain(0.1)
        await asyncio.gather(*spawned)


async def run(*argv: str, said: bytes = b"") -> tuple[int, str]:
    """Run a program to its end while the listener goes on."""
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(process.communicate(said), 60)
    assert process.returncode is not None
    return process.returncode, output.decode(errors="replace")


@pytest.mark.parametrize(("password", "status"), [(PASSWORD, 0), ("wrong", 28)])
async def test_swaks_with_cram_md5(port: int, password: str, status: int) -> None:
    """Real peer: swaks, the right and a wrong password."""
    code, output = await run(
        program("swaks"), "--server", f"127.0.0.1:{port}", "--auth", "CRAM-MD5", "--auth-user", USER, "--auth-password", password,
        "--quit-after", "AUTH",
    )  # fmt: skip
    assert code == status, output
    assert ("235 2.7.0" in output) is (status == 0)


@pytest.mark.parametrize("method", ["cram-md5", "scram-sha-1"])
async def test_msmtp_with_a_proof(port: int, tmp_path: Path, method: str) -> None:
    """Real peer: msmtp, the right and a wrong password, and a user that is none."""
    for user, password, status in ((USER, PASSWORD, 0), (USER, "wrong", 77), ("nobody@example.org", PASSWORD, 77)):
        config = write(tmp_path, "msmtprc", (
            f"defaults\ntls off\naccount default\nhost 127.0.0.1\nport {port}\nfrom {USER}\n"
            f'auth {method}\nuser {user}\npassword "{password}"\n'
        ).encode())  # fmt: skip
        message = f"From: {USER}\nSubject: x\n\nHello\n".encode()
        code, output = await run(program("msmtp"), "-C", str(config), "-d", "b@example.net", said=message)
        assert code == status, output


_SERVER = """\
[[listener]]
port = {port}
auth.without_tls = true

[[credentials]]
source = "file:accounts"
scram_sha1 = true
cram_md5 = true

[auth]
mechanisms = ["SCRAM-SHA-1", "CRAM-MD5"]

[[route]]
domains = ["*"]
to = "discard"
"""


def test_a_file_of_accounts_serves_what_old_clients_know(upesi_server: MakeServer) -> None:
    """RFC 2195, RFC 5802: a real server with a file that `upesi passwd` wrote; smtplib by CRAM-MD5, msmtp by SCRAM-SHA-1."""
    server, listener = upesi_server(started=False), free_port()
    server.configure(_SERVER.format(port=listener))
    argv = [UPESI, "passwd", "accounts", USER, "--stdin", "--cram-md5", "--scram-sha1"]
    subprocess.run(argv, input=PASSWORD, text=True, cwd=server.folder, check=True, capture_output=True)
    assert "cram_md5" not in run_upesi("config", "check", "-c", server.file).stderr
    server.start()
    for password, code in ((PASSWORD, 235), ("wrong", 535)):
        with smtplib.SMTP("127.0.0.1", listener, timeout=60) as client:
            client.ehlo()
            assert client.esmtp_features["auth"].split() == ["SCRAM-SHA-1", "CRAM-MD5"]
            client.user, client.password = USER, password
            if code == 235:
                assert client.auth("CRAM-MD5", client.auth_cram_md5)[0] == code
            else:
                with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
                    client.auth("CRAM-MD5", client.auth_cram_md5)
                assert refused.value.smtp_code == code
    config = write(server.folder, "msmtprc", (
        f"defaults\ntls off\naccount default\nhost 127.0.0.1\nport {listener}\nfrom {USER}\n"
        f'auth scram-sha-1\nuser {USER}\npassword "{PASSWORD}"\n'
    ).encode())  # fmt: skip
    argv = [program("msmtp"), "-C", str(config), "-d", "b@example.net"]
    done = subprocess.run(argv, input="Subject: x\n\nHello\n", capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert PASSWORD not in server.log.read_text()
