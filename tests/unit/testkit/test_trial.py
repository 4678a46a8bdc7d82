"""Trials, the message builder and the scaffold: what plugin authors test with."""

from __future__ import annotations

import email
import email.policy
import os
import subprocess
import sys
from pathlib import Path

import pytest

from upesi.config.problems import ConfigError
from upesi.config.settings import PluginsSettings
from upesi.hooks.scaffold import ScaffoldError, scaffold
from upesi.plugin import (
    DiscardRoute,
    Handling,
    Note,
    Plugin,
    Session,
    Transaction,
    TransactionRecipient,
    accept,
    defer,
    hook,
    reject,
)
from upesi.testkit import Trial, load, message, run_virtual, try_plugin

SCORE = Note("recorder.score", int, queued=True)


class Recorder(Plugin):
    """Notes what it is called for."""

    def __init__(self, settings, log):
        super().__init__(settings)
        self.log = log

    @hook.connect
    def connected(self, session: Session) -> None:
        session.results["country"] = ("pass", "TZ")

    @hook.rcpt
    async def rcpt(self, tx: Transaction, recipient: TransactionRecipient):
        if recipient.address.local == "gone":
            return reject("5.1.1", "Gone")
        return accept() if recipient.address.domain == "ours.example" else None

    @hook.route
    def route(self, tx: Transaction, recipient: TransactionRecipient):
        return DiscardRoute() if recipient.address.local == "nobody" else None

    @hook.message
    def message(self, tx: Transaction):
        self.log("seen", octets=tx.body.size)
        tx.add_header("X-Seen", "yes")
        SCORE.set(tx, 7)
        tx.handling = Handling(tenant="acme")
        tx.recipients[0].verdict = defer("4.2.2", "Full")


async def test_a_trial_gives_hooks_what_a_server_would():
    """Votes, refusals, routes and what nobody voted for."""
    trial = Trial.of(Recorder)
    accepted = await trial.whole(
        "client.example",
        "a@example.com",
        ["b@ours.example", "nobody@ours.example", "gone@ours.example", "c@theirs.example"],
        message(),
    )
    # as by a server: a notice of failure would turn "later" into "never"
    assert not accepted
    assert [str(r.address) for r in trial.tx.recipients] == ["b@ours.example", "nobody@ours.example"]
    report = "\n".join(trial.report())
    for line in (
        "rcpt     <gone@ours.example>                      550 5.1.1 Gone",
        "session result country: pass TZ",
        "message  the one reply to all of it               451 4.2.2 Full",
        "refused for <b@ours.example>: 451 4.2.2 Full",
        "does not go to <nobody@ours.example> by DiscardRoute(), Handling(priority=None, lifetime=None, pool='', tenant='acme'",
        "queued note recorder.score: 7",
        "adds X-Seen: yes",
        f"recorder.seen octets={len(message())}",
    ):
        assert line in report


async def test_a_report_says_who_gets_the_message():
    """Whoever is known has a notice for those that were refused, and the others get it; behind a rejection nobody does."""

    class Choosy(Plugin):
        @hook.message
        def judge(self, tx: Transaction):
            for recipient in tx.recipients:
                recipient.verdict = reject("5.7.1", "No") if recipient.address.local == "anna" else None
            return reject("5.7.1", "Not at all") if tx.headers.get("X-All") else None

    async def told(*recipients: str, fields: dict[str, str | None] | None = None) -> tuple[bool, list[str]]:
        trial = Trial(load(Choosy), relay=True)
        accepted = await trial.whole("x.example", "a@example.com", recipients, message(fields=fields))
        return accepted, trial.report()

    accepted, lines = await told("anna@example.org", "bert@example.org")
    assert accepted
    assert "goes to <bert@example.org>" in lines
    accepted, lines = await told("anna@example.org")
    assert not accepted
    accepted, lines = await told("bert@example.org", fields={"X-All": "1"})
    assert not accepted
    assert "does not go to <bert@example.org>" in lines


