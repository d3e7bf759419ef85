# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Tune PyTorch networks with scikit-learn's own tools, many networks at a time."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# Public name -> sub-package.  Nothing is imported before it is asked for, because torch
# takes seconds to import, which neither `import sk_tune` nor `sk-tune --help` should cost.
_HOMES = {
    "AutoClassifier": "automl",
    "AutoRegressor": "automl",
    "BaggingClassifier": "ensemble",
    "BaggingRegressor": "ensemble",
    "BayesSearchCV": "search",
    "BoostingClassifier": "ensemble",
    "BoostingRegressor": "ensemble",
    "CNNClassifier": "estimators",
    "CNNRegressor": "estimators",
    "GridSearchCV": "search",
    "HalvingGridSearchCV": "search",
    "HalvingRandomSearchCV": "search",
    "HyperbandSearchCV": "search",
    "MLPClassifier": "estimators",
    "MLPRegressor": "estimators",
    "NetClassifier": "estimators",
    "NetRegressor": "estimators",
    "RNNClassifier": "estimators",
    "RNNRegressor": "estimators",
    "RandomizedSearchCV": "search",
    "SeedEnsembleClassifier": "ensemble",
    "SeedEnsembleRegressor": "ensemble",
    "StackingClassifier": "ensemble",
    "StackingRegressor": "ensemble",
    "TablePreparer": "prepare",
    "TrialEnsembleClassifier": "ensemble",
    "TrialEnsembleRegressor": "ensemble",
    "fleet": "backend",
    "load": "saving",
    "save": "saving",
    "show_versions": "_versions",
    "train_valid_test_split": "prepare",
}

__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sk_tune' has no attribute {name!r}")
    value = getattr(import_module(f"sk_tune.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
