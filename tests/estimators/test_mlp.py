"""Multi-layer perceptrons: their shapes, and what they learn."""

import numpy as np
import pytest
import torch
from sklearn.exceptions import FitFailedWarning
from torch import nn

from sk_tune import GridSearchCV, MLPClassifier, MLPRegressor


def test_a_linear_model_finds_the_least_squares_line():
    """Without hidden layers, long training ends at the closed form of least squares."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 3))
    y = X @ [1.0, -2.0, 0.5] + 3 + rng.normal(size=50)
    net = MLPRegressor(
        n_layers=0,
        optimizer="sgd",
        learning_rate=0.1,
        lr_schedule="constant",
        weight_decay=0.0,
        batch_size=-1,
        max_epochs=200,
        dtype="float64",
        dropout=0.0,
        random_state=0,
    )

    predicted = net.fit(X, y).predict(X)

    design = np.column_stack([X, np.ones(50)])
    expected = design @ np.linalg.lstsq(design, y)[0]
    np.testing.assert_allclose(predicted, expected, atol=1e-6)


@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic", "gelu", "selu"])
def test_a_hidden_layer_learns_what_no_line_can(activation):
    """Exclusive or, of which a linear model gets half right at most by three quarters."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, size=(200, 2))
    y = (X[:, 0] > 0) ^ (X[:, 1] > 0)
    net = MLPClassifier(
        n_layers=1,
        width=16,
        activation=activation,
        learning_rate=0.03,
        max_epochs=100,
        random_state=0,
        dropout=0.0,
    )

    assert net.fit(X, y).score(X, y) > 0.9


MEMBERS = {
    "hidden_layer_sizes": (8,),
    "members": 3,
    "lr_schedule": "constant",
    "max_epochs": 3,
    "random_state": 0,
}


def test_probabilities_are_means_of_the_members(iris):
    """Each member is a network; the loss of the history is the mean of theirs."""
    X, y = iris
    net = MLPClassifier(**MEMBERS, learning_rate=0.01).fit(X, y)
    module = net.net_.module_.train()

    with torch.no_grad():
        members = module(torch.from_numpy(X.astype(np.float32))).softmax(dim=2)
    module.eval()

    np.testing.assert_allclose(
        net.predict_proba(X), members.mean(dim=1).numpy(), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(
        net.predict_log_proba(X), np.log(net.predict_proba(X)), rtol=1e-5, atol=1e-5
    )
    assert members.std(dim=1).max() > 0.01


def test_the_training_loss_is_the_mean_of_the_members_losses(iris):
    """Of one step over all rows, before which nothing has been learnt."""
    X, y = iris
    net = MLPClassifier(**{**MEMBERS, "max_epochs": 1}, batch_size=-1, learning_rate=1e-30)

    net.fit(X, y)

    module = net.net_.module_.train()
    with torch.no_grad():
        members = module(torch.from_numpy(X.astype(np.float32)))
    target = torch.tensor(y)
    losses = [nn.functional.cross_entropy(members[:, i], target) for i in range(3)]
    assert net.history_[0]["train_loss"] == pytest.approx(float(sum(losses)) / 3, rel=1e-5)
    accuracy = (members.softmax(dim=2).mean(dim=1).argmax(dim=1) == target).float().mean()
    assert net.history_[0]["train_score"] == pytest.approx(float(accuracy))


@pytest.mark.parametrize("cls", [MLPClassifier, MLPRegressor])
def test_members_are_saved_loaded_and_go_on(cls, iris, tmp_path):
    """As any network: files, warm starts, several targets and weights of rows."""
    X, y = iris
    target = np.column_stack([y > 0, X[:, 0] > 5.5]).astype(int)
    net = cls(**MEMBERS).fit(X, target, sample_weight=np.arange(len(X)) % 3)

    net.save(tmp_path / "net.safetensors")
    loaded = cls.load(tmp_path / "net.safetensors")

    np.testing.assert_array_equal(loaded.predict(X), net.predict(X))
    assert loaded.predict(X).shape == (150, 2)
    assert loaded.partial_fit(X, target).n_epochs_ == 4


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_members_are_exported_as_one_model(iris, tmp_path):
    """ONNX gives the mean of the members."""
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    X, y = iris
    net = MLPClassifier(**MEMBERS).fit(X, y)

    net.to_onnx(tmp_path / "net.onnx")

    session = onnxruntime.InferenceSession(
        tmp_path / "net.onnx", providers=["CPUExecutionProvider"]
    )
    (got,) = session.run(None, {"X": X.astype(np.float32)})
    np.testing.assert_allclose(got, net.predict_proba(X), rtol=1e-4, atol=1e-5)


def test_layers_that_no_machine_holds_are_refused_before_they_are_made(iris):
    """By the bytes that they take: 8e12 weights of 4 bytes, derivatives and two moments."""
    with pytest.raises(ValueError, match=r"8,000,000,000,003 weights.* 128,000 GB"):
        MLPClassifier(hidden_layer_sizes=10**12).fit(*iris)

    grid = {"hidden_layer_sizes": [2, 10**12]}
    search = GridSearchCV(MLPClassifier(max_epochs=1, random_state=0), grid, cv=2)
    with pytest.warns(FitFailedWarning), pytest.warns(UserWarning, match="non-finite"):
        search.fit(*iris)

    assert np.isnan(search.cv_results_["mean_test_score"]).tolist() == [False, True]
    assert "must fit into memory" in search.cv_results_["failure_reason"][1]
