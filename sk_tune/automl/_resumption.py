# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The memory of each kind of model, for the rounds and for a later fit."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from pickle import PicklingError
from typing import Any

import joblib

from sk_tune._files import replaced_file, sign
from sk_tune.automl._blend import Trial, best_of
from sk_tune.automl._costs import Cost
from sk_tune.automl._models import Model
from sk_tune.automl._runner import N_KEPT, Runner
from sk_tune.automl._splitting import Split
from sk_tune.exceptions import StoreError, warn_user
from sk_tune.report import SearchPart, data_fingerprint

__all__ = ["Memory", "MemoryFolder", "ModelKind", "RememberedCourse", "fingerprint"]

# Files in the folder: of all that ended, and of networks in training.
_TRIALS, _NETWORKS = "trials.joblib", "{}.networks.db"
# A twentieth of the time at most goes to writing.
_SECONDS_FOR_EACH_OF_WRITING = 20
# Seconds of a search of networks from which on each of them is kept as it ends.
_WORTH_KEEPING = 20.0


@dataclass(slots=True, eq=False)
class ModelKind:
    """A kind of model with what was learnt of it.

    `model` is for `n_rows` samples, on which its candidates are trained in each fold;
    `units` are their epochs or iterations, and `cost` what a candidate takes in all folds,
    None where nothing asks for it. `estimator` and `space` are searched; the diagnosis
    changes them. `seconds_per_epoch` are those of one network of one fold among others, 0
    until measured. `n_done` counts rounds; `pass_begun` are the least and most epochs of
    the pass of Hyperband that runs, which a later fit repeats.
    """

    model: Model
    n_rows: int
    units: int
    cost: Cost | None
    estimator: Any
    space: dict[str, Any]
    seconds_per_epoch: float = 0.0
    n_done: int = 0
    pass_begun: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Memory:
    """The trials and kinds of models that a later fit on the same data resumes from.

    `seed`, `fingerprint`, `scoring` and `split` are those of the earlier fit. `trials` are
    the best of each family, `others` the predictions of the rest; `searches` has what the
    best search of each kind of network tried; `n_done` counts rounds.
    """

    seed: int
    fingerprint: str
    trials: list[Trial]
    others: list[Trial]
    kinds: dict[str, ModelKind]
    n_done: int
    scoring: Any
    split: Split
    searches: dict[str, SearchPart]


def fingerprint(X: Any, y: Any, sample_weight: Any = None) -> str:
    """Return a text that is equal for data of equal values in the same order."""
    parts = [X, y] if sample_weight is None else [X, y, sample_weight]
    return ", ".join(map(data_fingerprint, parts))


class MemoryFolder:
    """A folder in which the memory of a fit is kept while it runs.

    Trials are written between searches; the networks of a search that runs are in a store
    of fits, which goes when its trials are written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._next_write = 0.0

    def load(self) -> Memory | None:
        """Return what is there; None if nothing is.  Raises StoreError if it is damaged."""
        path = self.folder / _TRIALS
        if not path.exists():
            return None
        try:
            memory = joblib.load(path)
        except Exception as error:
            raise StoreError(
                f"{path} must be a file that an AutoML fit wrote. Loading it failed: "
                f"{type(error).__name__}: {error}"
            ) from error
        if not isinstance(memory, Memory):
            raise StoreError(
                f"{path} must be of an AutoML fit. Got a {type(memory).__name__}."
            )
        return memory

    def save(self, memory: Callable[[], Memory], *, always: bool = False) -> None:
        """Write the memory, unless writing would take too much of the time."""
        start = time.monotonic()
        if start < self._next_write and not always:
            return
        known, path = memory(), self.folder / _TRIALS
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with replaced_file(path) as temporary:
                joblib.dump(known, temporary)
                sign(temporary, instead_of=path)
            for name in (k.model.name for k in known.kinds.values() if not k.pass_begun):
                # The file of a model in training stays, with what SQLite has beside it.
                for file in self.folder.glob(f"{self.networks_of(name).name}*"):
                    file.unlink()
        except (OSError, PicklingError, AttributeError, TypeError) as error:
            # Full disks, and scorers that no file can hold.
            warn_user(f"What was found cannot be kept in {self.folder}: {error}.")
            self._next_write = float("inf")
            return
        now = time.monotonic()
        self._next_write = now + _SECONDS_FOR_EACH_OF_WRITING * (now - start)

    def networks_of(self, name: str) -> Path:
        """Return the store for the networks of a model in training."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / _NETWORKS.format(name.replace(" ", "_"))


@dataclass(slots=True, eq=False, kw_only=True)
class RememberedCourse:
    """The findings of a course of trainings so far, and how a later one resumes them.

    `origin` has seed, fingerprint of the data, scoring and split; what was found is kept in
    `folder` between searches; `n_done` counts rounds.
    """

    runner: Runner
    origin: Mapping[str, Any] = field(default_factory=dict)
    folder: MemoryFolder | None = None
    n_done: int = 0
    _kinds: dict[str, ModelKind] = field(default_factory=dict)

    def remember(
        self,
        folder: MemoryFolder | None,
        origin: Mapping[str, Any],
        earlier: Memory | None,
        models: Sequence[Model],
    ) -> None:
        """Keep what is found for a later fit, and take over what an earlier one found.

        Of the earlier one, only what `models` has is taken.
        """
        self.folder, self.origin = folder, origin
        if earlier is not None:
            names = {model.name for model in models}
            self.runner.trials = [t for t in earlier.trials if t.label in names]
            self.runner.searches = dict(earlier.searches)
            self.runner.others = [t for t in earlier.others if t.label in names]
            self.n_done = earlier.n_done
            self._kinds = {n: kind for n, kind in earlier.kinds.items() if n in names}

    def memory(self) -> Memory:
        """Return what a later course on the same data can resume from."""
        trials = self.runner.trials
        labels = dict.fromkeys(trial.label for trial in trials)
        by_label = [[t for t in trials if t.label == label] for label in labels]
        kept = [trial for trials in by_label for trial in best_of(trials, N_KEPT)]
        rest = [replace(trial, models=()) for trial in trials if trial not in kept]
        return Memory(
            trials=kept,
            others=[*self.runner.others, *rest],
            kinds=self._kinds,
            n_done=self.n_done,
            searches=self.runner.searches,
            **self.origin,
        )

    def keep(self, *, always: bool = True) -> None:
        """Write what was found to the folder, if there is one."""
        if self.folder is not None:
            self.folder.save(self.memory, always=always)

    def _begin(self, stage: str) -> None:
        self.keep(always=False)
        self.runner.begin(stage)

    def _store(self, kind: str, seconds: float | None) -> dict[str, Any]:
        """Return what lets a search keep its networks, if it takes long enough."""
        is_long = seconds is None or seconds >= _WORTH_KEEPING
        if self.folder is None or not is_long:
            return {}
        return {"store": self.folder.networks_of(kind)}
