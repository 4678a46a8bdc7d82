"""The count of connections on one path."""

import pytest

from upesi.limits.connections import ConnectionLimit
from upesi.mail.errors import InvariantError


def test_no_more_than_the_limit_are_open() -> None:
    """C at once means C (Q3)."""
    limit = ConnectionLimit(2)
    assert [limit.acquire(0.0) for _ in range(3)] == [True, True, False]
    limit.release()
    assert limit.acquire(0.0)


def test_a_refusal_lowers_it_for_a_while() -> None:
    """The receiver's own limit is obeyed until it is time to ask again."""
    limit = ConnectionLimit(20)
    limit.acquire(0.0)
    limit.lower(1, until=60.0)
    assert not limit.acquire(59.0)
    assert limit.room(60.0) == 19


def test_at_least_one_is_always_allowed() -> None:
    """A ceiling of none would strand the site."""
    limit = ConnectionLimit(20)
    limit.lower(0, until=60.0)
    assert limit.acquire(1.0)


def test_a_release_too_many_is_our_bug() -> None:
    """A count that went wrong is told, not hidden."""
    with pytest.raises(InvariantError):
        ConnectionLimit(1).release()
