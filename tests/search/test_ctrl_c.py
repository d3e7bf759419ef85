"""Ctrl-C at many lines of a search, and the results afterwards."""

import sys

import numpy as np
import pytest

from sk_tune import BayesSearchCV, GridSearchCV, HalvingGridSearchCV, HyperbandSearchCV

pytestmark = pytest.mark.slow
RATES = {"learning_rate": [0.001, 0.003, 0.01, 0.03, 0.1]}
RATE = {"learning_rate": (0.001, 0.1)}
RUNGS = {"max_resources": 3, "random_state": 0}
BY_SAMPLES = {"resource": "n_samples", "min_resources": 30}
SEARCHES = {
    "grid": lambda net: GridSearchCV(net, RATES, cv=2, keep_models="all"),
    "best epoch": lambda net: GridSearchCV(net, RATES, cv=2, select_epoch="best"),
    "bayes": lambda net: BayesSearchCV(net, RATE, n_iter=4, cv=2),
    "hyperband": lambda net: HyperbandSearchCV(net, RATES, cv=2, **RUNGS),
    "halving": lambda net: HalvingGridSearchCV(net, RATES, cv=2, **BY_SAMPLES),
}
# Where networks train and results are put together and taken over.
FILES = ("model_selection/_search.py", "search/_base_search.py", "search/_rounds.py")
FILES += ("search/_network_training.py",)


def _fit_until(line, search, data):
    """Press Ctrl-C at a line of the files, counted at run time; return the number."""
    n_lines = 0

    def count(frame, event, _):
        nonlocal n_lines
        n_lines += event == "line"
        if event == "line" and n_lines == line:
            raise KeyboardInterrupt
        return count

    def enter(frame, *_):
        return count if frame.f_code.co_filename.endswith(FILES) else None

    tracer = sys.gettrace()
    sys.settrace(enter)
    try:
        search.fit(*data)
    finally:
        sys.settrace(tracer)
    return n_lines


@pytest.mark.filterwarnings("ignore:One or more of the")
@pytest.mark.parametrize("name", SEARCHES)
def test_ctrl_c_at_any_line_leaves_complete_results_or_none(name, make_estimator, iris):
    """Columns, curves, models and the ledger have the same candidates."""
    net = make_estimator("MLPClassifier", max_epochs=2)
    n_lines, n_kept = _fit_until(-1, SEARCHES[name](net), iris), 0
    for line in range(7, n_lines, n_lines // 60):
        search = SEARCHES[name](net)

        with pytest.raises(KeyboardInterrupt):
            _fit_until(line, search, iris)

        if not hasattr(search, "ledger_"):
            continue
        n_kept += 1
        n_rows = len(search.cv_results_["params"])
        assert {len(column) for column in search.cv_results_.values()} == {n_rows}
        assert search.ledger_.n_candidates <= n_rows
        assert set(search.learning_curves_["result_row"]) <= set(range(n_rows))
        assert set(getattr(search, "models_", ())) <= set(range(n_rows))
        assert np.isfinite(search.cv_results_["mean_test_score"]).any()
        assert sum(getattr(search, "n_candidates_", [n_rows])) == n_rows
    assert n_kept > 3
