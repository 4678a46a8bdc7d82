"""Keep the envelope with the message: as fields on top of it, or as notes that travel to delivery."""

from __future__ import annotations

from typing import Literal

from upesi.plugin import Plugin, PluginSettings, Transaction, hook

# a field with more recipients helps nobody, and costs each copy
MAX_RECIPIENTS = 100


class RecordEnvelope(Plugin):
    """Record who sent a message and to whom, which its own fields need not say."""

    class Settings(PluginSettings):
        """Fields are on, notes are off."""

        fields: bool = True
        notes: bool = False
        from_field: str = "X-Envelope-From"
        to_field: str = "X-Envelope-To"
        # a field with several recipients shows the blind copies to all of them (RFC 5321 section 7.2)
        several: Literal["omit", "show"] = "omit"
        # whether fields of these names that came in are removed: whoever reads them believes that they are ours
        forged: Literal["remove", "keep"] = "remove"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._settings = settings

    @hook.message(after=["aliases", "dkim", "arc", "dmarc", "authentication_results"], before=["arc_seal", "dkim_sign"])
    def record(self, tx: Transaction) -> None:
        """Write down the reverse-path and the recipients."""
        settings = self._settings
        sender = f"<{tx.reverse_path or ''}>"
        recipients = [f"<{recipient.address}>" for recipient in tx.recipients[:MAX_RECIPIENTS]]
        if settings.notes:
            tx.queued_notes["record_envelope.from"] = sender.encode()
            tx.queued_notes["record_envelope.to"] = " ".join(recipients).encode()
        if not settings.fields:
            return
        if settings.forged == "remove":
            tx.remove_header(settings.from_field)
            tx.remove_header(settings.to_field)
        if not tx.transmission.smtputf8 and not (sender + "".join(recipients)).isascii():
            # a plugin has replaced an address by one that this message's fields cannot hold (RFC 6532)
            tx.results["record_envelope"] = ("skip", "an address is not ASCII")
            return
        tx.add_header(settings.from_field, sender)
        if len(tx.recipients) == 1 or settings.several == "show":
            tx.add_header(settings.to_field, ", ".join(recipients))
