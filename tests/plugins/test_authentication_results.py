"""The bundled plugin authentication_results: one field of ours, and none that somebody else wrote in our name."""

from __future__ import annotations

import pytest

from upesi.config.problems import ConfigError
from upesi.mail.headers import Headers
from upesi.mailauth.results import MethodResult
from upesi.plugins.authentication_results.plugin import AuthenticationResults
from upesi.testkit import Trial

US = "mx.example.org"
FORGED = [
    "mx.example.org; spf=pass",
    "MX.Example.ORG ; spf=pass",
    "mx.example.org. ; spf=pass",
    '"mx.example.org"; spf=pass',
    '"mx.example\\.org"; spf=pass',
    "mx.example.org (c); spf=pass",
    "(c;c) mx.example.org; spf=pass",
    "(a (nested) comment) mx.example.org 1; spf=pass",
    "mx.example.org/1; spf=pass",
    "mx.example.org1; spf=pass",
    "mx(x).example(y).org; spf=pass",
    "\r\n mx.example.org;\r\n spf=pass",
    "(never closed mx.example.org; spf=pass",
    "other.example, mx.example.org; spf=pass",
    "=?utf-8?b?bXguZXhhbXBsZS5vcmc7IHNwZj1wYXNz?=",
    "mx.example.org",
    "mx.example.org spf=pass",
    "; spf=pass",
    " ;spf=pass",
    "(c) ; spf=pass",
    '""; spf=pass',
    "(" + "c" * 5000 + ") mx.example.org; spf=pass",
]
TRUE = [
    "other.example; spf=pass smtp.mailfrom=mx.example.org",
    "notmx.example.org; spf=pass",
    "mx.example.organic; spf=pass",
    'example.org; spf=pass reason="mx.example.org; said so"',
    "sub.mx.example.org; dkim=none",
    "",
]


async def fields(content: bytes, trial: Trial | None = None) -> list[str]:
    """Run the plugin over a message; return its Authentication-Results fields."""
    trial = trial or Trial.of(AuthenticationResults)
    await trial.mail()
    await trial.message(content)
    assert trial.events == []
    return Headers.of(trial.tx.edited).all("Authentication-Results")


@pytest.mark.parametrize("value", FORGED)
async def test_a_field_that_claims_to_be_ours_is_removed(value: str) -> None:
    """C81, PRX-04, MSG-13, RFC 8601 section 5: whatever a program behind us could take for our field does not come in."""
    content = f"From: a@example.com\r\nAuthentication-Results: {value}\r\nSubject: x\r\n\r\nbody\r\n".encode()
    assert await fields(content) == ["mx.example.org; none"]


@pytest.mark.parametrize("value", TRUE)
async def test_fields_of_others_stay(value: str) -> None:
    """RFC 8601 section 5: what others say in their own names is theirs."""
    content = f"From: a@example.com\r\nAuthentication-Results: {value}\r\n\r\nbody\r\n".encode()
    assert await fields(content) == ["mx.example.org; none", value]


async def test_the_field_s_name_may_be_written_in_any_way() -> None:
    """C81, RFC 5322 section 4.5: case, and blanks before the colon, make no other field."""
    content = (
        b"AUTHENTICATION-RESULTS: mx.example.org; spf=pass\r\nFrom: a@example.com\r\n"
        b"Authentication-Results \t: mx.example.org; dkim=pass\r\n\r\nbody\r\n"
    )
    assert await fields(content) == ["mx.example.org; none"]


async def test_all_results_stand_in_one_field() -> None:
    """C81, RFC 8601 section 2.2: one field for one set of checks, of the session first; it stands on top."""
    trial = Trial.of(AuthenticationResults)
    trial.session.authentication.append(MethodResult("iprev", "pass", properties=(("policy.iprev", "192.0.2.1"),)))
    await trial.mail()
    trial.tx.authentication.append(MethodResult("spf", "fail", properties=(("smtp.mailfrom", "a@example.com"),)))
    trial.tx.authentication.append(MethodResult("dkim", "pass", properties=(("header.d", "example.com"),)))
    await trial.message(b"From: a@example.com\r\n\r\nbody\r\n")
    (name, value), *_ = Headers.of(trial.tx.edited).fields()
    assert name == "Authentication-Results"
    assert value == (
        "mx.example.org; iprev=pass policy.iprev=192.0.2.1; spf=fail smtp.mailfrom=a@example.com; dkim=pass header.d=example.com"
    )


