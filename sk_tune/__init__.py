# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Tune PyTorch networks with scikit-learn's own tools, many networks at a time."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# Public names by their package.  They are imported on first use, because importing
# torch takes seconds, which `import sk_tune` and `sk-tune --help` should not cost.
_HOMES = {
    "_automl": (
        "AutoClassifier", "AutoProgress", "AutoRegressor",
    ),
    "_backend": (
        "FleetReport", "fleet",
    ),
    "_declaration": (
        "parameters",
    ),
    "_diagnosis": (
        "Applied", "AppliedChange", "Change", "Curves", "Finding", "SampleCurve",
        "apply_remedies", "check_classes", "curves_of", "find_leaks",
        "group_copies", "skore_checks", "verdict",
    ),
    "_ensemble": (
        "BaggingClassifier", "BaggingRegressor", "BoostingClassifier",
        "BoostingRegressor", "CollapsedClassifier", "CollapsedRegressor",
        "GreedyOptions", "StackingClassifier", "StackingRegressor",
        "TrialEnsembleClassifier", "TrialEnsembleRegressor", "collapse", "distill",
    ),
    "_estimators": (
        "CNNClassifier", "CNNRegressor", "MLPClassifier", "MLPRegressor",
        "NetClassifier", "NetRegressor", "RNNClassifier", "RNNRegressor",
    ),
    "_numerical_embedding": (
        "Periodic", "PiecewiseLinear",
    ),
    "_prepare": (
        "CategoryCodes", "SmoothClipScaler", "TablePreparer", "table_pipeline",
        "train_valid_test_split",
    ),
    "_report": (
        "EpochCurveDisplay", "HyperparameterImportanceDisplay", "RungDisplay",
    ),
    "_reporting": (
        "report",
    ),
    "_saving": (
        "load", "save",
    ),
    "_scores": (
        "Ledger", "ScoreEstimate", "expected_score",
    ),
    "_search": (
        "BayesSearchCV", "GridSearchCV",
        "HalvingGridSearchCV", "HalvingRandomSearchCV", "HyperbandSearchCV",
        "Improvement", "RandomizedSearchCV", "SearchPlan", "diagnose", "improve",
    ),
    "_space": (
        "Choice", "table_space",
    ),
    "_versions": (
        "show_versions",
    ),
}  # fmt: skip
_PACKAGE_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = ["__version__", *sorted(_PACKAGE_OF)]


def __getattr__(name: str) -> Any:
    if name not in _PACKAGE_OF:
        raise AttributeError(f"module 'sk_tune' has no attribute {name!r}")
    value = getattr(import_module(f"sk_tune.{_PACKAGE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_PACKAGE_OF])
