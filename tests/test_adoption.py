"""Adopters that answer networks about to train."""

import copy
import pickle
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
import torch
from numpy.testing import assert_array_equal

from sk_tune import MLPClassifier
from sk_tune._adoption import FitRequested, adopted_state, adopter, adoption, decline
from sk_tune._estimators._net_state import training_state


def _nobody(estimator, X, y, sample_weight):
    return None


def _noting(notes):
    def answer(estimator, X, y, sample_weight):
        notes.append((estimator, X, y, sample_weight))

    return answer


def _net(**params):
    own = {"hidden_layer_sizes": (4,), "max_epochs": 2, "dtype": "float64"}
    return MLPClassifier(**{**own, "random_state": 0, **params})


def test_the_adopter_of_a_block_is_called():
    """It is called with the arguments of ``fit``, with or without weights."""
    notes, seen = [], []
    net, X, y, weight = object(), object(), object(), object()

    assert adopted_state(net, X, y) is None
    with adoption(_noting(notes)):
        adopted_state(net, X, y)
        adopted_state(net, X, y, weight)
        thread = threading.Thread(target=lambda: seen.append(adopter()))
        thread.start()
        thread.join()
        with adoption(None):
            seen.append(adopter())

    assert notes == [(net, X, y, None), (net, X, y, weight)]
    # Networks train in other threads, and in an inner block without an adopter.
    assert [*seen, adopter()] == [None] * 3


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt, FitRequested])
def test_a_block_ends_with_its_adopter(error):
    """Afterwards the outer adopter answers; no ``except Exception`` hides a request."""
    assert not issubclass(FitRequested, Exception)
    with adoption(_nobody):
        try:
            with adoption(_noting([])):
                if error is not None:
                    raise error
        except BaseException as raised:
            if type(raised) is not error:
                raise
        assert adopter() is _nobody
    assert adopter() is None


def test_a_network_that_declines_reports_why():
    """Only the adopter is notified, if any."""
    reasons = []
    decline("nobody listens")
    with adoption(_nobody):
        decline("it only answers")
    with adoption(SimpleNamespace(decline=reasons.append)):
        decline("it has a callback")

    assert reasons == ["it has a callback"]


@pytest.mark.parametrize("how", ["partial_fit", "warm_start"])
def test_a_continued_network_does_not_call_the_adopter(how, iris):
    """A fit that starts from earlier weights cannot be adopted."""
    notes = []
    net = _net(lr_schedule="constant", warm_start=how == "warm_start").fit(*iris)

    with adoption(_noting(notes)):
        net.fit(*iris) if how == "warm_start" else net.partial_fit(*iris)

    assert notes == []


def _adopted(trained, data, **params):
    with adoption(lambda estimator, X, y, sample_weight: trained.state):
        return _net(**params).fit(*data)


@pytest.fixture(params=["adamw", "sgd", "rmsprop"])
def course(request):
    """Parameters of a training that can continue, with moments and a decreasing rate."""
    return {"optimizer": request.param, "max_epochs": 4, "lr_schedule": "cosine"}


@pytest.mark.parametrize(
    "via",
    [
        lambda net, path: net,
        lambda net, path: pickle.loads(pickle.dumps(net)),
        lambda net, path: copy.deepcopy(net),
        lambda net, path: net.save(path) or MLPClassifier.load(path),
    ],
    ids=["directly", "pickle", "deepcopy", "file"],
)
def test_an_adopted_network_continues_exactly(via, course, iris, tmp_path):
    """Two adopted epochs and two of its own equal four, to the last bit."""
    first = _net(**course).partial_fit(*iris, n_epochs=2)
    state = SimpleNamespace(state=training_state(first.net_))

    adopted = via(_adopted(state, iris, **course), tmp_path / "net")
    assert adopted.n_epochs_ == 2
    adopted.partial_fit(*iris, n_epochs=2)

    expected = first.partial_fit(*iris, n_epochs=2)
    assert_array_equal(adopted.predict_proba(iris.X), expected.predict_proba(iris.X))
    assert adopted.history_[:, "train_loss"] == expected.history_[:, "train_loss"]


def test_the_optimizer_of_an_adopted_network_is_built_on_access(course, iris):
    """It holds the net's parameters, the moments and the rate of the training."""
    expected = _net(**course).partial_fit(*iris, n_epochs=2).net_
    state = SimpleNamespace(state=training_state(expected))

    net = _adopted(state, iris, **course).net_

    optimizer = net.optimizer_
    assert optimizer is net.optimizer_
    assert type(optimizer) is type(expected.optimizer_)
    (group,) = optimizer.param_groups
    assert all(
        own is mine
        for own, mine in zip(group["params"], net.module_.parameters(), strict=True)
    )
    assert group["lr"] == expected.optimizer_.param_groups[0]["lr"]
    moments = expected.optimizer_.state_dict()["state"]
    torch.testing.assert_close(optimizer.state_dict()["state"], moments, rtol=0, atol=0)
    # skorch's set_params reaches an optimizer that was not built yet.
    net = _adopted(state, iris, **course).net_.set_params(lr=0.125)
    assert net.optimizer_.param_groups[0]["lr"] == 0.125


@pytest.mark.parametrize("normalization", ["batch", "layer"])
def test_networks_of_all_kinds_are_adopted(normalization, iris):
    """Layers and buffers come from the training, whatever was adopted before."""
    params = {"normalization": normalization, "residual": normalization == "batch"}
    params |= {"hidden_layer_sizes": (5, 5), "dropout": 0.3, "lr_schedule": "constant"}
    expected = _net(**params).fit(*iris)
    state = SimpleNamespace(state=training_state(expected.net_))

    first, second = (_adopted(state, iris, **params) for _ in range(2))
    first.partial_fit(*iris)

    assert_array_equal(second.predict_proba(iris.X), expected.predict_proba(iris.X))
    assert repr(second.net_.module_) == repr(expected.net_.module_)


_ADOPT_ONLY = """
import pickle
import sys
from sklearn.datasets import load_iris
from sklearn.model_selection import cross_val_score
from sk_tune import MLPClassifier, fleet

X, y = load_iris(return_X_y=True)
net = MLPClassifier(width=4, max_epochs=1, random_state=0)
with fleet(n_jobs=1) as report:
    cross_val_score(net, X, y, cv=2)
assert report.n_adopted == 2
pickle.loads(pickle.dumps(net.fit(X, y))).predict(X)
assert "torch._dynamo" not in sys.modules
"""


@pytest.mark.slow
def test_networks_that_only_adopt_or_predict_build_no_optimizer():
    """Torch's compiler, which optimizers import for a second or two, is not needed."""
    subprocess.run([sys.executable, "-c", _ADOPT_ONLY], check=True)
