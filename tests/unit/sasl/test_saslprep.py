"""SASLprep against the examples of RFC 4013 section 3 and the tables of RFC 3454."""

from __future__ import annotations

import pytest

from upesi.sasl.saslprep import PrepError, saslprep


@pytest.mark.parametrize(
    ("text", "prepared"),
    [
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("a\u00a0b", "a b"),
        ("a\u3000b", "a b"),
        ("\u0627\u0031\u0628", "\u06271\u0628"),
        ("e\u0301", "\u00e9"),
        ("\ufb01", "fi"),
    ],
)
def test_texts_take_one_form(text: str, prepared: str) -> None:
    """RFC 4013 section 3: mapped, normalised; and preparing twice changes nothing."""
    assert saslprep(text) == prepared
    assert saslprep(prepared) == prepared


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\u0007",
        "a\x7f",
        "\u00ad",
        "\u0627\u0031",
        "\u0627a\u0628",
        "\u200e",
        "\ue000",
        "\ud800",
        "\ufff9",
        "\u2028",
        "\U000e0001",
        "\u0378",
    ],
)
def test_prohibited_texts_are_refused(text: str) -> None:
    """RFC 4013 section 2: control, private, surrogate, unassigned, direction-changing and empty."""
    with pytest.raises(PrepError):
        saslprep(text)


def test_the_error_shows_nothing() -> None:
    """AUT-05: the text of the error does not hold the password."""
    with pytest.raises(PrepError) as caught:
        saslprep("geheim\x07")
    assert "geheim" not in str(caught.value)
