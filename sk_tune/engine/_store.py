# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Results of fits in one SQLite file, from which an interrupted run goes on.

A row of its table holds what the engine returned for one fit, under the fit's key: JSON,
and arrays in the format of safetensors, with a digest of all of it.  Nothing that is read
is executed, and a row that does not match its digest is as if it were not there.
"""

import hashlib
import json
import os
import socket
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, Self

import numpy as np
import safetensors.numpy

from sk_tune._files import is_on_network
from sk_tune._json_values import decode, encode
from sk_tune.engine._fits import Trained
from sk_tune.estimators import Fit
from sk_tune.exceptions import StoreError, warn_user
from sk_tune.training import (
    TrainingState,
    arrays_of_state,
    state_from_arrays,
    values_of_state,
)

_BATCHES = "batches"


def history_to_columns(history: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a history with a list of columns for each run of batches of the same names.

    >>> history_to_columns([{"epoch": 1, "batches": [{"loss": 0.5}, {"loss": 0.4}]}])
    [{'epoch': 1, 'batches': [{'loss': [0.5, 0.4]}]}]
    """
    found = []
    for record in history:
        runs: list[Any] = []
        for names, run in groupby(record.get(_BATCHES, ()), tuple):
            members = list(run)
            # Batches without names have no columns that tell how many there are.
            columns = {n: [batch[n] for batch in members] for n in names}
            runs.append(columns if names else members)
        found.append({**record, _BATCHES: runs} if _BATCHES in record else record)
    return found


