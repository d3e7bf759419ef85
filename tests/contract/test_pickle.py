"""Estimators on their way: pickle, copy, clone, joblib, skops, other processes."""

import copy
import pickle
import subprocess
import sys
import textwrap

import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
import torch
from modules import OneLayer
from sklearn import model_selection
from sklearn.base import clone, is_regressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import GradientNormClipping

import sk_tune
from sk_tune import (
    CNNClassifier,
    GridSearchCV,
    HyperbandSearchCV,
    MLPClassifier,
    MLPRegressor,
    NetClassifier,
    NetRegressor,
    RNNClassifier,
    TablePreparer,
)
from sk_tune import _ensemble as ensemble
from sk_tune.exceptions import SkTuneWarning

NAMES = [
    network + task
    for network in ("MLP", "CNN", "RNN", "Net")
    for task in ("Classifier", "Regressor")
]


def _joblib(estimator, folder):
    joblib.dump(estimator, folder / "estimator.joblib")
    return joblib.load(folder / "estimator.joblib")


def _cloudpickle(estimator, folder):
    # What joblib's workers use.
    cloudpickle = pytest.importorskip("cloudpickle")
    return pickle.loads(cloudpickle.dumps(estimator))


JOURNEYS = {
    **{
        f"protocol {p}": lambda e, _, p=p: pickle.loads(pickle.dumps(e, p))
        for p in (2, pickle.HIGHEST_PROTOCOL)
    },
    "deepcopy": lambda e, _: copy.deepcopy(e),
    "copy": lambda e, _: copy.copy(e),
    "joblib": _joblib,
    "cloudpickle": _cloudpickle,
}


@pytest.fixture(scope="module")
def fitted(make_estimator, task_data):
    """All estimators, fitted."""
    params = {name: {"dropout": 0.2} for name in NAMES if not name.startswith("Net")}
    return {
        name: make_estimator(name, **params.get(name, {})).fit(*task_data(name))
        for name in NAMES
    }


@pytest.mark.parametrize("journey", JOURNEYS.values(), ids=JOURNEYS)
@pytest.mark.parametrize("name", NAMES)
def test_predictions_survive_copies(name, journey, fitted, task_data, outputs, tmp_path):
    """A copy predicts bitwise the same; the original is unchanged."""
    X, _ = task_data(name)
    expected = outputs(fitted[name], X)

    moved = journey(fitted[name], tmp_path)

    np.testing.assert_array_equal(outputs(moved, X), expected)
    assert moved.n_epochs_ == fitted[name].n_epochs_
    assert list(moved.history_) == list(fitted[name].history_)
    np.testing.assert_array_equal(outputs(fitted[name], X), expected)


@pytest.mark.parametrize("name", NAMES)
def test_a_deep_copy_is_independent(name, fitted, task_data, outputs):
    """Training a copy on does not move the original."""
    X, y = task_data(name)
    before = outputs(fitted[name], X)

    moved = copy.deepcopy(fitted[name]).partial_fit(X, y)

    assert (outputs(moved, X) != before).any()
    np.testing.assert_array_equal(outputs(fitted[name], X), before)
    assert (moved.n_epochs_, fitted[name].n_epochs_) == (3, 2)


@pytest.mark.parametrize("name", NAMES)
def test_a_clone_is_unfitted_with_the_same_parameters(name, fitted, task_data, outputs):
    """Cloning keeps every parameter and no fitted attribute."""
    X, y = task_data(name)

    copied = clone(fitted[name])

    assert not copied.__sklearn_is_fitted__()
    assert copied.get_params() == fitted[name].get_params()
    assert not [n for n in vars(copied) if n.endswith("_") and not n.startswith("_")]
    np.testing.assert_array_equal(outputs(copied.fit(X, y), X), outputs(fitted[name], X))


@pytest.mark.parametrize("name", NAMES)
def test_a_pickle_holds_no_samples(name, make_estimator, task_data):
    """The size of a pickle does not grow with the samples trained on or predicted."""
    X, y = task_data(name)
    many = np.tile(X, (20, 1)) + np.arange(1200)[:, None] / 1e4
    sizes = []
    for rows, targets in ((X, y), (many, np.tile(y, 20))):
        params = {"early_stopping": True, "batch_size": 30}
        net = make_estimator(name, **params).fit(rows, targets)
        net.predict(rows)
        sizes.append(len(pickle.dumps(net)))

    # 1140 samples more would take 36 kB; numbers in the history may be longer or shorter.
    assert abs(sizes[1] - sizes[0]) < 500


