"""Loading: every mistake is found at once, and each is said with file, line, key and the nearest valid name."""

import re
from pathlib import Path

import msgspec
import pytest

from upesi.config import Config, ConfigError, load
from upesi.config.defaults import first_text, zero_text
from upesi.config.reference import reference
from upesi.config.settings import ListenerTls, Role

ROOT = Path(__file__).parents[3]


def complaints(tmp_path: Path, text: str, *overrides: str) -> list[str]:
    """Return what is said about a file with this text, without the file's folder."""
    path = tmp_path / "upesi.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path, overrides)
    return [str(problem).removeprefix(f"{tmp_path}/") for problem in caught.value.problems]


NO_ADDRESS = "is not an IP address such as 127.0.0.1, 0.0.0.0 (all) or ::"
WAYS = (
    "What can be said here: mx, smtp://HOST:PORT, smtps://HOST:PORT, lmtp://HOST:PORT, lmtp:///PATH/TO/SOCKET, maildir:FOLDER, "
    "pipe:NAME, https://HOST/PATH or discard"
)

# (text, complaint): one mistake each
MISTAKES = [
    ("[node]\nwrokers = 3", "upesi.toml:2: node.wrokers: unknown key, did you mean workers?"),
    ("[smpt]\nx = 1", "upesi.toml:1: smpt: unknown section, did you mean smtp?"),
    ('[node]\n[[routes]]\nto = "mx"', "upesi.toml:2: routes: unknown section, did you mean route?"),
    ('[[listener]]\nport = 2\n[[listener]]\nadress = 1\nport = 6', "upesi.toml:4: listener[1].adress: unknown key, did you mean address?"),
    ('[delivery]\nretry = ["5m", "soon"]', "upesi.toml:2: delivery.retry[1]: 'soon' is not a duration such as 30s, 5m, 4h or 5d"),
    ('[smtp]\nmax_message_size = "-5MB"', "upesi.toml:2: smtp.max_message_size: '-5MB' is not a size such as 100kB, 25MB or 1GiB"),
    ("[smtp]\nmax_message_size = true", "upesi.toml:2: smtp.max_message_size: must be a size such as 100kB or 25MB, not true"),
    (
        '[overload]\nmemory = "1kB"',
        "upesi.toml:2: overload.memory: must be 0 (half of the machine's) or 64MB at least: an empty worker takes 45MB, and below that all "
        "mail would be refused",
    ),
    ('[delivery]\nsite_connections = "5"', "upesi.toml:2: delivery.site_connections: must be a whole number, not '5'"),
    ("[[listener]]\nport = true", "upesi.toml:2: listener[0].port: must be a whole number, not true"),
    ('[[listener]]\nport = 25\nrole = "lmtp"', "upesi.toml:3: listener[0].role: RFC 2033 keeps lmtp off port 25, where SMTP is expected"),
    ('[[listener]]\nrole = "lmpt"', "upesi.toml:2: listener[0].role: 'lmpt' is not valid, did you mean lmtp?"),
    ("smtp.timeouts.command = []", "upesi.toml:1: smtp.timeouts.command: must be a duration such as 30s, 5m, 4h or 5d, not a list in [ ]"),
    ("[listener]\nport = 25", "upesi.toml:1: listener: must be a list in [ ], not a table (a section that may be repeated: write [[...]])"),
    ('[[route]]\ndomains = ["a.example"]', "upesi.toml:1: route[0].to: is missing"),
    ('[[route]]\ndomains = ["a b"]\nto = "mx"', "upesi.toml:2: route[0].domains[0]: 'a b' is no name of a domain: domain is not valid"),
    ('[[route]]\ndomains = ["*"]\nto = "maildr:x"', f"upesi.toml:3: route[0].to: 'maildr:x' is no way to go, did you mean maildir? {WAYS}"),
    ('[[route]]\ndomains = ["*"]\nto = "ltmp:h"', f"upesi.toml:3: route[0].to: 'ltmp:h' is no way to go, did you mean lmtp? {WAYS}"),
    ('[[route]]\ndomains = ["*"]\nto = "courier"', f"upesi.toml:3: route[0].to: 'courier' is no way to go; {WAYS}"),
    ('[[route]]\ndomains = ["*"]\nto = "smtp://h:99999"', "upesi.toml:3: route[0].to: port 99999 is not between 1 and 65535"),
    ('[[route]]\ndomains = ["*"]\nto = "smtp:h"', "upesi.toml:3: route[0].to: 'smtp:h' is not of the form smtp://HOST:PORT"),
    ('[[route]]\ndomains = []\nto = "mx"', "upesi.toml:2: route[0].domains: is empty, so nothing would go this way"),
    ("[[listener]]\nport = 70000", "upesi.toml:2: listener[0].port: port 70000 is not between 0 and 65535"),
    ("[[listener]]\n[[listener]]\n", "upesi.toml:2: listener[1]: 127.0.0.1 port 2525 is already listener[0]"),
    ("[metrics]\nport = 2525", "upesi.toml:2: metrics.port: 127.0.0.1 port 2525 is already listener[0]"),
    ('[[listener]]\naddress = "localhost"', f"upesi.toml:2: listener[0].address: 'localhost' {NO_ADDRESS}"),
    ("listener = []", "upesi.toml:1: listener: there is none: nothing could be received"),
    ("[node]\nworkers = -1", "upesi.toml:2: node.workers: cannot be negative (0: one per processor)"),
    ('[node]\nname = "a_b"', "upesi.toml:2: node.name: 'a_b' is no name of a domain: domain is not valid"),
    ("[delivery]\nretry = []", "upesi.toml:2: delivery.retry: is empty: a deferred message would never be tried again"),
    ("[delivery]\nretry = [60, 0]", "upesi.toml:2: delivery.retry[1]: must be more than 0: a deferred message would be tried without rest"),
    ("[delivery]\njitter = 2", "upesi.toml:2: delivery.jitter: must be between 0 and 1"),
    ('[reports]\nsender = "nobody"', "upesi.toml:2: reports.sender: 'nobody' is no address: address has no domain"),
    ('[reports]\nspread = "2d"', "upesi.toml:2: reports.spread: cannot be more than a day"),
    ('[reports]\nfailures = "none"', "upesi.toml:2: reports.failures: needs a limit: forgers choose how much there is to report"),
    ('[delivery]\nsmarthost = "relay.example"',
     "upesi.toml:2: delivery.smarthost: 'relay.example' is not of the form smtp://HOST:PORT or smtps://HOST:PORT"),
    ('[[destination]]\ntls = "verify"', "upesi.toml:1: destination[0].domains: is empty, and so is hosts: this would be about nobody"),
    ('[[destination]]\nhosts = ["a.example"]', "upesi.toml:2: destination[0].hosts: can only make the policy stricter: encrypt or verify"),
    ('[[destination]]\ndomains = ["*"]\ntls_names = ["mx"]', """upesi.toml:3: destination[0].tls_names: says nothing unless """
     """tls = "verify\""""),
    ('[[destination]]\ndomains = ["a b"]',
     "upesi.toml:2: destination[0].domains[0]: 'a b' is no name of a domain: domain is not valid"),
    ('[[destination]]\ndomains = ["*"]\ntls = "must"',
     "upesi.toml:3: destination[0].tls: 'must' is not valid; known here: encrypt, may, none, verify"),
    ('[[route]]\ndomains = ["*"]\nto = "mx"\nuser = "a"', "upesi.toml:4: route[0].user: is for smtp://, smtps:// and https:// only"),
    ('[delivery]\nsmarthost = "smtp://h.example:25"\nsmarthost_user = "a"',
     "upesi.toml:1: delivery.smarthost_password_file: is missing: what is the password of smarthost_user?"),
    ("[smtp]\nmax_recipients = 0", "upesi.toml:2: smtp.max_recipients: must be more than 0"),
    ("[smtp]\nsoft_errors = 30", "upesi.toml:2: smtp.soft_errors: is above hard_errors, so it would never count"),
    ('[dns]\nservers = ["127.0.0.1:dns"]', "upesi.toml:2: dns.servers[0]: port 'dns' is not between 1 and 65535"),
    ('[dns]\nservers = ["example.com"]', f"upesi.toml:2: dns.servers[0]: 'example.com' {NO_ADDRESS}"),
    ('[plugins]\nenabled = ["relay", "relay"]', "upesi.toml:2: plugins.enabled[1]: 'relay' is named twice"),
    ("[plugins]\nenable = 3", "upesi.toml:2: plugins.enable: is neither a key of this section nor the table of a plugin's settings"),
    ("[plugins.recipient]\nx = 1",
     "upesi.toml:1: plugins.recipient: no plugin 'recipient' is enabled, but 'recipients' is: one of the names is wrong"),
    ("[node\n", "upesi.toml:1: is not valid TOML: the name of the section does not end in ]"),
    ('[spool]\npath = "a"\npath = "b"\n', "upesi.toml:3: is not valid TOML: this key or section has a value already, further up"),
    ("[spool]\npath = ", "upesi.toml:2: is not valid TOML: there is no value, or text that is not in quotes, at the end of the file"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "complaint"), MISTAKES)
