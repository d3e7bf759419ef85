# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The table of all models, and the best of them for their time and size."""

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from sk_tune._automl._blend import Trial
from sk_tune._automl._chosen import LARGER, Chosen
from sk_tune._search import is_beaten
from sk_tune._types import Array

# Columns by which models are compared.
FRONT = ["cv_score", "predict_ms", "megabytes"]


def leaderboard(
    trials: Sequence[Trial],
    chosen: Chosen,
    networks: Chosen | None,
    singles: Collection[str] = (),
) -> pd.DataFrame:
    """Return a table of all models and ensembles, the best first.

    `singles` are names of trials that predict by one model instead of one for each fold. If
    all members of the ensemble do, so would further members of a larger ensemble.
    """
    weights = dict(zip(map(id, chosen.trials), chosen.weights, strict=True))
    rows = [
        (t.name, t.family, t.score, t.std, t.seconds, weights.get(id(t), 0.0), {**t.params})
        for t in trials
    ]
    larger = None
    if chosen.larger is not None:
        scores = {"ensemble": chosen.scores[LARGER]}
        larger = replace(chosen, weights=chosen.larger, scores=scores)
    ensembles = {"ensemble": chosen, LARGER: larger, "ensemble of networks": networks}
    for name, ensemble in ensembles.items():
        if ensemble is not None:
            seconds = sum(t.seconds for t in _weighted(ensemble.trials, ensemble.weights))
            score = ensemble.scores["ensemble"]
            rows.append((name, "ensemble", score.score, score.std, seconds, np.nan, {}))
    names = ["model", "family", "cv_score", "cv_std", "seconds", "weight", "params"]
    table = pd.DataFrame(rows, columns=names).set_index("model")
    table.insert(names.index("weight") - 1, "in_ensemble", table["weight"] > 0)
    n_models = {t.name: 1 if t.name in singles else max(len(t.models), 1) for t in trials}
    are_singles = all(t.name in singles for t in _weighted(chosen.trials, chosen.weights))
    n_of_larger = dict.fromkeys(n_models, 1) if are_singles else n_models
    parts = {"ensemble": (chosen.weights, n_models), LARGER: (chosen.larger, n_of_larger)}
    of_models = {"megabytes": chosen.megabytes, "predict_ms": chosen.ms}
    for column, costs in of_models.items():
        values = {name: costs.get(name, np.nan) * n for name, n in n_models.items()}
        for name, (part, counts) in parts.items():
            if part is not None:
                names_of_part = [t.name for t in _weighted(chosen.trials, part)]
                values[name] = sum(costs.get(n, np.nan) * counts[n] for n in names_of_part)
                if column == "predict_ms":
                    values[name] /= chosen.speedup.get(name, 1.0)
        table.insert(names.index("seconds"), column, pd.Series(values))
    return table.sort_values("cv_score", ascending=False, kind="stable")


def pareto_front(board: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a leaderboard that no row beats in score, time and size."""
    timed = board.dropna(subset=FRONT)
    values = timed[FRONT].to_numpy() * [1.0, -1.0, -1.0]
    return timed[~is_beaten(values)].sort_values("predict_ms", kind="stable")


def _weighted(trials: Sequence[Trial], weights: Array) -> list[Trial]:
    """Return the trials that have a weight."""
    return [trial for trial, w in zip(trials, weights, strict=True) if w > 0]
