"""The sections about accounts: who may authenticate, by which mechanisms, and where passwords are checked."""

from __future__ import annotations

from enum import StrEnum

from upesi.config.section import Section
from upesi.config.units import Duration, Rate

__all__ = ["AuthMechanism", "AuthSettings", "CredentialsSettings", "OauthSettings", "SenderRule"]


class AuthMechanism(StrEnum):
    """What a client can authenticate with."""

    EXTERNAL = "EXTERNAL"
    SCRAM_SHA_256_PLUS = "SCRAM-SHA-256-PLUS"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    SCRAM_SHA_1_PLUS = "SCRAM-SHA-1-PLUS"
    SCRAM_SHA_1 = "SCRAM-SHA-1"
    OAUTHBEARER = "OAUTHBEARER"
    XOAUTH2 = "XOAUTH2"
    PLAIN = "PLAIN"
    LOGIN = "LOGIN"
    CRAM_MD5 = "CRAM-MD5"


class SenderRule(StrEnum):
    """Which addresses an authenticated user may send as."""

    OWN_ADDRESSES = "own-addresses"
    OWN_DOMAINS = "own-domains"
    ANY = "any"


class OauthSettings(Section, frozen=True, kw_only=True):
    """Bearer tokens (OAUTHBEARER, XOAUTH2) of one issuer. Off while neither `introspection` nor `keys` is set."""

    # the issuer's URL for questions about a token (RFC 7662); every attempt asks it, so a token that was revoked is refused at once
    introspection: str = ""
    # as whom it is asked; empty: as nobody
    client_id: str = ""
    # a file, readable by its owner and group only, with the secret of that client
    client_secret_file: str = ""
    # or the URL of the issuer's public keys (RFC 7517): tokens are JWTs then, and verified here; `issuer` and `audience` are needed
    keys: str = ""
    # what a token must say of who issued it (iss); empty: nothing
    issuer: str = ""
    # what a token must be for (aud); empty: anything, which takes tokens that were made for other services
    audience: str = ""
    # a scope that a token must have; empty: none
    scope: str = ""
    # the claims that may name the account; the first that a token has does, and an email that is not verified ends the search. Only what
    # your issuer alone decides is safe: `sub` is (but no address, mostly), `upn` mostly; `preferred_username` people choose themselves
    # at many issuers, and with it whose account they get
    names: tuple[str, ...] = ("email",)
    # by how much the issuer's clock may differ from ours
    leeway: Duration = Duration("30s")


class AuthSettings(Section, frozen=True, kw_only=True):
    """Who may authenticate (AUTH, RFC 4954), how often one may be wrong, and what one may send as.

    AUTH is offered on links under TLS, and only where somebody can judge it: a source of credentials, `auth.oauth`, or a plugin with an
    `auth` hook. Each default is argued in docs/limits.md.
    """

    # what is offered where it can be served. CRAM-MD5 is not: it needs passwords that are kept readable, and MD5 is broken
    mechanisms: tuple[AuthMechanism, ...] = (
        AuthMechanism.EXTERNAL,
        AuthMechanism.SCRAM_SHA_256_PLUS,
        AuthMechanism.SCRAM_SHA_256,
        AuthMechanism.SCRAM_SHA_1_PLUS,
        AuthMechanism.SCRAM_SHA_1,
        AuthMechanism.OAUTHBEARER,
        AuthMechanism.XOAUTH2,
        AuthMechanism.PLAIN,
        AuthMechanism.LOGIN,
    )
    # how long a source may take for one answer; then 454 4.7.0
    timeout: Duration = Duration("10s")
    # failed attempts in one session; the last one ends it
    max_failures: int = 3
    # failures of one client (IPv6: its /64) on one account; beyond them 454 4.7.0 until the window has moved on
    pair_failures: Rate = Rate("10/15m")
    # failures of one client on any account
    network_failures: Rate = Rate("60/1h")
    # failures on one account from anywhere but networks that it was used from in the last month
    account_failures: Rate = Rate("60/1h")
    # how long a failed attempt takes at least, so that its time tells nothing; doubled with each further one of the same client
    delay: Duration = Duration("1s")
    # where the doubling ends
    longest_delay: Duration = Duration("16s")
    # what the envelope sender and the From field may be: own-addresses (those of the account), own-domains (any address in their
    # domains) or any. Others get 553 5.7.1
    senders: SenderRule = SenderRule.OWN_ADDRESSES
    # whether that counts for the From and Sender fields of the message too
    check_header: bool = True
    # a file of further addresses: "anna: office@example.org @example.net" gives the account anna one address and one domain more
    sender_map: str = ""
    oauth: OauthSettings = OauthSettings()


class CredentialsSettings(Section, frozen=True, kw_only=True):
    """Where users' passwords are checked. The first table that names the user's domain decides; docs/accounts.md has an example of each."""

    # "file:PATH" (written by `upesi passwd`), "sqlite:PATH", "postgresql://USER@HOST/DATABASE", "ldap://HOST", "ldaps://HOST",
    # "dovecot:///PATH/TO/SOCKET", "dovecot://HOST:PORT", "https://HOST/PATH", "smtp://HOST" (with STARTTLS), "smtps://HOST"
    source: str
    # users whose names end in "@" and one of these; empty: everybody whom no table before names
    domains: tuple[str, ...] = ()
    # SQL: gives hash and addresses of the user whose name is $1; $2 is what stands before its last "@", $3 what stands behind
    query: str = ""
    # LDAP: the user's entry, with {user}, {local_part} or {domain} in it; the password is tried with it at once
    dn: str = ""
    # LDAP: where the user's entry is looked for
    base: str = ""
    # LDAP: what finds it there, and nobody else's: "(mail={user})"
    filter: str = ""
    # LDAP: who looks; empty: nobody (anonymous)
    bind_dn: str = ""
    # LDAP: the attribute of the entry that names the account
    name_attribute: str = "uid"
    # LDAP: the attribute with the addresses that the account may send as; empty: none is known
    address_attribute: str = ""
    # a file, readable by its owner and group only, with our own password (SQL, LDAP) or token (HTTP) for the source
    secret_file: str = ""
    # a PEM file with the authorities that may vouch for the source; empty: those of the system
    ca_file: str = ""
    # ask another machine without TLS (dovecot, ldap, postgresql): whoever is on the way learns passwords, or decides who is let in
    plaintext: bool = False
    # every account has keys for SCRAM-SHA-256 (file, SQL); a client that is offered it tries nothing else
    scram: bool = False
    # every account has keys for SCRAM-SHA-1 (file, SQL)
    scram_sha1: bool = False
    # every account has its password itself (file, SQL), for CRAM-MD5, which auth.mechanisms must name too: whoever reads it has it
    cram_md5: bool = False
    # for an answer; later it is none: 454, and the client comes again
    timeout: Duration = Duration("5s")
    # questions at once, of one worker
    concurrency: int = 8
    # how long a password that was right is right without asking again; a changed one and a closed account work as long. 0: always ask
    remember: Duration = Duration("0s")
