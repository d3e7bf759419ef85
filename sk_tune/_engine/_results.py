# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Results of a call: keys of its fits, and results in a store."""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import sklearn
import skorch
import torch
from torch.utils.data import Dataset

import sk_tune
from sk_tune._engine._digest import array_digest, sha256, value_digest
from sk_tune._engine._fits import Trained, failed
from sk_tune._engine._shard import Shard, part_of
from sk_tune._engine._signature import reason_alone
from sk_tune._engine._store import UNFINISHED, FitStore, UnfinishedFits, remaining_fit
from sk_tune._estimators import (
    Fit,
    LastSeen,
    NetworkEstimator,
    check_parameters,
    device_of,
    resolve_seed,
)
from sk_tune._fleets import arithmetic
from sk_tune._json_values import encode
from sk_tune._text import counted
from sk_tune._training import TrainingState, arrays_of_state, values_of_state
from sk_tune._warnings import warn_user
from sk_tune.exceptions import SkTuneWarning, StoreWarning

# Raised when the same fit gives other numbers, or its result has another form.
_FORMAT = 10
# Parameters that do not affect the trained network of our or skorch's estimators; the seed
# is part of the fit.  A user's derived class may read them.
_IGNORED = frozenset({"random_state", "verbose", "warm_start"})
_KNOWN = ("sk_tune.", "skorch.")
# Ends of the keys of finished and unfinished fits.
_ENDS = ("", UNFINISHED)
# Key of the duration in an epoch's record.
_TIME = "dur"


class FitKeys:
    """Computes the keys of fits for an engine, and reads shared values once."""

    def __init__(self, engine: str = "fleet") -> None:
        self._engine = engine
        # Digests by the object's id; the object is kept alive so that the id is unique.
        self._digests: dict[int, tuple[Any, str]] = {}

    def key(self, fit: Fit) -> str:
        """Return the key of a fit's result in a store, equal in any process.

        The fit has a seed and a number of epochs. TypeError if a part is unreadable.
        """
        parts = [
            _FORMAT,
            self._engine,
            [lib.__version__ for lib in (sk_tune, torch, skorch, sklearn, np)],
            [str(torch.get_default_dtype()), *arithmetic()],
            self._shared(type(fit.estimator)),
            {
                # Candidates share classes, which take longest to read.
                name: self._shared(value) if callable(value) else value_digest(value)
                for name, value in _parameters(fit.estimator)
            },
            [self._shared(part) for part in (fit.X, fit.y, fit.sample_weight)],
            [self._shared(part) for part in (fit.rows, fit.monitor)],
            value_digest(fit.seed),
            value_digest(fit.n_epochs),
            None if fit.state is None else _digest_of_state(fit.state),
        ]
        return sha256(json.dumps(parts))

    def _shared(self, value: Any) -> str:
        if isinstance(value, Dataset):
            raise TypeError(
                f"the samples of {type(value).__name__} are unknown before it is read"
            )
        entry = self._digests.get(id(value))
        if entry is None:
            entry = self._digests[id(value)] = (value, value_digest(value))
        return entry[1]


def _parameters(estimator: Any) -> Iterator[tuple[str, Any]]:
    is_known = type(estimator).__module__.startswith(_KNOWN)
    for name, value in sorted(estimator.get_params(deep=False).items()):
        if name.startswith("_") or (is_known and name in _IGNORED):
            continue
        if name == "class_weight" and isinstance(value, dict):
            yield name, sorted((repr(label), weight) for label, weight in value.items())
        elif name == "device" and isinstance(estimator, NetworkEstimator):
            yield name, device_of(value)
        else:
            yield name, value


def _digest_of_state(state: TrainingState) -> str:
    arrays = arrays_of_state(state)
    # The state's history is part of the result.
    history = [{k: v for k, v in record.items() if k != _TIME} for record in state.history]
    values = {**values_of_state(state), "history": history}
    digests = [[name, array_digest(arrays[name])] for name in sorted(arrays)]
    return sha256(json.dumps([encode(values), digests]))