def history_from_columns(history: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the history that :func:`history_to_columns` was given.

    Raises ValueError if columns are of different lengths.
    """
    found = []
    for record in history:
        batches: list[dict[str, Any]] = []
        for run in record.get(_BATCHES, ()):
            if isinstance(run, list):
                batches += run
            else:
                rows = zip(*run.values(), strict=True)
                batches += [dict(zip(run, row, strict=True)) for row in rows]
        found.append({**record, _BATCHES: batches} if _BATCHES in record else record)
    return found


SCHEMA_VERSION = 1

# "sktu", which tells our files from other databases.
_APPLICATION_ID = 0x736B7475
# Seconds that another process may hold the file.
_TIMEOUT = 60.0
# Keys in one query; SQLite takes at most 999 variables in old versions.
_N_KEYS = 500
_TABLE = """
CREATE TABLE IF NOT EXISTS fits (
    key TEXT PRIMARY KEY,
    meta TEXT NOT NULL,
    arrays BLOB NOT NULL,
    digest TEXT NOT NULL,
    n_epochs INTEGER NOT NULL,
    used REAL NOT NULL
) WITHOUT ROWID
"""
# SQLite keeps the statement in this form, but for white space.
_SCHEMA = " ".join(_TABLE.replace("IF NOT EXISTS ", "").split())
# No key is equal to NULL.
_INSERT = (
    "INSERT OR REPLACE INTO fits SELECT ?, ?, ?, ?, ?, ? "
    "WHERE NOT EXISTS (SELECT 1 FROM fits WHERE key = ?)"
)
_DELETE = "DELETE FROM fits WHERE key = ?"
_PREDICTIONS = "predictions"
# sqlite3 decodes messages too, which hold what is in a damaged file.
_DATABASE_ERRORS = (sqlite3.Error, UnicodeDecodeError, MemoryError)
# End of the key of a fit that has not ended; such fits are not counted.
UNFINISHED = " underway"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreInfo:
    """What a store holds.

    Parameters
    ----------
    path : str
        Of the file.
    schema_version : int
        Of its form.
    n_fits : int
        Finished fits.
    n_epochs : int
        Epochs that they trained, together.
    n_bytes : int
        Of the file.
    """

    path: str
    schema_version: int
    n_fits: int
    n_epochs: int
    n_bytes: int


class FitStore:
    """Results of fits in a file that several processes may use at a time.

    Parameters
    ----------
    path : str or path-like
        File; made if there is none.

    Raises
    ------
    StoreError
        If the file is not a store, is of a newer sk_tune, or cannot be written.

    Notes
    -----
    The file is in SQLite's write-ahead mode, and each result is on the disk when
    :meth:`save` returns.  That mode needs memory that all who use the file share, so on a
    network file system, as far as Linux tells that it is one, the file has a rollback
    journal instead; its locks have to work there.

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
        """Let go of the file."""
        self._connection.close()

    def load(self, keys: Iterable[str]) -> dict[str, Trained]:
        """Return the results that are there.

        Parameters
        ----------
        keys : iterable of str
            Of fits.

        Returns
        -------
        dict of str to Trained
            By key.  What is damaged is left out, with a warning.
        """
        wanted, found, damaged = list(keys), {}, 0
        for start in range(0, len(wanted), _N_KEYS):
            for key, *row in self._rows(wanted[start : start + _N_KEYS]):
                trained = _read(key, *row)
                if trained is None:
                    damaged += 1
                else:
                    found[key] = trained
        if damaged:
            self._warn(f"{damaged} fits in it are damaged, and are trained again")
        try:
            if found:
                used = [(time.time(), key) for key in found]
                with self._transaction() as connection:
                    connection.executemany("UPDATE fits SET used = ? WHERE key = ?", used)
        except _DATABASE_ERRORS as error:
            self._warn(f"it cannot be written: {error}")
        return found

    def save(
        self,
        trained: Mapping[str, Trained],
        instead_of: Iterable[str] = (),
        unless: Mapping[str, str] | None = None,
        n_before: Mapping[str, int] | None = None,
    ) -> None:
        """Write results, all of them or none.

        Parameters
        ----------
        trained : mapping of str to Trained
            By key.  What failed is not written, so that it is tried again.
        instead_of : iterable of str, default=()
            Keys of what is then no longer needed.
        unless : mapping of str to str or None, default=None
            Keys of results that make one of these needless if they are there, by its key.
        n_before : mapping of str to int or None, default=None
            Epochs that came before a fit, which resumed another one, by its key.
        """
        rows, before = [], n_before or {}
        for key, result in trained.items():
            if result.state is None:
                continue
            try:
                rows.append(_write(key, result, result.state, before.get(key, 0)))
            except (TypeError, ValueError, safetensors.SafetensorError) as error:
                # A callback, say, has written an object into the history.
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
        """Return what the store holds.

        Returns
        -------
        StoreInfo
            At this moment.

        Raises
        ------
        StoreError
            If the file is damaged.
        """
        with self._reading() as connection:
            n_fits, n_epochs = connection.execute(
                "SELECT count(*), coalesce(sum(n_epochs), 0) FROM fits "
                "WHERE key NOT LIKE ?",
                (f"%{UNFINISHED}",),
            ).fetchone()
        files = [self.path, self.path.with_name(f"{self.path.name}-wal")]
        return StoreInfo(
            path=str(self.path),
            schema_version=SCHEMA_VERSION,
            n_fits=n_fits,
            n_epochs=n_epochs,
            n_bytes=sum(file.stat().st_size for file in files if file.exists()),
        )

    def verify(self) -> list[str]:
        """Read everything.

        Returns
        -------
        list of str
            Keys of fits that are damaged.

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
        """Remove what is damaged, and what was not used for longest, and free the space.

        Parameters
        ----------
        max_bytes : float or None, default=None
            Of arrays and descriptions that may stay; all if None.

        Returns
        -------
        int
            Fits removed.

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
            if key in gone:
                continue
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
            (application,), (version,) = (
                self._one(f"PRAGMA {name}") for name in ("application_id", "user_version")
            )
            if tables and application != _APPLICATION_ID:
                raise StoreError(
                    f"{self.path} must be a store of sk_tune. Got another SQLite database; "
                    "it was left as it is. Give another path."
                )
            if version > SCHEMA_VERSION:
                raise StoreError(
                    f"{self.path} is of schema {version}, newer than this sk_tune reads, "
                    f"which is {SCHEMA_VERSION}. Update sk_tune."
                )
            # A table of another form may compute what it gives, without end.
            if tables and [" ".join(str(sql).split()) for (sql,) in tables] != [_SCHEMA]:
                raise StoreError(
                    f"{self.path} must be a store of sk_tune. Its tables are of another "
                    "form; it was left as it is. Give another path."
                )
            # Where SQLite cannot have a write-ahead log, it keeps DELETE by itself.
            mode = "DELETE" if is_on_network(self.path) else "WAL"
            self._connection.execute(f"PRAGMA journal_mode = {mode}")
            self._connection.execute("PRAGMA synchronous = FULL")
            # A search opens its store for each rung: that must not wait for who writes.
            if tables:
                return
            with self._transaction() as connection:
                connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
                connection.execute(_TABLE)
        except _DATABASE_ERRORS as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
                raise StoreError(
                    f"{self.path} must be a store of sk_tune. Got another file, or a "
                    "damaged one; it was left as it is. Give another path."
                ) from error
            raise StoreError(_cannot("used", self.path, error)) from error

    def _one(self, query: str) -> Any:
        return self._connection.execute(query).fetchone()

    def _rows(self, keys: list[str]) -> list[tuple[Any, ...]]:
        """Return the rows of some keys; of a damaged file those that can be read."""
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
        # Once, because what is wrong with a file is wrong for each of its fits.
        if not self._has_warned:
            self._has_warned = True
            warn_user(f"Store {self.path}: {what}.")


def _check_file(path: Path) -> None:
    """Raise StoreError if there cannot be a store; without opening the file.

    Who closes a file gives up the locks that SQLite, in the same process, has on it.
    """
    if path.is_dir():
        raise StoreError(f"store must be a file. Got the folder {path}.")
    if not path.absolute().parent.is_dir():
        raise StoreError(f"The folder of the store {path} does not exist. Make it first.")
    if path.exists():
        # Another process may have made it just now, and be about to write.
        for _ in range(20):
            if path.stat().st_size:
                break
            time.sleep(0.05)
        else:
            raise StoreError(
                f"The store {path} is empty: what was in it is lost, or was never written. "
                "Delete the file to begin a new store there, or give another path."
            )


def _cannot(what: str, path: Path, error: object) -> str:
    return f"The store {path} cannot be {what}: {error}. It was left as it is."


def _write(
    key: str, trained: Trained, state: TrainingState, n_before: int
) -> tuple[str, str, bytes, str, int, float]:
    arrays = arrays_of_state(state)
    if trained.predictions is not None:
        arrays[_PREDICTIONS] = trained.predictions
    values = values_of_state(state)
    meta = json.dumps(
        encode({
            "state": {**values, "history": history_to_columns(values["history"])},
            "seconds": trained.seconds,
            "engine": trained.engine,
            "solo_reason": trained.solo_reason,
            # safetensors orders by name and type.
            "names": list(arrays),
        })
    )
    # It writes the memory of an array as it lies there.
    blob = safetensors.numpy.save({n: np.asarray(a, order="C") for n, a in arrays.items()})
    n_epochs = len(state.history) - n_before
    return key, meta, blob, _digest(key, meta, blob), n_epochs, time.time()


def _read(key: str, meta: Any, blob: Any, digest: Any) -> Trained | None:
    """Return the result in a row; None if it is damaged."""
    try:
        if _digest(key, meta, blob) != digest:
            return None
        values, unordered = decode(json.loads(meta)), safetensors.numpy.load(blob)
        of_state = values["state"]
        of_state["history"] = history_from_columns(of_state["history"])
        arrays = {name: unordered[name] for name in values["names"]}
        predictions = arrays.pop(_PREDICTIONS, None)
        return Trained(
            status="trained",
            state=state_from_arrays(arrays, of_state),
            predictions=predictions,
            message="",
            seconds=float(values["seconds"]),
            engine=values["engine"],
            solo_reason=values["solo_reason"],
            is_loaded=True,
        )
    # SQLite gives another type where the byte that says it was hit.
    except Exception:  # noqa: BLE001 - whatever was written, it is no result
        return None


def _digest(key: str, meta: str, blob: bytes) -> str:
    digest = hashlib.sha256(key.encode())
    digest.update(meta.encode())
    digest.update(blob)
    return digest.hexdigest()


# Seconds between two writes of a fleet, and so the most that is lost, beside the epoch that
# runs.
SECONDS_BETWEEN = 5.0


def unfinished_key(key: str) -> str:
    """Return the key under which a store keeps a fit that has not ended; no fit's key."""
    return key + UNFINISHED


def rest_of(fit: Fit, kept: TrainingState | None) -> Fit:
    """Return the rest of a fit from a state in which it was kept, all of it if None."""
    if kept is None:
        return fit
    before = 0 if fit.state is None else len(fit.state.history)
    n_left = (fit.n_epochs or 1) - (len(kept.history) - before)
    if n_left < 1:
        return fit
    return replace(fit, state=kept, n_epochs=n_left, checkpoint=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnfinishedFits:
    """A place for fits of a shard that have not ended; it goes to a worker with the shard.

    `host` is the machine that has the file; a worker on another one keeps nothing.
    `seconds` are those between two writes.
    """

    path: str
    keys: Mapping[int, str]
    host: str
    seconds: float

    @classmethod
    def of(cls, store: FitStore, keys: Mapping[int, str]) -> "UnfinishedFits":
        """Return the place, which may be pickled, for fits of this machine's store."""
        path, host = str(store.path.absolute()), socket.gethostname()
        return cls(path=path, keys=keys, host=host, seconds=SECONDS_BETWEEN)

    def keep(self, trained: Mapping[int, Trained]) -> None:
        """Write the states of fits, by position and without predictions, over old ones."""
        rows = {
            unfinished_key(self.keys[i]): t for i, t in trained.items() if i in self.keys
        }
        # A fit that another process has ended meanwhile needs no checkpoint.
        ended = {unfinished_key(key): key for key in self.keys.values()}
        if not rows or socket.gethostname() != self.host or not Path(self.path).exists():
            return
        try:
            with FitStore(self.path) as store:
                store.save(rows, unless=ended)
        except StoreError:
            # The process that opened the store warns when the fits have ended.
            return
