"""The `upesi` command: the same answers with a server and without one, exit codes, and errors that say what to do next."""

import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import click
import msgspec
import pytest
from click.testing import CliRunner, Result

from upesi import __version__
from upesi.cli.configuration import masked
from upesi.cli.main import upesi
from upesi.cli.output import age, cell, many, size, told
from upesi.config.loading import load
from upesi.control.channel import Call, Handler
from upesi.control.errors import ServerDown
from upesi.control.server import ControlServer
from upesi.mail.address import Address
from upesi.mail.body import MemoryBody
from upesi.mail.envelope import Recipient, Transmission
from upesi.mail.ids import MessageId
from upesi.mail.outcome import Outcome, OutcomeKind
from upesi.mail.route import MxRoute
from upesi.protocol.smtp import framing
from upesi.runtime.queue_commands import queue_handlers
from upesi.spool.admin import SpoolAdmin
from upesi.spool.records import NewDelivery, NewMessage, SpoolEvent
from upesi.spool.sqlite import SqliteStore
from upesi.spool.store import SpoolLocked

T = TypeVar("T")

FIRST, SECOND = (MessageId(bytes([number] * 16)) for number in (0x11, 0x22))


def run(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(upesi, arguments, input=stdin)


def answer(*arguments: str) -> object:
    """Return the JSON that a command prints; it must succeed."""
    result = run(*arguments, "--json")
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout)


@pytest.fixture
def config(tmp_path: Path) -> str:
    """A configuration whose spool holds one message of b.example that was deferred and one of c.example."""
    file = tmp_path / "upesi.toml"
    file.write_text('[spool]\npath = "spool"\n')
    Path(load(file).spool.path).mkdir(mode=0o700)
    put(file, message_to(FIRST, "b.example", attempts=2), message_to(SECOND, "c.example", attempts=0))
    return str(file)


def put(file: Path, *messages: NewMessage) -> None:
    """Queue messages, as a worker would that ends then."""
    settings = load(file).spool
    admin = SpoolAdmin.open_or_create(settings)
    epoch = admin.register_member()

    async def fill() -> None:
        store = await SqliteStore.open(Path(settings.path), epoch, settings, time.time)
        for message in messages:
            done: asyncio.Future[object] = asyncio.get_running_loop().create_future()
            store.accept(message, lambda error, _, done=done: done.set_result(error))  # type: ignore[misc]
            assert await done is None
        await store.close()

    asyncio.run(fill())
    admin.expel(epoch)
    admin.close()


def message_to(id: MessageId, domain: str, attempts: int) -> NewMessage:
    now = time.time()
    last = Outcome(OutcomeKind.DEFERRED, 451, "4.7.1", "Greylisted", f"mx.{domain} [192.0.2.1]") if attempts else None
    delivery = NewDelivery(
        f"domain:{domain}",
        MxRoute(domain),
        (Recipient(Address("you", domain)),),
        now + 600,
        now + 432000,
        attempts=attempts,
        last=last,
    )
    event = SpoolEvent(now, "message.accepted", id, {"size": 12})
    body = MemoryBody(b"Subject: x\r\n\r\nhello\r\n")
    return NewMessage(
        id, now - 3600, Address("me", "a.example"), Transmission(), b"", body, (delivery,), events=(event,)
    )


@contextlib.contextmanager
def serving(path: str, handlers: Callable[[], tuple[dict[str, Handler], Callable[[], None]]]) -> Iterator[None]:
    """Answer on the control socket from a thread with a loop of its own, as a server would."""
    ready, stop = threading.Event(), threading.Event()

    async def serve() -> None:
        made, close = handlers()
        server = ControlServer(path, made, failed=lambda name, error: None)
        await server.start()
        ready.set()
        await asyncio.get_running_loop().run_in_executor(None, stop.wait)
        await server.stop()
        close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert ready.wait(10)
        yield
    finally:
        stop.set()
        thread.join(10)


def real_handlers(config: str) -> tuple[dict[str, Handler], Callable[[], None]]:
    admin = SpoolAdmin.open_or_create(load(Path(config)).spool)

    async def at_once(work: Callable[[], T]) -> T:
        return work()

    async def recall(hold: bool) -> None:
        return None

    return queue_handlers(admin, at_once, recall), admin.close


@pytest.fixture(params=["with a server", "without a server"])
def queue(request: pytest.FixtureRequest, config: str) -> Iterator[str]:
    """The same spool behind both back ends."""
    if request.param == "without a server":
        yield config
        return
    with serving(load(Path(config)).control.socket, lambda: real_handlers(config)):
        yield config