def test_a_mistake_is_named_with_its_place_and_the_way_out(tmp_path: Path, text: str, complaint: str) -> None:
    """Each mistake is exactly one complaint, on the line where it stands."""
    assert complaints(tmp_path, text) == [complaint]


def test_all_mistakes_are_said_at_once(tmp_path: Path) -> None:
    """Whoever mends a file sees the whole list, in the order of the file."""
    text = "\n".join(["[node]", "wrokers = 1", "[delivery]", 'jitter = "a"', "[dns]", "cache_size = 1.5"])
    assert complaints(tmp_path, text, "smtp.max_recipients=many") == [
        "--set smtp.max_recipients=many: smtp.max_recipients: must be a whole number, not 'many'",
        "upesi.toml:2: node.wrokers: unknown key, did you mean workers?",
        "upesi.toml:4: delivery.jitter: must be a number, not 'a'",
        "upesi.toml:6: dns.cache_size: must be a whole number, not 1.5",
    ]


def test_a_key_inside_a_long_string_is_no_key(tmp_path: Path) -> None:
    """The line of a complaint is the key's own, whatever a text holds."""
    text = '[plugins.mine]\nbanner = """\n[node]\nworkers = 1\n"""\n[node]\nworkers = -1'
    assert complaints(tmp_path, text)[0].startswith("upesi.toml:7: node.workers")


