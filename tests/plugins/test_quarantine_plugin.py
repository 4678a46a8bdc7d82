"""Mail that other plugins found suspect."""

from __future__ import annotations

import pytest

from upesi.config.problems import ConfigError
from upesi.mail.route import HostRoute, MaildirRoute
from upesi.plugins.quarantine.plugin import Quarantine
from upesi.testkit import Trial

_MESSAGE = b"From: a@example.com\r\n\r\nhello\r\n"


async def trial_of(settings: dict[str, object]) -> Trial:
    """Return a trial with a recipient."""
    trial = Trial.of(Quarantine, settings)
    trial._relay = True
    await trial.mail()
    await trial.rcpt()
    return trial


async def test_mail_that_nobody_suspects_goes_on():
    """No note and no result: nothing is changed."""
    trial = await trial_of({"results": ["spam=fail"]})
    trial.tx.results["spam"] = ("pass", "")
    assert await trial.message(_MESSAGE) is None
    assert trial.tx.results["quarantine"] == ("pass", "")
    assert trial.tx.hold == ""
    assert trial.tx.added == ()
    assert trial.tx.recipients[0].route is None


async def test_mail_with_a_note_is_held():
    """The message is accepted, and waits for an operator with the reason; a stranger's words begin no line."""
    trial = await trial_of({})
    trial.tx.notes["quarantine"] = "dmarc: failed\r\nX: \xe4"
    await trial.message(_MESSAGE)
    assert trial.tx.hold == "quarantine: dmarc: failed??X: ?"
    assert trial.tx.results["quarantine"] == ("fail", "dmarc: failed??X: ?")
    assert trial.tx.added == (b"X-Quarantine: dmarc: failed??X: ?\r\n",)


@pytest.mark.parametrize("where", ["tx", "session"])
async def test_results_of_other_plugins_are_conditions(where: str):
    """Those of the transaction and of the session."""
    trial = await trial_of({"results": ["spam=fail"], "field": ""})
    (trial.tx if where == "tx" else trial.session).results["spam"] = ("fail", "score 12")
    await trial.message(_MESSAGE)
    assert trial.tx.hold == "quarantine: spam: fail score 12"
    assert trial.tx.added == ()


@pytest.mark.parametrize(
    ("to", "route"),
    [
        ("maildir:/var/mail/suspect", MaildirRoute("/var/mail/suspect")),
        ("smtp://quarantine.example.net:2525", HostRoute("quarantine.example.net", 2525)),
        ("smtp://quarantine.example.net", HostRoute("quarantine.example.net", 25)),
        ("smtp://[2001:db8::1]:25", HostRoute("2001:db8::1", 25)),
        ("smtp://[2001:db8::1]", HostRoute("2001:db8::1", 25)),
    ],
)
async def test_mail_can_go_somewhere_else(to: str, route: object):
    """To a folder, or to a server that keeps suspect mail: for every recipient."""
    trial = await trial_of({"to": to})
    await trial.rcpt("other@example.org")
    trial.tx.notes["quarantine"] = "why"
    await trial.message(_MESSAGE)
    assert [recipient.route for recipient in trial.tx.recipients] == [route, route]
    assert trial.tx.hold == ""


async def test_mail_of_our_own_people_can_be_left_alone():
    """A setting; by default a stolen account's mail is set aside too."""
    for mail, held in (("strangers", False), ("all", True)):
        trial = await trial_of({"mail": mail})
        trial.session.identity = "anna"
        trial.tx.notes["quarantine"] = "why"
        await trial.message(_MESSAGE)
        assert bool(trial.tx.hold) == held


@pytest.mark.parametrize(
    "settings",
    [
        {"to": "nowhere"}, {"to": "maildir:relative"}, {"to": "smtp://a b"}, {"to": "smtp://a.example:0"}, {"to": "smtp://a.example:x"},
        {"results": ["spam"]}, {"results": ["=fail"]},
    ],
)  # fmt: skip
def test_settings_that_mean_nothing_stop_the_start_up(settings: dict[str, object]):
    """A place that is none, a condition that is none."""
    with pytest.raises(ConfigError):
        Trial.of(Quarantine, settings)
