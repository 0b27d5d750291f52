"""Why a database cannot be reached, does not admit an account or refuses a query, without quoting the database.

The texts of a database quote values and statements, so none is passed on. They are only searched for phrases of libpq and
PostgreSQL, and the message is written here instead: from host, port, database and account in ``institution.toml``, the
SQLSTATE, and the public name of its class (SQL standard; PostgreSQL, appendix A). Where no phrase is known, as with other
drivers or in other languages, name server and network are asked directly.
"""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from sqlalchemy import URL

from cohortium.errors import InputError
from cohortium.system.proxies import reason

PATIENCE = 5.0  # seconds
_PORTS = {"postgresql": 5432, "mysql": 3306, "mariadb": 3306, "mssql": 1433, "oracle": 1521}
_OWN_PROGRAM = "Run the query with the database's own program, under the same account; it says what it objects to."
_ITS_LOG = "Check database, account and password_file; the database's own log says more."
_START = "Start the database, or correct host and port in url, and check what is between."
_TLS = "Correct sslmode, sslrootcert, sslcert and sslkey in url; its administrator knows whose certificates it trusts."
_ROOM = "Ask its administrator, or try again later."

# Connections that fail, as libpq words them: its phrases, our message, the next step.
_NO_CONNECTION = (
    (r"could not translate host name|getaddrinfo|Name or service not known", "the name server does not know the host of {place}",
     "Correct the host in url, or the machine's name server; a service that may reach a database alone must be allowed its name server, too."),
    (r"on socket .*(No such file or directory|Connection refused)", "no database listens at {place}",
     "Start the database, or correct host in url: the folder of its socket."),
    (r"on socket .*Permission denied", "this user may not use {place}", "Let this user into the socket's folder."),
    (r"Connection refused", "the database at {place} does not answer: Connection refused", _START),
    (r"timeout expired|Connection timed out|ConnectionTimeout", "the database at {place} does not answer: timed out", _START),
    (r"No route to host", "the database at {place} does not answer: No route to host", _START),
    (r"Network is unreachable", "the database at {place} does not answer: Network is unreachable", _START),
    (r"server does not support SSL", "the database at {place} offers no TLS, which sslmode asks for", _TLS),
    (r"does not match host name", "the certificate of the database at {place} is another host's", _TLS),
    (r"root certificate|sslrootcert|crl file", "the file of sslrootcert cannot be read", _TLS),
    (r"private key file|certificate file|sslkey", "the files of sslcert and sslkey cannot be read, or others may read the key", _TLS),
    (r"certificate verify failed|unknown ca|certificate has expired", "the certificate of the database at {place} is not to be trusted", _TLS),
    (r"no encryption|SSL off", "the database at {place} wants TLS, or lets in no account {user!r} from here (pg_hba.conf)", _TLS),
    (r"SSL error|SSL SYSCALL|SSL connection|sslv3|tlsv1", "TLS fails with the database at {place}", _TLS),
    (r"no password supplied|empty password", "the database at {place} asks for a password, and password_file names none",
     "Write it into a file of mode 0600 and name that: password_file, or --password-file for join and init."),
    (r"invalid response to SSL|expected authentication request|unsupported frontend protocol|invalid authentication",
     "what answers at {place} does not answer as PostgreSQL does", _START),
    (r"server closed the connection|Connection reset|could not receive data|could not send data",
     "what answers at {place} hangs up before it has let anybody in", _START),
)  # fmt: skip
# Accounts that PostgreSQL does not admit: its phrases, the SQLSTATE, which libpq does not pass on, and our message.
_NOT_ADMITTED = (
    (r"password authentication failed", "28P01", "it does not take the password of account {user!r}"),
    (r"(Peer|Ident|LDAP|PAM|GSSAPI|SSPI|RADIUS|certificate) authentication failed", "28000", "it does not believe that this is account {user!r}"),
    (r"pg_hba\.conf", "28000", "no rule of its pg_hba.conf lets account {user!r} in from here"),
    (r'role ".*" does not exist', "28000", "it has no account {user!r}"),
    (r"is not permitted to log in", "28000", "account {user!r} may not log in"),
    (r'permission denied for database', "42501", "account {user!r} may not connect to database {database!r}"),
    (r'database ".*" (does not exist|is being accessed)|not currently accepting connections', "3D000", "it has no open database {database!r}"),
    (r"too many (clients|connections)|remaining connection slots", "53300", "it has no connection left"),
    (r"starting up|shutting down|recovery|not yet accepting connections", "57P03", "it is starting or stopping"),
)  # fmt: skip
_CLASSES = {
    "08": "connection exception", "0A": "feature not supported", "21": "cardinality violation", "22": "data exception",
    "23": "integrity constraint violation", "24": "invalid cursor state", "25": "invalid transaction state",
    "26": "invalid statement name", "28": "invalid authorization specification", "2F": "SQL routine exception",
    "34": "invalid cursor name", "38": "external routine exception", "39": "external routine invocation exception",
    "3B": "savepoint exception", "3D": "invalid catalog name", "3F": "invalid schema name", "40": "transaction rollback",
    "42": "syntax error or access rule violation", "44": "with check option violation", "53": "insufficient resources",
    "54": "program limit exceeded", "55": "object not in prerequisite state", "57": "operator intervention",
    "58": "system error", "72": "snapshot failure", "F0": "configuration file error", "HV": "foreign data wrapper error",
    "P0": "PL/pgSQL error", "XX": "internal error",
}  # fmt: skip
_WRITES = "it would write, and sources are read only"
_STATEMENT = "it is not one well-formed statement"
_REASONS = {
    "42P01": "there is no such table",
    "3F000": "there is no such schema",
    "42703": "there is no such column",
    "42883": "there is no such function",
    "42601": _STATEMENT,
    "42501": "this account may not read what it asks for",
    "25006": _WRITES,
    "57014": "it took longer than the database allows, or somebody cancelled it",
    "55P03": "it waited too long for a lock",
    "25P03": "the database ends transactions that wait",
    "53100": "the database's disk is full",
    "53200": "the database has no memory left",
    "no such table": "there is no such table",
    "no such column": "there is no such column",
    "syntax error": _STATEMENT,
    "SQLITE_READONLY": _WRITES,
    "SQLITE_NOTADB": "the file is not an SQLite database",
    "SQLITE_BUSY": "another program keeps the database locked",
    "SQLITE_CORRUPT": "the file is damaged",
}
_STEPS = {
    "57014": "Give the account more time (statement_timeout), or the query less to do, as with an index.",
    "55P03": "Let what holds the lock end, or give the account more time (lock_timeout).",
    "25P03": "Give the account more time (idle_in_transaction_session_timeout).",
    "42501": "GRANT SELECT on it to this account.",
    "53100": _ROOM,
    "53200": _ROOM,
}
_SQLITE_KINDS = ("no such table", "no such column", "syntax error")


