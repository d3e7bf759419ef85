"""One small network from the predictions of an ensemble."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_matrix
from sklearn.ensemble import BaggingRegressor as SklearnBaggingRegressor
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import sk_tune._ensemble._distill as module
from sk_tune import (
    AutoRegressor,
    BaggingClassifier,
    BaggingRegressor,
    GridSearchCV,
    MLPClassifier,
    MLPRegressor,
    TrialEnsembleClassifier,
    distill,
    load,
    save,
)

_RNG = np.random.default_rng(0)
X = _RNG.normal(size=(200, 4))
LABELS = np.array(["no", "yes"])[
    (X[:, 0] + X[:, 1] + _RNG.normal(size=200) > 0).astype(int)
]
Y = X[:, 0] - 2 * X[:, 2] + 3
FRAME = pd.DataFrame(X, columns=list("abcd")).assign(
    town=pd.Categorical(np.array(["Ulm", "Bern"])[(X[:, 3] > 0).astype(int)])
)
SMALL = {"width": 16, "random_state": 0, "max_epochs": 5}


class _Recorder(MLPClassifier):
    """Records the data of its fit."""

    def fit(self, X, y):
        type(self).seen = X, np.asarray(y)
        return super().fit(X, y)


@pytest.fixture(scope="module")
def ensemble():
    """An ensemble of the networks of two candidates."""
    search = GridSearchCV(
        MLPClassifier(**SMALL), {"learning_rate": [1e-3, 1e-2]}, cv=3, keep_models="all"
    )
    return TrialEnsembleClassifier(search, random_state=0).fit(X, LABELS)


def test_training_rows_have_out_of_fold_predictions(ensemble):
    """Augmented rows have predictions of the ensemble."""
    distill(ensemble, X, estimator=_Recorder(**SMALL), n_augmented=7, random_state=0)

    samples, targets = _Recorder.seen
    assert_array_equal(samples[:200], X)
    assert_allclose(targets[:200], ensemble.oof_predictions_)
    assert_allclose(targets[200:], ensemble.predict_proba(samples[200:]))
    assert len(samples) == 207


def test_labels_are_a_quarter_of_the_target(ensemble):
    """Probabilities move towards the label."""
    distill(ensemble, X, LABELS, estimator=_Recorder(**SMALL), n_augmented=0)

    _, targets = _Recorder.seen
    labels = LABELS[:, None] == ensemble.classes_
    assert_allclose(targets, 0.75 * ensemble.oof_predictions_ + 0.25 * labels)


def test_augmented_rows_combine_values_of_rows():
    """Each column keeps its values and type; no row is a training row."""
    rows = module._augmented(FRAME, 500, np.random.RandomState(0))

    assert rows.dtypes.equals(FRAME.dtypes)
    for name in "abcd":
        assert np.isin(rows[name], FRAME[name]).all()
    numbers = rows[list("abcd")].to_numpy()
    n_equal = (numbers[:, None] == X).sum(axis=2).max(axis=1)
    # Of five columns one is replaced, maybe the town, sometimes more.
    assert 2.5 < n_equal.mean() < 3.5


def test_a_regressor_of_a_search_is_distilled():
    """The best candidate's out-of-fold predictions and the targets are averaged."""
    search = GridSearchCV(MLPRegressor(**SMALL), {"learning_rate": [1e-3, 1e-2]}, cv=3)
    search.fit(X, Y)

    small = distill(search, X, Y, random_state=0)

    assert np.corrcoef(small.predict(X), search.predict(X))[0, 1] > 0.98


def test_other_models_are_distilled_with_given_predictions():
    """Rows with NaN have no target; without predictions all rows are predicted."""
    teacher = LogisticRegression().fit(X, LABELS)
    given = np.full((200, 2), np.nan)
    given[:50] = 0.5

    distill(teacher, X, estimator=_Recorder(**SMALL), oof_predictions=given, n_augmented=0)
    _, half = _Recorder.seen
    distill(teacher, X[:50], estimator=_Recorder(**SMALL), unlabelled=X[50:], n_augmented=0)
    _, predicted = _Recorder.seen

    assert_array_equal(half, np.full((50, 2), 0.5))
    assert_allclose(predicted, teacher.predict_proba(X))


