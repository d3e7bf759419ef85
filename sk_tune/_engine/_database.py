# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Where SQLite and PostgreSQL differ as databases of a store."""

import importlib
import os
import re
import sqlite3
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from sk_tune._files import is_on_network
from sk_tune.exceptions import StoreError

SCHEMA_VERSION = 1

# "sktu", which distinguishes our files from other databases.
_APPLICATION_ID = 0x736B7475
# Seconds to wait for a lock of another process.
_TIMEOUT = 60.0
_URL = re.compile(r"postgres(ql)?://")
_TABLES = (
    """
CREATE TABLE fits (
    key TEXT PRIMARY KEY,
    meta BLOB NOT NULL,
    arrays BLOB NOT NULL,
    digest TEXT NOT NULL,
    n_epochs INTEGER NOT NULL,
    used REAL NOT NULL
) WITHOUT ROWID
""",
    """
CREATE TABLE claims (
    key TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    expires REAL NOT NULL
) WITHOUT ROWID
""",
)

# The name contains the version, so that versions do not read each other's tables.
_SCHEMA = f"sk_tune_{SCHEMA_VERSION}"
# A process that stops answering holds no lock for long.
_SETTINGS = (
    f"SET search_path = {_SCHEMA}",
    f"SET lock_timeout = {int(1000 * _TIMEOUT)}",
    f"SET idle_in_transaction_session_timeout = {int(1000 * _TIMEOUT)}",
)
# Seconds until a server that vanished counts as lost.
_CONNECTION = {
    "connect_timeout": 30,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}


def is_url(location: str | os.PathLike[str]) -> bool:
    """Return whether a store is a PostgreSQL database instead of a file."""
    return isinstance(location, str) and _URL.match(location) is not None