def test_a_file_that_cannot_be_read_is_a_configuration_error(tmp_path: Path) -> None:
    """A missing file, a folder and one that is not UTF-8 are said as such."""
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b"[node]\nname = '\xe9'\n")
    for path, text in (
        (tmp_path / "none", "No such file"),
        (latin, "latin.toml:2: is not UTF-8"),
    ):
        with pytest.raises(ConfigError, match=text):
            load(path)


def test_a_folder_is_answered_with_the_file_in_it(tmp_path: Path) -> None:
    """`serve -c /etc/upesi` is a slip that everybody makes once."""
    for made, said in (
        ("", "is a folder, and there is no upesi.toml in it"),
        ("other.toml", f"is a folder; the configuration in it is {tmp_path}/other.toml"),
        ("upesi.toml", f"is a folder; the configuration in it is {tmp_path}/upesi.toml"),
    ):
        if made:
            (tmp_path / made).write_text("")
        with pytest.raises(ConfigError) as caught:
            load(tmp_path)
        assert str(caught.value) == f"{tmp_path}: {said}"


OVERRIDES = [
    ("spool.path=/tmp/x", lambda config: config.spool.path, "/tmp/x"),
    ("delivery.expire=2d", lambda config: config.delivery.expire, 172800),
    ("delivery.expire=90", lambda config: config.delivery.expire, 90),
    ('delivery.expire="2d"', lambda config: config.delivery.expire, 172800),
    ("listener.0.port=0", lambda config: config.listener[0].port, 0),
    ("listener[0].role=submission", lambda config: config.listener[0].role, Role.SUBMISSION),
    ("listener[0].role=lmtp", lambda config: config.listener[0].role, Role.LMTP),
    ("listener.1={ port = 2526 }", lambda config: [listener.port for listener in config.listener], [2525, 2526]),
    ("destination.0.domains=['*']", lambda config: len(config.destination), 1),
    ("plugins.mine.list.0=1", lambda config: config.plugins.settings["mine"], {"list": [1]}),
    ("delivery.retry=[1, '2m']", lambda config: config.delivery.retry, (1, 120)),
    ("smtp.chunking=false", lambda config: config.smtp.chunking, False),
    ("node.name=mx.example", lambda config: config.node.name, "mx.example"),
    ("plugins.mine.text=a = b", lambda config: config.plugins.settings["mine"], {"text": "a = b"}),
]