def test_bagging_has_out_of_bag_predictions():
    """They are the targets of the training rows."""
    bagging = BaggingClassifier(MLPClassifier(**SMALL), 40, oob_score=True, random_state=0)
    bagging.fit(X, LABELS)

    distill(bagging, X, estimator=_Recorder(**SMALL), n_augmented=0)

    assert_allclose(_Recorder.seen[1], bagging.oob_decision_function_)


@pytest.mark.parametrize(
    "forest",
    [RandomForestRegressor, BaggingRegressor, SklearnBaggingRegressor],
    ids=["forest", "bagging", "scikit-learn's bagging"],
)
@pytest.mark.filterwarnings("ignore:Some inputs do not have OOB scores")
def test_rows_without_out_of_bag_prediction_are_left_out(forest):
    """scikit-learn stores 0 for rows that all members have drawn."""
    few = forest(n_estimators=3, oob_score=True, random_state=0).fit(X, Y + 1000)
    is_held_out = few.oob_prediction_ != 0
    assert 0 < np.count_nonzero(~is_held_out) < 100

    class Recorder(MLPRegressor):
        def fit(self, X, y):
            type(self).seen = X, y
            return super().fit(X, y)

    distill(few, X, estimator=Recorder(**SMALL), n_augmented=0)

    assert_array_equal(Recorder.seen[0], X[is_held_out])
    assert_allclose(Recorder.seen[1], few.oob_prediction_[is_held_out])


def test_automl_of_a_frame_becomes_a_pipeline(tmp_path):
    """Rows that were set aside have no out-of-fold prediction; the pipeline is saved."""
    auto = AutoRegressor(
        time_budget=None, n_rounds=0, models=["linear"], test_size=0.25, random_state=0
    ).fit(FRAME, Y)
    assert len(auto.oof_predictions_) == 150

    small = distill(auto, FRAME, Y, random_state=0)

    assert np.corrcoef(small.predict(FRAME), Y)[0, 1] > 0.99
    save(small, tmp_path / "small.sk_tune")
    loaded = load(tmp_path / "small.sk_tune")
    assert_allclose(loaded.predict(FRAME), small.predict(FRAME))


def test_the_network_has_the_labels_of_the_ensemble(ensemble, tmp_path):
    """It agrees with the ensemble, also after it was saved."""
    pipe = make_pipeline(StandardScaler(), MLPClassifier(width=32, random_state=0))

    small = distill(ensemble, X, LABELS, estimator=pipe, random_state=0)

    assert small.classes_.tolist() == ["no", "yes"]
    assert (small.predict(X) == ensemble.predict(X)).mean() > 0.9
    save(small, tmp_path / "small.sk_tune")
    assert_array_equal(load(tmp_path / "small.sk_tune").predict(X), small.predict(X))
    assert not hasattr(pipe[-1], "net_")


def test_a_search_without_predictions_is_refused():
    """The message names the parameters that provide out-of-fold predictions."""
    grid = {"learning_rate": [1e-3]}
    search = GridSearchCV(MLPRegressor(**SMALL), grid, cv=3, keep_predictions=None)

    with pytest.raises(ValueError, match="pass oof_predictions, or .* keep_predictions="):
        distill(search.fit(X, Y), X)


def test_sparse_rows_are_refused(ensemble):
    """Rows with values of other rows would not be sparse."""
    with pytest.raises(TypeError, match=r"dense data is required. Use '.toarray\(\)'"):
        distill(ensemble, csr_matrix(X))


def test_rows_in_place_of_the_ensemble_are_refused(ensemble):
    """The message gives the order of the arguments."""
    with pytest.raises(TypeError, match="'ensemble', must be .* X and y. Got DataFrame"):
        distill(FRAME, ensemble)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"estimator": LinearRegression()}, "must be a classifier of sk_tune"),
        ({"estimator": MLPRegressor()}, "must be a classifier of sk_tune"),
        ({"y": LABELS[:9]}, r"inconsistent numbers of samples: \[200, 9\]"),
        (
            {"y": LABELS == "yes"},
            r"labels of the ensemble, \['no', 'yes'\]. Got (True|False)",
        ),
        ({"X": X[:10]}, "rows of the ensemble's fit, 200. Got 10 rows"),
        ({"oof_predictions": np.ones((200, 3))}, r"one label.*of shape \(200, 3\)"),
    ],
)
def test_wrong_arguments_are_explained(ensemble, options, message):
    """The student has the ensemble's task, and X the rows of its fit."""
    with pytest.raises(ValueError, match=message):
        distill(ensemble, **{"X": X, **options})
