# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Boosting that stops at the time limit of ``fits_within``.

It comes from scikit-learn, and from LightGBM, XGBoost and CatBoost if installed: one
estimator with common parameter names wraps the scikit-learn estimators of these packages.
"""

import math
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import field
from importlib import import_module
from importlib.util import find_spec
from typing import Any, ClassVar, Self

import numpy as np
from scipy.stats import loguniform, uniform
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    RegressorMixin,
    clone,
    is_classifier,
)
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline

from sk_tune._automl._resources import end_of_fit, fits_within, n_threads
from sk_tune._declaration import parameters
from sk_tune._epochs import stops_early
from sk_tune._estimators import NetworkEstimator
from sk_tune._splits import take
from sk_tune._types import Array

# Iterations of the first part, and growth of the iterations with each further part.
_FIRST, _ITERATIONS_GROWTH = 10, 1.6


class _Timed:
    """Fits in parts if there is a time limit, else like scikit-learn."""

    # Name of the parameter that limits the iterations.
    resource = "max_iter"
    early_stopping: bool
    max_iter: int
    warm_start: bool
    n_iter_: int
    validation_score_: Array

    def n_best(self) -> int:
        """Return the number of iterations, with early stopping that of the best score."""
        if not self.early_stopping:
            return self.n_iter_
        return int(np.argmax(self.validation_score_))

    def n_used(self) -> int:
        """Return the number of iterations with which the model predicts: all of them."""
        return self.n_iter_

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit, with fewer iterations than `max_iter` if the time limit requires it."""
        start, end = time.monotonic(), end_of_fit()
        if math.isinf(end):
            return super().fit(X, y, sample_weight)  # type: ignore[misc,no-any-return]
        params = self.max_iter, self.warm_start
        try:
            self.max_iter = min(_FIRST, params[0])
            while True:
                super().fit(X, y, sample_weight)  # type: ignore[misc]
                done, now = self.max_iter, time.monotonic()
                more = min(int(_ITERATIONS_GROWTH * done), params[0])
                # Iterations of the next part take about as long as earlier iterations.
                expected = (now - start) * (more - done) / done
                if self.n_iter_ < done or more == done or now + expected > end:
                    return self
                self.warm_start, self.max_iter = True, more
        finally:
            self.max_iter, self.warm_start = params


# Iterations of a refit, as a multiple of the folds' median: it has more rows, because fold
# models train on four fifths, and with early stopping on nine tenths of these.
_MORE_ITERATIONS = 1.2


def unfitted(models: Sequence[Any]) -> Any:
    """Return an unfitted copy of fold models, with their median of iterations or epochs.

    A time limit may have ended their fits early, and more iterations, which no fold has
    scored, may overfit.  Boosting that stopped early trains on its validation rows, too,
    and longer.  Networks that stop early do so again.
    """
    model = clone(models[0])
    steps = _last_steps(models)
    if fitted := _boosting_of(models):
        resource = f"boosting__{steps[0].resource}"
        n_iterations = _iterations_of_refit(fitted)
        model.set_params(boosting__early_stopping=False, **{resource: n_iterations})
    if steps and not any(map(_may_train_longer, steps)):
        n_epochs = int(np.median([len(step.net_.history_) for step in steps]))
        model[-1].set_params(max_epochs=n_epochs)
    return model


def model_and_refit_ratio(models: Sequence[Any]) -> tuple[Any, float]:
    """Return the fold model with the most iterations, and the ratio of the refit's to them.

    Models other than boosting have the ratio 1.
    """
    fitted = _boosting_of(models)
    if not fitted:
        return models[0], 1.0
    by_model = np.reshape([one.n_used() for one in fitted], (len(models), -1))
    n_used = by_model.mean(axis=1)
    most = int(n_used.argmax())
    return models[most], _iterations_of_refit(fitted) / max(n_used[most], 1.0)


def _boosting_of(models: Sequence[Any]) -> list[Any]:
    """Return the fitted boosting of fold models, one for each target; [] of others."""
    steps = _last_steps(models)
    if not all(isinstance(step, _Timed | _PackagedBoosting) for step in steps):
        return []
    return [one for step in steps for one in getattr(step, "targets_", [step])]


def _last_steps(models: Sequence[Any]) -> list[Any]:
    return [model[-1] for model in models if isinstance(model, Pipeline)]


def _iterations_of_refit(fitted: Sequence[Any]) -> int:
    """Return the folds' median of iterations, increased if they stopped early."""
    n_iterations = float(np.median([one.n_best() for one in fitted]))
    if fitted[0].early_stopping:
        n_iterations *= _MORE_ITERATIONS
    return max(round(n_iterations), 1)


def _may_train_longer(step: Any) -> bool:
    """Return whether a step is not a network, or keeps its best epoch."""
    return not isinstance(step, NetworkEstimator) or stops_early(step, sys.maxsize)


class TimedBoostingClassifier(_Timed, HistGradientBoostingClassifier):  # type: ignore[misc]
    """scikit-learn's classifier, with a time limit inside ``fits_within``."""


