"""Comparisons of searches with scikit-learn's."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone

_TIMES = ("fit_time", "score_time")


def _compared(results: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in results.items() if not k.endswith((*_TIMES, "failure_reason"))}


@pytest.fixture(scope="session")
def assert_same_results() -> Callable[..., None]:
    """Return a function that compares two ``cv_results_``, except times."""

    def compare(
        ours: Mapping[str, Any], theirs: Mapping[str, Any], rtol: float = 1e-9
    ) -> None:
        own, other = _compared(ours), _compared(theirs)
        assert set(own) == set(other)
        assert "failure_reason" not in ours or any(ours["failure_reason"])
        for name, values in other.items():
            if name.startswith(("mean_", "std_", "split")):
                close = {"rtol": rtol, "atol": 1e-9, "err_msg": name}
                np.testing.assert_allclose(own[name], values, **close)
            elif name.startswith("param_"):
                assert [str(v) for v in own[name]] == [str(v) for v in values], name
                assert own[name].dtype == values.dtype, name
            elif name == "params":
                assert [{k: str(v) for k, v in p.items()} for p in own[name]] == [
                    {k: str(v) for k, v in p.items()} for p in values
                ]
            else:
                np.testing.assert_array_equal(own[name], values, err_msg=name)

    return compare


@pytest.fixture(scope="session")
def assert_same_search(assert_same_results: Callable[..., None]) -> Callable[..., None]:
    """Return a function that fits two searches and compares their attributes."""

    def compare(ours: Any, theirs: Any, X: Any, y: Any = None, **params: Any) -> Any:
        theirs = clone(theirs).fit(X, y, **params)
        ours = clone(ours).fit(X, y, **params)
        assert_same_results(ours.cv_results_, theirs.cv_results_)
        for name in ("best_index_", "best_score_", "n_splits_", "multimetric_"):
            assert hasattr(ours, name) == hasattr(theirs, name), name
            if hasattr(theirs, name):
                assert getattr(ours, name) == pytest.approx(getattr(theirs, name)), name
        if theirs.refit:
            np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
            if hasattr(theirs, "predict_proba"):
                np.testing.assert_allclose(
                    ours.predict_proba(X), theirs.predict_proba(X), atol=1e-9
                )
        return ours

    return compare


@pytest.fixture
def quiet_optuna() -> Iterator[None]:
    """Silence Optuna's lines for studies."""
    optuna = pytest.importorskip("optuna")
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(level)


@pytest.fixture
def net(make_estimator: Callable[..., Any]) -> Any:
    """Return a small classifier in float64."""
    return make_estimator("MLPClassifier", dtype="float64")


class DoNothing:
    """A callback for scikit-learn without any effect."""

    def setup(self, estimator: Any, context: Any) -> None:
        """Accept the beginning of a fit."""

    def teardown(self, estimator: Any, context: Any) -> None:
        """Accept the end of a fit."""

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """Accept the beginning of a task."""

    def on_fit_task_end(self, estimator: Any, context: Any) -> None:
        """Accept the end of a task."""


@pytest.fixture(scope="session")
def do_nothing() -> type[DoNothing]:
    """Return a base class for callbacks."""
    return DoNothing
