"""Sign the mail of our own people with DKIM (RFC 6376): behind all other plugins, over what will really be sent."""

from __future__ import annotations

from typing import Literal

from upesi.plugin import (
    AuthorFault,
    Body,
    BodyHash,
    Canonicalization,
    Clock,
    Duration,
    FilePath,
    Headers,
    NotSignable,
    Outgoing,
    OwnMail,
    Plugin,
    PluginLog,
    PluginSettings,
    SignatureTerms,
    SigningKey,
    Transaction,
    Unsigned,
    Verdict,
    author_of,
    defer,
    domain_from,
    hook,
    reject,
    signing_key,
    unsigned_field,
)

_HOUR = 3600.0

_REJECT_UNSIGNED = reject("5.7.20", "There is no DKIM key for the domain of the author")
_DEFER_UNSIGNED = defer("4.7.20", "There is no DKIM key for the domain of the author")
_NOT_SIGNABLE = reject("5.6.0", "Message cannot be signed", code=554)


class DkimSign(Plugin):
    """Sign mail of our own people."""

    class Settings(PluginSettings):
        """`keys` has a table for each domain: selector = file of the private key. With several selectors, each of them signs."""

        keys: dict[str, dict[str, FilePath]] = {}  # noqa: RUF012 - settings copy their defaults
        # "ours": whoever logged in, or may relay. "all": whatever comes to this server; only where no stranger can reach it
        mail: Literal["ours", "all"] = "ours"
        # whether a domain's keys sign for authors below it too, where those have none of their own
        subdomains: bool = True
        # what becomes of mail of ours whose author's domain has no key here
        no_key: Literal["send", "defer", "reject"] = "send"
        # whether what the server writes itself is signed too, where its own domain or one above it has keys
        notices: bool = True
        # x= of the signature, so that a message which somebody sends again and again ends to be ours. Longer than mail is tried; 0: no end
        lifetime: Duration = Duration("14d")
        header: Literal["relaxed", "simple"] = "relaxed"
        body: Literal["relaxed", "simple"] = "relaxed"
        # fields that are signed besides the usual ones, where they are there
        also: tuple[str, ...] = ()

        def __post_init__(self) -> None:
            if not self.keys:
                raise ValueError("keys are missing: upesi dkim new DOMAIN SELECTOR makes one")
            if 0 < self.lifetime < _HOUR:
                raise ValueError("lifetime must be at least 1h: mail waits, and clocks differ")
            if any(not name.isascii() or not name.strip() or ":" in name for name in self.also):
                raise ValueError("also must have names of header fields")

    def __init__(self, settings: Settings, clock: Clock, log: PluginLog, own_mail: OwnMail) -> None:
        super().__init__(settings)
        self._settings = settings
        self._clock = clock
        self._log = log
        self._keys = {domain_from(domain): _keys(domain, files) for domain, files in settings.keys.items()}
        self._terms = _terms(settings)
        self._outgoing = Outgoing("dkim_sign.hashing", BodyHash(self._terms.body))
        if settings.notices:
            own_mail.on_top(self._own)

    @hook.data
    def begin(self, tx: Transaction) -> None:
        """Hash the message while it comes."""
        if self._concerns(tx):
            self._outgoing.listen(tx)

    @hook.message(
        after=[
            "aliases",
            "arc_seal",
            "authentication_results",
            "banner",
            "dmarc",
            "headers",
            "quarantine",
            "record_envelope",
        ]
    )
    async def sign(self, tx: Transaction) -> Verdict | None:
        """Put a signature of each key of the author's domain on top."""
        if not self._concerns(tx):
            return None
        keys = self._keys_for(tx.edited)
        if not keys:
            tx.results["dkim_sign"] = ("skip", "no key for the author's domain")
            return {"send": None, "defer": _DEFER_UNSIGNED, "reject": _REJECT_UNSIGNED}[self._settings.no_key]
        fields, body = await self._outgoing.digested(tx)
        if fields is None or body is None:
            return self._not_signable(tx, "header section is too long")
        made = int(self._clock.now() if tx.timing is None else max(self._clock.now(), tx.timing.release))
        try:
            unsigned = [(key, unsigned_field(key, self._terms, fields, body, made)) for key in keys]
        except NotSignable as error:
            return self._not_signable(tx, str(error))
        # all are made before one is put in: with half of them some receivers would take the message for a forged one
        for field in [await self._signed(key, each) for key, each in unsigned]:
            tx.edits.put_on_top(field)
        tx.results["dkim_sign"] = ("pass", ", ".join(key.name for key in keys))
        return None

    @hook.stop
    def close(self) -> None:
        """Let the threads end."""
        self._outgoing.close()

    def _concerns(self, tx: Transaction) -> bool:
        session = tx.session
        return self._settings.mail == "all" or session.relaying or session.identity is not None

    def _own(self, message: bytes) -> bytes:
        """Return the signatures of a notice or report: 0.5 ms with RSA, there is nobody who could wait for a thread where one is born."""
        body, fields, digest = self._outgoing.own(message)
        keys = self._keys_for(body)
        if not keys or fields is None or digest is None:
            return b""
        now = int(self._clock.now())
        unsigned = [(key, unsigned_field(key, self._terms, fields, digest, now)) for key in keys]
        return b"".join(each.signed(key.sign(each.digest)) for key, each in unsigned)

    def _keys_for(self, message: Body) -> tuple[SigningKey, ...]:
        """Return the keys of the first author whose domain, or the nearest domain above it, has some."""
        headers = Headers.of(message)
        author = author_of(headers, message.read(0, headers.size))
        if isinstance(author, AuthorFault):
            return ()
        for domain in author.domains:
            while domain:
                keys = self._keys.get(domain)
                if keys is not None:
                    return keys
                domain = domain.partition(".")[2] if self._settings.subdomains else ""
        return ()

    def _not_signable(self, tx: Transaction, reason: str) -> Verdict:
        self._log("not_signable", id=tx.id.hex(), reason=reason)
        tx.results["dkim_sign"] = ("fail", reason)
        return _NOT_SIGNABLE

    async def _signed(self, key: SigningKey, unsigned: Unsigned) -> bytes:
        octets = await self._outgoing.run(key.sign, unsigned.digest) if key.slow else key.sign(unsigned.digest)
        return unsigned.signed(octets)


def _keys(domain: str, files: dict[str, FilePath]) -> tuple[SigningKey, ...]:
    if not files:
        raise ValueError(f"keys.{domain} names no selector")
    return tuple(signing_key(domain, selector, file) for selector, file in files.items())


def _terms(settings: DkimSign.Settings) -> SignatureTerms:
    usual = SignatureTerms()
    also = (name.strip().lower().encode() for name in settings.also)
    return SignatureTerms(
        Canonicalization(settings.header),
        Canonicalization(settings.body),
        int(settings.lifetime) or None,
        usual.signed + tuple(name for name in also if name not in usual.signed),
        usual.oversigned,
    )
