"""The three kinds of error of the house; everybody raises these or what derives from them.

Outcomes (a failed SPF check, a refused recipient, a bounced delivery) are values, never exceptions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from upesi.mail.reply import Reply

__all__ = [
    "InvariantError",
    "LocalProtocolError",
    "ProtocolError",
    "RemoteProtocolError",
    "ServiceFailed",
    "UnsendableContent",
    "UpesiError",
]


class UpesiError(Exception):
    """An operational error: temporary or permanent, with the enhanced status (RFC 3463) that it becomes.

    Its text is for our log; it never reaches a peer.
    """

    temporary: bool = True
    status: str = "4.3.0"


class ServiceFailed(UpesiError):
    """Something that we ask (a table, a scanner, a web service, the store) has no answer now. What plugins catch of all services."""


class UnsendableContent(UpesiError):
    """The message has octets that DATA cannot carry, and the next hop takes nothing else."""

    temporary = False
    status = "5.6.3"  # RFC 3463: conversion required but not supported


class InvariantError(Exception):
    """A state that cannot be: logged with its context, ends that unit of work."""


class ProtocolError(Exception):
    """Base of the two below."""


class LocalProtocolError(ProtocolError):
    """We called a protocol machine out of order: our bug."""


class RemoteProtocolError(ProtocolError):
    """The other side broke the protocol. `reply` is what a server answers; a client ends the connection."""

    def __init__(self, text: str, reply: Reply | None = None) -> None:
        super().__init__(text)
        self.reply = reply