@pytest.mark.parametrize("point", ["connect", "helo", "mail", "data", "message"])
async def test_a_refusal_ends_the_trial_where_it_would_end_the_mail(point: str):
    """No hook behind the refusal is run, except that the ends are told."""

    class Refusing(Plugin):
        @getattr(hook, point)
        def refuse(self, *arguments: object):
            return reject("5.7.1", "No")

        @hook.rcpt
        def take(self, tx: Transaction, recipient: TransactionRecipient):
            return accept()

    trial = Trial.of(Refusing)
    assert not await trial.whole("client.example", "a@example.com", ["b@example.org"], message())
    points = [step.point for step in trial.steps]
    assert [step.point for step in trial.steps if step.refused] == [point]
    assert set(points[points.index(point) + 1 :]) <= {"reset", "disconnect"}
    assert points[-1] == "disconnect"


def test_a_plugin_can_be_tried_by_name():
    """What `upesi plugins test` does: alone, enabled or not, with its settings."""
    config = PluginsSettings(folder="", settings={"recipients": {"domains": ["ours.example"]}})
    for recipient, taken in (("a@ours.example", True), ("a@theirs.example", False)):
        accepted, report = try_plugin(
            "recipients",
            config,
            ip="192.0.2.1",
            helo="x.example",
            sender="",
            recipients=[recipient],
            content=message(),
            relay=False,
        )
        assert accepted is taken
        assert report[0].startswith("connect  192.0.2.1")
    with pytest.raises(ConfigError, match="did you mean recipients"):
        try_plugin("recipient", config, ip="", helo="", sender="", recipients=[], content=None)


def test_a_plugin_without_an_opinion_at_rcpt_still_sees_the_message():
    """A trial takes recipients that nobody votes for, and says so; with relay=False it ends as it would for a stranger."""
    looping = message(top=[("Received", "x")] * 200)
    for relay, accepted, last, note in (
        (True, False, "message", "taken, as from a client that may relay"),
        (False, False, "rcpt", "not taken: nobody voted for it"),
    ):
        result, report = try_plugin(
            "max_hops", PluginsSettings(), ip="192.0.2.1", helo="x.example", sender="", recipients=["a@b.example"],
            content=looping, relay=relay,
        )  # fmt: skip
        assert result is accepted
        steps = [line for line in report if line.split()[0] in ("rcpt", "message")]
        assert steps[0].endswith(note)
        assert steps[-1].startswith(last)
    assert try_plugin(
        "max_hops",
        PluginsSettings(),
        ip="192.0.2.1",
        helo="x.example",
        sender="",
        recipients=["a@b.example"],
        content=message(),
    )[0]


def test_a_trial_without_a_message_ends_at_rcpt():
    """It says whether a recipient was taken: there is nothing else to say."""
    for relay in (True, False):
        accepted, _ = try_plugin(
            "max_hops", PluginsSettings(), ip="192.0.2.1", helo="x.example", sender="", recipients=["a@b.example"],
            content=None, relay=relay,
        )  # fmt: skip
        assert accepted is relay


def test_failures_of_a_plugin_are_in_the_report():
    """An author sees the exception, not only the 451."""

    class Broken(Plugin):
        @hook.mail
        def fails(self, tx: Transaction, sender: object) -> None:
            raise ZeroDivisionError

    trial = Trial.of(Broken)
    run_virtual(trial.whole("x.example", "a@example.com", ["b@example.org"], None))
    report = "\n".join(trial.report())
    assert "451 4.3.0" in report
    assert "plugin.failed" in report
    assert "ZeroDivisionError" in report