@pytest.mark.parametrize(("override", "value", "expected"), OVERRIDES)
def test_an_override_is_toml_or_plain_text(override: str, value, expected: object) -> None:
    """`--set` needs no quotes for text, and reaches into lists and into plugins' settings."""
    assert value(load(None, [override])) == expected


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("nothing", "--set nothing: an override is written KEY=VALUE"),
        ("=5", "--set =5: an override is written KEY=VALUE"),
        ("a..b=5", "--set a..b=5: an override is written KEY=VALUE"),
        (
            "listener.7.port=1",
            "--set listener.7.port=1: listener[7].port: the configuration has listener[0], did you mean listener[0]? "
            "(a whole one is added as --set 'listener.1={ ... }')",
        ),
        ("listener.1.port=1", "--set listener.1.port=1: listener[1].port: the configuration has listener[0], did you"),
        (
            "listener[2]={}",
            "--set listener[2]={}: listener[2]: the configuration has listener[0], did you mean listener[0]?",
        ),
        (
            "plugins.relay.networks.4=1",
            "--set plugins.relay.networks.4=1: plugins.relay.networks[4]: the configuration has plugins.relay.networks[0] to "
            "plugins.relay.networks[1], did you mean plugins.relay.networks[1]?",
        ),
        (
            "destination.1.domains=1",
            "--set destination.1.domains=1: destination[1].domains: there is no destination: the",
        ),
        ("listener.port=1", "--set listener.port=1: listener.port: there is nothing of this name and place to set"),
        ("node.wrokers=1", "--set node.wrokers=1: node.wrokers: unknown key, did you mean workers?"),
    ],
)
def test_a_wrong_override_is_blamed_and_not_the_file(override: str, complaint: str) -> None:
    """The complaint names the override as it was given."""
    with pytest.raises(ConfigError) as caught:
        load(None, [override])
    assert str(caught.value).startswith(complaint)


def test_relative_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    """A server started from anywhere finds the same spool; absolute paths stay."""
    path = tmp_path / "upesi.toml"
    path.write_text(
        '[spool]\npath = "q"\n[log]\nfile = "/var/log/upesi"\n[[route]]\ndomains = ["*"]\nto = "maildir:mail"\n'
    )
    config = load(path)
    assert config.spool.path == f"{tmp_path}/q"
    assert config.control.socket == f"{tmp_path}/q/control.sock"
    assert config.plugins.folder == f"{tmp_path}/plugins"
    assert config.route[0].to == f"maildir:{tmp_path}/mail"
    assert config.log.file == "/var/log/upesi"


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    """Nothing that settings.py says is changed behind its back, but for what the machine and the folder decide."""
    path = tmp_path / "upesi.toml"
    path.write_text("")
    config = load(path)
    defaults = Config()
    assert (config.smtp, config.delivery, config.dns, config.listener) == (
        defaults.smtp, defaults.delivery, defaults.dns, defaults.listener,
    )  # fmt: skip
    assert config.node.name


def test_the_zero_configuration_is_what_init_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`make run` and a fresh `upesi init` folder are the same server, but for TLS: README.md and the reference say so."""
    monkeypatch.chdir(tmp_path)
    without = load(None)
    (tmp_path / "upesi.toml").write_text(zero_text(without.node.name))
    assert load(tmp_path / "upesi.toml") == without
    (tmp_path / "upesi.toml").write_text(first_text(without.node.name))
    begun = load(tmp_path / "upesi.toml")
    assert (begun.listener[0].tls, without.listener[0].tls) == (ListenerTls.STARTTLS, ListenerTls.NONE)
    assert msgspec.structs.replace(begun, listener=without.listener) == without
    assert "what `upesi init` writes, but without TLS" in reference()
    assert without.listener[0].address == "127.0.0.1"
    assert without.route[0].domains == tuple(dict.fromkeys(("localhost", without.node.name)))
    assert without.route[0].to == f"maildir:{tmp_path}/var/mail"


def test_every_key_that_the_init_file_shows_switched_off_is_valid(tmp_path: Path) -> None:
    """Uncommenting a line never gives an unknown key, a wrong type or another default."""
    lines = [
        line.removeprefix("# ") if re.match("# [a-z_]+ = ", line) and not line.startswith("# to =") else line
        for line in zero_text("mx.example").splitlines()
    ]
    (tmp_path / "upesi.toml").write_text("\n".join(lines))
    config = load(tmp_path / "upesi.toml")
    defaults = Config()
    assert config.delivery.retry == defaults.delivery.retry
    assert config.delivery.expire == defaults.delivery.expire
    assert config.smtp == defaults.smtp
    assert config.metrics == defaults.metrics
    assert config.delivery.smarthost


def test_the_committed_reference_is_current() -> None:
    """docs/reference/configuration.md says what settings.py says; `make docs` writes it."""
    assert (ROOT / "docs/reference/configuration.md").read_text() == reference()


def test_every_key_of_the_reference_has_a_meaning() -> None:
    """A key that nobody explained cannot be set with confidence."""
    assert [line for line in reference().splitlines() if line.startswith("| `") and line.endswith("|  |")] == []