def test_a_pickle_of_a_net_with_hooks_holds_no_samples(make_estimator, task_data):
    """Callbacks on batches do not fill the history with batches."""
    X, y = task_data("MLPRegressor")
    sizes = []
    for batch_size in (30, 2):
        params = {"batch_size": batch_size, "callbacks": [GradientNormClipping(1.0)]}
        net = make_estimator("MLPRegressor", **params).fit(X, y)
        sizes.append(len(pickle.dumps(net)))

    assert abs(sizes[1] - sizes[0]) < 500


def test_compositions_survive_a_pickle(make_estimator, task_data):
    """A fitted pipeline and a fitted search predict the same after pickling."""
    X, y = task_data("MLPClassifier")
    pipeline = make_pipeline(StandardScaler(), make_estimator("MLPClassifier"))
    grid = {"mlpclassifier__max_epochs": [1, 2]}
    search = model_selection.GridSearchCV(pipeline, grid, cv=2)
    search.fit(X, y)

    moved = pickle.loads(pickle.dumps(search))

    np.testing.assert_array_equal(moved.predict_proba(X), search.predict_proba(X))
    assert moved.best_params_ == search.best_params_


def test_a_network_of_a_gpu_is_loaded_on_the_cpu_with_a_warning(fitted, task_data):
    """Without a GPU, the network works on the CPU and warns."""
    if torch.cuda.is_available():
        pytest.skip("there is a GPU, to which the network would return")
    X, _ = task_data("MLPClassifier")
    net = copy.deepcopy(fitted["MLPClassifier"])
    expected = net.predict_proba(X)
    net.net_.device = "cuda:0"
    pickled = pickle.dumps(net)

    with pytest.warns(SkTuneWarning, match="cuda:0.*not available"):
        moved = pickle.loads(pickled)

    assert moved.net_.device == "cpu"
    np.testing.assert_array_equal(moved.predict_proba(X), expected)


