# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Searches made of arrays, for checks that read nothing else."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sk_tune import MLPClassifier


@pytest.fixture
def make_search() -> Any:
    """Return what makes something with the attributes of a fitted search."""

    def make(params: list[dict[str, Any]], scores: Any, **rest: Any) -> SimpleNamespace:
        scores = np.asarray(scores, dtype=float)
        results = {"params": params, **rest.pop("results", {})}
        for fold, column in enumerate(scores.T):
            results[f"split{fold}_test_score"] = column
        space = rest.pop("space", None) or {
            name: sorted({p[name] for p in params}) for name in params[0]
        }
        return SimpleNamespace(
            cv_results_=results,
            best_index_=int(np.nan_to_num(scores, nan=-np.inf).mean(axis=1).argmax()),
            n_splits_=scores.shape[1],
            estimator=rest.pop("estimator", MLPClassifier()),
            param_distributions=space,
            **rest,
        )

    return make
