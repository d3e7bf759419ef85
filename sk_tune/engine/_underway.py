# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Where fits stand that have not ended, kept so that a kill costs seconds, not a shard."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from sk_tune.engine._records import Fit, Trained
from sk_tune.engine._store import UNDERWAY, FitStore
from sk_tune.exceptions import StoreError
from sk_tune.training import TrainingState

__all__ = ["SECONDS_BETWEEN", "Underway", "going_on", "underway_key"]

# Between two writes of a fleet: what is lost at most, beside the epoch that runs.
SECONDS_BETWEEN = 5.0


def underway_key(key: str) -> str:
    """Return the key under which a store keeps a fit that has not ended; no fit's key."""
    return key + UNDERWAY


def going_on(fit: Fit, kept: TrainingState | None) -> Fit:
    """Return the rest of a fit from a state in which it was kept.

    The whole if that is None.
    """
    if kept is None:
        return fit
    before = 0 if fit.state is None else len(fit.state.history)
    n_left = (fit.n_epochs or 1) - (len(kept.history) - before)
    if n_left < 1:
        return fit
    return replace(fit, state=kept, n_epochs=n_left, checkpoint=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Underway:
    """A place for fits of a shard that have not ended; it goes to a worker with the shard.

    `host` is the machine that has the file; a worker on another one keeps nothing.
    `seconds` are those between two writes.
    """

    path: str
    keys: Mapping[int, str]
    host: str
    seconds: float

    @classmethod
    def of(cls, store: FitStore, keys: Mapping[int, str]) -> "Underway":
        """Return the place, which may be pickled, for fits of this machine's store."""
        path = str(Path(store.path).absolute())
        host = socket.gethostname()
        return cls(path=path, keys=keys, host=host, seconds=SECONDS_BETWEEN)

    def keep(self, trained: Mapping[int, Trained]) -> None:
        """Write the states of fits, by position and without predictions, over old ones."""
        rows = {underway_key(self.keys[i]): t for i, t in trained.items() if i in self.keys}
        # Of a process that others have overtaken, nothing stays behind.
        ended = {underway_key(key): key for key in self.keys.values()}
        if not rows or socket.gethostname() != self.host or not Path(self.path).exists():
            return
        try:
            with FitStore(self.path) as store:
                store.save(rows, unless=ended)
        except StoreError:
            # Who opened the store says so when the fits have ended.
            return
