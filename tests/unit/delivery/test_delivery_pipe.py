"""Delivery to programs: what they are given, what their end means, and that none outlives its time."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from tests.unit.delivery.sendkit import FakeWork, attempt, stored

from integration.server import wait_until
from upesi.delivery.agents import pipe
from upesi.delivery.agents.pipe import MAX_OUTPUT, PipeAgent
from upesi.delivery.programs import Program
from upesi.mail.address import Address
from upesi.mail.envelope import BodyType, Recipient, Transmission
from upesi.mail.outcome import Action
from upesi.mail.route import PipeRoute
from upesi.scheduler.work import Attempt, Destination, Ending

# each test waits for what happens, and for so long at most
PATIENCE = 60.0


def run(program: Program | None, *attempts: Attempt, then: Callable[[PipeAgent], None] | None = None) -> FakeWork:
    """Deliver `attempts` to `program`."""

    async def main() -> FakeWork:
        agent = PipeAgent(asyncio.get_running_loop(), {} if program is None else {program.name: program})
        work = FakeWork(Destination("pipe:p", PipeRoute("p")), *attempts)
        agent.start(work)  # type: ignore[arg-type]
        if then is not None:
            await asyncio.to_thread(then, agent)
        async with asyncio.timeout(PATIENCE):
            await work.end.wait()
        return work

    return asyncio.run(main())


def python(code: str, *arguments: str, deadline: float = PATIENCE) -> Program:
    return Program("p", (sys.executable, "-c", code, *arguments), deadline)


def shell(code: str, deadline: float = PATIENCE) -> Program:
    return Program("p", ("/bin/sh", "-c", code), deadline)


def test_a_program_gets_message_arguments_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PLUGINS.md, `route`: pipe; argv without a shell, an environment of its own, a process group of its own, the root folder."""
    monkeypatch.setenv("SECRET_OF_OURS", "x")
    code = (
        "import os, sys, json; message = sys.stdin.buffer.read().decode(); "
        "json.dump([sys.argv[1:], dict(os.environ), message, os.getcwd(), os.getpid() == os.getpgrp()], open(sys.argv[1], 'w'))"
    )
    out = tmp_path / "out"
    work = run(
        python(code, str(out), "--from={sender}", "{recipient}", "{local}/{domain}", "{id}", "$(id)"),
        attempt('"a;b $(x)"@b.example', body=b"return-path: <x>\r\nSubject: s\r\n\r\n.\r\n"),
    )
    assert work.kinds == ["delivered"]
    assert (work.first.action, work.ending, work.room) == (Action.DELIVERED, (Ending.CLOSED, None), pipe.MOST_AT_ONCE)
    arguments, environment, message, folder, leads = json.loads(out.read_text())
    number = (b"m" * 16).hex()
    address = '"a;b $(x)"@b.example'
    assert arguments[1:] == ["--from=a@example.com", address, "a;b $(x)/b.example", number, "$(id)"]
    environment.pop("LC_CTYPE", None)
    assert environment == {
        "PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "UPESI_SENDER": "a@example.com", "UPESI_RECIPIENT": address,
        "UPESI_ID": number,
    }  # fmt: skip
    assert message == f"Return-Path: <a@example.com>\nDelivered-To: {address}\nReceived: y\nSubject: s\n\n.\n"
    assert (folder, leads) == ("/", True)


@pytest.mark.parametrize(
    ("status", "kind", "enhanced"),
    [
        (0, "delivered", "2.0.0"), (65, "failed", "5.6.0"), (67, "failed", "5.1.1"), (68, "failed", "5.1.2"), (69, "failed", "5.3.0"),
        (77, "failed", "5.7.1"), *((status, "deferred", "4.3.0") for status in (1, 2, 64, 66, 70, 73, 75, 78, 127, 255)),
    ],
)  # fmt: skip
def test_the_exit_status_is_the_answer(status: int, kind: str, enhanced: str) -> None:
    """sysexits.h: for good is only what speaks of the mail; whatever says that the machine is not well is no reason to return mail."""
    work = run(shell(f"cat > /dev/null; echo 'what I say'; exit {status}"), attempt())
    assert (work.kinds, work.first.status) == ([kind], enhanced)
    assert ("what I say" in work.first.text) == bool(status)


def test_each_recipient_has_a_process_and_an_outcome() -> None:
    """One that does not exist says nothing of the others."""
    code = "import sys; sys.stdin.read(); sys.exit(67 if sys.argv[1] == 'gone' else 0)"
    work = run(python(code, "{local}"), attempt("a@b.example", "gone@b.example", "c@b.example"))
    assert work.kinds == ["delivered", "failed", "delivered"]


def test_a_signal_is_no_answer() -> None:
    """A program that crashes has refused nothing."""
    work = run(shell("kill -9 $$"), attempt())
    assert (work.kinds, work.first.text) == (["deferred"], "the program was ended by signal 9")


@pytest.mark.parametrize("body", [b"x" * 1_000_000 + b"\r\n", b"Subject: s\r\n\r\nx\r\n"], ids=["large", "small"])
def test_a_program_need_not_read_what_it_does_not_want(body: bytes) -> None:
    """A vacation program looks at the header; its exit status counts."""
    work = run(shell("exit 0"), attempt(body=body))
    assert work.kinds == ["delivered"]


def test_output_is_read_to_its_end_and_kept_within_its_bound() -> None:
    """A program that writes without end is not blocked by us, nor are we; one line of it is told, made harmless."""
    code = r"import sys; sys.stdin.read(); print('odd \x1b[1m' + 'y' * 100_000); print('z' * 10_000_000, file=sys.stderr); sys.exit(69)"
    work = run(python(code), attempt())
    assert work.kinds == ["failed"]
    assert "odd ?[1my" in work.first.text
    assert len(work.first.text) < MAX_OUTPUT + 100


