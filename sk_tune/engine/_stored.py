# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What a store has of the fits of one call, and what it takes of them."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from sk_tune.engine._fit_key import FitKeys
from sk_tune.engine._records import Fit, Trained
from sk_tune.engine._shard import Shard
from sk_tune.engine._store import FitStore
from sk_tune.engine._underway import Underway, going_on, underway_key
from sk_tune.exceptions import warn_user

__all__ = ["StoredFits", "stored_fits", "warn_of_unstored"]


class StoredFits:
    """Results that are there already, and a place for the others; None keeps nothing.

    `loaded` are by position, as is `underway`, the states of fits that have not ended.
    `reasons` counts why fits cannot be stored.
    """

    def __init__(
        self, store: FitStore | None, fits: Mapping[int, Fit], maker: FitKeys | None = None
    ) -> None:
        self._store = store
        self.reasons: Counter[str] = Counter()
        if store is None:
            self._keys: dict[int, str] = {}
        else:
            self._keys = self._make_keys(fits, maker or FitKeys())
        self.loaded = self._found(self._keys)
        self.underway = self._found({
            i: underway_key(key) for i, key in self._keys.items() if i not in self.loaded
        })

    def _found(self, keys: Mapping[int, str]) -> dict[int, Trained]:
        found = {} if self._store is None else self._store.load(set(keys.values()))
        return {i: found[key] for i, key in keys.items() if key in found}

    def _make_keys(self, fits: Mapping[int, Fit], maker: FitKeys) -> dict[int, str]:
        keys = {}
        for i, fit in fits.items():
            if getattr(fit.estimator, "random_state", 0) is None:
                self.reasons["random_state=None draws another seed in every run"] += 1
                continue
            try:
                keys[i] = maker.key(fit)
            except Exception as error:  # noqa: BLE001 - such a fit is trained all the same
                self.reasons[str(error)] += 1
        return keys

    @property
    def is_kept(self) -> bool:
        """Whether there is a store."""
        return self._store is not None

    def rest(self, shard: Shard) -> Shard:
        """Return what is left of a shard, without what is loaded.

        The others are resumed from where they were, here or according to their checkpoints,
        and are kept while they train.
        """
        left = shard.without(self.loaded)
        states = {i: kept.state for i, kept in self.underway.items()}
        fits = {
            i: going_on(fit, states.get(i) or fit.checkpoint)
            for i, fit in left.fits.items()
        }
        place = None
        if self._store is not None:
            keys = {i: self._keys[i] for i in fits if i in self._keys}
            place = Underway.of(self._store, keys)
        return replace(left, fits=fits, underway=place)

    def save(self, trained: Mapping[int, Trained]) -> None:
        """Write results by position.

        Best of a whole shard, which then counts as trained.
        """
        if self._store is not None:
            rows = {
                self._keys[i]: t
                for i, t in trained.items()
                if i in self._keys and not t.is_cut
            }
            self._store.save(rows, instead_of=map(underway_key, rows))


@contextmanager
def stored_fits(
    path: str | os.PathLike[str] | None, fits: Mapping[int, Fit], engine: str = "fleet"
) -> Iterator[StoredFits]:
    """Open a store, or none, for the fits of one call; they have seeds and epochs.

    Warns if fits cannot be found again in another run.
    """
    if path is None:
        yield StoredFits(None, fits)
        return
    with FitStore(path) as store:
        stored = StoredFits(store, fits, FitKeys(engine))
        warn_of_unstored(stored.reasons)
        yield stored


def warn_of_unstored(reasons: Counter[str]) -> None:
    """Warn of fits that cannot be found again in another run, if there are any."""
    if reasons:
        listed = "; ".join(f"{n} because {why}" for why, n in reasons.most_common())
        warn_user(f"{reasons.total()} fits are not stored: {listed}.")
