"""Real components that know passwords, started in folders and on ports of their own; and the sources that ask them, as configured."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import grp
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import pytest

from integration.conftest import program
from integration.server import free_port, wait_until
from upesi.client.connecting import Connector
from upesi.config.loading import load
from upesi.lookup.build import Surroundings, build
from upesi.lookup.domains import CredentialsByDomain
from upesi.mail.answers import Answer, Status
from upesi.runtime.web import Web
from upesi.sasl.credentials import Identity, Origin

ORIGIN = Origin(service="submission", remote="192.0.2.1", local="192.0.2.2", secured=True, session="a1")


class _Nowhere:
    async def addresses(self, name: str) -> Answer:
        return Answer(Status.NXDOMAIN)


class Accounts:
    """The sources of a configuration, and the events they made."""

    def __init__(self, source: CredentialsByDomain, events: list[Mapping[str, object]]) -> None:
        self.source = source
        self.events = events

    async def verify(self, user: str, password: str) -> object:
        return await self.source.verify(user, password, ORIGIN)

    async def until_accepted(self, user: str, password: str) -> None:
        """Ask until the answer is yes: a source that begins or goes on, on a busy machine, may miss a short deadline."""
        for _ in range(300):
            if isinstance(await self.verify(user, password), Identity):
                return
            await asyncio.sleep(0.1)
        pytest.fail(f"no yes: {self.events}")


@contextlib.asynccontextmanager
async def accounts(folder: Path, toml: str) -> AsyncIterator[Accounts]:
    """Build what `[[credentials]]` with this text says."""
    file = folder / "upesi.toml"
    file.write_text(f"[[credentials]]\n{toml}\n")
    events: list[Mapping[str, object]] = []
    loop = asyncio.get_running_loop()
    web = Web(_Nowhere())
    source = build(
        load(file),
        Surroundings(
            loop,
            lambda name, fields: events.append({"event": name, **fields}),
            Connector(loop, _Nowhere(), allow_private=False),
            "upesi.test",
            web.client,
        ),
    )
    assert source is not None
    try:
        yield Accounts(source, events)
    finally:
        await source.close()
        await web.close()


def secret(folder: Path, text: str) -> Path:
    """Return a file with a password of ours, readable by nobody else."""
    path = folder / "secret"
    path.write_text(f"{text}\n")
    path.chmod(0o600)
    return path


def extra(name: str) -> None:
    """Skip the test, saying so, where the library of an extra is not installed."""
    try:
        __import__(name)
    except ModuleNotFoundError:
        pytest.skip(f"absent: the Python package {name}")


@contextlib.contextmanager
def folder_for(user: str) -> Iterator[Path]:
    """A folder that another user of the system can write into: pytest's own are closed to others."""
    folder = Path(tempfile.mkdtemp(prefix="upesi-accounts-", dir="/var/tmp"))
    if os.geteuid() == 0 and user:
        try:
            entry = pwd.getpwnam(user)
        except KeyError:
            folder.rmdir()
            pytest.skip(f"absent: the user {user}")
        os.chown(folder, entry.pw_uid, entry.pw_gid)
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def running(arguments: list[str], port: int, **options: object) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server in the foreground until the test is over; it is there when it answers at `port`."""
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)  # type: ignore[call-overload]
    try:
        wait_until(lambda: process.poll() is not None or _answers(port), 30, f"{arguments[0]} at port {port}")
        assert process.poll() is None, f"{arguments[0]} ended with {process.returncode}"
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


# --- Dovecot

_DOVECOT = """\
protocols =
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/log
auth_debug = yes
auth_mechanisms = plain login
ssl = no
first_valid_uid = 0
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%Lu {folder}/users
}}
userdb {{
  driver = static
  args = uid=65534 gid=65534 home=/nonexistent
}}
service auth {{
  unix_listener auth-client {{
    path = auth-client
    mode = 0666
  }}
  inet_listener {{
    address = 127.0.0.1
    port = {port}
  }}
}}
"""


class Dovecot:
    """Dovecot's authentication service: `socket` and `port` answer, `log` says what it did."""

    def __init__(self, folder: Path, users: str) -> None:
        self._dovecot = program("dovecot")
        if os.geteuid() != 0:
            pytest.skip("absent: Dovecot needs root")
        self.folder = folder
        self.port = free_port()
        (folder / "users").write_text(users)
        (folder / "users").chmod(0o644)
        self._config = folder / "dovecot.conf"
        self._config.write_text(_DOVECOT.format(folder=folder, port=self.port))
        self.socket = folder / "run" / "auth-client"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    @contextlib.contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        """Run it; behind this its children have ended too, which would stay for as long as somebody is connected."""
        with running([self._dovecot, "-F", "-c", str(self._config)], self.port) as process:
            yield process
            children = self.children(process)
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), 30, "the end of Dovecot")

    @staticmethod
    def children(process: subprocess.Popen[bytes]) -> list[int]:
        """Return the processes that it started."""
        return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


