"""Rewrite the senders of mail that is forwarded to other servers (SRS), and lead the bounces of that mail back."""

from __future__ import annotations

from upesi.plugin import (
    AddressError,
    Clock,
    DiscardRoute,
    Duration,
    FilePath,
    HttpRoute,
    ListError,
    LmtpRoute,
    MaildirRoute,
    PipeRoute,
    Plugin,
    PluginLog,
    PluginSettings,
    QuarantineRoute,
    Transaction,
    TransactionRecipient,
    Verdict,
    accept,
    domain_from,
    hook,
    read_list,
    reject,
)
from upesi.plugins.srs.rewriting import BadSrs, Srs, is_srs

_ACCEPT = accept()
_UNKNOWN = reject("5.1.1", "This forwarding address is not ours, or too old")
_NOT_A_BOUNCE = reject("5.7.1", "This forwarding address takes only delivery notices")
# characters: shorter ones are guessed
_LEAST_SECRET = 16


class ForwardedSenders(Plugin):
    """Without it, mail that comes for an alias and goes on to another server fails SPF there."""

    class Settings(PluginSettings):
        """The secrets are those of all servers with this domain."""

        # the domain of the rewritten senders: one of ours, with an MX record that leads here
        domain: str
        # a file with a secret a line; the first signs, all are believed: a new one goes on top
        secrets_file: FilePath
        # domains whose mail stays here, and whose senders need no other name: those of plugins.recipients
        local_domains: tuple[str, ...] = ()
        # a rewritten address is of use for so long: as long as others try before they give up, and more
        max_age: Duration = Duration("21d")
        # characters of the hash, 5 bits each
        hash_length: int = 8
        # take notices only (MAIL FROM:<>); else anybody can write to a sender whose mail was forwarded
        bounces_only: bool = True

        def __post_init__(self) -> None:
            for name in (self.domain, *self.local_domains):
                domain_from(name)
            if not 4 <= self.hash_length <= 20 or not 86_400 <= self.max_age <= 300 * 86_400:
                raise ValueError("hash_length is 4 to 20, max_age 1d to 300d")

    def __init__(self, settings: Settings, clock: Clock, log: PluginLog) -> None:
        super().__init__(settings)
        self._clock = clock
        self._log = log
        self._bounces_only = settings.bounces_only
        domain = domain_from(settings.domain)
        self._local = frozenset((domain, *map(domain_from, settings.local_domains)))
        secrets = _secrets(settings.secrets_file)
        self._srs = Srs(domain, secrets, max_age=float(settings.max_age), hash_length=settings.hash_length)

    @hook.rcpt(before=["aliases", "recipients"])
    def lead_back(self, tx: Transaction, recipient: TransactionRecipient) -> Verdict | None:
        """Put the sender in the place of an address that we made, and vote for it."""
        address = recipient.address
        if address.domain != self._srs.domain or not is_srs(address):
            return None
        try:
            sender = self._srs.reverse(address, self._clock.now())
        except BadSrs as error:
            tx.results["srs"] = ("fail", str(error))
            return _UNKNOWN
        if self._bounces_only and tx.reverse_path is not None:
            tx.results["srs"] = ("fail", "not a notice")
            return _NOT_A_BOUNCE
        tx.results["srs"] = ("pass", f"leads to {sender.domain}")
        recipient.address = sender
        return _ACCEPT

    # behind those that put others in the place of recipients, and behind SPF and DMARC, which look at the sender as it came
    @hook.message(after=["aliases", "dmarc", "spf"])
    def rewrite(self, tx: Transaction) -> None:
        """Give mail that goes on to other servers a sender of ours."""
        sender = tx.reverse_path
        session = tx.session
        if sender is None or session.relaying or session.identity is not None or sender.domain in self._local:
            return
        if not any(self._goes_on(recipient) for recipient in tx.recipients):
            return
        try:
            tx.reverse_path = self._srs.forward(sender, self._clock.now())
        except AddressError:
            # sent as it came: SPF may fail there, and a sender that cannot be written would fail everywhere
            self._log("not_rewritten", domain=sender.domain)
            return
        tx.results["srs"] = ("pass", "rewritten")

    def _goes_on(self, recipient: TransactionRecipient) -> bool:
        if recipient.address.domain in self._local or recipient.verdict is not None:
            return False
        route = recipient.route.route if isinstance(recipient.route, QuarantineRoute) else recipient.route
        return not isinstance(route, (MaildirRoute, LmtpRoute, PipeRoute, HttpRoute, DiscardRoute))


def _secrets(path: str) -> list[bytes]:
    try:
        secrets = [text for _, text in read_list(path)]
    except ListError as error:
        raise ValueError(f"secrets_file: {error}") from None
    if not secrets or any(len(secret) < _LEAST_SECRET for secret in secrets):
        raise ValueError(f"secrets_file: {path}: must have secrets of at least {_LEAST_SECRET} characters, one a line")
    return [secret.encode() for secret in secrets]
