"""The plugin `dkim`, as a stranger would see it."""

from __future__ import annotations

from unit.mailauth.dkimkit import NOW, rsa_key, signed_by, zone_of
from upesi.hooks.verdict import Verdict
from upesi.plugins.dkim.plugin import Dkim
from upesi.testkit import FakeClock, FakeResolver, Trial, message

KEY = rsa_key()


def trial(settings: dict[str, object] | None = None) -> Trial:
    dns = FakeResolver({(name, "TXT"): [record] for name, record in zone_of(KEY).items()})
    return Trial.of(Dkim, settings, dns=dns, clock=FakeClock(NOW))


async def given(content: bytes, settings: dict[str, object] | None = None) -> tuple[Trial, Verdict | None]:
    tried = trial(settings)
    await tried.mail()
    await tried.rcpt()
    await tried.data()
    return tried, await tried.message(content)


async def test_a_signature_that_passes_is_left_for_others() -> None:
    """The result names what was signed with, and Authentication-Results gets d=, i=, s=, a= and b= (RFC 8601, RFC 6008)."""
    content = message()
    tried, verdict = await given(signed_by(KEY, content) + content)
    assert verdict is None
    assert tried.tx.results["dkim"] == ("pass", "d=example.org s=r a=rsa-sha256")
    [found] = tried.tx.authentication
    assert (found.method, found.result, found.reason) == ("dkim", "pass", "")
    said = dict(found.properties)
    assert (said["header.d"], said["header.i"], said["header.s"]) == ("example.org", "@example.org", "r")
    assert said["header.a"] == "rsa-sha256"
    assert len(said["header.b"]) >= 8
