# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Results of fits in a SQLite file, from which an interrupted run continues.

A row holds the result of one fit under the fit's key: compressed JSON, arrays in the
safetensors format, and a digest of both.  Code in the file is never executed.  A row that
does not match its digest counts as missing.
"""

import hashlib
import json
import os
import socket
import sqlite3
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import safetensors.numpy

from sk_tune._engine._fits import Trained
from sk_tune._estimators import Fit
from sk_tune._files import is_on_network
from sk_tune._json_values import decode, encode
from sk_tune._training import (
    TrainingState,
    arrays_of_state,
    state_from_arrays,
    values_of_state,
)
from sk_tune._warnings import warn_user
from sk_tune.exceptions import StoreError, StoreWarning

SCHEMA_VERSION = 1

# "sktu", which distinguishes our files from other databases.
_APPLICATION_ID = 0x736B7475
# Seconds to wait for a lock of another process.
_TIMEOUT = 60.0
# Keys per query; old versions of SQLite take at most 999 variables.
_N_KEYS = 500
_TABLE = """
CREATE TABLE IF NOT EXISTS fits (
    key TEXT PRIMARY KEY,
    meta BLOB NOT NULL,
    arrays BLOB NOT NULL,
    digest TEXT NOT NULL,
    n_epochs INTEGER NOT NULL,
    used REAL NOT NULL
) WITHOUT ROWID
"""
# SQLite keeps the statement in this form, except for white space.
_SCHEMA = " ".join(_TABLE.replace("IF NOT EXISTS ", "").split())
# No key is equal to NULL.
_INSERT = (
    "INSERT OR REPLACE INTO fits SELECT ?, ?, ?, ?, ?, ? "
    "WHERE NOT EXISTS (SELECT 1 FROM fits WHERE key = ?)"
)
_DELETE = "DELETE FROM fits WHERE key = ?"
_PREDICTIONS = "predictions"
# Most bytes of JSON in a row, which may come from a stranger.
_MOST_JSON = 2**28
# sqlite3 decodes messages too, which may quote a damaged file.
_DATABASE_ERRORS = (sqlite3.Error, UnicodeDecodeError, MemoryError)
# End of the key of an unfinished fit, which no finished fit has.
UNFINISHED = " underway"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreInfo:
    """Contents of a store.

    Parameters
    ----------
    path : str
        Path of the file.
    schema_version : int
        Version of the file format.
    n_fits : int
        Number of finished fits.
    n_epochs : int
        Total epochs of these fits.
    n_bytes : int
        Size of the file.
    """

    path: str
    schema_version: int
    n_fits: int
    n_epochs: int
    n_bytes: int


class FitStore:
    """Results of fits in a file that several processes may use at once.

    Parameters
    ----------
    path : str or path-like
        File; created if missing.

    Raises
    ------
    StoreError
        If the file is not a store, belongs to a newer sk_tune, or cannot be written.

    Notes
    -----
    The file uses SQLite's write-ahead mode, and each result is on disk when :meth:`save`
    returns.  That mode needs memory shared by all processes, so on a network file system,
    as far as Linux identifies it, the file has a rollback journal instead; file locks have
    to work there.

    Examples
    --------
    >>> import tempfile
    >>> from sklearn.datasets import load_iris
    >>> from sk_tune import MLPClassifier
    >>> from sk_tune.engine import Fit, FitStore, train
    >>> X, y = load_iris(return_X_y=True)
    >>> fit = Fit(estimator=MLPClassifier(max_epochs=2, random_state=0), X=X, y=y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = f"{folder}/fits.db"
    ...     first, again = train([fit], store=path), train([fit], store=path)
    ...     with FitStore(path) as store:
    ...         print(store.info().n_fits, again[0].is_loaded)
    1 True
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._has_warned = False
        _check_file(self.path)
        try:
            self._connection = sqlite3.connect(
                self.path, timeout=_TIMEOUT, isolation_level=None
            )
        except _DATABASE_ERRORS as error:
            raise StoreError(_cannot("opened", self.path, error)) from error
        try:
            self._set_up()
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def load(self, keys: Iterable[str]) -> dict[str, Trained]:
        """Return the stored results by key, without damaged ones, which raise a warning."""
        requested, results, damaged = list(keys), {}, 0
        for start in range(0, len(requested), _N_KEYS):
            for key, *row in self._rows(requested[start : start + _N_KEYS]):
                trained = _read(key, *row)
                if trained is None:
                    damaged += 1
                else:
                    results[key] = trained
        if damaged:
            self._warn(f"{damaged} fits in it are damaged, and are trained again")
        try:
            if results:
                used = [(time.time(), key) for key in results]
                with self._transaction() as connection:
                    connection.executemany("UPDATE fits SET used = ? WHERE key = ?", used)
        except _DATABASE_ERRORS as error:
            self._warn(f"it cannot be written: {error}")
        return results

    def save(
        self,
        trained: Mapping[str, Trained],
        instead_of: Iterable[str] = (),
        unless: Mapping[str, str] | None = None,
        n_before: Mapping[str, int] | None = None,
    ) -> None:
        """Write all results by key or none, except failed ones, which the next run repeats.

        Results under the keys `instead_of` are deleted. By key of a result, `unless` has
        the key of a stored result that makes it unnecessary, `n_before` the epochs before a
        resumed fit.
        """
        rows, counts = [], n_before or {}
        for key, result in trained.items():
            if result.state is None:
                continue
            try:
                rows.append(_write(key, result, result.state, counts.get(key, 0)))
            except (TypeError, ValueError, safetensors.SafetensorError) as error:
                # A callback may have written an object into the history.
                self._warn(f"a fit is not kept in it: {error}")
        if not rows:
            return
        try:
            with self._transaction() as connection:
                ended = unless or {}
                connection.executemany(_INSERT, [(*row, ended.get(row[0])) for row in rows])
                connection.executemany(_DELETE, [(key,) for key in instead_of])
        except _DATABASE_ERRORS as error:
            n_bytes = sum(len(row[2]) for row in rows)
            self._warn(
                f"{len(rows)} fits ({n_bytes} bytes) could not be written to it: {error}. "
                "They are kept in memory only"
            )

    def info(self) -> StoreInfo:
        """Return a summary of the store.

        Returns
        -------
        StoreInfo
            The current contents.

        Raises
        ------
        StoreError
            If the file is damaged.
        """
        query = "SELECT count(*), coalesce(sum(n_epochs), 0) FROM fits WHERE key NOT LIKE ?"
        with self._reading() as connection:
            n_fits, n_epochs = connection.execute(query, (f"%{UNFINISHED}",)).fetchone()
        files = [self.path, self.path.with_name(f"{self.path.name}-wal")]
        return StoreInfo(
            path=str(self.path),
            schema_version=SCHEMA_VERSION,
            n_fits=n_fits,
            n_epochs=n_epochs,
            n_bytes=sum(file.stat().st_size for file in files if file.exists()),
        )

    def verify(self) -> list[str]:
        """Read all results and check their digests.

        Returns
        -------
        list of str
            Keys of damaged fits.

        Raises
        ------
        StoreError
            If the file as a whole is damaged.
        """
        with self._reading() as connection:
            (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
            if verdict != "ok":
                raise StoreError(_cannot("read", self.path, verdict))
            rows = connection.execute("SELECT key, meta, arrays, digest FROM fits")
            return [key for key, *row in rows if _read(key, *row) is None]

    def vacuum(self, max_bytes: float | None = None) -> int:
        """Remove damaged and least recently used results, and free the space.

        Parameters
        ----------
        max_bytes : float or None, default=None
            Most bytes of arrays and descriptions to keep; all if None.

        Returns
        -------
        int
            Number of removed fits.

        Raises
        ------
        StoreError
            If the file is damaged, or cannot be written.
        """
        gone = self.verify()
        with self._reading() as connection:
            sizes = connection.execute(
                "SELECT key, length(arrays) + length(meta) FROM fits ORDER BY used DESC"
            ).fetchall()
        total = 0
        for key, size in sizes:
            if key not in gone:
                total += size
                if max_bytes is not None and total > max_bytes:
                    gone.append(key)
        try:
            with self._transaction() as connection:
                connection.executemany(_DELETE, [(key,) for key in gone])
            self._connection.execute("VACUUM")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except _DATABASE_ERRORS as error:
            raise StoreError(_cannot("written", self.path, error)) from error
        return len(gone)

    def _set_up(self) -> None:
        try:
            self._connection.execute("PRAGMA trusted_schema = OFF")
            tables = self._connection.execute("SELECT sql FROM sqlite_master").fetchall()
            (application,) = self._one("PRAGMA application_id")
            (version,) = self._one("PRAGMA user_version")
            if tables and application != _APPLICATION_ID:
                raise self._refusal("Got another SQLite database")
            if version > SCHEMA_VERSION:
                raise StoreError(
                    f"{self.path} is of schema {version}, newer than this sk_tune reads, "
                    f"which is {SCHEMA_VERSION}. Update sk_tune."
                )
            # A table of another form may contain a computation without end.
            if tables and [" ".join(str(sql).split()) for (sql,) in tables] != [_SCHEMA]:
                raise self._refusal("Its tables are of another form")
            # SQLite falls back to DELETE where it cannot have a write-ahead log.
            mode = "DELETE" if is_on_network(self.path) else "WAL"
            self._connection.execute(f"PRAGMA journal_mode = {mode}")
            self._connection.execute("PRAGMA synchronous = FULL")
            # A search opens its store for each rung, which must not wait for a writer.
            if tables:
                return
            with self._transaction() as connection:
                connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
                connection.execute(_TABLE)
        except _DATABASE_ERRORS as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
                raise self._refusal("Got another file, or a damaged one") from error
            raise StoreError(_cannot("used", self.path, error)) from error

    def _one(self, query: str) -> Any:
        return self._connection.execute(query).fetchone()

    def _refusal(self, reason: str) -> StoreError:
        return StoreError(
            f"{self.path} must be a store of sk_tune. {reason}; it was left as it is. "
            "Give another path."
        )

    def _rows(self, keys: list[str]) -> list[tuple[Any, ...]]:
        """Return the rows of some keys; for a damaged file, all readable rows."""
        marks = ", ".join("?" * len(keys))
        query = f"SELECT key, meta, arrays, digest FROM fits WHERE key IN ({marks})"
        try:
            return self._connection.execute(query, keys).fetchall()
        except _DATABASE_ERRORS as error:
            if len(keys) == 1:
                self._warn(f"it cannot be read everywhere: {error}")
                return []
        return [row for key in keys for row in self._rows([key])]

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        try:
            yield self._connection
        except _DATABASE_ERRORS as error:
            raise StoreError(_cannot("read", self.path, error)) from error

    def _warn(self, what: str) -> None:
        # Only once, because a fault of the file concerns each of its fits.
        if not self._has_warned:
            self._has_warned = True
            warn_user(f"Store {self.path}: {what}.", StoreWarning)


def _check_file(path: Path) -> None:
    """Raise StoreError if the path cannot be a store, without opening the file.

    Closing a file releases the locks that SQLite has on it in the same process.
    """
    if path.is_dir():
        raise StoreError(f"store must be a file. Got the folder {path}.")
    if not path.absolute().parent.is_dir():
        raise StoreError(f"The folder of the store {path} does not exist. Make it first.")
    if path.exists():
        # Another process may have just created it, and be about to write.
        for _ in range(20):
            if path.stat().st_size:
                break
            time.sleep(0.05)
        else:
            raise StoreError(
                f"The store {path} is empty: its contents are lost, or were never written. "
                "Delete the file to begin a new store there, or give another path."
            )


def _cannot(what: str, path: Path, error: object) -> str:
    return f"The store {path} cannot be {what}: {error}. It was left as it is."


def _write(
    key: str, trained: Trained, state: TrainingState, n_before: int
) -> tuple[str, bytes, bytes, str, int, float]:
    arrays = arrays_of_state(state)
    if trained.predictions is not None:
        arrays[_PREDICTIONS] = trained.predictions
    values = {
        "state": values_of_state(state),
        "seconds": trained.seconds,
        "engine": trained.engine,
        "alone_reason": trained.alone_reason,
        # safetensors sorts by name and type.
        "names": list(arrays),
    }
    # Histories of skorch nets repeat the names of each batch.
    meta = zlib.compress(json.dumps(encode(values)).encode(), 1)
    # safetensors writes the memory of an array as it is.
    blob = safetensors.numpy.save({n: np.asarray(a, order="C") for n, a in arrays.items()})
    n_epochs = len(state.history) - n_before
    return key, meta, blob, _digest(key, meta, blob), n_epochs, time.time()


def _read(key: str, meta: Any, blob: Any, digest: Any) -> Trained | None:
    """Return the result in a row; None if it is damaged."""
    try:
        if _digest(key, meta, blob) != digest:
            return None
        text = zlib.decompressobj().decompress(meta, _MOST_JSON)
        values, unordered = decode(json.loads(text)), safetensors.numpy.load(blob)
        arrays = {name: unordered[name] for name in values["names"]}
        predictions = arrays.pop(_PREDICTIONS, None)
        return Trained(
            status="trained",
            state=state_from_arrays(arrays, values["state"]),
            predictions=predictions,
            seconds=float(values["seconds"]),
            engine=values["engine"],
            alone_reason=values["alone_reason"],
            is_loaded=True,
        )
    # A damaged type byte makes SQLite return another type.
    except Exception:  # noqa: BLE001 - anything unreadable counts as damaged
        return None


def _digest(key: str, meta: bytes, blob: bytes) -> str:
    return hashlib.sha256(b"".join((key.encode(), meta, blob))).hexdigest()


# Seconds between two writes of a fleet; a kill loses at most these and the current epoch.
SECONDS_BETWEEN = 5.0


def remaining_fit(fit: Fit, state: TrainingState | None) -> Fit:
    """Return the remaining part of a fit after a stored state; all of it if None."""
    if state is None or state.restart_reason:
        return fit
    n_before = 0 if fit.state is None else len(fit.state.history)
    n_left = (fit.n_epochs or 1) - (len(state.history) - n_before)
    if n_left < 1:
        return fit
    return replace(fit, state=state, n_epochs=n_left, checkpoint=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnfinishedFits:
    """Store for unfinished fits of a shard, for workers on the machine `host`."""

    path: str
    keys: Mapping[int, str]
    host: str = field(default_factory=socket.gethostname)
    seconds: float = field(default_factory=lambda: SECONDS_BETWEEN)

    def keep(self, trained: Mapping[int, Trained]) -> None:
        """Overwrite the states of fits, by position and without predictions."""
        rows = {self.keys[i] + UNFINISHED: t for i, t in trained.items() if i in self.keys}
        # A fit that another process has finished needs no checkpoint.
        ended = {key + UNFINISHED: key for key in self.keys.values()}
        if not rows or socket.gethostname() != self.host or not Path(self.path).exists():
            return
        try:
            with FitStore(self.path) as store:
                store.save(rows, unless=ended)
        except StoreError:
            # The process that opened the store warns when the fits have ended.
            return
