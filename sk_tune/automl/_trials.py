# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What a search leaves behind for an ensemble: trials, and the library they make.

Notation: M trials, N rows that were held out, K classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sk_tune.ensemble import Library, read_library

__all__ = ["Trial", "best_of", "library_of", "trials_of"]

Array = npt.NDArray[Any]

# Of a search, candidates whose models were not kept, and bytes of their predictions.
_MOST_OTHERS, _BYTES_OF_OTHERS = 64, 2**25


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trial:
    """A configuration that was fitted in every fold.

    Parameters
    ----------
    name : str
        Of the family, with a number.
    family : str
        Of the model.
    params : mapping of str to object
        What is not as in the default model.
    score, std : float
        Mean and standard deviation over the folds; greater is better.  The deviation is
        NaN of a single fold.
    fold_scores : ndarray of shape (n_folds,)
        Those of the folds.
    seconds : float
        Of the fits of all folds.
    models : tuple of estimator
        Those of the folds; empty if they were not kept.
    n_rows : int
        That each of them was trained on, at most.
    label : str
        Of the kind of model within the family.
    library : Library
        Of this trial alone: predictions of shape (1, N, ...).
    """

    name: str
    family: str
    params: Mapping[str, Any]
    score: float
    std: float
    fold_scores: Array
    seconds: float
    models: tuple[Any, ...]
    n_rows: int
    label: str
    library: Library

    @property
    def is_network(self) -> bool:
        """Whether its models are networks."""
        return self.family in {"MLP", "CNN", "RNN"}

    @property
    def number(self) -> int:
        """Its place among the trials of the family, by which it is named."""
        return int(self.name.rpartition(" ")[2])


def trials_of(
    search: Any,
    family: str,
    *,
    is_classification: bool,
    n_before: int,
    n_rows: int,
    label: str = "",
) -> list[Trial]:
    """Return the candidates of a search, those whose models were kept first.

    Parameters
    ----------
    search : estimator
        Fitted, with ``keep_models``.
    family : str
        Of the model.
    is_classification : bool
        Whether predictions are probabilities.
    n_before : int
        Largest number of a trial of the family so far, for the names.
    n_rows : int
        That the models were trained on.
    label : str, default=""
        Of the kind of model; the family if empty.

    Returns
    -------
    list of Trial
        Empty if none predicts every held-out row, has a score and was kept.  Of others, by
        which it can be told how much the best were flattered, there are 64 at most, and
        fewer if they have many predictions.
    """
    common: dict[str, Any] = {"is_classification": is_classification, "random_state": 0}
    try:
        kept = read_library(search, needs_models=True, **common).candidates
        library = read_library(search, needs_models=False, **common)
    except ValueError:
        return []
    results = search.cv_results_
    place = {row: k for k, row in enumerate(library.candidates.tolist())}
    rest = sorted(place.keys() - {*kept}, key=lambda row: -results["mean_test_score"][row])
    most = min(_MOST_OTHERS, _BYTES_OF_OTHERS // library.predictions[0].nbytes)
    trials: list[Trial] = []
    for row in [*kept.tolist(), *rest[:most]]:
        score = float(results["mean_test_score"][row])
        if np.isnan(score):
            continue
        models = tuple(search.models_[row]) if row in kept else ()
        own = library.only(place[row])
        n_folds = search.n_splits_
        fold_scores = [results[f"split{k}_test_score"][row] for k in range(n_folds)]
        trials.append(
            Trial(
                name=f"{family} {n_before + len(trials) + 1}",
                family=family,
                params=dict(results["params"][row]),
                score=score,
                std=float(results["std_test_score"][row]) if n_folds > 1 else np.nan,
                fold_scores=np.array(fold_scores, dtype=np.float64),
                seconds=float(results["mean_fit_time"][row]) * n_folds,
                models=models,
                n_rows=n_rows,
                label=label or family,
                # A copy, so that the predictions of all candidates can go.
                library=replace(own, predictions=own.predictions.copy()),
            )
        )
    return trials


def best_of(trials: Sequence[Trial], n: int) -> list[Trial]:
    """Return the at most `n` trials with the highest scores, the best first."""
    return sorted(trials, key=lambda trial: -trial.score)[:n]


def library_of(trials: Sequence[Trial]) -> Library:
    """Return trials on the same folds as what an ensemble is chosen from.

    Candidates are positions in `trials`.
    """
    first = trials[0].library
    return Library(
        candidates=np.arange(len(trials)),
        predictions=np.concatenate([trial.library.predictions for trial in trials]),
        y=first.y,
        part=first.part,
        classes=first.classes,
    )
