"""Lists of your own: who may come, send and be sent to, by address, name, HELO, sender, recipient and header field."""

from __future__ import annotations

from collections.abc import Iterator

from upesi.plugin import (
    NULL_SENDER,
    Address,
    Denial,
    FilePath,
    ListError,
    Plugin,
    PluginSettings,
    Session,
    Transaction,
    TransactionRecipient,
    Verdict,
    accept,
    defer,
    hook,
    read_list,
    reject,
)
from upesi.plugins.access.rules import Action, Rule, Rules, read_rule

_OVERRIDE = accept()
_TEXTS = {
    "client": "We take no mail from your address",
    "hostname": "We take no mail from your server",
    "helo": "We take no mail from your server",
    "sender": "We take no mail from this sender",
    "recipient": "This address takes no mail",
    "header": "We take no such mail",
}
# values of one field that are looked at: a message may have thousands of them, and each is tried on each pattern
_MAX_VALUES = 20


class Access(Plugin):
    """Allow, deny or defer by lists; the first rule that fits counts."""

    class Settings(PluginSettings):
        """Rules are lines "ACTION SUBJECT PATTERN [TEXT]": docs in README.md."""

        rules: tuple[str, ...] = ()
        # more rules, one a line, behind those
        file: FilePath = FilePath()
        # plugins whose refusals an `allow` overrides: ["dnsbl", "helo"]
        overrides: tuple[str, ...] = ()

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._overrides = frozenset(settings.overrides)
        self._rules: dict[str, Rules] = {}
        for number, (where, line) in enumerate(_lines(settings)):
            try:
                subject, rule = read_rule(line, number, where)
                self._rules.setdefault(subject, Rules(subject.partition(" ")[0])).add(rule)
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from None
        self._headers = {
            subject.partition(" ")[2]: rules for subject, rules in self._rules.items() if subject.startswith("header")
        }

    @hook.connect
    def client(self, session: Session) -> Verdict | None:
        """By the client's address."""
        return self._judged("client", session.client.address, session)

    @hook.connect
    async def hostname(self, session: Session) -> Verdict | None:
        """By the name of the client's address, if it leads back to it; DNS is asked where there is a rule."""
        if "hostname" not in self._rules:
            return None
        name = await session.client.hostname()
        return None if name is None else self._judged("hostname", name.rstrip("."), session)

    @hook.helo
    def helo(self, session: Session, name: str) -> Verdict | None:
        """By what the client calls itself."""
        return self._judged("helo", name, session)

    @hook.mail
    def sender(self, tx: Transaction, sender: Address) -> Verdict | None:
        """By the reverse-path; "<>" is that of bounces."""
        return self._judged("sender", "" if sender == NULL_SENDER else _text(sender), tx)

    @hook.rcpt
    def recipient(self, tx: Transaction, recipient: TransactionRecipient) -> Verdict | None:
        """By the forward-path. To allow one is no vote for it: it must exist all the same."""
        return self._judged("recipient", _text(recipient.address), tx)

    @hook.message
    def header(self, tx: Transaction) -> Verdict | None:
        """By header fields, each of the same name."""
        for name, rules in self._headers.items():
            for value in tx.headers.all(name)[:_MAX_VALUES]:
                rule = rules.first(value.strip())
                if rule is not None:
                    verdict = _answer("header", rule, tx)
                    if verdict is not None:
                        return verdict
                    break
        return None

    @hook.denied
    def override(self, session: Session, denial: Denial) -> Verdict | None:
        """Take back what a named plugin refused to somebody who is allowed."""
        if denial.verdict.plugin not in self._overrides:
            return None
        tx = denial.transaction
        allowed = session.results.get("access", ("", ""))[0] == "pass"
        allowed = allowed or (tx is not None and tx.results.get("access", ("", ""))[0] == "pass")
        return _OVERRIDE if allowed else None

    def _judged(self, subject: str, value: str, holder: Session | Transaction) -> Verdict | None:
        rules = self._rules.get(subject)
        rule = rules.first(value) if rules is not None else None
        return None if rule is None else _answer(subject, rule, holder)


def _answer(subject: str, rule: Rule, holder: Session | Transaction) -> Verdict | None:
    """Return what a rule says, and leave it as a result."""
    text = rule.text or _TEXTS[subject]
    if rule.action is Action.ALLOW:
        holder.results["access"] = ("pass", f"{subject} {rule}")
        return None
    holder.results["access"] = ("fail", f"{subject} {rule}")
    return reject("5.7.1", text) if rule.action is Action.DENY else defer("4.7.1", text)


def _text(address: Address) -> str:
    # not str(): the quotes of a local part that needs none are no difference
    return f"{address.local}@{address.domain}"


def _lines(settings: Access.Settings) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(settings.rules, 1):
        yield f"rules[{number}]", line
    if settings.file:
        try:
            for line_number, line in read_list(settings.file):
                yield f"{settings.file}:{line_number}", line
        except ListError as error:
            raise ValueError(str(error)) from error
