"""Who answers networks that are about to train, and for whom."""

import copy
import pickle
import subprocess
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sk_tune import MLPClassifier
from sk_tune.adoption import FitRequested, adopted_state, adopter, adoption, decline
from sk_tune.engine import Fit, train
from sk_tune.estimators._net_state import training_state


def _nobody(estimator, X, y, sample_weight):
    return None


def _noting(notes):
    def answer(estimator, X, y, sample_weight):
        notes.append((estimator, X, y, sample_weight))

    return answer


def _net(**params):
    own = {"hidden_layer_sizes": (4,), "max_epochs": 2, "dtype": "float64"}
    return MLPClassifier(**{**own, "random_state": 0, **params})


def test_by_default_nobody_answers():
    """Networks train by themselves."""
    assert adopter() is None
    assert adopted_state(object(), None, None) is None


def test_the_adopter_of_a_block_answers():
    """It is asked with what was given to ``fit``, weights or not."""
    notes = []
    net, X, y, weight = object(), object(), object(), object()

    with adoption(_noting(notes)):
        adopted_state(net, X, y)
        adopted_state(net, X, y, weight)

    assert notes == [(net, X, y, None), (net, X, y, weight)]


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt, FitRequested])
def test_a_block_ends_with_its_adopter(error):
    """After it, left by whatever, the one before answers again."""
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


def test_a_network_that_takes_over_nothing_says_why_to_who_listens():
    """Others, and nobody, are not told."""
    reasons = []
    decline("nobody listens")
    with adoption(_nobody):
        decline("it only answers")
    with adoption(SimpleNamespace(decline=reasons.append)):
        decline("it has a callback")

    assert reasons == ["it has a callback"]


def test_none_lets_networks_train_inside_a_block():
    """The inner block counts."""
    with adoption(_nobody), adoption(None):
        assert adopter() is None


def test_other_threads_are_not_answered():
    """A thread that was started in a block trains by itself."""
    seen = []

    with adoption(_nobody):
        thread = threading.Thread(target=lambda: seen.append(adopter()))
        thread.start()
        thread.join()

    assert seen == [None]


def _call_and_catch():
    try:
        raise FitRequested
    except Exception:  # noqa: BLE001 - that is what callers do
        return "caught"


def test_a_request_passes_callers_that_catch_exceptions():
    """``except Exception`` lets it pass, so that no error_score hides it."""
    assert not issubclass(FitRequested, Exception)
    with pytest.raises(FitRequested):
        _call_and_catch()


def test_a_network_adopts_what_it_is_answered(iris):
    """``fit`` trains nothing and the network is the one of the training."""
    (trained,) = train([Fit(estimator=_net(random_state=5), X=iris.X, y=iris.y, seed=5)])
    expected = _net(random_state=5).fit(*iris)

    with adoption(lambda estimator, X, y, sample_weight: trained.state):
        adopted = _net(random_state=5, max_epochs=2).fit(*iris)

    np.testing.assert_allclose(
        adopted.predict_proba(iris.X), expected.predict_proba(iris.X), atol=1e-9
    )
    assert adopted.n_epochs_ == 2


def test_a_network_that_is_not_answered_trains(iris):
    """None leaves ``fit`` as it is."""
    expected = _net().fit(*iris)

    with adoption(_nobody):
        trained = _net().fit(*iris)

    np.testing.assert_array_equal(
        trained.predict_proba(iris.X), expected.predict_proba(iris.X)
    )


@pytest.mark.parametrize("how", ["partial_fit", "warm_start"])
def test_a_network_that_goes_on_does_not_ask(how, iris):
    """What starts from earlier weights is no fit that somebody else could have made."""
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
    """Parameters of a training that can go on, with moments and a falling rate."""
    return {"optimizer": request.param, "max_epochs": 4, "lr_schedule": "cosine"}


def _as_it_is(net, tmp_path):
    return net