# --- OpenLDAP

_SLAPD = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {folder}/pid
TLSCACertificateFile {folder}/tls/ca.pem
TLSCertificateFile {folder}/tls/server.pem
TLSCertificateKeyFile {folder}/tls/server.key
disallow bind_anon
require authc
database mdb
suffix "dc=example,dc=org"
directory {folder}/data
rootdn "cn=admin,dc=example,dc=org"
rootpw hunter2
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="cn=reader,dc=example,dc=org" read by self read by * none
"""

_ENTRIES = """\
dn: dc=example,dc=org
objectClass: dcObject
objectClass: organization
o: example
dc: example

dn: cn=reader,dc=example,dc=org
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: reader
userPassword: reader-secret

dn: ou=people,dc=example,dc=org
objectClass: organizationalUnit
ou: people

"""


class Slapd:
    """OpenLDAP on two ports, with people below ou=people,dc=example,dc=org."""

    def __init__(self, folder: Path, people: list[str]) -> None:
        self.folder = folder
        self.pid = 0
        self._slapd, slapadd = program("slapd"), program("slapadd")
        if not Path("/etc/ldap/schema/core.schema").exists():
            pytest.skip("absent: OpenLDAP's schemas")
        self.port, self.tls_port = free_port(), free_port()
        (folder / "data").mkdir()
        self._config = folder / "slapd.conf"
        self._config.write_text(_SLAPD.format(folder=folder))
        entries = folder / "entries.ldif"
        entries.write_text(_ENTRIES + "\n\n".join(people))
        added = subprocess.run([slapadd, "-f", str(self._config), "-l", str(entries)], capture_output=True)
        assert added.returncode == 0, added.stderr.decode()

    @contextlib.contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        urls = f"ldap://127.0.0.1:{self.port}/ ldaps://127.0.0.1:{self.tls_port}/"
        with running([self._slapd, "-h", urls, "-f", str(self._config), "-d", "0"], self.port) as process:
            self.pid = process.pid
            yield process


def person(uid: str, password: str | None, *mails: str) -> str:
    """Return an entry in LDIF."""
    lines = [
        f"dn: uid={uid},ou=people,dc=example,dc=org",
        "objectClass: inetOrgPerson",
        f"uid: {uid}",
        "cn: somebody",
        "sn: somebody",
        *(f"mail: {mail}" for mail in mails),
    ]
    hidden = [f"userPassword:: {base64.b64encode(password.encode()).decode()}"] if password else []
    return "\n".join(lines + hidden)


# --- PostgreSQL


class Postgres:
    """A database "mail" whose user "reader" may read the table `users`; on a port with TLS, and on a socket in `folder`."""

    def __init__(self, folder: Path, sql: str) -> None:
        places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
        if not places:
            pytest.skip("absent: PostgreSQL")
        self._bin = places[0]
        self.folder = folder
        self.port = free_port()
        self._run("initdb", "-D", str(folder / "data"), "-U", "owner", "--auth=trust", "-N")
        self._sql = sql

    @contextlib.contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        data = self.folder / "data"
        (data / "pg_hba.conf").write_text(
            "local all owner trust\nlocal all reader scram-sha-256\nhost all reader 127.0.0.1/32 scram-sha-256\n"
        )
        settings = {
            "listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": self.folder, "fsync": "off",
            "ssl": "on", "ssl_cert_file": self.folder / "tls/server.pem", "ssl_key_file": self.folder / "tls/server.key",
        }  # fmt: skip
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        arguments = [str(self._bin / "postgres"), "-D", str(data), *options]
        with running(arguments, self.port, **_as_postgres()) as process:
            wait_until(lambda: self._psql("postgres", "SELECT 1") == 0, 30, "PostgreSQL's first answer")
            if self._psql("mail", "SELECT 1"):
                assert self._psql("postgres", "CREATE DATABASE mail") == 0
                assert self._psql("mail", self._sql) == 0
            yield process

    def _psql(self, database: str, sql: str) -> int:
        command = [str(self._bin / "psql"), "-h", str(self.folder), "-p", str(self.port), "-U", "owner", "-qX"]
        ended = subprocess.run(
            [*command, "-v", "ON_ERROR_STOP=1", "-d", database], input=sql.encode(), capture_output=True
        )
        return ended.returncode

    def _run(self, name: str, *arguments: str) -> None:
        subprocess.run([str(self._bin / name), *arguments], check=True, capture_output=True, **_as_postgres())  # type: ignore[call-overload]


def _as_postgres() -> dict[str, object]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    return {"user": "postgres", "group": grp.getgrgid(pwd.getpwnam("postgres").pw_gid).gr_name, "extra_groups": []}
