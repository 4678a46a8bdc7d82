"""Whatever a message, its envelope and a receiver say, a notice keeps its shape."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from upesi.mail.address import Address
from upesi.mail.body import MemoryBody
from upesi.mail.envelope import BodyType, Notify, Recipient, ReturnContent, Transmission
from upesi.mail.ids import MessageId
from upesi.mail.outcome import Action, Outcome, OutcomeKind
from upesi.mail.route import MxRoute
from upesi.mail.timing import ByMode, DeliverBy
from upesi.reports.dsn import DsnReporter
from upesi.spool.records import DeliveryState, NewMessage, StoredMessage

ID = MessageId(bytes(range(16)))
# what would begin a field, a part or a line, or steer a terminal, among ordinary text
NASTY = st.sampled_from(
    [
        "\r\n", "\n", "\r", "\r\n\r\n", "\0", "\x1b[2J", "\u2028", "\u202e", "\x85", f"--=_{ID.hex()}", f"\r\n--=_{ID.hex()}--\r\n",
        "\r\nFinal-Recipient: rfc822; evil@e.example", "\r\nBcc: v@v.example", "Action: delivered", " ", "\t", "ü", "€", "x" * 1200,
        "=?utf-8?q?=0D=0ABcc:_v?=", "250 ok", "<", ">", ";", "(", "\ud800",
    ]
)  # fmt: skip
TEXT = st.lists(st.one_of(NASTY, st.text(max_size=20)), max_size=6).map("".join)
OCTETS = st.lists(
    st.one_of(TEXT.map(lambda text: text.encode(errors="surrogatepass")), st.binary(max_size=30), st.just(b"\r\n")),
    max_size=8,
).map(b"".join)
# addresses may be a plugin's own, and were never parsed then
ADDRESS = st.builds(Address, TEXT, st.sampled_from(["x.example", "[192.0.2.1]"]))
ORIGINAL = st.none() | TEXT.map("rfc822;{}".format) | TEXT.map("utf-8;{}".format) | TEXT
RECIPIENT = st.builds(Recipient, ADDRESS, ORIGINAL)
OUTCOME = st.builds(
    Outcome,
    st.just(OutcomeKind.FAILED),
    st.sampled_from([0, 421, 550, 599]),
    st.sampled_from(["5.1.1", "4.4.7", ""]),
    TEXT,
    TEXT,
    st.sampled_from([None, Action.RELAYED, Action.DELIVERED]),
)
TRANSMISSION = st.builds(
    Transmission,
    st.sampled_from(BodyType),
    st.booleans(),
    st.sampled_from([None, *ReturnContent]),
    st.none() | TEXT,
    st.booleans(),
    st.just(0),
    st.none() | st.just(DeliverBy(1_795_342_577.0, ByMode.NOTIFY)),
)
MESSAGE = st.builds(
    StoredMessage,
    st.just(MessageId(bytes(16))),
    st.just(1_795_342_577.0),
    ADDRESS,
    TRANSMISSION,
    OCTETS,
    OCTETS.map(MemoryBody),
    st.just({}),
    st.just({}),
)
TOLD = st.lists(st.tuples(RECIPIENT, OUTCOME), min_size=1, max_size=4).map(tuple)
KINDS = st.sampled_from(["failed", "delayed", "succeeded"])

_TOP = [
    "Date",
    "From",
    "To",
    "Subject",
    "Message-ID",
    "Auto-Submitted",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
]
_PER_MESSAGE = {"Original-Envelope-Id", "Reporting-MTA", "Arrival-Date", "Deliver-By-Date"}
_PER_RECIPIENT = {
    "Original-Recipient", "Final-Recipient", "Action", "Status", "Remote-MTA", "Diagnostic-Code", "Last-Attempt-Date", "Will-Retry-Until",
}  # fmt: skip
_NEEDED = {"Final-Recipient", "Action", "Status"}
_FIELD = re.compile(rb"([!-9;-~]+): ?(?:.*)(?:\r\n[ \t].*)*\r\n")


def reporter() -> DsnReporter:
    return DsnReporter(
        "mx.example.org", lambda route: ("q", DeliveryState.READY), lambda address: MxRoute(address.domain), 3600.0
    )


def notice(kind: str, message: StoredMessage, told: tuple[tuple[Recipient, Outcome], ...]) -> NewMessage:
    asking = tuple(
        (Recipient(who.address, who.original, int(Notify.SUCCESS | Notify.FAILURE | Notify.DELAY)), outcome)
        for who, outcome in told
    )
    made = {
        "failed": lambda: reporter().failed(message, asking, ID, 1_795_342_600.0),
        "delayed": lambda: reporter().delayed(message, asking, ID, 1_795_342_600.0, 1_795_400_000.0),
        "succeeded": lambda: reporter().succeeded(message, asking, ID, 1_795_342_600.0),
    }[kind]()
    assert made is not None
    return made


def names(block: bytes) -> list[str]:
    """Return the names of the fields of a block that holds nothing else."""
    found = [match[1].decode() for match in _FIELD.finditer(block)]
    assert _FIELD.sub(b"", block) == b"", block
    return found


@settings(max_examples=300)
@given(KINDS, MESSAGE, TOLD)
def test_a_notice_is_what_we_made_it(
    kind: str, message: StoredMessage, told: tuple[tuple[Recipient, Outcome], ...]
) -> None:
    """LOG-01, DSN-03, CVE-2020-8794: the fields, the parts and the blocks are ours, each once, and every line may travel."""
    made = notice(kind, message, told)
    octets = made.body.read(0, made.body.size)
    assert not re.search(rb"\0|\r(?!\n)|(?<!\r)\n", octets)
    assert max(len(line) for line in octets.split(b"\r\n")) <= 998
    assert octets.isascii() or made.transmission.body is BodyType.EIGHT_BIT

    header, _, rest = octets.partition(b"\r\n\r\n")
    assert names(header + b"\r\n") == _TOP
    (boundary,) = re.findall(rb'boundary="([^"]+)"', header)
    assert len(boundary) <= 70
    preamble, text, status, returned, end = rest.split(b"--" + boundary)
    assert (preamble, end) == (b"", b"--\r\n")
    assert text.startswith(b"\r\nContent-Type: text/plain; charset=")

    part_header, _, blocks = status.removeprefix(b"\r\n").partition(b"\r\n\r\n")
    assert names(part_header + b"\r\n")[0] == "Content-Type"
    about, *each = blocks.removesuffix(b"\r\n").split(b"\r\n\r\n")
    assert set(names(about + b"\r\n")) <= _PER_MESSAGE
    assert len(each) == len(told)
    for block in each:
        fields = names(block.removesuffix(b"\r\n") + b"\r\n")
        assert len(fields) == len(set(fields))
        assert _NEEDED <= set(fields) <= _PER_RECIPIENT
    if b"Content-Type: message/delivery-status" in part_header:
        assert blocks.isascii()
    assert re.match(rb"\r\nContent-Type: (message/(rfc822|global|global-headers)|text/rfc822-headers)\r\n", returned)


@settings(max_examples=100)
@given(KINDS, MESSAGE, TOLD)
def test_a_notice_is_bounded(kind: str, message: StoredMessage, told: tuple[tuple[Recipient, Outcome], ...]) -> None:
    """FLD-12: what is said of a recipient has a bound, however much was said to us."""
    made = notice(kind, message, told)
    quoted = len(message.prefix) + message.body.size
    assert made.body.size < 3000 + quoted + 8000 * len(told)