def test_at_its_deadline_a_program_dies_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who ignores the first signal hears the second; a child in the same group dies too, and the mail waits."""
    monkeypatch.setattr(pipe, "GRACE", 0.2)
    started = tmp_path / "child"
    work = run(shell(f"trap '' TERM; sleep 1000 & echo $! > {started}; wait; wait", deadline=2.0), attempt())
    assert (work.kinds, work.first.status) == (["deferred"], "4.3.0")
    assert "did not end within 2 seconds" in work.first.text
    # on a machine that is busy enough, the shell may have died before it had a child
    child = started.read_text().strip() if started.exists() else ""
    if child:
        wait_until(lambda: not _runs(int(child)), what="the end of the child")


def test_what_a_program_leaves_running_holds_nobody_up(tmp_path: Path) -> None:
    """A child that keeps input and output open does not keep the mail."""
    child = tmp_path / "child"
    work = run(shell(f"sleep 1000 0<&0 & echo $! > {child}; cat > /dev/null; exit 0"), attempt())
    assert work.kinds == ["delivered"]
    os.kill(int(child.read_text()), 9)


def test_programs_end_with_their_worker(tmp_path: Path) -> None:
    """What still runs when the worker goes is killed before its input ends: it must not take half a message for a whole one."""
    ready, whole = tmp_path / "ready", tmp_path / "whole"

    def close(agent: PipeAgent) -> None:
        wait_until(ready.exists, what="the program")
        agent.close()

    body = b"x" * 10_000_000
    work = run(shell(f"touch {ready}; sleep 1000; cat > /dev/null; touch {whole}"), attempt(body=body), then=close)
    assert (work.kinds, work.first.text) == (["deferred"], "the program was ended by signal 9")
    assert not whole.exists()


def test_a_program_that_is_being_started_ends_with_its_worker() -> None:
    """Between its start and the moment at which we are told of it, it is not among those that run."""
    work = run(shell("sleep 1000"), attempt(), then=PipeAgent.close)
    assert work.kinds == ["deferred"]


@pytest.mark.parametrize(
    ("template", "kind"), [("{sender}", "failed"), ("--from={sender}", "delivered"), ("-{sender}", "delivered")]
)
def test_an_address_is_never_an_option(template: str, kind: str) -> None:
    """A local part may begin with "-" (RFC 5321 section 4.1.2): as an argument of its own it is refused, not run."""
    work = run(python("import sys; sys.stdin.read()", template), attempt(path="-oQ/tmp@example.com"))
    assert work.kinds == [kind]
    assert kind == "delivered" or work.first.status == "5.1.3"


def test_a_loop_ends() -> None:
    """C116: RFC 9228: what was delivered to this recipient before is not delivered again."""
    message = stored(b"Delivered-To: B@example.net\r\nSubject: s\r\n\r\nx\r\n")
    work = run(shell("exit 0"), attempt("b@example.net", message=message))
    assert (work.kinds, work.first.status) == (["failed"], "5.4.6")


def test_binary_mail_is_given_as_it_came(tmp_path: Path) -> None:
    """RFC 3030: in BINARYMIME, CRLF is not the end of a line."""
    out = tmp_path / "out"
    octets = b"Subject: s\r\n\r\na\nb\r\nc\rd"
    message = msgspec.structs.replace(stored(octets), transmission=Transmission(body=BodyType.BINARY))
    run(shell(f"cat > {out}"), attempt(message=message))
    assert out.read_bytes().endswith(octets)


def test_without_its_program_mail_waits() -> None:
    """A route of a plugin, or of yesterday's configuration, and a file that is gone: tried again, until there is one."""
    assert run(None, attempt()).kinds == ["deferred"]
    work = run(Program("p", ("/nowhere/program",), PATIENCE), attempt("a@b.example", "c@b.example"))
    assert work.kinds == ["deferred", "deferred"]
    assert (work.first.status, work.first.text) == (
        "4.3.5",
        "program p cannot be started: No such file or directory",
    )


def test_a_body_that_cannot_be_read_is_no_message() -> None:
    """The program dies before its input ends, and the mail waits: half a message is none."""

    class Broken:
        size = 2_000_000

        def read(self, start: int, length: int) -> bytes:
            return b"x" * min(length, self.size - start)

        def chunks(self) -> Iterator[bytes]:
            yield self.read(0, 1_000_000)
            raise OSError("disk")

    message = msgspec.structs.replace(stored(), body=Broken())

    async def main() -> FakeWork:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: None)
        agent = PipeAgent(loop, {"p": shell("cat > /dev/null; exit 0")})
        work = FakeWork(Destination("pipe:p", PipeRoute("p")), attempt(message=message))
        agent.start(work)  # type: ignore[arg-type]
        async with asyncio.timeout(PATIENCE):
            await work.end.wait()
        return work

    assert asyncio.run(main()).kinds == ["deferred"]


@pytest.mark.parametrize("local", ["a\0b", "a\ud900b"], ids=["nul", "surrogate"])
def test_an_address_that_no_program_can_be_given_leaves_no_descriptor_open(local: str) -> None:
    """RES-04: a plugin may have made an address of anything; no try of it may cost the worker a descriptor."""
    tries = [Attempt(stored(), (Recipient(Address(local, "b.example")),), 1) for _ in range(20)]
    run(python(""), attempt())
    before = len(os.listdir("/proc/self/fd"))
    work = run(python("", "{local}"), *tries)
    assert (set(work.kinds), work.first.status) == ({"failed"}, "5.1.3")
    assert len(os.listdir("/proc/self/fd")) < before + len(tries)


def _runs(process: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