def _pickled(net, tmp_path):
    return pickle.loads(pickle.dumps(net))


def _copied(net, tmp_path):
    return copy.deepcopy(net)


def _saved(net, tmp_path):
    net.save(tmp_path / "net.safetensors")
    return MLPClassifier.load(tmp_path / "net.safetensors")


@pytest.mark.parametrize("via", [_as_it_is, _pickled, _copied, _saved])
def test_an_adopted_network_goes_on_exactly(via, course, iris, tmp_path):
    """Two epochs that were made elsewhere and two of its own are four, to the last bit."""
    first = _net(**course).partial_fit(*iris, n_epochs=2)
    state = SimpleNamespace(state=training_state(first.net_))

    adopted = via(_adopted(state, iris, **course), tmp_path).partial_fit(*iris, n_epochs=2)

    expected = first.partial_fit(*iris, n_epochs=2)
    np.testing.assert_array_equal(
        adopted.predict_proba(iris.X), expected.predict_proba(iris.X)
    )
    assert adopted.history_[:, "train_loss"] == expected.history_[:, "train_loss"]


def test_the_optimizer_of_an_adopted_network_is_there_when_asked_for(course, iris):
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


def test_the_net_of_an_adopted_network_is_set_like_any_other(iris):
    """skorch's ``set_params(lr=...)`` reaches an optimizer that nobody asked for yet."""
    (trained,) = train([Fit(estimator=_net(), X=iris.X, y=iris.y)])

    net = _adopted(trained, iris).net_.set_params(lr=0.125)

    assert net.optimizer_.param_groups[0]["lr"] == 0.125


@pytest.mark.parametrize("normalization", [None, "batch", "layer"])
@pytest.mark.parametrize("residual", [False, True])
def test_networks_of_all_kinds_are_adopted(normalization, residual, iris):
    """Layers and buffers are those of the training, whatever was adopted before."""
    params = {
        "normalization": normalization,
        "residual": residual,
        "hidden_layer_sizes": (5, 5),
        "dropout": 0.3,
        "lr_schedule": "constant",
    }
    expected = _net(**params).fit(*iris)
    state = SimpleNamespace(state=training_state(expected.net_))

    first, second = (_adopted(state, iris, **params) for _ in range(2))
    first.partial_fit(*iris)

    np.testing.assert_array_equal(
        second.predict_proba(iris.X), expected.predict_proba(iris.X)
    )
    assert repr(second.net_.module_) == repr(expected.net_.module_)


class OwnModule(MLPClassifier):
    """A classifier whose network is another one."""

    def _build_module(self, n_outputs):
        return torch.nn.Linear(self.input_shape_[0], n_outputs).double()


def test_a_class_with_a_network_of_its_own_is_adopted(iris):
    """A derived class gets the network that it builds."""
    expected = OwnModule(dtype="float64", random_state=0, max_epochs=2).fit(*iris)
    state = training_state(expected.net_)

    with adoption(lambda *_: state):
        adopted = OwnModule(dtype="float64", random_state=0, max_epochs=2).fit(*iris)

    np.testing.assert_array_equal(
        adopted.predict_proba(iris.X), expected.predict_proba(iris.X)
    )


_ADOPT_ONLY = """
import sys
from sklearn.datasets import load_iris
from sklearn.model_selection import cross_val_score
from sk_tune import MLPClassifier, fleet

X, y = load_iris(return_X_y=True)
with fleet(n_jobs=1) as report:
    cross_val_score(MLPClassifier(width=4, max_epochs=1, random_state=0), X, y, cv=2)
assert report.n_adopted == 2
assert "torch._dynamo" not in sys.modules
"""


def test_networks_that_only_adopt_build_no_optimizer():
    """Torch's compiler, which its optimizers import for a second or two, is not needed."""
    subprocess.run([sys.executable, "-c", _ADOPT_ONLY], check=True)