def _run(script, folder, *arguments):
    path = folder / "script.py"
    path.write_text(textwrap.dedent(script))
    result = subprocess.run(
        [sys.executable, "-W", "error::UserWarning:sk_tune", path, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_a_pickle_is_read_by_a_fresh_process(make_estimator, task_data, tmp_path):
    """A process that has not imported sk_tune predicts the same."""
    X, y = task_data("RNNClassifier")
    net = make_estimator("RNNClassifier", early_stopping=True, max_epochs=3).fit(X, y)
    (tmp_path / "net.pkl").write_bytes(pickle.dumps(net))
    np.save(tmp_path / "X.npy", X)
    script = """
        import pickle
        import numpy as np
        import torch

        torch.set_num_threads(1)
        with open("net.pkl", "rb") as file:
            net = pickle.load(file)
        np.save("proba.npy", net.predict_proba(np.load("X.npy")))
    """

    _run(script, tmp_path)

    np.testing.assert_array_equal(np.load(tmp_path / "proba.npy"), net.predict_proba(X))


@pytest.mark.slow
def test_a_module_from_a_notebook_travels_to_workers(tmp_path):
    """joblib's workers can train a class of __main__."""
    script = """
        import copy
        import joblib
        import numpy as np
        import torch
        from torch import nn
        from sk_tune import NetClassifier


        class Net(nn.Module):
            def __init__(self, n_features, n_outputs, width=4):
                super().__init__()
                self.layers = nn.Sequential(
                    nn.Linear(n_features, width), nn.ReLU(), nn.Dropout(0.1),
                    nn.Linear(width, n_outputs),
                )

            def forward(self, x):
                return self.layers(x)


        if __name__ == "__main__":
            torch.set_num_threads(1)
            X = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
            y = (X[:, 0] > 0).astype(int)
            net = NetClassifier(Net, max_epochs=1, batch_size=16, random_state=0)
            here = [
                copy.deepcopy(net.set_params(module__width=w)).fit(X, y).predict_proba(X)
                for w in (3, 5)
            ]

            # Trained there, used here.
            there = joblib.Parallel(n_jobs=2)(
                joblib.delayed(copy.deepcopy(net).set_params(module__width=w).fit)(X, y)
                for w in (3, 5)
            )
            for expected, fitted in zip(here, there):
                np.testing.assert_array_equal(fitted.predict_proba(X), expected)
                assert type(fitted.net_.module_).__name__ == "Net"

            # Trained here, used there.
            proba = joblib.Parallel(n_jobs=2)(
                joblib.delayed(fitted.predict_proba)(X) for fitted in there
            )
            np.testing.assert_array_equal(proba, here)

            joblib.dump(there[0], "net.joblib")
            again = joblib.load("net.joblib")
            np.testing.assert_array_equal(again.predict_proba(X), here[0])
            print("done")
    """

    assert _run(script, tmp_path).strip() == "done"
    # Nothing else is left behind in the working folder.
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.joblib", "script.py"]


def test_threads_train_as_one_after_the_other(make_estimator, task_data, outputs):
    """Fitting and predicting in several threads equals doing so in sequence."""
    X, y = task_data("NetRegressor")
    nets = [make_estimator("NetRegressor", random_state=seed) for seed in range(4)]
    expected = [outputs(clone(net).fit(X, y), X) for net in nets]

    with joblib.parallel_config("threading", n_jobs=4):
        fitted = joblib.Parallel()(joblib.delayed(net.fit)(X, y) for net in nets)
        predicted = joblib.Parallel()(joblib.delayed(net.predict)(X) for net in fitted)

    np.testing.assert_array_equal(predicted, expected)


_RNG = np.random.default_rng(0)
X = _RNG.normal(size=(90, 4))
X[:, 3] = _RNG.integers(0, 3, size=90)
Y = np.array(["a", "b", "c"])[X[:, :3].argmax(axis=1)]
TARGET = X[:, 0] - X[:, 1]


def _mlp(**params):
    return MLPClassifier(**{"max_epochs": 2, "width": 8, "random_state": 0, **params})


def _search(cls=GridSearchCV, **params):
    return cls(_mlp(), {"l1": [0.0, 1e-3]}, cv=2, **params)


OWN = {"max_epochs": 2, "random_state": 0}
ESTIMATORS = {
    "MLPClassifier": _mlp(categorical_features=[3], numerical_embedding="periodic"),
    "MLPRegressor": MLPRegressor(**OWN, early_stopping=True, members=2),
    "CNNClassifier": CNNClassifier(input_shape=(2, 2), augmentation=["noise"], **OWN),
    "RNNClassifier": RNNClassifier(hidden_size=4, **OWN),
    "NetClassifier": NetClassifier(OneLayer, **OWN),
    "NetRegressor": NetRegressor(OneLayer, dtype="float64", **OWN),
    "pipeline": make_pipeline(StandardScaler(), _mlp()),
    "prepared": make_pipeline(TablePreparer(), _mlp()),
    "search": _search(),
    "hyperband": _search(HyperbandSearchCV, max_resources=3, random_state=0),
    "bagging": ensemble.BaggingClassifier(_mlp(), n_estimators=2, random_state=0),
    "boosting": ensemble.BoostingClassifier(MLPRegressor(**OWN), n_estimators=2),
    "stacking": ensemble.StackingClassifier([("a", _mlp()), ("b", _mlp(l1=1e-3))], cv=2),
    "trials": ensemble.TrialEnsembleClassifier(_search(keep_models="all")),
}


def _through_skops(estimator):
    data = skops.io.dumps(estimator)
    return skops.io.loads(data, trusted=skops.io.get_untrusted_types(data=data))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimators_predict_the_same_after_skops(name):
    """Predictions are bitwise equal; all types to be trusted are listed."""
    y = TARGET if is_regressor(ESTIMATORS[name]) else Y
    fitted = clone(ESTIMATORS[name]).fit(X, y)
    found = _through_skops(fitted)

    np.testing.assert_array_equal(found.predict(X), fitted.predict(X))
    if hasattr(fitted, "predict_proba"):
        np.testing.assert_array_equal(found.predict_proba(X), fitted.predict_proba(X))


def test_training_continues_after_skops():
    """Moments and history are kept, and parameters set after `fit`."""
    net = _mlp(lr_schedule="constant", early_stopping=True).fit(X, Y)
    net.set_params(width=16)
    found = _through_skops(net)

    assert found.get_params()["width"] == 16
    assert list(found.history_) == list(net.history_)
    np.testing.assert_array_equal(
        found.partial_fit(X, Y).predict_proba(X), net.partial_fit(X, Y).predict_proba(X)
    )


@pytest.mark.slow
def test_automl_predicts_the_same_after_skops(monkeypatch):
    """By its ensemble, with the leaderboard, from a table with text."""
    monkeypatch.setattr("sk_tune._automl._models._REGULARISATION", [1.0])
    table = pd.DataFrame(X, columns=list("wxyz")).assign(
        kind=np.where(X[:, 0] > 0, "u", "v")
    )
    fitted = sk_tune.AutoClassifier(
        time_budget=None, n_rounds=0, cv=2, diagnosis=False, random_state=0
    ).fit(table, Y)
    found = _through_skops(fitted)

    np.testing.assert_array_equal(found.predict_proba(table), fitted.predict_proba(table))
    pd.testing.assert_frame_equal(found.leaderboard_, fitted.leaderboard_)
