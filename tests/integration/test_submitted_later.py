"""Submission with FUTURERELEASE, DELIVERBY and MT-PRIORITY on a real server, over a restart."""

from __future__ import annotations

import smtplib
import subprocess
import time
from pathlib import Path

import pytest

from integration.conftest import MakeServer, program, route_to
from integration.receiver import Receiver
from integration.server import UpesiServer, free_port, wait_until

PASSWORD = "canary-91c3"

PLUGIN = f"""
from upesi.plugin import accept, hook

@hook.auth
def judge(session, credentials):
    if credentials.password == {PASSWORD!r}:
        return accept("anna@example.org")
"""


@pytest.fixture
def submission(upesi_server: MakeServer, receiver: Receiver) -> tuple[UpesiServer, int]:
    """A server with a submission listener for anna, and its port."""
    port = free_port()
    more = f'[plugins]\nenabled = ["max_hops", "gate"]\nfolder = "plugins"\n\n{route_to(receiver.port)}'
    server = upesi_server(more, started=False)
    Path(server.folder, "plugins").mkdir()
    Path(server.folder, "plugins", "gate.py").write_text(PLUGIN)
    listener = f'[[listener]]\naddress = "127.0.0.1"\nport = {port}\nrole = "submission"\nauth.without_tls = true\n\n'
    server.file.write_text(server.file.read_text().replace("[plugins.relay]", listener + "[plugins.relay]"))
    return server.start(), port


def submit(port: int, subject: str, *parameters: str) -> None:
    """Hand in one message as anna."""
    with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
        client.ehlo("client.test")
        client.login("anna", PASSWORD)
        code, said = client.mail("anna@example.org", list(parameters))
        assert code == 250, said
        assert client.rcpt("b@example.net")[0] == 250
        content = f"From: anna@example.org\r\nSubject: {subject}\r\n\r\nx\r\n"
        assert client.data(content)[0] == 250


def subjects(receiver: Receiver) -> set[str]:
    """Return the subjects of what has arrived."""
    texts = [message.data.decode() for message in list(receiver.messages)]
    return {text.partition("Subject: ")[2].partition("\r\n")[0] for text in texts}


def test_swaks_sees_what_submission_offers(submission: tuple[UpesiServer, int]) -> None:
    """C109: FUTURERELEASE with its two maxima, for submission only (RFC 4865 section 4)."""
    server, port = submission

    def announced(at: int) -> list[str]:
        argv = [program("swaks"), "--server", f"127.0.0.1:{at}", "--quit-after", "EHLO", "--to", "b@example.net"]
        said = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=True).stdout
        return [line.partition("250")[2][1:].split() for line in said.splitlines() if "250" in line]

    (offer,) = [words for words in announced(port) if words[:1] == ["FUTURERELEASE"]]
    assert offer[1] == str(30 * 86_400)
    last = time.mktime(time.strptime(offer[2], "%Y-%m-%dT%H:%M:%SZ")) - time.timezone
    assert abs(last - time.time() - 30 * 86_400) < 600
    assert not [words for words in announced(server.port) if words[:1] == ["FUTURERELEASE"]]


def test_mail_is_held_until_its_time_over_a_restart(submission: tuple[UpesiServer, int], receiver: Receiver) -> None:
    """C109: held mail is in the queue with its time, restarts keep it, and what is due goes (RFC 4865 section 4)."""
    server, port = submission
    begun = time.time()
    submit(port, "soon", "HOLDFOR=3")
    submit(port, "later", "HOLDFOR=3600")
    submit(port, "now")
    wait_until(lambda: "now" in subjects(receiver), what="mail that was not held")
    assert server.stop() == 0
    server.start()
    wait_until(lambda: "soon" in subjects(receiver), patience=30, what="the mail that was held for three seconds")
    assert time.time() >= begun + 3
    assert subjects(receiver) == {"now", "soon"}
    assert "b@example.net" in server.command("queue", "list")


def test_other_requests_are_granted_to_who_is_known(submission: tuple[UpesiServer, int], receiver: Receiver) -> None:
    """C110, C111: a priority stands in the trace field; mail with a deadline is not given to who cannot promise it (RFC 6710, RFC 2852)."""
    _, port = submission
    submit(port, "urgent", "MT-PRIORITY=5")
    submit(port, "in time", "BY=600;N")
    submit(port, "promised", "BY=600;R")
    wait_until(lambda: len(receiver.messages) == 3, what="two messages and a notice")
    (urgent,) = [message.data for message in receiver.messages if b"Subject: urgent" in message.data]
    assert b"for <b@example.net> priority 5;" in urgent
    (notice,) = [message for message in receiver.messages if message.reverse_path == ""]
    assert notice.forward_paths == ("anna@example.org",)
    assert b"Status: 5.3.3\r\n" in notice.data
    assert b"Deliver-By-Date: " in notice.data
    assert b"Subject: promised" in notice.data
