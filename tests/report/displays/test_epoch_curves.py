"""Learning curves of a candidate by epochs."""

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris
from sklearn.pipeline import make_pipeline

from sk_tune import GridSearchCV, MLPClassifier, MLPRegressor, diagnose
from sk_tune._diagnosis import Curves, Finding, verdict
from sk_tune._report import EpochCurveDisplay


def _folds(search, row, name):
    table = search.learning_curves_
    own = table[table["result_row"] == row]
    return own.pivot(index="epoch", columns="fold", values=name)


@pytest.mark.parametrize(
    ("quantity", "names"), [("loss", ["train", "valid"]), ("score", ["valid"])]
)
def test_lines_are_means_over_folds_of_the_searchs_curves(iris_grid, quantity, names):
    """Lines equal learning_curves_ of the best candidate; epochs are marked."""
    display = EpochCurveDisplay.from_search(iris_grid, quantity=quantity)

    assert list(display.lines_) == names
    for name, line in display.lines_.items():
        expected = _folds(iris_grid, iris_grid.best_index_, f"{name}_{quantity}")
        np.testing.assert_array_equal(line.get_xdata(), expected.index)
        np.testing.assert_allclose(line.get_ydata(), expected.mean(axis=1), rtol=1e-12)


def test_bands_reach_from_the_lowest_fold_to_the_highest(iris_grid):
    """Over all folds."""
    folds = _folds(iris_grid, 1, "valid_loss")

    ranges = EpochCurveDisplay.from_search(iris_grid, 1)

    ends = ranges.bands_["valid"].get_paths()[0].vertices[:, 1]
    assert ends.min() == pytest.approx(folds.to_numpy().min())
    assert ends.max() == pytest.approx(folds.to_numpy().max())


def test_the_chosen_epoch_is_used_for_the_refit(iris_grid, hyperband):
    """With select_epoch="best", the best candidate is refitted up to this epoch."""
    display = EpochCurveDisplay.from_search(iris_grid)
    last = EpochCurveDisplay.from_search(hyperband)

    assert display.chosen_epoch == iris_grid.best_estimator_["net"].n_epochs_
    labels = [t.get_text() for t in display.ax_.get_legend().get_texts()]
    assert f"Chosen epoch: {display.chosen_epoch}" in labels
    assert last.chosen_epoch is None
    assert last.lines_["valid"].get_xdata()[-1] == 9


def test_a_network_with_early_stopping_has_both_curves():
    """From its history; the epoch of its weights is marked."""
    X, y = load_iris(return_X_y=True)
    net = MLPClassifier(early_stopping=True, max_epochs=8, random_state=0)
    pipe = make_pipeline(net).fit(X, y)

    display = EpochCurveDisplay.from_estimator(pipe)

    history = pipe[-1].history_
    for name in ("train", "valid"):
        drawn = display.lines_[name].get_ydata()
        np.testing.assert_allclose(drawn, history[:, f"{name}_loss"])
    assert display.bands_ == {}
    assert display.chosen_epoch == pipe[-1].best_epoch_
    plain = pipe[-1].set_params(early_stopping=False, max_epochs=2).fit(X, y)
    assert list(EpochCurveDisplay.from_estimator(plain).lines_) == ["train"]


def test_a_candidate_without_curves_is_refused(ridge_grid):
    """It is not a network, or failed."""
    with pytest.raises(ValueError, match="has no|has none"):
        EpochCurveDisplay.from_search(ridge_grid)


def _display(*losses, **fields):
    curve = np.array(losses)
    curves = Curves(train_loss=curve, valid_loss=curve, valid_score=curve)
    return EpochCurveDisplay(curves=curves, **fields)


def test_one_epoch_is_drawn_as_a_point():
    """A line of one point would be invisible."""
    assert _display([0.5], [0.7]).plot().lines_["train"].get_marker() == "o"


def test_losses_of_many_magnitudes_are_drawn_on_a_logarithmic_axis():
    """Scores never are, nor is a loss of 0."""
    display = _display(10.0 ** -np.arange(5.0))

    assert display.plot().ax_.get_yscale() == "log"
    assert _display([1.0, 0.5]).plot().ax_.get_yscale() == "linear"
    assert _display([1.0, 0.0, np.nan]).plot().ax_.get_yscale() == "linear"
    assert display.plot(quantity="score").ax_.get_yscale() == "linear"


def test_a_fold_that_ends_earlier_keeps_its_last_value():
    """The mean over fewer folds would jump; without folds it is empty."""
    display = _display([4.0, 2.0, np.nan], [2.0, 1.0, 0.5], [np.nan] * 3).plot()

    np.testing.assert_array_equal(display.lines_["train"].get_ydata(), [3.0, 1.5, 1.25])
    (band,) = display.bands_["train"].get_paths()
    assert {(1.0, 2.0), (1.0, 4.0), (3.0, 0.5), (3.0, 2.0)} <= set(
        map(tuple, band.vertices)
    )
    assert _display([np.nan] * 3, [np.nan] * 3).plot().lines_ == {}


def test_an_unknown_quantity_is_refused(iris_grid):
    """The message names the quantities."""
    with pytest.raises(ValueError, match="must be one of"):
        EpochCurveDisplay.from_search(iris_grid, quantity="error")


def test_the_unit_follows_a_loss_that_is_searched():
    """The candidate's loss counts, not the estimator's default."""
    X, y = load_diabetes(return_X_y=True)
    search = GridSearchCV(MLPRegressor(max_epochs=2), {"loss": ["huber"]}, cv=2).fit(X, y)

    display = EpochCurveDisplay.from_search(search)

    assert display.ax_.get_ylabel() == "Loss (standard deviations)"


def test_axes_are_named_with_units(diabetes_one):
    """Losses of regressors are in squared standard deviations of the target."""
    display = EpochCurveDisplay.from_search(diabetes_one)

    assert display.ax_.get_ylabel() == "Loss (squared standard deviations)"
    assert display.ax_.get_xlabel() == "Epoch"
    assert display.plot(quantity="score").ax_.get_ylabel() == "R\N{SUPERSCRIPT TWO}"


@pytest.mark.parametrize(
    ("name", "outcome", "message", "title"),
    [
        ("overfitting", "issue", "It rises.", "Overfitting: it rises."),
        ("rate too high", "issue", "The rate is too high.", "The rate is too high."),
        ("good fit", "not applicable", "No rows.", "No rows."),
    ],
)
def test_the_verdict_is_the_title(name, outcome, message, title):
    """Its name comes first, unless the sentence has it or no verdict was possible."""
    finding = Finding(
        code="SKT101", name=name, outcome=outcome, severity=None, message=message
    )

    display = _display([0.5, 0.4], finding=finding).plot()

    assert display.ax_.get_title(loc="left") == title
    assert display.plot(title="mine").ax_.get_title(loc="left") == "mine"


def test_the_verdict_comes_from_the_diagnosis(iris_grid):
    """For the drawn candidate, not for the search as a whole."""
    display = EpochCurveDisplay.from_search(iris_grid, 3)

    own = [f for f in diagnose(iris_grid, result_row=3) if f.result_row == 3]
    assert display.finding == verdict(own)
