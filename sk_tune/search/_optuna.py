# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""A search as a study of Optuna, whose pictures and dashboard then show it."""

import threading
from collections.abc import Mapping
from typing import Any

import pandas as pd
from sklearn.utils.validation import check_is_fitted

from sk_tune.search._optuna_trials import add_trials
from sk_tune.search._space_of import space_of
from sk_tune.search._trials import TrialRecord, scores_by_curve, trial_records

__all__ = ["OptunaExport", "to_optuna"]


def to_optuna(search: Any, storage: Any = None, *, study_name: str | None = None) -> Any:
    """Write a fitted search into an Optuna storage.

    Parameters
    ----------
    search : estimator
        Fitted: a search of sk_tune, scikit-learn or scikit-optimize.
    storage : str or optuna storage, default=None
        Such as "sqlite:///study.db"; in memory if None.
    study_name : str, default=None
        Drawn by Optuna if None.  A study of this name gets those trials that it lacks.

    Returns
    -------
    optuna.study.Study
        With one trial for each configuration.  Its value is the mean test score, greater
        is better; its intermediate values are those of epochs, where accuracy or R^2
        decides, or else of rungs.  One that others were promoted over is pruned, one that
        failed says why in ``user_attrs["failure_reason"]``.

    Raises
    ------
    ImportError
        Optuna is not installed.
    NotFittedError
        If the search is not fitted.

    See Also
    --------
    OptunaExport : The same while a search runs.

    Notes
    -----
    Values of a list that are neither None nor a bool, number or str are written as their
    ``repr``.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sk_tune import GridSearchCV, MLPClassifier
    >>> from sk_tune.search import to_optuna
    >>> X, y = load_iris(return_X_y=True)
    >>> net = MLPClassifier(width=8, max_epochs=3, random_state=0)
    >>> search = GridSearchCV(net, {"learning_rate": [1e-3, 1e-2]}, cv=3).fit(X, y)
    >>> study = to_optuna(search)
    >>> study.best_params == search.best_params_
    True
    """
    check_is_fitted(search, "cv_results_")
    optuna = _import_optuna()
    study = _study(optuna, storage, study_name)
    curves = getattr(search, "learning_curves_", None)
    records = _records(search, search.cv_results_, curves)
    add_trials(optuna, study, space_of(search), records)
    return study


class OptunaExport:
    """Writes a search into an Optuna storage while it runs.

    A callback of scikit-learn's kind: ``search.set_callbacks(OptunaExport(...))``.  A
    configuration is written when it has ended: after its last rung, or when others have
    been promoted over it.

    Parameters
    ----------
    storage : str or optuna storage
        Such as "sqlite:///study.db", which other processes can read meanwhile.
    study_name : str
        Of the study.  If there is one of this name, it gets those trials that it lacks, so
        that a search which is run again, as from a store, may keep its name.

    See Also
    --------
    to_optuna : For a search that is fitted.

    Examples
    --------
    >>> import optuna
    >>> from scipy.stats import loguniform
    >>> from sklearn.datasets import load_iris
    >>> from sk_tune import HyperbandSearchCV, MLPClassifier
    >>> from sk_tune.search import OptunaExport
    >>> X, y = load_iris(return_X_y=True)
    >>> net = MLPClassifier(width=8, max_epochs=4, random_state=0)
    >>> storage = optuna.storages.InMemoryStorage()
    >>> search = HyperbandSearchCV(
    ...     net, {"learning_rate": loguniform(1e-4, 1e-1)}, factor=2, cv=3, random_state=0
    ... )
    >>> search = search.set_callbacks(OptunaExport(storage, "iris")).fit(X, y)
    >>> study = optuna.load_study(study_name="iris", storage=storage)
    >>> len(study.trials) == len(set(search.search_record_.last_rows))
    True
    """

    def __init__(self, storage: Any, study_name: str) -> None:
        self.storage = storage
        self.study_name = study_name

    def setup(self, estimator: Any, context: Any) -> None:
        """Make the study, or find it.

        Parameters
        ----------
        estimator : estimator
            The search.
        context : CallbackContext
            Of its fit.
        """
        self._lock = threading.Lock()
        self._n_seen = 0
        self._optuna = _import_optuna()
        self._space = space_of(estimator)
        self._study = _study(self._optuna, self.storage, self.study_name)

    def teardown(self, estimator: Any, context: Any) -> None:
        """Write what has not been written.

        Parameters
        ----------
        estimator : estimator
            The search.
        context : CallbackContext
            Of its fit.
        """
        results, curves = _so_far(estimator)
        if results:
            self._write(estimator, results, curves, is_over=True)
        del self._lock, self._n_seen, self._optuna, self._space, self._study

    def on_fit_task_begin(self, estimator: Any, context: Any, **_: Any) -> None:
        """Do nothing.

        Parameters
        ----------
        estimator : estimator
            The search.
        context : CallbackContext
            Of a part of its fit.
        **_ : dict
            Ignored.
        """

    def on_fit_task_end(self, estimator: Any, context: Any, **_: Any) -> bool:
        """Write what has ended since the last time.

        Parameters
        ----------
        estimator : estimator
            The search.
        context : CallbackContext
            Of a part of its fit.
        **_ : dict
            Ignored.

        Returns
        -------
        bool
            False, so that the search goes on.
        """
        results, curves = _so_far(estimator)
        with self._lock:
            n_rows = len(results.get("params", ()))
            if n_rows > self._n_seen:
                self._n_seen = n_rows
                self._write(estimator, results, curves, is_over=False)
        return False

    def _write(
        self, search: Any, results: Mapping[str, Any], curves: Any, *, is_over: bool
    ) -> None:
        records = _records(search, results, curves, is_over=is_over)
        add_trials(self._optuna, self._study, self._space, records)


def _so_far(search: Any) -> tuple[Mapping[str, Any], pd.DataFrame | None]:
    """Return results and curves of a search that runs; of others their results at last."""
    if hasattr(search, "results_so_far"):
        own: tuple[Mapping[str, Any], pd.DataFrame] = search.results_so_far()
        return own
    return getattr(search, "cv_results_", {}), None


def _records(
    search: Any,
    results: Mapping[str, Any],
    curves: pd.DataFrame | None,
    *,
    is_over: bool = True,
) -> list[TrialRecord]:
    return trial_records(
        results,
        refit=search.refit,
        resource=getattr(search, "resource_", getattr(search, "resource", None)),
        # A search that is over may have granted less than it might have.
        max_resources=None if is_over else getattr(search, "max_resources_", None),
        curves=curves if scores_by_curve(search.scoring) else None,
        is_over=is_over,
        is_asynchronous=getattr(search, "asynchronous", False),
    )


def _study(optuna: Any, storage: Any, study_name: str | None) -> Any:
    """Make a study, or open the one of that name."""
    study = optuna.create_study(
        storage=storage,
        study_name=study_name,
        direction="maximize",
        load_if_exists=study_name is not None,
    )
    if study.direction != optuna.study.StudyDirection.MAXIMIZE:
        raise ValueError(
            f"The study {study_name!r} must maximize, as searches do. Got one that "
            "minimizes. Give another study_name."
        )
    return study


def _import_optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise ImportError(
            "The export needs Optuna. Install it by: pip install 'sk-tune[study]'"
        ) from error
    return optuna
