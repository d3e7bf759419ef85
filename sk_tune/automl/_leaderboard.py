# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""All models that were tried, as a table."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from sk_tune.automl._choice import Chosen
from sk_tune.automl._trials import Trial

__all__ = ["leaderboard"]


def leaderboard(
    trials: Sequence[Trial], chosen: Chosen, networks: Chosen | None
) -> pd.DataFrame:
    """Return a row for each model and for both ensembles, the best first.

    Index: model. Columns: family; cv_score and cv_std, mean and standard deviation over the
    folds; seconds; in_ensemble; weight; params.
    """
    weights = {
        id(trial): weight
        for trial, weight in zip(chosen.trials, chosen.weights, strict=True)
    }
    rows = [
        {
            "model": trial.name,
            "family": trial.family,
            "cv_score": trial.score,
            "cv_std": trial.std,
            "seconds": trial.seconds,
            "in_ensemble": weights.get(id(trial), 0.0) > 0,
            "weight": weights.get(id(trial), 0.0),
            "params": dict(trial.params),
        }
        for trial in trials
    ]
    for name, own in (("ensemble", chosen), ("ensemble of networks", networks)):
        if own is not None:
            members = [t for t, w in zip(own.trials, own.weights, strict=True) if w > 0]
            rows.append({
                "model": name,
                "family": "ensemble",
                "cv_score": own.worth.score,
                "cv_std": own.worth.std,
                "seconds": sum(trial.seconds for trial in members),
                "in_ensemble": False,
                "weight": np.nan,
                "params": {},
            })
    table = pd.DataFrame(rows).set_index("model")
    return table.sort_values("cv_score", ascending=False, kind="stable")