def test_the_queue_is_listed_and_counted(queue: str) -> None:
    """One line for each delivery, as JSON and as columns; selectors choose."""
    rows = answer("queue", "list", "-c", queue)
    assert isinstance(rows, list)
    assert [(row["message"], row["queue"], row["attempts"]) for row in rows] == [
        (FIRST.hex(), "domain:b.example", 2),
        (SECOND.hex(), "domain:c.example", 0),
    ]
    text = run("queue", "list", "-c", queue, "--domain", "b.example").stdout.splitlines()
    assert text[0].split() == ["ID", "STATE", "AGE", "SIZE", "SENDER", "RECIPIENTS", "TRIES", "NEXT", "LAST", "REPLY"]
    assert len(text) == 2
    assert "me@a.example" in text[1]
    assert text[1].endswith("451 4.7.1 Greylisted (mx.b.example [192.0.2.1])")
    for selector, number in (
        ([], 2), (["--id", FIRST.hex()], 1), (["--sender", "me@a.example"], 2), (["--recipient", "you@c.example"], 1),
        (["--queue", "domain:b.example"], 1), (["--older-than", "30m"], 2), (["--younger-than", "30m"], 0), (["--state", "held"], 0),
    ):  # fmt: skip
        assert answer("queue", "count", "-c", queue, *selector) == {"count": number}


def test_a_limited_listing_says_that_there_is_more(queue: str) -> None:
    """Nobody takes a page for the whole."""
    result = run("queue", "list", "-c", queue, "--limit", "1")
    assert len(result.stdout.splitlines()) == 2
    assert "1 of 2; more with --limit" in result.stderr


def test_a_message_says_what_it_is_and_why_it_waits(queue: str) -> None:
    """Q8: why it is waiting, since when, and when it will next be tried."""
    shown = answer("queue", "show", FIRST.hex(), "-c", queue)
    assert isinstance(shown, dict)
    assert (shown["message"], shown["sender"], len(shown["deliveries"])) == (FIRST.hex(), "me@a.example", 1)
    why = run("queue", "why", FIRST.hex(), "-c", queue).stdout
    assert "you@b.example has been waiting for" in why
    assert "tried 2 times; last: 451 4.7.1 Greylisted (mx.b.example [192.0.2.1])" in why
    assert "next try in " in why
    assert "returned to its sender in 5d" in why
    assert re.search(
        r"held until .*, as its sender asked \(FUTURERELEASE\)", run("queue", "why", SECOND.hex(), "-c", queue).stdout
    )
    assert "me@a.example" in run("queue", "show", FIRST.hex(), "-c", queue).stdout


def test_summary_and_trace(queue: str) -> None:
    """The queue index, and the history of one message."""
    summary = answer("queue", "summary", "-c", queue)
    assert isinstance(summary, list)
    assert [row["queue"] for row in summary] == ["domain:b.example", "domain:c.example"]
    events = answer("trace", FIRST.hex(), "-c", queue)
    assert isinstance(events, list)
    assert [event["kind"] for event in events] == ["message.accepted"]
    assert "message.accepted  size=12" in run("trace", FIRST.hex(), "-c", queue).stdout


def test_mail_is_held_released_retried_and_cancelled(queue: str) -> None:
    """Each change says how much it changed, and a count comes first when asked for."""
    one = ("-c", queue, "--domain", "b.example")
    assert answer("queue", "hold", *one, "--count") == {"count": 1}
    assert answer("queue", "hold", *one, "--yes") == {"changed": 1, "active": 0}
    assert answer("queue", "count", "-c", queue, "--state", "held") == {"count": 1}
    # its message came an hour ago, the hold just now
    assert re.search(r"held by an operator for [0-9]s;", run("queue", "why", FIRST.hex(), "-c", queue).stdout)
    assert run("queue", "release", *one, "--yes").stdout == "1 delivery released\n"
    assert answer("queue", "retry", *one, "--yes") == {"changed": 1, "active": 0}
    rows = answer("queue", "list", *one)
    assert isinstance(rows, list)
    assert rows[0]["due"] <= time.time()
    assert re.search(
        r"made due by an operator, or by ETRN, \ds ago", run("queue", "why", FIRST.hex(), "-c", queue).stdout
    )
    story = run("trace", FIRST.hex(), "-c", queue).stdout
    assert re.findall(r"delivery\.\w+", story) == ["delivery.held", "delivery.released", "delivery.retried"]
    assert "to=you@b.example" in story
    assert answer("queue", "cancel", *one, "--bounce", "--yes") == {"changed": 1, "active": 0}
    assert answer("queue", "count", "-c", queue) == {"count": 2}
    assert answer("queue", "cancel", *one, "--yes") == {"changed": 1, "active": 0, "unreturned": 1}
    assert answer("queue", "count", "-c", queue) == {"count": 1}
    assert run("queue", "release", "--bounce", *one).exit_code == 2


