"""All that a plugin author imports."""

from upesi.config.networks import Networks
from upesi.config.units import Duration, Size
from upesi.hooks.asking import Dns, answered
from upesi.hooks.chain import Denial
from upesi.hooks.credentials import AuthCredentials
from upesi.hooks.declaration import FilePath, OnError, Plugin, PluginSettings, hook
from upesi.hooks.points import Report
from upesi.hooks.services import Clock, PluginLog
from upesi.hooks.session import NULL_SENDER, Client, Listener, Result, Session, Transaction, TransactionRecipient
from upesi.hooks.tables import ListError, read_list
from upesi.hooks.verdict import Verdict, VerdictKind, accept, defer, reject
from upesi.mail.address import Address, AddressError, domain_from
from upesi.mail.answers import Answer, Confirmed, MxRecord, Security, Status
from upesi.mail.body import Body
from upesi.mail.headers import Headers
from upesi.mail.reply import Reply
from upesi.mail.route import DiscardRoute, HostRoute, LmtpRoute, MaildirRoute, MxRoute, Route
from upesi.mail.tls import TlsLevel, TlsPolicy
from upesi.mailauth.authres import authentication_results
from upesi.mailauth.authres_reader import claims_to_be, comparable
from upesi.mailauth.dkim import DkimOutcome, DkimTerms, DkimVerifier
from upesi.mailauth.iprev import iprev_result
from upesi.mailauth.keys import KeyCache
from upesi.mailauth.received_spf import received_spf
from upesi.mailauth.results import MethodResult
from upesi.mailauth.spf import SpfOutcome, SpfResult, check_host, helo_identity, mail_identity
from upesi.mailauth.spf_record import SpfRecords

__all__ = [
    "NULL_SENDER",
    "Address",
    "AddressError",
    "Answer",
    "AuthCredentials",
    "Body",
    "Client",
    "Clock",
    "Confirmed",
    "Denial",
    "DiscardRoute",
    "DkimOutcome",
    "DkimTerms",
    "DkimVerifier",
    "Dns",
    "Duration",
    "FilePath",
    "Headers",
    "HostRoute",
    "KeyCache",
    "ListError",
    "Listener",
    "LmtpRoute",
    "MaildirRoute",
    "MethodResult",
    "MxRecord",
    "MxRoute",
    "Networks",
    "OnError",
    "Plugin",
    "PluginLog",
    "PluginSettings",
    "Reply",
    "Report",
    "Result",
    "Route",
    "Security",
    "Session",
    "Size",
    "SpfOutcome",
    "SpfRecords",
    "SpfResult",
    "Status",
    "TlsLevel",
    "TlsPolicy",
    "Transaction",
    "TransactionRecipient",
    "Verdict",
    "VerdictKind",
    "accept",
    "answered",
    "authentication_results",
    "check_host",
    "claims_to_be",
    "comparable",
    "defer",
    "domain_from",
    "helo_identity",
    "hook",
    "iprev_result",
    "mail_identity",
    "read_list",
    "received_spf",
    "reject",
]
