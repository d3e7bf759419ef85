# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What a store has of the fits of one call, and what it takes of them."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from sk_tune.engine._fit_key import FitKeys
from sk_tune.engine._records import Fit, Trained
from sk_tune.engine._store import FitStore
from sk_tune.exceptions import warn_user

__all__ = ["StoredFits", "stored_fits"]


class StoredFits:
    """Results that are there already, and a place for the others.

    Parameters
    ----------
    store : FitStore or None
        None keeps nothing.
    fits : mapping of int to Fit
        With seeds and epochs, by position.
    engine : {"fleet", "reference"}, default="fleet"
        Which trains them.

    Attributes
    ----------
    loaded : dict of int to Trained
        By position.
    """

    def __init__(
        self, store: FitStore | None, fits: Mapping[int, Fit], engine: str = "fleet"
    ) -> None:
        self._store = store
        self._keys = {} if store is None else _keys(fits, engine)
        found = {} if store is None else store.load(set(self._keys.values()))
        self.loaded = {i: found[key] for i, key in self._keys.items() if key in found}

    @property
    def is_kept(self) -> bool:
        """Whether there is a store."""
        return self._store is not None

    def save(self, trained: Mapping[int, Trained]) -> None:
        """Write results.

        Parameters
        ----------
        trained : mapping of int to Trained
            By position; best of a whole shard, which is then trained anew or not at all.
        """
        if self._store is not None:
            self._store.save({
                self._keys[i]: result for i, result in trained.items() if i in self._keys
            })


@contextmanager
def stored_fits(
    path: str | os.PathLike[str] | None, fits: Mapping[int, Fit], engine: str = "fleet"
) -> Iterator[StoredFits]:
    """Open a store for the fits of one call.

    Parameters
    ----------
    path : str, path-like or None
        Of the store; None for none.
    fits : mapping of int to Fit
        With seeds and epochs, by position.
    engine : {"fleet", "reference"}, default="fleet"
        Which trains them.

    Yields
    ------
    StoredFits
        Of these fits.

    Warns
    -----
    SkTuneWarning
        If fits cannot be found again in another run.
    """
    if path is None:
        yield StoredFits(None, fits)
        return
    with FitStore(path) as store:
        yield StoredFits(store, fits, engine)


def _keys(fits: Mapping[int, Fit], engine: str) -> dict[int, str]:
    keys, reasons = {}, Counter[str]()
    maker = FitKeys(engine)
    for i, fit in fits.items():
        if getattr(fit.estimator, "random_state", 0) is None:
            reasons["random_state=None draws another seed in every run"] += 1
            continue
        try:
            keys[i] = maker.key(fit)
        except Exception as error:  # noqa: BLE001 - such a fit is trained as without a store
            reasons[str(error)] += 1
    if reasons:
        listed = "; ".join(f"{n} because {why}" for why, n in reasons.most_common())
        warn_user(f"{reasons.total()} fits are not stored: {listed}.")
    return keys