def test_what_is_being_returned_is_marked_and_what_a_cancel_drops_is_said(queue: str) -> None:
    """Until the notice is written it is in the queue; to cancel it then is to tell nobody, which is an operator's right, and said."""
    one = ("-c", queue, "--domain", "b.example")
    assert run("queue", "cancel", *one, "--bounce", "--yes").stdout == "1 delivery will be returned to its sender\n"
    (row, other) = run("queue", "list", "-c", queue).stdout.splitlines()[1:]
    assert row.split()[1] == "returning"
    assert other.split()[1] == "ready"
    assert run("queue", "show", FIRST.hex(), "-c", queue).stdout.splitlines()[-1].split()[1] == "returning"
    listed = answer("queue", "list", "-c", queue)
    assert isinstance(listed, list)
    assert [(row["state"], row["returning"]) for row in listed] == [("ready", True), ("ready", False)]
    why = run("queue", "why", FIRST.hex(), "-c", queue).stdout
    assert "you@b.example is being returned to its sender, as an operator wants" in why
    assert "its sender" in why.splitlines()[-1]
    assert "try" not in why
    run("queue", "hold", *one, "--yes")
    assert run("queue", "list", *one).stdout.splitlines()[1].split()[1] == "held"
    assert "it is not tried again then" in run("queue", "why", FIRST.hex(), "-c", queue).stdout
    told = run("queue", "cancel", "--all", "-c", queue, "--yes").stdout
    assert told == "2 deliveries cancelled; 1 of them was being returned: the sender is not told now\n"


def test_a_listing_says_why_mail_is_held(config: str) -> None:
    """What a plugin set aside says its reason, what an operator holds says that; what is not held says nothing of the kind."""
    id = MessageId(bytes([0x33] * 16))
    held = msgspec.structs.replace(message_to(id, "d.example", attempts=0).deliveries[0], held=True)
    event = SpoolEvent(time.time(), "delivery.held", id, {"recipients": 1, "reason": "spam: 9 points"})
    message = msgspec.structs.replace(message_to(id, "d.example", attempts=0), deliveries=(held,), events=(event,))
    assert "HELD BECAUSE" not in run("queue", "list", "-c", config).stdout
    put(Path(config), message)
    one, told = ("-c", config, "--domain", "d.example"), ("-c", config, "--domain", "b.example")
    run("queue", "hold", *told, "--yes")
    head, first, second, third = run("queue", "list", "-c", config).stdout.splitlines()
    assert head.endswith("  HELD BECAUSE")
    assert first.endswith("  an operator holds it")
    assert second.split()[-1] == "-"
    assert third.endswith("  spam: 9 points")
    rows = answer("queue", "list", "-c", config)
    assert isinstance(rows, list)
    assert [row.get("set_aside") for row in rows] == ["", None, "spam: 9 points"]
    assert run("queue", "show", id.hex(), "-c", config).stdout.splitlines()[-1].endswith("  spam: 9 points")
    run("queue", "release", *one, "--yes")
    assert "spam: 9 points" not in run("queue", "list", *one).stdout


def test_a_message_is_named_by_its_id_alone(queue: str) -> None:
    """As for `why` and `trace`, nothing but the id is needed; --id says the same, and two ids are a mistake."""
    one = (FIRST.hex(), "-c", queue)
    assert answer("queue", "hold", *one, "--yes") == {"changed": 1, "active": 0}
    assert answer("queue", "release", *one, "--id", FIRST.hex(), "--count") == {"count": 1}
    refused = run("queue", "hold", *one, "--id", "0" * 32, "--yes")
    assert refused.exit_code == 2
    assert "two messages are named" in refused.output
    for command in ("list", "count"):
        hinted = run("queue", command, *one)
        assert hinted.exit_code == 2
        assert f"a message is named by --id, as in `upesi queue {command} --id {FIRST.hex()}`" in hinted.stderr


def test_one_message_that_is_named_needs_no_yes(queue: str) -> None:
    """Whoever names one message means it, and what was held can be released; taking it out of the queue for good asks all the same."""
    for command in ("hold", "release", "retry"):
        assert answer("queue", command, FIRST.hex(), "-c", queue) == {"changed": 1, "active": 0}
    assert "add --yes" in run("queue", "cancel", FIRST.hex(), "-c", queue).stderr
    assert "add --yes" in run("queue", "hold", "--domain", "b.example", "-c", queue).stderr