class TimedBoostingRegressor(_Timed, HistGradientBoostingRegressor):  # type: ignore[misc]
    """scikit-learn's regressor, timed by ``fits_within``, one model for each target."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit; several targets share the time equally."""
        if np.ndim(y) == 1:
            return super().fit(X, y, sample_weight)
        columns, end = np.asarray(y).T, end_of_fit()
        with fits_within((end - time.monotonic()) / len(columns), end):
            self.targets_ = [clone(self).fit(X, one, sample_weight) for one in columns]
        self.n_features_in_ = self.targets_[0].n_features_in_
        return self

    def predict(self, X: Any) -> Array:
        """Return numbers, (n_samples,) or (n_samples, n_targets)."""
        if not hasattr(self, "targets_"):
            predicted: Array = super().predict(X)
            return predicted
        return np.stack([model.predict(X) for model in self.targets_], axis=1)


# Package names for users, by module.
PACKAGES = {"lightgbm": "LightGBM", "xgboost": "XGBoost", "catboost": "CatBoost"}
# Names of losses by package; other losses are not available.
OBJECTIVES = {
    "lightgbm": {
        "squared_error": "l2", "absolute_error": "l1", "poisson": "poisson",
        "gamma": "gamma",
    },
    "xgboost": {
        "squared_error": "reg:squarederror", "absolute_error": "reg:absoluteerror",
        "poisson": "count:poisson", "gamma": "reg:gamma",
    },
    "catboost": {"squared_error": "RMSE", "absolute_error": "MAE", "poisson": "Poisson"},
}  # fmt: skip
SPACE: dict[str, Any] = {
    "learning_rate": loguniform(0.02, 0.3),
    "max_leaves": [4, 8, 16, 32, 64],
    "min_samples_leaf": [2, 5, 10, 20, 50],
    "l2": loguniform(1e-3, 30.0),
    "share_of_rows": uniform(0.5, 0.5),
    "share_of_columns": uniform(0.3, 0.7),
}
# Least iterations of a late fit, and iterations without gain after which a fit ends.
_FEWEST, _PATIENCE = 10, 100
_VALIDATION_SHARE = 0.1


def installed_packages(loss: str) -> list[str]:
    """Return the names of the modules of installed packages that have a loss."""
    return [n for n in PACKAGES if loss in OBJECTIVES[n] and find_spec(n) is not None]


