"""Refusals of single recipients at `message`, and the exemptions that hear of them: in a whole session and in a trial."""

from __future__ import annotations

import asyncio

from upesi.plugin import Denial, Plugin, Session, Transaction, TransactionRecipient, Verdict, accept, hook, reject
from upesi.testkit import ScriptedClient, Trial, load, message, run_virtual


class Choosy(Plugin):
    """Two of three do not want it, and two are told that they get it all the same."""

    @hook.rcpt
    def ours(self, tx: Transaction, recipient: TransactionRecipient) -> Verdict:
        return accept()

    @hook.message
    async def judge(self, tx: Transaction) -> None:
        await asyncio.sleep(1)
        for recipient in tx.recipients:
            if recipient.address.local != "anna":
                recipient.verdict = reject("5.7.1", "Not wanted")

    @hook.denied
    async def exempt(self, session: Session, denial: Denial) -> Verdict | None:
        await asyncio.sleep(1)
        tx = denial.transaction
        if tx is None or denial.verdict.plugin != "choosy":
            return None
        (recipient,) = denial.arguments
        assert isinstance(recipient, TransactionRecipient)
        tx.notes["heard"] = f"{tx.notes.get('heard', '')}{recipient.address.local} "
        return accept() if recipient.address.local == "bert" else None


def test_lmtp_tells_each_recipient_what_stands_in_the_end() -> None:
    """PLUGINS.md, `denied`: an override is for the recipient that it was asked for, also where both hooks wait."""

    async def run() -> tuple[list[str], list[str]]:
        client = ScriptedClient(load(Choosy), lmtp=True)
        await client.greeting()
        names = ("anna", "bert", "carl")
        await client.say(
            "LHLO x.example", "MAIL FROM:<a@example.com>", *(f"RCPT TO:<{name}@example.org>" for name in names), "DATA"
        )
        replies = await client.content(message(), replies=3)
        (stored,) = client.accepted
        return [reply[:3] for reply in replies], [r.address.local for d in stored.deliveries for r in d.recipients]

    assert run_virtual(run()) == (["250", "250", "550"], ["anna", "bert"])


def test_a_trial_shows_the_same() -> None:
    """What `upesi plugins test` prints is what a server would do."""

    async def run() -> Trial:
        trial = Trial.of(Choosy)
        await trial.whole(
            "x.example", "a@example.com", ["anna@example.org", "bert@example.org", "carl@example.org"], message()
        )
        return trial

    trial = run_virtual(run())
    assert trial.tx.notes["heard"] == "bert carl "
    assert [recipient.verdict is None for recipient in trial.tx.recipients] == [True, True, False]