def place_of(url: URL) -> str:
    """Where a database is, according to institution.toml: hosts and ports, or the folder of a socket."""
    hosts = [str(url.host)] if url.host else _listed(url, "host")
    ports = _listed(url, "port") or [str(_port(url) or "")]
    if not hosts:
        return "this machine's own socket"
    if hosts[0].startswith("/"):
        return f"the socket in {hosts[0]}"
    padded = ports * len(hosts) if len(ports) == 1 else ports
    return " or ".join(f"{_bracketed(h)}:{p}".rstrip(":") for h, p in zip(hosts, padded, strict=False))


def _port(url: URL) -> int | None:
    return url.port or _PORTS.get(url.get_backend_name())


def _listed(url: URL, name: str) -> list[str]:
    """What an address says after its ?, once or several times, with commas or not."""
    said = url.query.get(name, ())
    return [part for text in ([said] if isinstance(said, str) else said) for part in text.split(",") if part]


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def not_reached(url: URL, error: Exception) -> InputError:
    """InputError E_DATABASE: it does not answer, or does not admit the account; E_INPUT_NOT_FOUND for a file."""
    if url.get_backend_name() == "sqlite":
        return _not_opened(url, error)
    what, fix = _why(url, str(getattr(error, "orig", None) or error))
    return InputError("E_DATABASE", "source.url", what, fix)