@parameters
class _PackagedBoosting(BaseEstimator):  # type: ignore[misc]
    """Gradient boosting of another package.

    With `early_stopping`, a held-out tenth of the samples decides the number of trees. The
    package gets classes as numbers; `loss` is for regression.
    """

    # Name of the parameter that limits the trees.
    resource: ClassVar[str] = "n_estimators"
    package: str = field(default="lightgbm", kw_only=False)
    n_estimators: int = 500
    learning_rate: float = 0.1
    max_leaves: int = 32
    min_samples_leaf: int = 20
    l2: float = 1.0
    share_of_rows: float = 1.0
    share_of_columns: float = 1.0
    loss: str = "squared_error"
    early_stopping: bool = True
    random_state: int = 0

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit, with fewer trees than `n_estimators` if the time limit requires it."""
        X, y, self.n_features_in_ = _renamed(X), np.asarray(y), X.shape[1]
        if is_classifier(self):
            self.classes_, y = np.unique(y, return_inverse=True)
        rows, held_out = np.arange(len(y)), None
        if self.early_stopping:
            rows, held_out = train_test_split(
                rows,
                test_size=_VALIDATION_SHARE,
                random_state=self.random_state,
                stratify=y if is_classifier(self) else None,
            )
        model, options = _MAKERS[self.package](self, X, _is_late())
        if held_out is not None:
            options["eval_set"] = [(take(X, held_out), y[held_out])]
        weight = None if sample_weight is None else np.asarray(sample_weight)[rows]
        if self.package == "xgboost" and self.loss in {"poisson", "gamma"}:
            # Otherwise XGBoost 2.1 starts far above the mean.
            model.set_params(base_score=float(np.average(y[rows], weights=weight)))
        try:
            with warnings.catch_warnings(action="ignore"):
                model.fit(take(X, rows), y[rows], sample_weight=weight, **options)
        except Exception as error:
            # Each package has exceptions of its own.
            raise ValueError(f"{PACKAGES[self.package]} failed: {error}") from error
        if "callbacks" in model.get_params():
            # Callbacks cannot be pickled.
            model.set_params(callbacks=None)
        self.model_ = model
        return self

    def n_best(self) -> int:
        """Return the number of trees of each class with which the model predicts."""
        return int(_N_TREES[self.package](self.model_))

    n_used = n_best


class PackagedClassifier(ClassifierMixin, _PackagedBoosting):  # type: ignore[misc]
    """A classifier of another package."""

    def predict_proba(self, X: Any) -> Array:
        """Return probabilities in the order of ``classes_``."""
        return np.asarray(self.model_.predict_proba(_renamed(X)), dtype=np.float64)

    def predict(self, X: Any) -> Array:
        """Return the most probable labels."""
        labels: Array = self.classes_[self.predict_proba(X).argmax(axis=1)]
        return labels


class PackagedRegressor(RegressorMixin, _PackagedBoosting):  # type: ignore[misc]
    """A regressor of another package."""

    def predict(self, X: Any) -> Array:
        """Return numbers, (n_samples,)."""
        return np.asarray(self.model_.predict(_renamed(X)), dtype=np.float64)


def _renamed(X: Any) -> Any:
    """Return X with numbered columns: packages refuse brackets and commas in names."""
    names = [f"x{k}" for k in range(X.shape[1])]
    return X.set_axis(names, axis=1) if hasattr(X, "set_axis") else X


def _is_late() -> Callable[[int], bool]:
    """Return a test of whether a fit that begins now must end after an iteration."""
    end = end_of_fit()
    return lambda iteration: iteration >= _FEWEST and time.monotonic() > end


def _objective(own: _PackagedBoosting, name: str) -> dict[str, str]:
    return {} if is_classifier(own) else {name: OBJECTIVES[own.package][own.loss]}


def _kind(model: _PackagedBoosting) -> str:
    return "Classifier" if is_classifier(model) else "Regressor"


def _lightgbm(
    own: _PackagedBoosting, X: Any, is_late: Callable[[int], bool]
) -> tuple[Any, dict[str, Any]]:
    package = import_module("lightgbm")

    def stop(env: Any) -> None:
        if is_late(env.iteration + 1):
            scores = env.evaluation_result_list or []
            raise package.callback.EarlyStopException(env.iteration, scores)

    callbacks = [stop]
    if own.early_stopping:
        callbacks.append(package.early_stopping(_PATIENCE, verbose=False))
    model = getattr(package, f"LGBM{_kind(own)}")(
        n_estimators=own.n_estimators,
        learning_rate=own.learning_rate,
        num_leaves=own.max_leaves,
        min_child_samples=own.min_samples_leaf,
        reg_lambda=own.l2,
        subsample=own.share_of_rows,
        subsample_freq=1,
        colsample_bytree=own.share_of_columns,
        random_state=own.random_state,
        n_jobs=n_threads(X.size),
        verbose=-1,
        **_objective(own, "objective"),
    )
    return model, {"callbacks": callbacks}


def _xgboost(
    own: _PackagedBoosting, X: Any, is_late: Callable[[int], bool]
) -> tuple[Any, dict[str, Any]]:
    package = import_module("xgboost")

    class Stop(package.callback.TrainingCallback):  # type: ignore[misc,name-defined]
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            return is_late(epoch + 1)

    callbacks = [Stop()]
    if own.early_stopping:
        callbacks.append(package.callback.EarlyStopping(rounds=_PATIENCE, save_best=True))
    model = getattr(package, f"XGB{_kind(own)}")(
        n_estimators=own.n_estimators,
        learning_rate=own.learning_rate,
        tree_method="hist",
        grow_policy="lossguide",
        max_depth=0,
        max_leaves=own.max_leaves,
        min_child_weight=own.min_samples_leaf * (0.1 if is_classifier(own) else 1.0),
        reg_lambda=own.l2,
        subsample=own.share_of_rows,
        colsample_bytree=own.share_of_columns,
        enable_categorical=True,
        random_state=own.random_state,
        n_jobs=n_threads(X.size),
        callbacks=callbacks,
        **_objective(own, "objective"),
    )
    return model, {"verbose": False}


def _catboost(
    own: _PackagedBoosting, X: Any, is_late: Callable[[int], bool]
) -> tuple[Any, dict[str, Any]]:
    package = import_module("catboost")

    class Stop:
        def after_iteration(self, info: Any) -> bool:
            return not is_late(info.iteration)

    # Tables without categories are prepared as arrays.
    is_frame = hasattr(X, "select_dtypes")
    categories = X.select_dtypes("category").columns if is_frame else ()
    options: dict[str, Any] = {"callbacks": [Stop()]}
    if own.early_stopping:
        options |= {"early_stopping_rounds": _PATIENCE, "use_best_model": True}
    model = getattr(package, f"CatBoost{_kind(own)}")(
        iterations=own.n_estimators,
        learning_rate=own.learning_rate,
        depth=round(math.log2(own.max_leaves)),
        l2_leaf_reg=own.l2,
        bootstrap_type="Bernoulli",
        subsample=own.share_of_rows,
        rsm=own.share_of_columns,
        cat_features=list(categories),
        random_seed=own.random_state,
        thread_count=n_threads(X.size),
        allow_writing_files=False,
        verbose=False,
        **_objective(own, "loss_function"),
    )
    return model, options


_MAKERS = {"lightgbm": _lightgbm, "xgboost": _xgboost, "catboost": _catboost}
_N_TREES: dict[str, Callable[[Any], int]] = {
    "lightgbm": lambda model: model.best_iteration_ or model.n_estimators_,
    # Early stopping drops the trees after the best.
    "xgboost": lambda model: model.get_booster().num_boosted_rounds(),
    "catboost": lambda model: model.tree_count_,
}
