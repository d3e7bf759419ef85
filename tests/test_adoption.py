"""Who answers networks that are about to train, and for whom."""

import threading

import numpy as np
import pytest

from sk_tune import MLPClassifier
from sk_tune.adoption import FitRequested, adopted_state, adopter, adoption
from sk_tune.engine import Fit, train


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
