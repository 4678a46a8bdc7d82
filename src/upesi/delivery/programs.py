"""Programs that mail is handed to (`[[program]]`): what they are started with, and what their end means. Pure.

A program is named in routes and configured by the operator; the queue keeps the name, so that nobody who writes a route, or a row of the
queue, says what is run here. Arguments are a list and never pass through a shell.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from upesi.config.route_settings import ProgramSettings
from upesi.delivery.outcomes import deferred, failed
from upesi.mail.envelope import Recipient
from upesi.mail.outcome import Action, Outcome, OutcomeKind
from upesi.mail.reply import printable
from upesi.spool.records import StoredMessage

__all__ = ["Program", "outcome_of_exit", "programs_of"]

# as `config.programs` has checked: there are no others
_PLACE = re.compile(r"\{([a-z]*)\}")

# all that a program finds in its environment besides what the message is: nothing of ours, where secrets may be
_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}

_DELIVERED = Outcome(OutcomeKind.DELIVERED, 0, "2.0.0", "handed to the program", action=Action.DELIVERED)
_OPTION = failed("5.1.3", "the address would be read as an option of the program")
# sysexits.h: only what speaks of this mail or this mailbox is for good. That the program, its files or this machine are not as they should
# be is for somebody to mend, and no reason to return mail: it is tried until it expires
_FINAL = {
    65: ("5.6.0", "the program cannot read the message"),  # EX_DATAERR
    67: ("5.1.1", "no such user"),  # EX_NOUSER
    68: ("5.1.2", "no such host"),  # EX_NOHOST
    69: ("5.3.0", "the program does not take it"),  # EX_UNAVAILABLE: what delivery agents refuse with
    77: ("5.7.1", "the program does not permit it"),  # EX_NOPERM
}


class Program(msgspec.Struct, frozen=True):
    """One program: `command` with places in its arguments, `deadline` in seconds."""

    name: str
    command: tuple[str, ...]
    deadline: float

    def arguments(self, message: StoredMessage, recipient: Recipient) -> tuple[str, ...] | Outcome:
        """Return what to run for `recipient`; the outcome where an address would be an option (`-f@example.com`), whoever wrote it."""
        values = _values(message, recipient)
        made = [self.command[0]]
        for template in self.command[1:]:
            argument = _PLACE.sub(lambda place: values[place[1]], template)
            if argument.startswith("-") and not template.startswith("-"):
                return _OPTION
            made.append(argument)
        return tuple(made)

    def environment(self, message: StoredMessage, recipient: Recipient) -> dict[str, str]:
        """Return all of its environment."""
        values = _values(message, recipient)
        return {**_ENVIRONMENT, **{f"UPESI_{name.upper()}": values[name] for name in ("sender", "recipient", "id")}}


def programs_of(settings: Iterable[ProgramSettings]) -> dict[str, Program]:
    """Return the configured programs by their names."""
    return {each.name: Program(each.name, each.command, float(each.deadline)) for each in settings}


def outcome_of_exit(status: int, said: str) -> Outcome:
    """Return what an exit status means; `said` is the beginning of what the program wrote. Negative: the signal that ended it."""
    if status == 0:
        return _DELIVERED
    text = f": {printable(said)}" if said else ""
    if status < 0:
        return deferred("4.3.0", f"the program was ended by signal {-status}{text}")
    final = _FINAL.get(status)
    if final is None:
        return deferred("4.3.0", f"the program ended with status {status}{text}")
    enhanced, meaning = final
    return failed(enhanced, f"{meaning}{text}")


def _values(message: StoredMessage, recipient: Recipient) -> dict[str, str]:
    address = recipient.address
    sender = "" if message.reverse_path is None else str(message.reverse_path)
    return {
        "sender": sender,
        "recipient": str(address),
        "local": address.local,
        "domain": address.domain,
        "id": message.id.hex(),
    }
