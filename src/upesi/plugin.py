"""All that a plugin author imports."""

from typing import TYPE_CHECKING

from upesi.config.networks import Networks
from upesi.config.units import Duration, Rate, Size
from upesi.hooks.api import API_VERSION, deprecated
from upesi.hooks.asking import Dns, answered, then
from upesi.hooks.credentials import AuthCredentials
from upesi.hooks.declaration import FilePath, OnError, Plugin, PluginSettings, hook
from upesi.hooks.denial import Denial
from upesi.hooks.dns_lists import DnsLists, Listing, ListZoneSettings
from upesi.hooks.notes import Note
from upesi.hooks.outgoing import Outgoing, signing_key
from upesi.hooks.own_mail import OwnMail
from upesi.hooks.points import Report
from upesi.hooks.services import (
    Clock,
    Connect,
    Http,
    HttpAnswer,
    Lookup,
    LookupTable,
    Peer,
    PeerStream,
    PluginLog,
    Rates,
    Store,
)
from upesi.hooks.session import NULL_SENDER, Client, Listener, Result, Session, Transaction, TransactionRecipient
from upesi.hooks.tables import ListError, read_list
from upesi.hooks.verdict import Verdict, VerdictKind, accept, defer, reject
from upesi.mail.address import Address, AddressError, domain_from
from upesi.mail.answers import Answer, Confirmed, MxRecord, Security, Status
from upesi.mail.body import Body
from upesi.mail.dates import moment_of
from upesi.mail.envelope import Recipient
from upesi.mail.errors import ServiceFailed
from upesi.mail.feedback import FeedbackError, FeedbackReport, read_feedback
from upesi.mail.handling import Handling, Labels
from upesi.mail.headers import Headers
from upesi.mail.mime import Mime, Part
from upesi.mail.mime_defects import Defect
from upesi.mail.mime_scan import scan
from upesi.mail.outcome import Outcome, OutcomeKind
from upesi.mail.patterns import Pattern, PatternError
from upesi.mail.reply import Reply
from upesi.mail.route import (
    DiscardRoute,
    HostRoute,
    HttpRoute,
    LmtpRoute,
    MaildirRoute,
    MxRoute,
    PipeRoute,
    QuarantineRoute,
    Route,
)
from upesi.mail.tls import TlsLevel, TlsPolicy
from upesi.mailauth.arc import ArcOutcome, ArcValidator
from upesi.mailauth.arc_sealing import ARC_TERMS, arc_set
from upesi.mailauth.arc_trust import trusted_sealer
from upesi.mailauth.asking import Asking, Question
from upesi.mailauth.authres import authentication_results
from upesi.mailauth.authres_reader import claims_to_be, comparable
from upesi.mailauth.canonical import Canonicalization
from upesi.mailauth.dkim import DkimOutcome, DkimTerms, DkimVerifier
from upesi.mailauth.dmarc import DmarcOutcome, check_dmarc
from upesi.mailauth.dmarc_record import DmarcRecords, Policy
from upesi.mailauth.failure import MAX_FAILURE_HEADER, Failure, failure_of, failure_sought
from upesi.mailauth.from_domain import Author, AuthorFault, author_of
from upesi.mailauth.generic_names import looks_generic, same_site
from upesi.mailauth.iprev import iprev_result
from upesi.mailauth.keys import KeyCache
from upesi.mailauth.observation import Observation, Published, observation_of
from upesi.mailauth.received_spf import received_spf
from upesi.mailauth.results import MethodResult
from upesi.mailauth.signature import BodyHash
from upesi.mailauth.signing import NotSignable, SignatureTerms, SigningKey, Unsigned, unsigned_field
from upesi.mailauth.spf import SpfOutcome, SpfResult, check_host, helo_identity, mail_identity
from upesi.mailauth.spf_record import SpfRecords
from upesi.spool.records import Delivery, StoredMessage

__all__ = [
    "API_VERSION",
    "ARC_TERMS",
    "MAX_FAILURE_HEADER",
    "NULL_SENDER",
    "Address",
    "AddressError",
    "Answer",
    "ArcOutcome",
    "ArcValidator",
    "Asking",
    "AuthCredentials",
    "Author",
    "AuthorFault",
    "Body",
    "BodyHash",
    "Canonicalization",
    "Client",
    "Clock",
    "Confirmed",
    "Connect",
    "Defect",
    "Delivery",
    "Denial",
    "DiscardRoute",
    "DkimOutcome",
    "DkimTerms",
    "DkimVerifier",
    "DmarcOutcome",
    "DmarcRecords",
    "Dns",
    "DnsLists",
    "Duration",
    "Failure",
    "FeedbackError",
    "FeedbackReport",
    "FilePath",
    "Handling",
    "Headers",
    "HostRoute",
    "Http",
    "HttpAnswer",
    "HttpRoute",
    "KeyCache",
    "Labels",
    "ListError",
    "ListZoneSettings",
    "Listener",
    "Listing",
    "LmtpRoute",
    "Lookup",
    "LookupTable",
    "MaildirRoute",
    "MethodResult",
    "Mime",
    "MxRecord",
    "MxRoute",
    "Networks",
    "NotSignable",
    "Note",
    "Observation",
    "OnError",
    "Outcome",
    "OutcomeKind",
    "Outgoing",
    "OwnMail",
    "Part",
    "Pattern",
    "PatternError",
    "Peer",
    "PeerStream",
    "PipeRoute",
    "Plugin",
    "PluginLog",
    "PluginSettings",
    "Policy",
    "Published",
    "QuarantineRoute",
    "Question",
    "Rate",
    "Rates",
    "Recipient",
    "Reply",
    "Report",
    "Result",
    "Route",
    "Security",
    "ServiceFailed",
    "Session",
    "SignatureTerms",
    "SigningKey",
    "Size",
    "SpfOutcome",
    "SpfRecords",
    "SpfResult",
    "Status",
    "Store",
    "StoredMessage",
    "TlsLevel",
    "TlsPolicy",
    "Transaction",
    "TransactionRecipient",
    "Unsigned",
    "Verdict",
    "VerdictKind",
    "accept",
    "answered",
    "arc_set",
    "authentication_results",
    "author_of",
    "check_dmarc",
    "check_host",
    "claims_to_be",
    "comparable",
    "defer",
    "domain_from",
    "failure_of",
    "failure_sought",
    "helo_identity",
    "hook",
    "iprev_result",
    "looks_generic",
    "mail_identity",
    "moment_of",
    "observation_of",
    "read_feedback",
    "read_list",
    "received_spf",
    "reject",
    "same_site",
    "scan",
    "signing_key",
    "then",
    "trusted_sealer",
    "unsigned_field",
]

if not TYPE_CHECKING:
    # behind the type checker's back, which is to find names that are not there
    def __getattr__(name: str) -> object:
        return deprecated(name)