def test_without_a_server_nothing_is_promised(config: str) -> None:
    """What is due is not sent "now" where nobody sends."""
    assert answer("queue", "retry", FIRST.hex(), "-c", config) == {"changed": 1, "active": 0}
    row = run("queue", "list", "--domain", "b.example", "-c", config).stdout.splitlines()[1]
    assert " stopped " in row
    assert "no server is running here: `upesi serve` sends it" in run("queue", "why", FIRST.hex(), "-c", config).stdout


def test_nothing_is_changed_by_accident(queue: str) -> None:
    """Neither without a selection, nor without a yes where nobody can be asked: exit code 2."""
    for arguments, said in (((), "or --all"), (("--all",), "add --yes")):
        result = run("queue", "cancel", "-c", queue, *arguments)
        assert result.exit_code == 2
        assert said in result.stderr
    assert answer("queue", "count", "-c", queue) == {"count": 2}


def test_what_is_not_known_is_said(queue: str) -> None:
    """A wrong id and one that has gone are different mistakes."""
    gone = "00" * 16
    for command in (("queue", "show", gone), ("queue", "why", gone), ("trace", gone)):
        result = run(*command, "-c", queue)
        assert result.exit_code == 1
        assert "nothing is" in result.stderr
    done = program("queue", "show", "nonsense", "-c", queue)
    assert done.returncode == 1
    assert "upesi: not a message id" in done.stderr


def test_a_spool_that_is_in_use_is_not_touched(config: str) -> None:
    """Who holds the lock answers; without its answer nothing is done."""
    admin = SpoolAdmin.open_or_create(load(Path(config)).spool)
    try:
        assert isinstance(run("queue", "list", "-c", config).exception, SpoolLocked)
    finally:
        admin.close()


def test_looking_at_a_queue_makes_none(tmp_path: Path) -> None:
    """Neither a spool nor a folder appears because somebody looked for one in the wrong place."""
    file = tmp_path / "upesi.toml"
    file.write_text("")
    assert isinstance(run("queue", "list", "-c", str(file)).exception, ServerDown)
    assert [path.name for path in tmp_path.iterdir()] == ["upesi.toml"]


def program(*arguments: str) -> subprocess.CompletedProcess[str]:
    code = "from upesi.cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=30, check=False
    )


def test_exit_codes_tell_scripts_what_happened(tmp_path: Path) -> None:
    """0 done, 1 could not be done, 2 written wrongly; an error names the next step and has no traceback."""
    file = tmp_path / "upesi.toml"
    file.write_text("[node]\nwrokers = 1\n")
    wrong = program("config", "check", "-c", str(file))
    assert wrong.returncode == 1
    told = program("config", "check", "--json", "-c", str(file))
    assert (told.returncode, json.loads(told.stdout)["problems"][0]["line"]) == (1, 2)
    assert f"upesi: {file}:2: node.wrokers: unknown key, did you mean workers?" in wrong.stderr
    missing = program("config", "check", "-c", str(tmp_path / "none.toml"))
    assert "No such file" in missing.stderr
    assert "`upesi init DIR`" in missing.stderr
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "bad.py").write_text("def f(:\n")
    file.write_text('[plugins]\nenabled = ["bad"]\n')
    bad = program("config", "check", "-c", str(file))
    assert f"upesi: {tmp_path}/plugins/bad.py:1: plugin bad cannot be loaded: SyntaxError: " in bad.stderr
    assert "configuration.md" not in bad.stderr
    file.write_text("")
    down = program("status", "-c", str(file))
    assert down.returncode == 1
    assert "start it with `upesi serve`" in down.stderr
    assert program("queue", "lst").returncode == 2
    assert program("version").returncode == 0
    assert "Traceback" not in wrong.stderr + down.stderr


def test_what_cannot_be_done_is_json_for_whoever_asked_for_json(tmp_path: Path) -> None:
    """Else a script reads nothing at all; a person reads the same on standard error, and the exit codes are the same."""
    file = tmp_path / "upesi.toml"
    file.write_text("")
    for arguments, code, said in (
        (("status",), 1, "no server answers at "),
        (("queue", "show", "nonsense", "--socket", str(tmp_path / "none.sock")), 1, "no server answers at "),
        (("plugins", "doc", "graylist"), 1, "graylist"),
        (("queue", "cancel"), 2, "say which messages to cancel"),
        (("queue", "list", "--limit", "0"), 2, "Invalid value for '--limit'"),
    ):
        failed = program(*arguments, "-c", str(file), "--json")
        told = json.loads(failed.stdout)
        assert (failed.returncode, list(told)) == (code, ["error"])
        assert said in told["error"]
        assert f"upesi: {told['error']}\n" in failed.stderr
        assert program(*arguments, "-c", str(file)).stdout == ""


