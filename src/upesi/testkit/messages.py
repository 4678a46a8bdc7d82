"""Builds messages: valid ones in one call, and whatever else a test needs by its fields."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

__all__ = ["message"]

_DEFAULTS = {
    "From": "Sender <sender@example.com>",
    "To": "Recipient <recipient@example.org>",
    "Subject": "A test",
    "Date": "Thu, 01 Jan 2026 00:00:00 +0000",
    "Message-ID": "<test@example.com>",
}


def message(
    text: str = "Hello.\n", fields: Mapping[str, str | None] | None = None, *, top: Iterable[tuple[str, str]] = ()
) -> bytes:
    """Return a message with CRLF line ends.

    `fields` replace or add to the usual header (None leaves one out); `top` are fields in front of it, which may repeat (Received).
    """
    header = [*top]
    header += [(name, value) for name, value in {**_DEFAULTS, **(fields or {})}.items() if value is not None]
    head = "".join(f"{name}: {value}\r\n" for name, value in header)
    body = text.replace("\r\n", "\n").replace("\n", "\r\n")
    return f"{head}\r\n{body}".encode()
