"""Class probabilities as targets of a classifier."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.metrics import log_loss

from sk_tune import MLPClassifier, load, save
from sk_tune._estimators import ClassProbabilities
from sk_tune._fleets._kernel_library import VARIABLE

_RNG = np.random.default_rng(0)
X = _RNG.normal(size=(60, 5))
P = _RNG.dirichlet(np.ones(3), size=60)
SOFT = P.view(ClassProbabilities)
NET = {"width": 8, "dtype": "float64", "random_state": 0, "max_epochs": 4}


@pytest.fixture(params=["kernel", "torch"])
def engine(request, monkeypatch):
    """With and without the compiled kernel."""
    if request.param == "torch":
        monkeypatch.setenv(VARIABLE, "0")


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    "params", [{}, {"label_smoothing": 0.2, "optimizer": "sgd"}, {"members": 3}]
)
def test_a_full_batch_equals_rows_repeated_for_each_class(params):
    """A row for each class, weighted by its probability, has the same loss and gradient."""
    soft, hard = (MLPClassifier(**NET, **params, batch_size=-1) for _ in range(2))

    soft.fit(X, SOFT)
    hard.fit(np.repeat(X, 3, axis=0), np.tile(np.arange(3), 60), sample_weight=P.ravel())

    assert_allclose(soft.predict_proba(X), hard.predict_proba(X), atol=1e-9)
    losses = [net.history_[:, "train_loss"] for net in (soft, hard)]
    assert_allclose(*losses, atol=1e-9)


@pytest.mark.usefixtures("engine")
def test_one_hot_probabilities_equal_labels():
    """Batches, validation samples, scores and predictions equal those with labels."""
    labels = P.argmax(axis=1)
    one_hot = np.eye(3)[labels].view(ClassProbabilities)
    net = {**NET, "batch_size": 16, "dropout": 0.2}

    soft, hard = (MLPClassifier(**net).fit(X, y) for y in (one_hot, labels))

    assert_allclose(soft.predict_proba(X), hard.predict_proba(X), atol=1e-12)
    for name in ("train_loss", "train_score"):
        assert_allclose(soft.history_[:, name], hard.history_[:, name], atol=1e-12)


@pytest.mark.usefixtures("engine")
def test_validation_scores_refer_to_the_most_probable_class():
    """Early stopping needs no strata; its loss is the mean cross-entropy."""
    net = MLPClassifier(**NET, members=1, early_stopping=True, validation_fraction=0.5)

    net.fit(np.vstack([X, X]), np.vstack([P, P]).view(ClassProbabilities))

    assert net.history_[-1, "valid_score"] > 0.3
    weighted = np.tile(np.arange(3), 60)
    loss = log_loss(
        weighted, np.repeat(net.predict_proba(X), 3, axis=0), sample_weight=P.ravel()
    )
    assert net.history_[-1, "valid_loss"] == pytest.approx(loss, abs=0.1)


def test_the_network_is_an_ordinary_classifier(tmp_path):
    """It is saved, and training continues with labels."""
    net = MLPClassifier(**NET, lr_schedule="constant").fit(X, SOFT)
    save(net, tmp_path / "net.sk_tune")
    loaded = load(tmp_path / "net.sk_tune")

    assert net.classes_.tolist() == [0, 1, 2]
    assert_allclose(loaded.predict_proba(X), net.predict_proba(X))
    labels = P.argmax(axis=1)
    score = net.score(X, labels)
    assert loaded.partial_fit(X, labels, n_epochs=30).score(X, labels) > score


def test_class_weights_are_refused():
    """Probabilities have no class to weigh by."""
    with pytest.raises(ValueError, match="class_weight must be None for probabilities"):
        MLPClassifier(**NET, class_weight="balanced").fit(X, SOFT)
