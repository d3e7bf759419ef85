# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Results of fits in a database, from which an interrupted run continues.

A row holds the result of one fit under the fit's key: compressed JSON, arrays in the
safetensors format, and a digest of both.  Code in the database is never executed.  A row
that does not match its digest counts as missing.
"""

import hashlib
import json
import os
import socket
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import safetensors.numpy

from sk_tune._engine._claims import MOST_KEYS, Claims
from sk_tune._engine._database import SCHEMA_VERSION, cannot, is_url, open_database
from sk_tune._engine._fits import Trained
from sk_tune._estimators import Fit
from sk_tune._json_values import decode, encode
from sk_tune._training import (
    TrainingState,
    arrays_of_state,
    state_from_arrays,
    values_of_state,
)
from sk_tune._warnings import warn_user
from sk_tune.exceptions import StoreError, StoreWarning

# No key is equal to NULL.
_INSERT = (
    "INSERT INTO fits SELECT ?, ?, ?, ?, ?, ? "
    "WHERE NOT EXISTS (SELECT 1 FROM fits WHERE key = ?) "
    "ON CONFLICT (key) DO UPDATE SET meta = excluded.meta, arrays = excluded.arrays, "
    "digest = excluded.digest, n_epochs = excluded.n_epochs, used = excluded.used"
)
_DELETE = "DELETE FROM fits WHERE key = ?"
_PREDICTIONS = "predictions"
# Most bytes of JSON in a row, which may come from a stranger.
_MOST_JSON = 2**28
# End of the key of an unfinished fit, which no finished fit has.
UNFINISHED = " underway"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreInfo:
    """Contents of a store.

    Parameters
    ----------
    path : str
        Path of the file, or URL of the database without its password.
    schema_version : int
        Version of the tables.
    n_fits : int
        Number of finished fits.
    n_epochs : int
        Total epochs of these fits.
    n_bytes : int
        Size of the file, or of the tables.
    """

    path: str
    schema_version: int
    n_fits: int
    n_epochs: int
    n_bytes: int


class FitStore:
    """Results of fits in a database that several processes may use at once.

    Parameters
    ----------
    path : str or path-like
        File, created if missing, or the URL of a PostgreSQL database,
        ``"postgresql://user@host/database"``, which needs the extra ``postgresql``.

    Raises
    ------
    StoreError
        If the file is not a store, belongs to a newer sk_tune, or cannot be written; if the
        database cannot be reached, or its user cannot create a schema there.

    Notes
    -----
    A file uses SQLite's write-ahead mode, and each result is on disk when :meth:`save`
    returns.  That mode needs memory shared by all processes, so on a network file system,
    as far as Linux identifies it, the file has a rollback journal instead; file locks have
    to work there.  In PostgreSQL the tables are in the schema ``sk_tune_1``.

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
        self._has_warned = False
        self._database = open_database(path)
        self.location, self.name = self._database.location, self._database.name
        self.claims = Claims(self._database)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database."""
        self.claims.close()
        self._database.close()

    def load(self, keys: Iterable[str]) -> dict[str, Trained]:
        """Return the stored results by key, without damaged ones, which raise a warning."""
        requested, results, damaged = list(keys), {}, 0
        for start in range(0, len(requested), MOST_KEYS):
            for key, *row in self._rows(requested[start : start + MOST_KEYS]):
                trained = _read(key, *row)
                if trained is None:
                    damaged += 1
                else:
                    results[key] = trained
        if damaged:
            self._warn(f"{damaged} fits in it are damaged, and are trained again")
        try:
            if results:
                used = [(time.time(), key) for key in _in_order(results)]
                with self._database.transaction():
                    self._database.execute("UPDATE fits SET used = ? WHERE key = ?", used)
        except self._database.errors as error:
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
        for key in _in_order(trained):
            result = trained[key]
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
            with self._database.transaction():
                ended = unless or {}
                self._database.execute(_INSERT, [(*r, ended.get(r[0])) for r in rows])
                self._database.execute(_DELETE, [(key,) for key in _in_order(instead_of)])
        except self._database.errors as error:
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
        with self._reading():
            ((n_fits, n_epochs),) = self._database.query(query, (f"%{UNFINISHED}",))
            return StoreInfo(
                path=self.name,
                schema_version=SCHEMA_VERSION,
                n_fits=n_fits,
                n_epochs=n_epochs,
                n_bytes=self._database.n_bytes(),
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
        with self._reading():
            self._database.check()
            keys = [key for (key,) in self._database.query("SELECT key FROM fits")]
            parts = (keys[k : k + MOST_KEYS] for k in range(0, len(keys), MOST_KEYS))
            rows = (row for part in parts for row in self._query(part))
            return [key for key, *row in rows if _read(key, *row) is None]

    def vacuum(self, max_bytes: float | None = None) -> int:
        """Remove damaged and least recently used results, and free the space.

        Parameters
        ----------
        max_bytes : float or None, default=None
            Maximum bytes of arrays and descriptions to keep; all if None.

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
        with self._reading():
            sizes = self._database.query(
                "SELECT key, length(arrays) + length(meta) FROM fits ORDER BY used DESC"
            )
        total = 0
        for key, size in sizes:
            if key not in gone:
                total += size
                if max_bytes is not None and total > max_bytes:
                    gone.append(key)
        try:
            with self._database.transaction():
                self._database.execute(_DELETE, [(key,) for key in _in_order(gone)])
            self._database.compact()
        except self._database.errors as error:
            raise StoreError(cannot("written", self._database, error)) from error
        return len(gone)

    def _rows(self, keys: list[str]) -> list[tuple[Any, ...]]:
        """Return the rows of some keys; for a damaged file, all readable rows."""
        try:
            return self._query(keys)
        except self._database.errors as error:
            if len(keys) == 1:
                self._warn(f"it cannot be read everywhere: {error}")
                return []
        return [row for key in keys for row in self._rows([key])]

    def _query(self, keys: list[str]) -> list[tuple[Any, ...]]:
        marks = ", ".join("?" * len(keys))
        query = f"SELECT key, meta, arrays, digest FROM fits WHERE key IN ({marks})"
        return self._database.query(query, keys)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except self._database.errors as error:
            raise StoreError(cannot("read", self._database, error)) from error

    def _warn(self, what: str) -> None:
        # Only once, because a fault of the file concerns each of its fits.
        if not self._has_warned:
            self._has_warned = True
            warn_user(f"Store {self.name}: {what}.", StoreWarning)


def _in_order(keys: Iterable[str]) -> list[str]:
    """Return keys in the order in which all processes write them, against deadlocks."""
    return sorted(keys, key=lambda key: (key.endswith(UNFINISHED), key))


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
    """Store for unfinished fits of a shard; a file only for workers on its `host`."""

    location: str
    keys: Mapping[int, str]
    host: str = field(default_factory=socket.gethostname)
    seconds: float = field(default_factory=lambda: SECONDS_BETWEEN)

    def keep(self, trained: Mapping[int, Trained]) -> None:
        """Overwrite the states of fits, by position and without predictions."""
        rows = {self.keys[i] + UNFINISHED: t for i, t in trained.items() if i in self.keys}
        # A fit that another process has finished needs no checkpoint.
        ended = {key + UNFINISHED: key for key in self.keys.values()}
        has_file = socket.gethostname() == self.host and Path(self.location).exists()
        if not rows or not (is_url(self.location) or has_file):
            return
        try:
            with FitStore(self.location) as store:
                store.save(rows, unless=ended)
        except StoreError:
            # The process that opened the store warns when the fits have ended.
            return