class StoredFits:
    """Stored results of fits by position, and a place for new results; None disables it."""

    def __init__(
        self, store: FitStore | None, fits: Mapping[int, Fit], maker: FitKeys | None = None
    ) -> None:
        self._store = store
        self.reasons: Counter[str] = Counter()
        self._keys: dict[int, str] = {}
        self._n_before: dict[str, int] = {}
        maker, storable = maker or FitKeys(), fits if store is not None else {}
        for i, fit in storable.items():
            if getattr(fit.estimator, "random_state", 0) is None:
                self.reasons["random_state=None draws a new seed in every run"] += 1
                continue
            try:
                self._keys[i] = key = maker.key(fit)
            except Exception as error:  # noqa: BLE001 - such a fit is trained, not stored
                self.reasons[str(error)] += 1
                continue
            earlier = fit.checkpoint or fit.state
            self._n_before[key] = 0 if earlier is None else len(earlier.history)
        keys = set(self._keys.values())
        results = {} if store is None else store.load(keys)
        self.loaded = {i: results[k] for i, k in self._keys.items() if k in results}

    @property
    def has_store(self) -> bool:
        return self._store is not None

    @property
    def n_processes(self) -> int:
        """Number of processes that use the store now, including this one."""
        return 1 if self._store is None else self._store.claims.n_processes()

    def claim(self, shard: Shard) -> tuple[Shard, Shard, dict[int, Trained]]:
        """Claim the fits of a shard.

        Returns the fits to train, from their stored states on, the fits that other
        processes train, and results that were stored meanwhile.
        """
        keys = {i: self._keys[i] for i in shard.fits if i in self._keys}
        busy, results, place = set[str](), dict[str, Trained](), None
        if self._store is not None:
            busy = self._store.claims.take(set(keys.values()))
            free = {i: key for i, key in keys.items() if key not in busy}
            results = self._store.load({k + end for k in free.values() for end in _ENDS})
            self._store.claims.release(results)
            place = UnfinishedFits(location=self._store.location, keys=free)
        loaded = {i: results[key] for i, key in keys.items() if key in results}
        elsewhere = part_of(shard, {i for i, key in keys.items() if key in busy})
        fits = {}
        for i in shard.fits:
            if i in loaded or i in elsewhere.fits:
                continue
            unfinished = results.get(keys.get(i, "") + UNFINISHED)
            state = shard.fits[i].checkpoint if unfinished is None else unfinished.state
            fits[i] = remaining_fit(shard.fits[i], state)
        mine = replace(part_of(shard, fits), fits=fits, unfinished=place)
        return mine, elsewhere, loaded

    def are_busy(self, shard: Shard) -> bool:
        """Return whether other processes still train all fits of a shard."""
        keys = [self._keys[i] for i in shard.fits]
        return self._store is not None and self._store.claims.are_busy(keys)

    def save(self, trained: Mapping[int, Trained]) -> None:
        """Write the results of claimed fits; a complete shard then counts as trained."""
        if self._store is not None:
            rows = {
                self._keys[i]: t
                for i, t in trained.items()
                if i in self._keys and not t.is_cut
            }
            gone = [key + UNFINISHED for key in rows]
            self._store.save(rows, instead_of=gone, n_before=self._n_before)
            self._store.claims.release(self._keys[i] for i in trained if i in self._keys)


@contextmanager
def stored_fits(
    path: str | os.PathLike[str] | None, fits: Mapping[int, Fit], engine: str = "fleet"
) -> Iterator[StoredFits]:
    """Open a store, or none, for one call; warn about fits that cannot be stored."""
    with nullcontext() if path is None else FitStore(path) as store:
        stored = StoredFits(store, fits, FitKeys(engine))
        warn_of_unstored(stored.reasons)
        yield stored


def warn_of_unstored(reasons: Counter[str]) -> None:
    """Warn about fits that another run cannot load, if there are any."""
    if reasons:
        listed = "; ".join(f"{n} because {why}" for why, n in reasons.most_common())
        warn_user(f"{reasons.total()} fits are not stored: {listed}.", StoreWarning)


class Results:
    """The results so far, and why fits are trained alone, as far as parameters show."""

    def __init__(
        self, tell: Callable[[dict[int, Trained]], object] | None, *, as_fleet: bool
    ) -> None:
        self.trained: dict[int, Trained] = {}
        self.reasons: dict[int, str | None] = {}
        self._tell = tell
        self._as_fleet = as_fleet

    def add(self, trained: Mapping[int, Trained]) -> None:
        """Add results by position, and report them."""
        self.tell(self.take(trained))

    def take(self, trained: Mapping[int, Trained]) -> dict[int, Trained]:
        """Add results; return the new part, with the reasons of fits trained alone."""
        reasons = self.reasons if self._as_fleet else {}
        trained = {
            i: replace(result, alone_reason=result.alone_reason or reasons.get(i) or "")
            for i, result in trained.items()
            if i not in self.trained
        }
        self.trained |= trained
        return trained

    def tell(self, trained: dict[int, Trained]) -> None:
        """Report results by position, if there are any."""
        if trained and self._tell is not None:
            self._tell(trained)


def ready_fits(fits: Mapping[int, Fit], results: Results, engine: str) -> dict[int, Fit]:
    """Return fits with seeds and epochs by position; `results` gets failures."""
    ready: dict[int, Fit] = {}
    restarts = Counter(f.state.restart_reason for f in fits.values() if f.state is not None)
    del restarts[""]
    for why, n in restarts.items():
        warn_user(
            f"{counted(n, 'fit')} trained from the first epoch, because {why}.",
            SkTuneWarning,
        )
    last, reason = LastSeen(), None
    for i, fit in fits.items():
        try:
            alone_reason = reason
            if not isinstance(fit.estimator, NetworkEstimator):
                alone_reason = reason_alone(fit)
            elif not last.is_like(fit.estimator):
                check_parameters(fit.estimator)
                alone_reason = reason = reason_alone(fit)
                last.see(fit.estimator)
            ready[i], results.reasons[i] = _with_numbers(fit), alone_reason
        except Exception as error:  # noqa: BLE001 - every fit has a result
            results.add({i: failed(fit, error, 0.0, engine)})
    return ready


def _with_numbers(fit: Fit) -> Fit:
    """Return a fit with a fixed seed and number of epochs, before it goes to a worker."""
    seed, n_epochs, state = fit.seed, fit.epochs, fit.state
    if state is not None and not isinstance(seed, bytes):
        seed = state.seed
    elif seed is None:
        is_ours = isinstance(fit.estimator, NetworkEstimator)
        # skorch nets draw from torch's global generator, which a user may have seeded.
        drawn = fit.estimator.random_state if is_ours else int(torch.randint(2**31, ()))
        seed = resolve_seed(drawn)
    if state is not None and state.restart_reason:
        n_epochs, state = n_epochs + len(state.history), None
    return replace(fit, seed=seed, n_epochs=n_epochs, state=state)
