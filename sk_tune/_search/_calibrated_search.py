# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Intervals and sets of labels from the out-of-fold predictions of a search.

The best of many candidates has smaller errors on the samples that chose it than on new
samples.  Therefore the candidate that is best on all other folds predicts each fold.
"""

from functools import cached_property
from typing import Any

import numpy as np
from sklearn.base import is_classifier, is_regressor
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from sk_tune._compat import num_samples
from sk_tune._conformal import Calibration, PredictsIntervals, PredictsSets, calibrate
from sk_tune._search._choice import rows_without_folds, top_rows
from sk_tune._search._outcomes import FoldOutcome, hold, out_of_fold_predictions
from sk_tune._search_record import deciding_metric, fold_of_samples
from sk_tune._types import Array


class CalibratedSearch(PredictsIntervals, PredictsSets):
    """A search that predicts intervals of regressors, or sets of labels of classifiers."""

    predict_interval = available_if(is_regressor)(PredictsIntervals.predict_interval)
    predict_set = available_if(is_classifier)(PredictsSets.predict_set)

    def _rows_by_fold(self: Any) -> tuple[int, ...]:
        """Return for each fold the candidate chosen without it; empty without a choice."""
        if "best_index_" not in vars(self):
            return ()
        name = deciding_metric(self)
        rows = [
            row
            for row in top_rows(self.cv_results_, name, self._level)
            if all(o.held and o.held.values is not None for o in self._outcomes[row])
        ]
        return rows_without_folds(self.cv_results_, name, self.best_index_, rows)

    @cached_property
    def _calibration(self: Any) -> Calibration | None:
        """The calibration of the best candidate; None if it cannot be calibrated.

        Cached, because each call of a prediction method needs it.
        """
        check_is_fitted(self, "_outcomes")
        labels, rows = self._labels(), self._rows_by_fold()
        is_classification = is_classifier(self)
        if self._y is None or not rows or (is_classification and labels is None):
            return None
        outcomes = [self._outcomes[row][fold] for fold, row in enumerate(rows)]
        predictions = out_of_fold_predictions(
            [outcomes], self._n_rows, labels, averaged=False
        )[0]
        of_folds = [outcome.held for outcome in outcomes if outcome.held is not None]
        if is_classification and any(h.is_of_predict for h in of_folds):
            # Labels instead of probabilities do not show how sure the classifier is.
            return None
        held_out = [None if o.held is None else o.held.rows for o in outcomes]
        return calibrate(
            np.searchsorted(labels, self._y) if is_classification else self._y,
            predictions,
            fold_of_samples(held_out, self._n_rows),
            is_classification=is_classification,
            by_fold=None not in self._models_by_fold(),
        )

    def _models_by_fold(self: Any) -> list[Any]:
        """Return each fold's model of the candidate chosen without it; None if not kept."""
        models = getattr(self, "models_", {})
        pairs = enumerate(self._rows_by_fold())
        return [models[row][fold] if row in models else None for fold, row in pairs]

    def _predictions_of_models(self: Any, X: Any) -> Array:
        n_models = 1 if self._calibration is None else self._calibration.n_models
        if n_models == 1:
            predict = self.predict_proba if is_classifier(self) else self.predict
            return np.asarray(predict(X))[np.newaxis]
        rows = np.arange(num_samples(X))
        models = self._models_by_fold()[:n_models]
        outcomes = [[FoldOutcome(held=hold(model, X, rows))] for model in models]
        return out_of_fold_predictions(outcomes, len(rows), self._labels())