class Database(ABC):
    """A connection that the threads of a process share.

    Statements are in the dialect of SQLite. `location` opens the same database elsewhere,
    `name` is for messages, `errors` are the exceptions of all methods, `now` is the
    database's time in seconds.
    """

    location: str
    name: str
    errors: tuple[type[BaseException], ...]
    now: str

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._connection: Any = None

    def close(self) -> None:
        self._connection.close()

    def query(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """Return all rows of a statement's result."""
        with self._lock:
            result = self._connection.execute(self._translated(statement), values)
            rows: list[Any] = result.fetchall()
            return rows

    def execute(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Execute a statement without a result for each row of values."""
        with self._lock:
            self._connection.cursor().executemany(self._translated(statement), list(rows))

    @contextmanager
    def transaction(self, *, of_claims: bool = False) -> Iterator[None]:
        """Execute a block or none of it; `of_claims` may be lost in a power cut."""
        with self._lock:
            self._begin(of_claims=of_claims)
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                self._roll_back()
                raise

    @abstractmethod
    def n_bytes(self) -> int:
        """Return the size of all tables."""

    @abstractmethod
    def check(self) -> None:
        """Raise StoreError if the database as a whole is damaged."""

    @abstractmethod
    def compact(self) -> None:
        """Free the space of deleted rows."""

    def _translated(self, statement: str) -> str:
        return statement

    @abstractmethod
    def _begin(self, *, of_claims: bool) -> None: ...

    @abstractmethod
    def _roll_back(self) -> None: ...


class SQLite(Database):
    """A file."""

    # sqlite3 decodes messages too, which may quote a damaged file.
    errors = (sqlite3.Error, UnicodeDecodeError, MemoryError)
    now = "(julianday('now') - 2440587.5) * 86400.0"

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self.location, self.name = str(path.absolute()), str(path)
        _check_file(path)
        try:
            self._connection = sqlite3.connect(
                path, timeout=_TIMEOUT, isolation_level=None, check_same_thread=False
            )
        except self.errors as error:
            raise StoreError(cannot("opened", self, error)) from error
        try:
            self._set_up_patiently()
        except BaseException:
            self._connection.close()
            raise

    def n_bytes(self) -> int:
        files = [self._path, self._path.with_name(f"{self._path.name}-wal")]
        return sum(file.stat().st_size for file in files if file.exists())

    def check(self) -> None:
        ((verdict,),) = self.query("PRAGMA integrity_check(1)")
        if verdict != "ok":
            raise StoreError(cannot("read", self, verdict))

    def compact(self) -> None:
        self._connection.execute("VACUUM")
        self.query("PRAGMA wal_checkpoint(TRUNCATE)")

    def _begin(self, *, of_claims: bool) -> None:
        level = "NORMAL" if of_claims else "FULL"
        self._connection.execute(f"PRAGMA synchronous = {level}")
        self._connection.execute("BEGIN IMMEDIATE")

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def _set_up_patiently(self) -> None:
        """Set up the file; SQLite does not wait while others close or recover it."""
        end = time.monotonic() + _TIMEOUT
        while True:
            try:
                self._set_up()
                return
            except StoreError as error:
                code = getattr(error.__cause__, "sqlite_errorcode", None) or 0
                if code & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                    raise
            time.sleep(0.05)

    def _set_up(self) -> None:
        try:
            self._connection.execute("PRAGMA trusted_schema = OFF")
            tables = self.query("SELECT sql FROM sqlite_master ORDER BY rowid")
            ((application,),) = self.query("PRAGMA application_id")
            ((version,),) = self.query("PRAGMA user_version")
            if tables and application != _APPLICATION_ID:
                raise self._refusal("Got another SQLite database")
            if version > SCHEMA_VERSION:
                raise StoreError(
                    f"{self.name} has schema {version}. This version of sk_tune reads "
                    f"schemas up to {SCHEMA_VERSION}. Update sk_tune."
                )
            # A table of another form may contain a computation without end.
            form = [" ".join(str(sql).split()) for (sql,) in tables]
            if tables and form != [" ".join(table.split()) for table in _TABLES]:
                raise self._refusal("Its tables have an unknown layout")
            # SQLite falls back to DELETE where it cannot have a write-ahead log.
            mode = "DELETE" if is_on_network(self._path) else "WAL"
            self.query(f"PRAGMA journal_mode = {mode}")
            # A search opens its store for each rung, which must not wait for a writer.
            if tables:
                return
            with self.transaction():
                # Another process may have created them meanwhile.
                if not self.query("SELECT sql FROM sqlite_master"):
                    self._connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                    self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
                    for table in _TABLES:
                        self._connection.execute(table)
        except self.errors as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
                reason = "Got another kind of file, or a damaged store"
                raise self._refusal(reason) from error
            raise StoreError(cannot("used", self, error)) from error

    def _refusal(self, reason: str) -> StoreError:
        return StoreError(
            f"{self.name} must be a store of sk_tune. {reason}; it was left as it is. "
            "Use another path."
        )


class PostgreSQL(Database):
    """A schema of a database on a server, which other tables of the database ignore."""

    now = "extract(epoch FROM clock_timestamp())::double precision"

    def __init__(self, url: str) -> None:
        super().__init__()
        self.location, self.name = url, _without_password(url)
        self._psycopg = _psycopg()
        self.errors = (self._psycopg.Error, MemoryError)
        try:
            self._options = _CONNECTION | self._psycopg.conninfo.conninfo_to_dict(url)
        except self._psycopg.Error:
            # Its message may quote the password.
            raise StoreError(
                "store must be a path or a URL such as postgresql://user@host/database, "
                f"with special characters as %XX. Got {self.name}."
            ) from None
        try:
            self._connect()
        except self._psycopg.Error as error:
            text = _masked(str(error).partition("\n")[0], url)
            raise StoreError(cannot("opened", self, text)) from None
        try:
            self._create_tables()
        except self.errors as error:
            self._connection.close()
            raise StoreError(cannot("used", self, error)) from error

    def n_bytes(self) -> int:
        query = "SELECT pg_total_relation_size('fits') + pg_total_relation_size('claims')"
        ((size,),) = self.query(query)
        return int(size)

    def check(self) -> None:
        """Do nothing: the server checks its own files."""

    def compact(self) -> None:
        self._connection.execute("VACUUM FULL fits")

    def _translated(self, statement: str) -> str:
        return statement.replace("?", "%s")

    def _begin(self, *, of_claims: bool) -> None:
        if self._connection.broken:
            self._connect()
        self._connection.execute("BEGIN")
        if of_claims:
            self._exclude()

    def _exclude(self) -> None:
        self._connection.execute(f"SELECT pg_advisory_xact_lock({_APPLICATION_ID})")

    def _roll_back(self) -> None:
        if not self._connection.closed:
            self._connection.execute("ROLLBACK")

    def _connect(self) -> None:
        self._connection = self._psycopg.connect(**self._options, autocommit=True)
        for setting in _SETTINGS:
            self._connection.execute(setting)

    def _create_tables(self) -> None:
        if self._has_tables():
            return
        with self.transaction():
            self._exclude()
            if not self._has_tables():
                name = "SELECT 1 FROM pg_namespace WHERE nspname = ?"
                if not self.query(name, [_SCHEMA]):
                    self._connection.execute(f"CREATE SCHEMA {_SCHEMA}")
                for table in _TABLES:
                    typed = table.replace("BLOB", "BYTEA").replace("WITHOUT ROWID", "")
                    self._connection.execute(typed.replace("REAL", "DOUBLE PRECISION"))

    def _has_tables(self) -> bool:
        # Unlike "IF NOT EXISTS", a query sees what was created since this session began.
        query = "SELECT 1 FROM pg_tables WHERE schemaname = ? AND tablename = 'claims'"
        return bool(self.query(query, [_SCHEMA]))


def open_database(location: str | os.PathLike[str]) -> Database:
    """Open a file or, for a URL, a PostgreSQL database."""
    return PostgreSQL(str(location)) if is_url(location) else SQLite(Path(location))


def cannot(verb: str, database: Database, error: object) -> str:
    """Return a message about a store that cannot be opened, read, used or written."""
    return f"The store {database.name} cannot be {verb}: {error}. It was left as it is."


def _check_file(path: Path) -> None:
    """Raise StoreError if the path cannot be a store, without opening the file.

    Closing a file releases the locks that SQLite has on it in the same process.
    """
    if path.is_dir():
        raise StoreError(f"store must be a file. Got the folder {path}.")
    if not path.absolute().parent.is_dir():
        raise StoreError(f"The folder of the store {path} does not exist. Create it first.")
    if path.exists():
        # Another process may have just created it, and be about to write.
        for _ in range(20):
            if path.stat().st_size:
                break
            time.sleep(0.05)
        else:
            raise StoreError(
                f"The store {path} is empty: its contents are lost, or were never "
                "written. Delete the file to begin a new store there, or use another "
                "path."
            )


def _psycopg() -> Any:
    try:
        return importlib.import_module("psycopg")
    except ImportError as error:
        raise StoreError(
            "A store in PostgreSQL needs psycopg. Install it with: "
            "pip install 'sk-tune[postgresql]'"
        ) from error


# A password may contain "@", although it should not.
_PASSWORD = re.compile(r"(?<=//)([^:/@]*):(.*)@|(?:ssl)?password=([^&]*)")


def _without_password(url: str) -> str:
    return _PASSWORD.sub(lambda match: f"{match[1]}@" if match[2] is not None else "", url)


def _masked(text: str, url: str) -> str:
    """Hide the parts of a password, which a server's address may contain by mistake."""
    for match in _PASSWORD.finditer(url):
        secret = match[2] or match[3] or ""
        for part in {secret, unquote(secret), *re.split("[/:@?#]", secret)} - {""}:
            text = text.replace(part, "***")
    return text