def test_built_messages_are_valid():
    """CRLF everywhere, a header that others can read, fields replaced, left out, and repeated on top."""
    content = message("one\ntwo\r\n", {"Subject": "hello", "Date": None}, top=[("Received", "a"), ("Received", "b")])
    assert content.count(b"\n") == content.count(b"\r\n")
    parsed = email.message_from_bytes(content, policy=email.policy.SMTP)
    assert parsed["Subject"] == "hello"
    assert parsed["Date"] is None
    assert parsed.get_all("Received") == ["a", "b"]
    assert parsed.get_payload() == "one\r\ntwo\r\n"


def test_the_scaffold_is_a_plugin_with_a_green_test(tmp_path: Path):
    """`upesi plugins new`: both files work as they are written."""
    plugin, test = scaffold("my_rule", tmp_path / "plugins")
    assert plugin == tmp_path / "plugins" / "my_rule.py"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--override-ini=addopts=", str(test)]
    # In the common place it would first delete what earlier runs left there, for a minute and more
    own = os.environ | {"PYTEST_DEBUG_TEMPROOT": str(tmp_path)}
    run = subprocess.run(command, env=own, capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "2 passed" in run.stdout


def test_tests_beside_a_scaffold_may_be_async(tmp_path: Path):
    """Plain pytest runs them, from the folder above and inside; what a folder says of pytest itself stands."""
    folder = tmp_path / "plugins"
    scaffold("my_rule", folder)
    test = folder / "tests" / "test_waiting.py"
    test.write_text("import asyncio\n\nasync def test_waits():\n    await asyncio.sleep(0)\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    own = os.environ | {"PYTEST_DEBUG_TEMPROOT": str(tmp_path)}
    for where, arguments in ((tmp_path, ["plugins/tests"]), (folder, [])):
        run = subprocess.run(
            [*command, *arguments], env=own, capture_output=True, text=True, timeout=60, cwd=where, check=False
        )
        assert "3 passed" in run.stdout, run.stdout + run.stderr
        # pytest-asyncio wants to know more than the mode
        assert "Warning" not in run.stdout + run.stderr
    mine = tmp_path / "other"
    mine.mkdir()
    (mine / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    scaffold("my_rule", mine)
    assert not (mine / "pytest.ini").exists()


@pytest.mark.parametrize("name", ["", "My", "a-b", "1a", "../x", "a/b", "a.b"])
def test_a_scaffold_needs_a_name(name: str, tmp_path: Path):
    """Names are those that discovery finds."""
    with pytest.raises(ScaffoldError):
        scaffold(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_scaffold_takes_no_name_that_is_taken(tmp_path: Path):
    """A second plugin of one name would be refused at the next start."""
    with pytest.raises(ScaffoldError, match="there is a plugin 'relay' already"):
        scaffold("relay", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_scaffold_overwrites_nothing(tmp_path: Path):
    """Neither the plugin nor its test."""
    plugin, _ = scaffold("mine", tmp_path)
    plugin.write_text("precious")
    with pytest.raises(ScaffoldError, match="is there already"):
        scaffold("mine", tmp_path)
    assert plugin.read_text() == "precious"


class Changer(Plugin):
    """Changes all that can be changed."""

    @hook.message
    def change(self, tx: Transaction) -> None:
        tx.add_header("X-Top", "t")
        tx.remove_header("X-Old")
        tx.replace_header("Subject", "new")
        tx.add_text("\n".join(f"line {n}" for n in range(20)), "")
        tx.hold = "suspect"


async def test_a_report_shows_what_was_changed():
    """What came in and went out, a few lines of each change, and that the message is held."""
    trial = Trial.of(Changer)
    await trial.mail()
    await trial.message(b"X-Old: o\r\nSubject: old\r\n\r\nhello\r\n")
    lines = trial.report()
    assert trial.events == []
    for line in (
        "adds X-Top: t",
        "takes out X-Old: o",
        "takes out Subject: old",
        "puts in Subject: new",
        "puts in line 9",
        "puts in (10 more lines)",
        "holds it: suspect",
    ):
        assert line in lines