def test_all_errors_begin_alike() -> None:
    """One prefix, of what was written wrongly too, behind the usage of the command. `-c` is what Python calls the program here."""
    failed = program("queue", "list", "--limit", "0")
    usage, hint, error = failed.stderr.splitlines()
    assert usage.startswith("Usage: -c queue list ")
    assert hint == "Try `-c queue list --help` for help."
    assert error.startswith("upesi: Invalid value for '--limit'")
    shown = program("queue")
    assert shown.returncode == 2
    assert "upesi: " not in shown.stderr
    assert "Commands:" in shown.stderr


def test_help_imports_nothing_that_it_does_not_need() -> None:
    """`upesi --help` answers in a tenth of a second: no asyncio, no rich, no server."""
    code = (
        "import sys\nfrom upesi.cli.main import upesi\n"
        "try: upesi(['--help'])\nexcept SystemExit: pass\n"
        "print({'asyncio', 'rich', 'msgspec', 'apsw', 'uvloop', 'dns'} & set(sys.modules) or 'nothing')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.endswith("nothing\n")
    assert "queue       Look at queued mail" in done.stdout


def every_command(command: click.Command, *words: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield words, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from every_command(found, *words, name)


def test_every_help_page_is_whole() -> None:
    """No line of a list of commands is cut off, and every option says what it does."""
    pages = dict(every_command(upesi))
    assert ("quarantine", "release") in pages
    for words, command in pages.items():
        shown = run(*words, "--help")
        assert shown.exit_code == 0
        assert not re.search(r"[a-z,]\.\.\.$", shown.stdout, re.MULTILINE), shown.stdout
        options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
        assert [option.name for option in options if not option.help] == []


def test_every_command_of_the_help_exists() -> None:
    """The table behind `--help` and the commands agree."""
    context = click.Context(upesi)
    for name in upesi.list_commands(context):
        command = upesi.get_command(context, name)
        assert command is not None
        assert command.name == name
        assert run(name, "--help").exit_code == 0
    assert run("nothing").exit_code == 2


def test_status_reload_and_stop_go_to_the_server(tmp_path: Path) -> None:
    """Requests by their names; a refused reload is told with its reason, and stop waits for the end."""
    file = tmp_path / "upesi.toml"
    file.write_text('[control]\nsocket = "c.sock"\n')
    calls: list[str] = []

    def reload(call: Call) -> object:
        calls.append(call.name)
        if len(calls) == 1:
            raise ServerDown("upesi.toml:3: it is wrong")
        return {"workers": 2}

    status = {
        "pid": 7,
        "listeners": ["127.0.0.1:2525"],
        "workers": [{"slot": 0, "status": {"sessions": 3}}],
        "queues": [],
    }
    handlers: dict[str, Handler] = {"status": lambda call: status, "reload": reload, "stop": lambda call: {"pid": 7}}
    with serving(str(tmp_path / "c.sock"), lambda: (handlers, lambda: None)):
        assert answer("status", "-c", str(file)) == status
        assert "127.0.0.1:2525" in run("status", "-c", str(file)).stdout
        assert str(run("reload", "-c", str(file)).exception) == "upesi.toml:3: it is wrong"
        assert answer("reload", "-c", str(file)) == {"workers": 2}
        assert run("stop", "--no-wait", "-c", str(file)).stdout == "stopping\n"


def test_a_reload_refuses_what_it_would_not_do(tmp_path: Path) -> None:
    """A running server reads its file: --set beside a reload would be dropped without a word. Where the server is may be said."""
    where = ("--set", f"control.socket={tmp_path}/c.sock")
    assert isinstance(run("reload", *where, "--set", f"spool.path={tmp_path}").exception, ServerDown)
    refused = run("reload", *where, "--set", "delivery.expire=1d")
    assert refused.exit_code == 2
    assert "--set delivery.expire=1d would change nothing" in refused.stderr


def test_a_server_is_reached_by_its_socket_when_its_configuration_is_broken(tmp_path: Path) -> None:
    """A file that is being edited keeps nobody from looking at, or stopping, the server that runs; the error says how."""
    file = tmp_path / "upesi.toml"
    file.write_text("[node\n")
    for command in (
        ("status",),
        ("stop",),
        ("queue", "list"),
        ("queue", "cancel", "--all", "--yes"),
        ("trace", "00" * 16),
    ):
        failed = program(*command, "-c", str(file))
        assert failed.returncode == 1
        assert "is not valid TOML" in failed.stderr
        assert "--socket PATH" in failed.stderr
    handlers: dict[str, Handler] = {
        "status": lambda call: {"pid": 7, "listeners": [], "workers": [], "queues": []},
        "stop": lambda call: {"pid": 7, "drain": 1.0},
        "queue.count": lambda call: 3,
        "trace": lambda call: [],
    }
    socket = str(tmp_path / "c.sock")
    where = ("--socket", socket, "-c", str(file))
    with serving(socket, lambda: (handlers, lambda: None)):
        assert answer("status", *where) == {"pid": 7, "listeners": [], "workers": [], "queues": []}
        assert answer("queue", "count", *where) == {"count": 3}
        unknown = run("trace", "00" * 16, *where).stderr
        assert "nothing is known of" in unknown
        assert "or it was refused before it was queued" in unknown
        assert run("stop", "--no-wait", *where).stdout == "stopping\n"
    assert isinstance(run("queue", "list", *where).exception, ServerDown)


def test_why_and_list_say_what_stands_in_the_way(config: str) -> None:
    """Q8: a site that is left alone is the reason and sets the next try; busy connections are named; what is due later has no obstacle."""
    site = {"kind": "deferred", "code": 0, "status": "4.4.1", "text": "Connection refused", "remote": ""}
    said: dict[str, object] = {}
    about = "domain:b.example"
    woken: list[list[str]] = []

    async def workers(queues: list[str]) -> list[object]:
        return [{"queue": queue, "last": None, **said} for queue in queues if queue == about]

    async def wake(queues: list[str]) -> None:
        woken.append(queues)

    def handlers() -> tuple[dict[str, Handler], Callable[[], None]]:
        admin = SpoolAdmin.open_or_create(load(Path(config)).spool)

        async def at_once(work: Callable[[], T]) -> T:
            return work()

        async def recall(hold: bool) -> None:
            return None

        return queue_handlers(admin, at_once, recall, workers, wake), admin.close

    one = ("-c", config, "--domain", "b.example")
    with serving(load(Path(config)).control.socket, handlers):
        said.update(reason="connection-limit")
        assert "busy" not in run("queue", "why", FIRST.hex(), "-c", config).stdout
        assert run("queue", "retry", *one, "--yes").stdout == "1 delivery made due\n"
        assert woken == [["domain:b.example"]]
        assert (
            "all connections that its site may have are busy" in run("queue", "why", FIRST.hex(), "-c", config).stdout
        )
        assert " connection-limit " in run("queue", "list", *one).stdout
        said.update(reason="unreachable", until=1200.0, last=site)
        why = run("queue", "why", FIRST.hex(), "-c", config).stdout
        left = "its site could not be reached; it is left alone for 20m more; last said: 4.4.1 Connection refused"
        assert left in why
        assert "next try in 20m" in why
        said.update(last={**site, "status": "4.7.5", "text": "TLS failed: no"})
        why = run("queue", "why", FIRST.hex(), "-c", config).stdout
        assert "its site answered, but no mail may go there as things are; it is left alone for 20m more; last" in why
        said.update(last={**site, "status": "4.3.2", "code": 421})
        assert "its site answered, " in run("queue", "why", FIRST.hex(), "-c", config).stdout
        said.update(last=site)
        assert "in 20m" in run("queue", "list", *one).stdout
        summary = run("queue", "summary", "-c", config).stdout.splitlines()
        assert [line.rpartition("  ")[2] for line in summary] == ["NEXT", "in 20m", "in 10m"]
        about = "domain:c.example"
        (_, untried) = run("queue", "list", "-c", config, "--domain", "c.example").stdout.splitlines()
        assert untried.endswith("in 20m  to others: 4.4.1 Connection refused")
        about = "domain:b.example"
        rows = answer("queue", "why", FIRST.hex(), "-c", config)
        assert isinstance(rows, list)
        assert (rows[0]["reason"], rows[0]["blocked_until"] - time.time() > 1000) == ("unreachable", True)
        assert "reason" not in json.dumps(answer("queue", "why", SECOND.hex(), "-c", config))
        assert run("queue", "hold", *one, "--yes").exit_code == 0
        assert "could not be reached" not in run("queue", "why", FIRST.hex(), "-c", config).stdout


def test_the_version_is_told() -> None:
    """`upesi --version`, as of every program."""
    assert run("--version").stdout == f"upesi {__version__}\n"
    compiled = framing.__file__.endswith(".so")
    assert answer("version")["modules"] == ("compiled" if compiled else "plain Python")


def test_init_writes_a_configuration_once(tmp_path: Path) -> None:
    """The file loads, is found good, and is never overwritten."""
    folder = tmp_path / "new"
    assert run("init", str(folder)).exit_code == 0
    file = folder / "upesi.toml"
    assert load(file).spool.path == f"{folder}/var/spool"
    assert run("config", "check", "-c", str(file)).exit_code == 0
    file.write_text("# mine")
    assert run("init", str(folder)).exit_code == 1
    assert file.read_text() == "# mine"


def test_show_prints_a_configuration_that_loads_to_the_same(tmp_path: Path) -> None:
    """What `config show` prints is a file; defaults, plugins' settings and overrides are in it."""
    changes = [
        "--set",
        "delivery.expire=90s",
        "--set",
        'plugins.mine={ a = [1, "two"], "b c" = { d = "\\u007f" } }',
        "--set",
        "smtp.min_rate=1",
    ]
    printed = run("config", "show", *changes)
    assert printed.exit_code == 0
    file = tmp_path / "upesi.toml"
    file.write_text(printed.stdout)
    assert load(file) == load(None, changes[1::2])


def test_secrets_are_not_shown() -> None:
    """ADM-02: what is printed ends up in tickets."""
    shown = answer("config", "show", "--set", "plugins.mine.api_password=hush", "--set", "plugins.mine.user=me")
    assert isinstance(shown, dict)
    assert shown["plugins"]["mine"] == {"api_password": "********", "user": "me"}
    assert "hush" in run("config", "show", "--secrets", "--set", "plugins.mine.api_password=hush").stdout
    assert masked({"a": [{"token": "x"}], "secrets": ["x", "y"], "password": ""}) == {
        "a": [{"token": "********"}], "secrets": ["********", "********"], "password": "",
    }  # fmt: skip
    # names of accounts below a key that looks like a secret do not, and what they name is one; yes and no are none
    assert masked({"tokens": {"anna": "x", "more": {"bert": ["y"]}}, "need_token": True}) == {
        "tokens": {"anna": "********", "more": {"bert": ["********"]}}, "need_token": True,
    }  # fmt: skip


def test_plugins_are_listed_ordered_written_and_tried(tmp_path: Path) -> None:
    """From `plugins new` to a verdict without a server."""
    file = tmp_path / "upesi.toml"
    file.write_text('[plugins]\nenabled = ["relay", "mine"]\nfolder = "own"\n')
    config = ("-c", str(file))
    assert run("plugins", "new", "mine", *config).exit_code == 0
    assert run("plugins", "new", "mine", *config).exit_code == 1
    listed = answer("plugins", "list", *config)
    assert isinstance(listed, list)
    assert [(row["name"], row["kind"]) for row in listed if row["enabled"]] == [("relay", "bundled"), ("mine", "file")]
    ordered = answer("plugins", "order", *config, "--hook", "mail")
    assert isinstance(ordered, list)
    assert [row["plugin"] for row in ordered] == ["mine"]
    unknown = run("plugins", "order", *config, "--hook", "mial")
    assert unknown.exit_code == 2
    assert "there is no hook 'mial', did you mean mail?" in unknown.stderr
    assert "recognise" in run("plugins", "order", *config).stdout
    described = run("plugins", "doc", "mine", *config)
    assert described.exit_code == 0
    for line in ("say in one line what this plugin does", "domains", "Called at MAIL FROM", "Services: none"):
        assert line in described.stdout
    shown = answer("plugins", "doc", "greylist", *config)
    assert isinstance(shown, dict)
    assert shown["services"] == ["store", "clock"]
    assert run("plugins", "doc", "graylist", *config).exit_code == 1
    refused = run("plugins", "test", "mine", *config, "--from", "x@bad.example")
    assert refused.exit_code == 1
    assert "550 5.7.1" in refused.stdout
    assert program("plugins", "test", "mine", *config, "--from", "x@bad.example").returncode == 1


def test_an_event_is_told_as_people_read_it() -> None:
    """No Unix time, no field that says nothing; what has blanks in it is quoted."""
    event = {
        "at": 1.0, "kind": "delivery.deferred", "recipients": 1, "remote": "", "code": 0, "status": "4.4.1",
        "text": "Connection refused", "attempt": 0, "seconds": 0.1234, "next": 1795349046.1,
    }  # fmt: skip
    assert told(event) == (
        'recipients=1 status=4.4.1 text="Connection refused" attempt=0 seconds=0.123s next=2026-11-22 12:04:06Z'
    )
    assert told({"seconds": 5400, "code": 451, "next": "x"}) == "seconds=90m code=451 next=x"


def test_a_plugin_is_tried_with_a_bounce_and_wrong_addresses_are_named(tmp_path: Path) -> None:
    """`<>` is the null reverse-path as in `sendmail -f`; an error names the option and its value."""
    file = tmp_path / "upesi.toml"
    file.write_text('[spool]\npath = "spool"\n')
    tried = run("plugins", "test", "max_hops", "-c", str(file), "--from", "<>")
    assert tried.exit_code == 0, tried.output
    lines = tried.stdout.splitlines()
    assert [line.split()[0] for line in lines if line.endswith("no opinion")] == ["connect", "helo", "mail", "route"]
    assert "mail     <> " in tried.stdout
    for option in ("--from", "--to"):
        wrong = run("plugins", "test", "max_hops", "-c", str(file), option, "a@b@c")
        assert wrong.exit_code == 2
        assert f"Invalid value for {option}: 'a@b@c' is no address" in wrong.stderr
    wrong = run("plugins", "test", "max_hops", "-c", str(file), "--ip", "999.1.1.1")
    assert wrong.exit_code == 2
    assert "Invalid value for --ip: '999.1.1.1' is no IP address" in wrong.stderr
    assert run("plugins", "test", "max_hops", "-c", str(file), "--ip", "2001:db8::1").exit_code == 0


def test_a_plugin_that_is_no_python_is_marked_in_the_list(tmp_path: Path) -> None:
    """The list runs no plugin's code, but what cannot even be read is not shown as if it worked."""
    (tmp_path / "plugins").mkdir()
    plugin = tmp_path / "plugins" / "wrong.py"
    plugin.write_text('"""A plugin."""\n\ndef hook(:\n')
    file = tmp_path / "upesi.toml"
    file.write_text('[plugins]\nenabled = ["wrong"]\n')
    found = answer("plugins", "list", "-c", str(file))
    assert isinstance(found, list)
    assert found[0]["broken"] == f"{plugin}:3: invalid syntax"
    assert {row["broken"] for row in found[1:]} == {""}
    assert f"CANNOT BE LOADED: {plugin}:3" in run("plugins", "list", "-c", str(file)).stdout


def test_a_misspelt_command_is_answered_with_the_nearest() -> None:
    """As for misspelt keys of the configuration; commands within a group too."""
    for arguments, said in ((("queu", "list"), "'queu', did you mean queue?"), (("queue", "lst"), "list")):
        result = run(*arguments)
        assert result.exit_code == 2
        assert said in result.stderr


def test_a_terminal_is_not_steered_by_mail() -> None:
    """LOG-01: control characters of addresses and replies are replaced before they are printed."""
    assert cell("a\x1b[31m\u202eb\r\n") == "a?[31m?b??"
    assert cell(["a\x00", None]) == "a?, -"
    assert cell({"a": 0, "b": {"c": False}, "d": {"e": 1, "f": "x\x07"}}) == "d=e=1 f=x?"
    assert (cell(None), cell(True), cell(0.123456)) == ("-", "yes", "0.1235")


def test_spans_and_sizes_are_written_as_people_say_them() -> None:
    """Two of a unit before the next one is used, and to the nearest: what is a moment short of five days is five days."""
    spans = {
        0: "0s", 119: "119s", 119.7: "2m", 120: "2m", 5400: "90m", 7199: "2h", 7200: "2h", 172_799: "2d",
        200_000: "2d", 431_999.9: "5d", -300: "-5m",
    }  # fmt: skip
    assert {seconds: age(seconds) for seconds in spans} == spans
    assert [size(octets) for octets in (0, 999, 1500, 25_000_000, 3 * 10**12)] == [
        "0 B",
        "999 B",
        "1.5 kB",
        "25 MB",
        "3.0 TB",
    ]


def test_one_is_not_several() -> None:
    """1 delivery, 2 deliveries, 0 times."""
    assert [many(1, "delivery", "deliveries"), many(2, "delivery", "deliveries"), many(0, "time")] == [
        "1 delivery",
        "2 deliveries",
        "0 times",
    ]


def test_on_a_terminal_there_are_tables(config: str) -> None:
    """A table and colour on a terminal; the replies in it are text and never markup."""
    import pty

    leader, follower = pty.openpty()
    code = "from upesi.cli.main import main; main()"
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "200"}
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen(
        [sys.executable, "-c", code, "queue", "list", "-c", config], stdout=follower, stdin=follower, env=environment
    )
    os.close(follower)
    shown = b""
    with contextlib.suppress(OSError):  # EIO: the other end has closed
        while data := os.read(leader, 65536):
            shown += data
    os.close(leader)
    assert process.wait(30) == 0
    assert b"\x1b[" in shown
    assert "[192.0.2.1]" in shown.decode()
