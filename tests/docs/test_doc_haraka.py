"""The page for those who come from Haraka: it names everything that Haraka has, and what it names of ours is there."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

import upesi.plugin
from upesi.cli.plugins import plugins
from upesi.config.settings import PluginsSettings
from upesi.hooks.describe import plugin_rows
from upesi.hooks.points import POINTS
from upesi.hooks.services import SERVICES
from upesi.hooks.session import Client, Session, Transaction, TransactionRecipient
from upesi.plugin import Address, Body, Delivery, Headers, StoredMessage

PAGE = (Path(__file__).parents[2] / "docs" / "from-haraka.md").read_text(encoding="utf-8")


def _names(text: str) -> list[str]:
    return text.split()


# what Haraka 3.3 has, by its source and documentation
HOOKS = _names("""
init_master init_child init_http init_wss connect_init lookup_rdns connect helo ehlo capabilities unrecognized_command mail rcpt
rcpt_ok data attachment_start max_data_exceeded data_post queue queue_outbound queue_ok deny quit vrfy noop rset reset_transaction
disconnect log pre_send_trans_email send_email get_mx deferred bounce delivered shutdown
""")
CODES = _names("""
CONT OK DENY DENYSOFT DENYDISCONNECT DENYSOFTDISCONNECT DISCONNECT STOP DELAY NEXT_HOOK
""")
CONNECTION = _names("""
uuid remote.ip remote.host remote.closed remote.is_private local.ip hello.host tls proxy notes results transaction relaying
capabilities esmtp pipelining early_talker tran_count rcpt_count msg_count errors last_response last_reject start_time state
respond disconnect reset_transaction pause resume set get auth_results notes.auth_user notes.auth_passwd
""")
TRANSACTION = _names("""
uuid mail_from rcpt_to header body message_stream data_bytes notes results rcpt_count msg_status mime_part_count encoding
discard_data data_post_delay add_header add_leading_header remove_header add_data attachment_hooks set_banner add_body_filter
""")
BUNDLED = _names("""
tls auth/auth_base auth/flat_file auth/auth_proxy auth/auth_bridge auth/auth_vpopmaild rcpt_to.in_host_list queue/smtp_forward
queue/smtp_proxy queue/smtp_bridge queue/lmtp queue/deliver queue/qmail-queue queue/quarantine queue/discard queue/test delay_deny
xclient status process_title toobusy tarpit record_envelope_addresses data.signatures block_me prevent_credential_leaks reseed_rng
profile
""")
OFFICIAL = _names("""
access relay aliases limit karma fcrdns dns-list helo.checks mail_from.is_resolvable spf dkim headers bounce early_talker greylist
geoip asn p0f known-senders attachment clamd rspamd spamassassin uribl dcc messagesniffer esets avg qmail-deliverable
recipient-routes rcpt-ldap auth-ldap redis syslog elasticsearch watch graph
""")
OTHERS = _names("""
dovecot ldap mailauth milter opendkim wildduck mongodb kafka rabbitmq rails dropbox mailkite vmta srs batv-srs outbound-logger
accounting_files log-reader auth-imap auth-enc-file rcpt-postgresql save-sent
""")
# names that plugins had in Haraka 2
OLDER = _names("""
rcpt_to.access rcpt_to.ldap rcpt_to.max_count rcpt_to.qmail_deliverable rcpt_to.routes
""")


def first_cells(heading: str = "") -> str:
    """The left column of all tables, or of those below a heading."""
    text = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0] if heading else PAGE
    return "\n".join(line.split("|")[1] for line in text.splitlines() if line.startswith("| "))


def named(cells: str, name: str) -> bool:
    return re.search(rf"(?<![\w./-]){re.escape(name)}(?![\w/-])", cells) is not None


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_of_haraka_is_mapped(name: str) -> None:
    """Or said not to be there."""
    assert named(first_cells("Hooks"), name)


@pytest.mark.parametrize("name", CODES)
def test_every_return_code_is_mapped(name: str) -> None:
    """All of its constants."""
    assert named(first_cells("Return codes"), name)


@pytest.mark.parametrize(
    ("of", "name"), [("connection", name) for name in CONNECTION] + [("transaction", name) for name in TRANSACTION]
)
def test_every_property_is_mapped(of: str, name: str) -> None:
    """As `connection.name`, or `.name` behind another in the same cell."""
    rows = [
        cell for cell in first_cells("connection and transaction").splitlines() if of in cell or "parse_body" in cell
    ]
    tail = name.partition(".")[2] or name
    assert any(f"{of}.{name}" in cell or re.search(rf"[`( .]{re.escape(tail)}\b", cell) for cell in rows), name


@pytest.mark.parametrize("name", [*BUNDLED, *OFFICIAL, *OTHERS, *OLDER])
def test_every_plugin_is_mapped(name: str) -> None:
    """Bundled, official and third-party ones: what is not there yet is said."""
    cells = PAGE.partition("## Plugins\n")[2].partition("\n## ")[0]
    assert named(cells, name)


def test_plugins_that_the_page_names_exist() -> None:
    """Each link leads to a bundled plugin, and each bundled plugin is somewhere on the page."""
    bundled = {row.name for row in plugin_rows(PluginsSettings(folder="")) if row.kind == "bundled"}
    links = set(re.findall(r"\[(\w+)\]\(\.\./src/upesi/plugins/(\w+)/README\.md\)", PAGE))
    assert links
    assert all(text == folder for text, folder in links)
    assert {folder for _, folder in links} <= bundled
    assert [name for name in sorted(bundled) if not named(PAGE, name)] == []


@pytest.mark.parametrize(
    ("word", "kinds"),
    [
        ("session", (Session,)),
        ("session.client", (Client,)),
        ("tx", (Transaction,)),
        ("tx.headers", (Headers,)),
        ("tx.body", (Body,)),
        ("recipient", (TransactionRecipient,)),
        ("address", (Address,)),
        ("message", (StoredMessage,)),
    ],
)
def test_attributes_that_the_page_names_exist(word: str, kinds: tuple[type, ...]) -> None:
    """`session.x`, `tx.y`: each is there."""
    # a section of the configuration is called delivery too
    text = PAGE.partition("## Configuration\n")[0]
    right = "\n".join("|".join(line.split("|")[2:]) for line in text.splitlines() if line.startswith("| "))
    used = set(re.findall(rf"(?<![\w.]){re.escape(word)}\.(\w+)", right))
    assert used, word
    for name in used:
        assert any(hasattr(kind, name) or name in getattr(kind, "__struct_fields__", ()) for kind in kinds), (
            f"{word}.{name}"
        )


def test_what_the_page_says_of_a_delivery_is_there() -> None:
    """By their names alone: `delivery.retry` is a key of the configuration."""
    assert {"recipients", "route", "attempts", "due"} <= set(Delivery.__struct_fields__)


def test_what_is_imported_is_public() -> None:
    """Every call and class that the right columns name stands in `upesi.plugin`."""
    for name in (
        "Note",
        "HostRoute",
        "LmtpRoute",
        "DiscardRoute",
        "Networks",
        "MethodResult",
        "author_of",
        "accept",
        "reject",
        "defer",
    ):
        assert named(PAGE, name)
        assert hasattr(upesi.plugin, name), name


def test_commands_services_and_hooks_exist() -> None:
    """`upesi plugins X`, the service `x`, `@hook.x`."""
    said = re.search(r"`upesi plugins new`, `(\w+)`, `(\w+)`, `(\w+)`", PAGE)
    assert said is not None
    assert set(said.groups()) < set(plugins.commands)
    assert set(re.findall(r"services? `(\w+)`", PAGE)) <= set(SERVICES)
    assert set(re.findall(r"@hook\.(\w+)", PAGE)) <= set(POINTS)
    assert msgspec.structs.fields(PluginsSettings)