def _why(url: URL, text: str) -> tuple[str, str]:
    place = place_of(url)
    known = {"place": place, "user": url.username or "", "database": url.database or ""}
    for phrase, state, what in _NOT_ADMITTED:
        if re.search(phrase, text) and not re.search(r"no encryption|SSL off", text):
            return f"the database at {place} answers, but {what.format(**known)} ({_named(state)})", _ITS_LOG
    for phrase, what, fix in _NO_CONNECTION:
        if re.search(phrase, text):
            return what.format(**known), fix
    absent = _asked(url)
    if absent is not None:
        return absent.format(**known), _START
    return f"the database at {place} does not let account {known['user']!r} into {known['database']!r}", _ITS_LOG


def _asked(url: URL) -> str | None:
    """Why the database's host and port cannot be reached, if they cannot."""
    port = _port(url)
    if not url.host or url.host.startswith("/") or port is None:
        return None
    try:
        socket.create_connection((url.host, port), PATIENCE).close()
    except socket.gaierror:
        return "the name server does not know the host of {place}"
    except OSError as error:
        return f"the database at {{place}} does not answer: {reason(error)}"
    return None


def _not_opened(url: URL, error: Exception) -> InputError:
    path = Path(unquote(urlsplit(url.database or "").path))
    if not path.exists():
        return InputError("E_INPUT_NOT_FOUND", path.name, "there is no such file", "Correct the path in url.")
    if not path.is_file():
        return InputError("E_INPUT_NOT_FOUND", path.name, "it is no file", "Name a file in url.")
    name = getattr(getattr(error, "orig", None), "sqlite_errorname", None) or "it cannot be opened"
    return InputError(
        "E_INPUT_NOT_FOUND", path.name, f"SQLite does not open it: {name}", "Check its rights and its folder's."
    )


def refused(url: URL, error: Exception, what: str) -> InputError:
    """InputError E_SOURCE: a query that was refused or broken off, with the reason."""
    cause: Any = getattr(error, "orig", None)
    number = str(getattr(cause, "sqlstate", None) or getattr(cause, "sqlite_errorname", None) or "")
    if number == "SQLITE_ERROR":
        number = next((kind for kind in _SQLITE_KINDS if kind in str(cause)), number)
    if _is_lost(cause, number):
        lost = f"the connection to the database at {place_of(url)} was lost before all was read{_in_brackets(number)}"
        return InputError("E_SOURCE", "source.query", lost, "See whether the database was restarted, then ask again.")
    because = f": {_REASONS[number]}" if number in _REASONS else ""
    return InputError(
        "E_SOURCE", "source.query", f"{what}{because}{_in_brackets(number)}", _STEPS.get(number, _OWN_PROGRAM)
    )


def _is_lost(cause: Any, number: str) -> bool:
    """Whether the connection has ended rather than the query."""
    ended = number.startswith("08") or number in ("57P01", "57P02", "57P03", "57P05")
    return ended or (not number and type(cause).__name__ in ("OperationalError", "InterfaceError"))


def _in_brackets(number: str) -> str:
    name = number if number.startswith("SQLITE_") and number != "SQLITE_ERROR" else _named(number)
    return f" ({name})" if name else ""


def _named(number: str) -> str:
    """A public SQLSTATE with the name of its class; of a code that somebody has made up, the class alone."""
    known = _CLASSES.get(number[:2]) if re.fullmatch(r"[0-9A-Z]{5}", number) else None
    if known is None:
        return ""
    return f"SQLSTATE {number}, {known}" if _is_public(number) else f"SQLSTATE of class {number[:2]}, {known}"


def _is_public(number: str) -> bool:
    try:
        from psycopg.errors import lookup  # an optional dependency, which has the list
    except ImportError:
        return number in _REASONS
    try:
        lookup(number)
    except KeyError:
        return False
    return True
