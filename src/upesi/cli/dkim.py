"""`upesi dkim`: keys to sign mail with, and the DNS records that publish them (RFC 6376 section 3.6.1)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from upesi.mail.address import AddressError, domain_from

if TYPE_CHECKING:
    from upesi.mailauth.signing import SigningKey

__all__ = ["dkim"]

# RFC 1035 section 3.3: one string of a TXT record
_STRING = 255


@click.group(short_help="Make keys that sign mail, and show their DNS records.")
def dkim() -> None:
    """Make keys that sign mail (DKIM, ARC), and show the DNS records that publish them."""


@dkim.command()
@click.argument("domain")
@click.argument("selector")
@click.option(
    "--type", "kind", type=click.Choice(["rsa", "ed25519"]), default="rsa", show_default=True,
    help="Every receiver reads RSA; use Ed25519 beside it, under a selector of its own.",
)  # fmt: skip
@click.option("--bits", type=click.IntRange(2048, 4096), default=2048, show_default=True, help="Of an RSA key.")
@click.option(
    "--folder", type=click.Path(path_type=Path, file_okay=False), default=Path(), help="Where the key file is written."
)
def new(domain: str, selector: str, kind: str, bits: int, folder: Path) -> None:
    """Make a key for SELECTOR of DOMAIN.

    The key goes into a file that only you can read. Standard output has the DNS record and the lines for the configuration: publish the
    record first, and reload the server when it can be seen everywhere.
    """
    from upesi.mailauth.signing import SigningKey

    domain, selector = _name(domain, "DOMAIN"), _name(selector, "SELECTOR")
    file = (folder / f"{domain}.{selector}.pem").absolute()
    key = SigningKey.generate(domain, selector, kind, bits)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # never over a key that is there: mail signed with it is on its way
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as out:
            out.write(key.pem)
            os.fsync(out.fileno())
    except FileExistsError:
        raise click.ClickException(f"{file}: is there already; choose another selector, or remove it") from None
    except OSError as error:
        raise click.ClickException(f"{file}: cannot be written: {error.strerror}") from None
    click.echo(f"; in the zone of {domain}:\n{_zone_record(key)}\n")
    click.echo("# in the configuration, for a server that may read the file:")
    click.echo(f'[plugins.dkim_sign.keys."{domain}"]\n{json.dumps(selector)} = {json.dumps(str(file))}')


@dkim.command()
@click.argument("domain")
@click.argument("selector")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
def record(domain: str, selector: str, file: Path) -> None:
    """Show the DNS record of a key.

    The one in FILE, which signs as SELECTOR of DOMAIN.
    """
    from upesi.mailauth.signing import KeyFileError, SigningKey

    try:
        key = SigningKey.load(_name(domain, "DOMAIN"), _name(selector, "SELECTOR"), file.read_bytes())
    except OSError as error:
        raise click.ClickException(f"{file}: cannot be read: {error.strerror}") from None
    except KeyFileError as error:
        raise click.ClickException(f"{file}: {error}") from None
    click.echo(_zone_record(key))


def _name(text: str, what: str) -> str:
    try:
        name = domain_from(text)
    except AddressError as error:
        raise click.UsageError(f"{what}: {error}") from None
    if name.startswith("["):
        raise click.UsageError(f"{what} is a name, and no address")
    return name


def _zone_record(key: SigningKey) -> str:
    """Return the record as a zone file has it: strings of at most 255 octets, which readers join."""
    text = key.record
    strings = [f'"{text[start : start + _STRING]}"' for start in range(0, len(text), _STRING)]
    return f"{key.name}. IN TXT ( {' '.join(strings)} )" if len(strings) > 1 else f"{key.name}. IN TXT {strings[0]}"
