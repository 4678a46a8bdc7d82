"""Enhanced statuses (RFC 3463)."""

from __future__ import annotations

import pytest

from upesi.mail.status import EnhancedStatus


@pytest.mark.parametrize("text", ["2.0.0", "4.999.999", "5.7.515"])
def test_status_is_read_and_written(text: str) -> None:
    """class "." subject "." detail."""
    status = EnhancedStatus.parse(text)
    assert str(status) == text
    assert (status.klass, status.subject, status.detail) == tuple(int(part) for part in text.split("."))


@pytest.mark.parametrize(
    "text", ["", "3.0.0", "2.0", "2.0.0.0", "2.00.0", "2.0.1000", " 2.0.0", "2.0.0\n", "2.\u0661.0"]
)
def test_what_is_no_status_is_refused(text: str) -> None:
    """At most three digits, no leading zeros, nothing around it."""
    with pytest.raises(ValueError):
        EnhancedStatus.parse(text)
