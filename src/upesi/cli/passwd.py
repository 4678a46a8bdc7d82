"""`upesi passwd`: the accounts of a file, one at a time.

The password comes from the terminal or standard input, never from the command line: that is seen by every user of the machine, and kept by
the shell.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from upesi.sasl.saslprep import PrepError, saslprep

if TYPE_CHECKING:
    from upesi.lookup.account_file import AccountFile
    from upesi.sasl.credentials import Ability

__all__ = ["passwd"]

# as in `upesi.sasl.credentials`: longer ones are never compared
_LONGEST_USER = 255
_LONGEST_PASSWORD = 1024


@click.command(short_help="Add, change, verify or remove an account in a file of passwords.")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("user")
@click.option("--stdin", "from_stdin", is_flag=True, help="Read the password from the first line of standard input.")
@click.option(
    "--scram", is_flag=True, help="Keep keys for SCRAM-SHA-256 too (an account that has them keeps having them)."
)
@click.option("--scram-sha1", is_flag=True, help="Keep keys for SCRAM-SHA-1 too, in the same way.")
@click.option(
    "--cram-md5",
    is_flag=True,
    help="Keep the password itself too, readable, for CRAM-MD5: whoever reads the file has it.",
)
@click.option("--verify", "action", flag_value="verify", help="Say whether the password is right: exit code 0 or 1.")
@click.option("--remove", "action", flag_value="remove", help="Remove the account.")
def passwd(
    file: Path, user: str, from_stdin: bool, scram: bool, scram_sha1: bool, cram_md5: bool, action: str | None
) -> None:
    """Add USER to FILE, or give an account that is there another password.

    A running server takes the file over when it changes. FILE is made if it is not there, readable by its owner only.
    """
    try:
        from upesi.lookup.account_file import changing
    except ModuleNotFoundError as error:
        raise click.ClickException(f"{error.name} is not installed: pip install 'upesi[passwords]'") from None
    user = _user(user)
    if action == "verify" and not file.exists():
        raise click.ClickException(f"{file}: is not there")
    # asked before the file is locked: nobody else waits for a person at a keyboard
    password = "" if action == "remove" else _password(from_stdin, twice=action is None)
    with changing(file) as accounts:
        if action == "remove":
            if not accounts.remove(user):
                raise click.ClickException(f"{file}: has no account {user}")
            click.echo(f"{user} removed")
        elif action == "verify":
            _verify(accounts, user, password)
        else:
            _put(accounts, user, password, _kept(scram, scram_sha1, cram_md5))


def _kept(scram: bool, scram_sha1: bool, cram_md5: bool) -> frozenset[Ability]:
    from upesi.sasl.credentials import Ability

    wanted = ((Ability.SCRAM_SHA_256, scram), (Ability.SCRAM_SHA_1, scram_sha1), (Ability.SHARED_SECRET, cram_md5))
    return frozenset(ability for ability, said in wanted if said)


def _put(accounts: AccountFile, user: str, password: str, kept: frozenset[Ability]) -> None:
    from upesi.lookup.accounts import new_words
    from upesi.sasl.credentials import Identity

    old = accounts.find(user)
    identity = old.identity if old else Identity(user)
    if old is not None:
        kept |= old.kept
    words = new_words(identity, password, kept=kept, disabled=bool(old and old.disabled))
    accounts.put(identity.name, words)
    click.echo(f"{identity.name} {'changed' if old else 'added'}")


def _verify(accounts: AccountFile, user: str, password: str) -> None:
    from upesi.lookup.accounts import password_matches

    account = accounts.find(user)
    if account is None or not password_matches(account, password):
        raise click.ClickException("wrong")
    click.echo("right" if not account.disabled else "right, but the account is disabled")


def _user(user: str) -> str:
    try:
        user = saslprep(user)
    except PrepError as error:
        raise click.UsageError(f"USER has what no name may have: {error}") from None
    # a line of the file is made of words
    if any(char.isspace() for char in user) or user.startswith("#") or len(user) > _LONGEST_USER:
        raise click.UsageError(f"USER has no blanks, no # in front and at most {_LONGEST_USER} characters")
    return user


def _password(from_stdin: bool, *, twice: bool) -> str:
    if from_stdin:
        try:
            line = sys.stdin.buffer.readline(4 * _LONGEST_PASSWORD + 2).decode()
        except UnicodeDecodeError:
            raise click.ClickException("the password is not UTF-8") from None
        password = line.removesuffix("\n").removesuffix("\r")
    elif sys.stdin.isatty():
        password = click.prompt("Password", hide_input=True, confirmation_prompt=twice, err=True)
    else:
        raise click.UsageError("Nobody is here to type a password: add --stdin")
    try:
        password = saslprep(password)
    except PrepError as error:
        raise click.ClickException(f"the password cannot be used: {error}") from None
    if len(password) > _LONGEST_PASSWORD:
        raise click.ClickException(f"the password has more than {_LONGEST_PASSWORD} characters")
    return password
