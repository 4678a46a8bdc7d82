"""The envelope kept with the message."""

from __future__ import annotations

from upesi.plugins.record_envelope.plugin import RecordEnvelope
from upesi.testkit import Trial

_MESSAGE = b"X-Envelope-To: forged@example.com\r\nFrom: a@example.com\r\n\r\nhello\r\n"


async def recorded(*recipients: str, sender: str = "sender@example.com", **settings: object) -> Trial:
    """Run one message through the plugin."""
    trial = Trial.of(RecordEnvelope, settings)
    trial._relay = True
    await trial.mail(sender)
    for recipient in recipients:
        await trial.rcpt(recipient)
    await trial.message(_MESSAGE)
    assert trial.events == []
    return trial


def octets(trial: Trial) -> bytes:
    return b"".join(trial.tx.edited.chunks())


async def test_the_envelope_of_one_recipient_is_written_on_top():
    """And what came in under these names is removed: whoever reads them believes that they are ours."""
    assert octets(await recorded("b@example.org")) == (
        b"X-Envelope-From: <sender@example.com>\r\nX-Envelope-To: <b@example.org>\r\nFrom: a@example.com\r\n\r\nhello\r\n"
    )
    assert octets(await recorded("b@example.org", sender="<>")).startswith(b"X-Envelope-From: <>\r\n")


async def test_blind_copies_are_not_shown():
    """RFC 5321 section 7.2: with several recipients, the field would show each of them all the others."""
    assert b"X-Envelope-To" not in octets(await recorded("b@example.org", "c@example.org"))
    shown = octets(await recorded("b@example.org", "c@example.org", several="show"))
    assert b"X-Envelope-To: <b@example.org>, <c@example.org>\r\n" in shown


async def test_many_recipients_are_cut():
    """A field is bounded, and folded."""
    shown = octets(await recorded(*(f"user{n}@example.org" for n in range(150)), several="show"))
    assert shown.count(b"@example.org") == 100
    assert max(map(len, shown.split(b"\r\n"))) <= 78


async def test_the_envelope_can_travel_as_notes():
    """Into delivery, unseen by readers."""
    trial = await recorded("b@example.org", "c@example.org", fields=False, notes=True)
    assert octets(trial) == _MESSAGE
    assert trial.tx.queued_notes == {
        "record_envelope.from": b"<sender@example.com>",
        "record_envelope.to": b"<b@example.org> <c@example.org>",
    }


async def test_what_came_in_can_be_kept():
    """Where a server in front of this one writes the fields."""
    assert b"forged@example.com" in octets(await recorded("b@example.org", forged="keep"))
