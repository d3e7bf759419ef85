"""From a search to the record of its report."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

import sk_tune
from sk_tune.report._gathering import gather


def test_a_report_has_what_the_search_learnt(grid, iris):
    """Best candidate, corrected score, curves, findings and ledger."""
    report = gather(grid, *iris)

    assert report.title == "GridSearchCV over StandardScaler → MLPClassifier"
    assert report.best.row == grid.best_index_
    assert report.best.score == grid.best_score_
    assert report.corrected.score == grid.corrected_score_.score
    assert report.best_epoch == report.curves.n_epochs == 2
    assert report.findings
    assert report.ledger is grid.ledger_
    assert report.resource is None
    assert [baseline.name for baseline in report.baselines] == ["dummy", "linear"]


def test_rungs_name_their_resource(hyperband):
    """Where the search took it from the estimator, too."""
    report = gather(hyperband)

    assert report.resource == "net__max_epochs"
    assert report.n_configurations < len(report.candidates)
    assert report.curves.n_epochs == 9


def test_the_best_epoch_is_the_one_that_was_chosen(make_estimator, iris):
    """With epochs="best" it is where the mean curve over the folds is best."""
    net = make_estimator("MLPClassifier", max_epochs=6, learning_rate=0.3)
    search = sk_tune.GridSearchCV(net, {"width": [4]}, cv=3, epochs="best").fit(*iris)

    report = gather(search)

    mean = report.curves.valid_score.mean(axis=0)
    assert report.best_epoch == search.best_epochs_[0] == 1 + np.argmax(mean)


def test_what_is_no_network_has_no_curves_and_no_findings(linear, iris):
    """The rest of the report is there."""
    report = gather(linear, *iris)

    assert report.curves is None
    assert report.best_epoch is None
    assert report.findings == ()
    assert report.corrected is not None
    assert len(report.baselines) == 2


def test_a_search_of_scikit_learn_has_a_report(iris):
    """Without what only the searches of sk_tune learn, which the notes say."""
    search = GridSearchCV(LogisticRegression(max_iter=500), {"C": [0.1, 1]}).fit(*iris)

    report = gather(search, *iris)

    assert report.ledger is None
    assert report.corrected is None
    assert "could not be corrected" in report.notes[0]
    assert report.best.score == search.best_score_


def test_without_a_refit_the_report_is_the_same(linear, grid, iris):
    """What was best needs no estimator."""
    search = clone(grid).set_params(refit=False, param_grid={"net__width": [4, 8]})

    assert gather(search.fit(*iris)).best.row == search.best_index_
    several = clone(linear).set_params(refit=False).fit(*iris)
    assert gather(several).best is not None


def test_a_search_that_is_not_fitted_is_refused(grid):
    """By scikit-learn's error."""
    with pytest.raises(NotFittedError):
        gather(clone(grid))


def test_baselines_may_be_given(grid):
    """Those that the command line scored already."""
    assert gather(grid, baselines=[]).baselines == []
