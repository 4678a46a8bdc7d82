"""Durations and sizes: what people write is what is meant."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upesi.config.units import Duration, Size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("30s", 30),
        ("5m", 300),
        ("1.5h", 5400),
        ("5d", 432000),
        ("1w", 604800),
        ("7", 7),
        (" 2 h ", 7200),
        (0.5, 0.5),
        (0, 0),
    ],
)
def test_durations_read(text: str | float, seconds: float) -> None:
    """Every unit, fractions, plain numbers."""
    assert Duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "octets"),
    [
        ("100kB", 100_000),
        ("25MB", 25_000_000),
        ("1GiB", 1 << 30),
        ("2K", 2000),
        ("1.5M", 1_500_000),
        ("0", 0),
        (42, 42),
        ("1TB", 10**12),
    ],
)
def test_sizes_read(text: str | int, octets: int) -> None:
    """Powers of 1000, of 1024 with the i, plain numbers."""
    assert Size(text) == octets


@pytest.mark.parametrize(
    "text", ["", "5 minutes", "-5m", "1e3s", "inf", "5M", "m", "5m3s", float("inf"), float("nan"), -1]
)
def test_what_is_no_duration_is_refused(text: str | float) -> None:
    """No guess is made."""
    with pytest.raises(ValueError):
        Duration(text)


@pytest.mark.parametrize("text", ["", "5m", "-5MB", "5 MBit", "MB", "5iB", -1])
def test_what_is_no_size_is_refused(text: str | int) -> None:
    """No guess is made: `5m` is not five megabytes."""
    with pytest.raises(ValueError):
        Size(text)


@given(st.integers(0, 10**9))
def test_a_written_duration_reads_back(seconds: int) -> None:
    """What `config show` prints can be put in a file."""
    assert Duration(str(Duration(seconds))) == seconds


@given(st.integers(0, 10**15))
def test_a_written_size_reads_back(octets: int) -> None:
    """What `config show` prints can be put in a file."""
    assert Size(str(Size(octets))) == octets


@given(st.floats(0, 1e9, allow_nan=False))
def test_a_written_fraction_of_a_duration_reads_back_exactly(seconds: float) -> None:
    """Odd values lose nothing either."""
    assert Duration(str(Duration(seconds))) == seconds