async def test_a_thousand_forged_fields_are_all_removed() -> None:
    """MSG-16: a thousand Authentication-Results: bounded work, and none is left."""
    content = b"Authentication-Results: mx.example.org; spf=pass\r\n" * 1000 + b"From: a@example.com\r\n\r\nbody\r\n"
    assert await fields(content) == ["mx.example.org; none"]


async def test_values_from_outside_cannot_make_a_field() -> None:
    """RFC 8601 section 7.8: what a stranger sent is one word of the field, or is left out."""
    trial = Trial.of(AuthenticationResults)
    await trial.mail()
    trial.tx.authentication.extend(
        [
            MethodResult(
                "spf", "pass", properties=(("smtp.mailfrom", "a\r\nX-Evil: 1"), ("smtp.helo", "x; dkim=pass"))
            ),
            MethodResult("dkim", "pass\r\nX: y"),
            MethodResult("dmarc", "fail", 'why "not"; spf=pass', (("header.from", "b\u00fccher.example"),)),
        ]
    )
    await trial.message(b"From: a@example.com\r\n\r\nbody\r\n")
    (value,) = Headers.of(trial.tx.edited).all("Authentication-Results")
    assert value == ('mx.example.org; spf=pass smtp.helo="x; dkim=pass"; dmarc=fail reason="why \\"not\\"; spf=pass"')


async def test_mail_of_ours_that_nobody_checked_gets_no_field() -> None:
    """A field that says nothing would go out to the world; forged ones are removed from our own people's mail as well."""
    trial = Trial.of(AuthenticationResults)
    trial.session.relaying = True
    content = b"Authentication-Results: mx.example.org; spf=pass\r\nFrom: a@example.org\r\n\r\nbody\r\n"
    assert await fields(content, trial) == []


async def test_the_account_is_named_only_where_it_is_wanted() -> None:
    """RFC 8601 section 2.7.4: smtp.auth names the account, which is not everybody's business."""
    for wanted, expected in ((False, []), (True, ["mx.example.org; auth=pass smtp.auth=anna@example.org"])):
        trial = Trial.of(AuthenticationResults, {"account": wanted})
        trial.session.identity = "anna@example.org"
        assert await fields(b"From: a@example.org\r\n\r\nbody\r\n", trial) == expected


async def test_other_servers_of_ours_are_believed_where_they_are_named() -> None:
    """RFC 8601 section 5: within the boundary, fields in our name are true."""
    content = b"Authentication-Results: old.example.org; spf=pass\r\nFrom: a@example.com\r\n\r\nbody\r\n"
    settings: dict[str, object] = {"authserv_id": "example.org", "own": ["old.example.org"]}
    assert await fields(content, Trial.of(AuthenticationResults, settings)) == ["example.org; none"]
    trusting = Trial.of(AuthenticationResults, {**settings, "trusted": ["192.0.2.0/24"]})
    assert await fields(content, trusting) == ["example.org; none", "old.example.org; spf=pass"]


def test_an_id_that_no_field_can_hold_stops_the_start() -> None:
    """A mistake in the configuration is said before mail comes."""
    with pytest.raises(ConfigError, match="authserv-id"):
        Trial.of(AuthenticationResults, {"authserv_id": "b\u00fccher"})


async def test_of_our_own_people_nothing_is_said_where_nothing_was_found() -> None:
    """A field with "none" for everything is noise on outgoing mail, and may name an address of the inside."""
    nothing = MethodResult("arc", "none", properties=(("smtp.remote-ip", "10.0.0.5"),))
    for relaying, said in ((True, []), (False, [f"{US}; arc=none smtp.remote-ip=10.0.0.5"])):
        trial = Trial.of(AuthenticationResults)
        trial.session.relaying = relaying
        await trial.mail()
        trial.tx.authentication.append(nothing)
        await trial.message(b"From: a@example.com\r\n\r\n")
        assert Headers.of(trial.tx.edited).all("Authentication-Results") == said
