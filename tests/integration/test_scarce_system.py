"""A system that refuses what it always gave: descriptors, threads, processes, buffers. strace puts the errors into living processes."""

from __future__ import annotations

import os
import signal
import smtplib
from pathlib import Path

from integration.conftest import MakeServer, route_to
from integration.injection import failing_calls
from integration.messages import number_of, numbered
from integration.receiver import Receiver
from integration.server import UpesiServer, free_port, wait_until

_ACCEPTING = "accept4,accept"
_HEARING = "read,readv,recvfrom,recvmsg"
_SAYING = "write,writev,sendto,sendmsg"
# calls, what they say, and which of them
_STORMS = (
    (_ACCEPTING, "ENFILE", "1+2"),
    (_ACCEPTING, "ENOMEM", "1+2"),
    (_ACCEPTING, "ENOBUFS", "1+2"),
    (_ACCEPTING, "ECONNABORTED", "1+2"),
    (_HEARING, "EAGAIN", "1+2"),
    (_SAYING, "EAGAIN", "1+2"),
    ("epoll_wait,epoll_pwait", "EINTR", "1+2"),
)


def _tried(server: UpesiServer, number: int) -> bool:
    """Hand in a message as a client that gives up easily; say whether it heard 250 for it."""
    try:
        with smtplib.SMTP("127.0.0.1", server.port, timeout=20) as client:
            client.sendmail("a@example.com", ["b@example.net"], numbered(number))
    except (smtplib.SMTPException, OSError):
        return False
    return True


def test_storms_of_errors_from_the_network_end_nothing(
    upesi_server: MakeServer, receiver: Receiver, tmp_path: Path
) -> None:
    """RES-02: no file, buffer or memory for a connection costs that connection; what was acknowledged arrives, by the same worker."""
    server = upesi_server(route_to(receiver.port) + '[overload]\nlag = "60s"\n')
    (pid,) = server.worker_pids()
    acknowledged: set[int] = set()
    for round, (calls, error, when) in enumerate(_STORMS):
        trace = tmp_path / f"trace-{round}"
        with failing_calls(pid, trace, calls, error, when):
            acknowledged |= {number for number in range(100 * round, 100 * round + 4) if _tried(server, number)}
        assert "INJECTED" in trace.read_text(), f"{error} was not said"
        server.send(numbered(100 * round + 50))
        acknowledged.add(100 * round + 50)
    wait_until(lambda: acknowledged <= {number_of(each.data) for each in list(receiver.messages)}, what="all mail")
    assert server.worker_pids() == [pid]


def test_no_socket_for_sending_puts_mail_off(upesi_server: MakeServer, receiver: Receiver, tmp_path: Path) -> None:
    """RES-02: where no connection to the next hop can be made mail waits, and is taken all the time; it goes out afterwards."""
    server = upesi_server(route_to(receiver.port) + '[delivery]\nretry = ["1s"]\njitter = 0.0\n')
    (pid,) = server.worker_pids()
    with failing_calls(pid, tmp_path / "trace", "socket,connect", "ENOBUFS"):
        for number in range(5):
            server.send(numbered(number))
        wait_until(lambda: server.events("delivery.deferred"), what="a delivery that is put off")
        assert not receiver.messages
    wait_until(lambda: {number_of(each.data) for each in list(receiver.messages)} == set(range(5)), what="all mail")
    assert not server.events("delivery.failed")
    assert server.worker_pids() == [pid]


def test_no_thread_for_a_mailbox_puts_mail_off(upesi_server: MakeServer, tmp_path: Path) -> None:
    """RES-02: where no thread can be started for writing, mail waits, and is in the mailbox once when there is one again."""
    more = '[[route]]\ndomains = ["*"]\nto = "maildir:{folder}"\n[delivery]\nretry = ["1s"]\njitter = 0.0\n'
    server = upesi_server(started=False)
    mail = server.folder / "mail"
    mail.mkdir()
    server.configure(more.format(folder=mail / "%u"))
    server.start()
    (pid,) = server.worker_pids()
    with failing_calls(pid, tmp_path / "trace", "clone3,clone", "EAGAIN"):
        server.send(numbered(1))
        server.send(numbered(2))
        wait_until(lambda: "INJECTED" in (tmp_path / "trace").read_text(), what="a thread that is refused")
        wait_until(lambda: server.events("delivery.deferred"), what="a delivery that is put off")
    wait_until(lambda: len(server.events("delivery.delivered")) == 2, what="all mail")
    server.send(numbered(3))
    wait_until(lambda: len(server.events("delivery.delivered")) == 3, what="the next mail")
    assert sorted(number_of(each.read_bytes().replace(b"\n", b"\r\n")) for each in mail.rglob("new/*")) == [1, 2, 3]
    assert server.worker_pids() == [pid]


def test_no_process_for_a_worker_is_asked_for_again(upesi_server: MakeServer, tmp_path: Path) -> None:
    """RES-02: where no process can be started for a worker that died, the supervisor tries on, and the queue is taken over."""
    port = free_port()
    server = upesi_server(route_to(port) + '[delivery]\nretry = ["1s"]\njitter = 0.0\n')
    server.send(numbered(1))
    (pid,) = server.worker_pids()
    with failing_calls(server.pid, tmp_path / "trace", "clone3,clone,fork,vfork", "EAGAIN"):
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: "INJECTED" in (tmp_path / "trace").read_text(), what="a process that is refused")
        wait_until(lambda: (tmp_path / "trace").read_text().count("INJECTED") >= 2, what="another try")
        assert not server.worker_pids()
    wait_until(server.greets, what="the new worker")
    with Receiver(port) as receiver:
        assert number_of(receiver.wait_for(1)[0].data) == 1


def test_no_buffer_for_anything_that_is_said_loses_no_mail(
    upesi_server: MakeServer, receiver: Receiver, tmp_path: Path
) -> None:
    """RES-02: connections are lost on both sides, and the supervisor's too, which gives the place to a new worker; mail is not."""
    server = upesi_server(route_to(receiver.port) + '[delivery]\nretry = ["1s"]\njitter = 0.0\n')
    (pid,) = server.worker_pids()
    acknowledged: set[int] = set()
    with failing_calls(pid, tmp_path / "trace", _SAYING, "ENOBUFS", "3+7"):
        acknowledged |= {number for number in range(10) if _tried(server, number)}
    assert "INJECTED" in (tmp_path / "trace").read_text()
    # the worker may be on its way out
    wait_until(lambda: _tried(server, 50), what="mail that is taken")
    acknowledged.add(50)
    wait_until(lambda: acknowledged <= {number_of(each.data) for each in list(receiver.messages)}, what="all mail")
