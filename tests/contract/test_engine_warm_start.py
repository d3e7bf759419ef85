"""Contract 5: some epochs, and then more, equal all of them at once.

Through ``Fit.state`` to the last bit in fleets, and alone, and from one to the other within
1e-9 in float64.
"""

import pickle

import numpy as np
import pytest
from marks import one_in
from parity.modules import Layers
from skorch.callbacks import Callback

import sk_tune
from sk_tune import PiecewiseLinear
from sk_tune._engine import Fit, fitted_estimator, train
from sk_tune._estimators._net_state import training_state

ROWS, MONITOR = np.arange(150), np.arange(150, 200)
BASE = {"max_epochs": 9, "batch_size": 32, "dtype": "float64", "learning_rate": 0.005}


STOPPING = {"early_stopping": True, "validation_fraction": 0.2}
ARCHITECTURES = {
    "MLP": {"hidden_layer_sizes": (10, 8), "members": 1},
    # SGD, because the others blow up the rounding of biases before a batch norm.
    "CNN": {"n_channels": 2, "width": 6, "input_shape": (8, 8), "optimizer": "sgd"},
    "RNN": {"hidden_size": 5, "input_shape": (8, 8)},
    "Net": {"module": Layers, "optimizer": "sgd"},
}
CASES = {
    **{name: ("MLP", {"optimizer": name}) for name in ("adamw", "adam", "sgd", "rmsprop")},
    **{
        name: ("MLP", {"lr_schedule": name})
        for name in ("constant", "cosine", "one_cycle", "step")
    },
    "early stopping": ("MLP", {**STOPPING, "n_iter_no_change": 9}),
    "best epoch before the pause": (
        "MLP",
        {
            **STOPPING,
            "n_iter_no_change": 9,
            "learning_rate": 0.1,
            "lr_schedule": "constant",
        },
    ),
    "stops in the second part": ("MLP", {**STOPPING, "n_iter_no_change": 4, "tol": 1.0}),
    "stops in the first part": ("MLP", {**STOPPING, "n_iter_no_change": 2, "tol": 9.0}),
    "dropout": ("MLP", {"dropout": 0.3}),
    "batch norm": ("MLP", {"normalization": "batch", "optimizer": "sgd"}),
    "full batch": ("MLP", {"batch_size": -1}),
    "penalties": ("MLP", {"l1": 1e-3, "gradient_clip": 0.3, "label_smoothing": 0.1}),
    "members": ("MLP", {**STOPPING, "members": 3, "dropout": 0.2}),
    "embedded": ("MLP", {"numerical_embedding": PiecewiseLinear(n_bins=3)}),
    "cnn": ("CNN", {**STOPPING, "dropout": 0.2}),
    "rnn": ("RNN", {"dropout": 0.2, "bidirectional": True}),
    "net": ("Net", {"lr_schedule": "one_cycle"}),
    "net, early stopping": ("Net", STOPPING),
}
# Epochs of the first part, where it is not 3.
FIRST = {"best epoch before the pause": 7}
MIXED = [("alone", "alone"), ("alone", "fleet"), ("fleet", "alone")]
# What is trained in fleets and alone; the rest in fleets.
BOTH = ["adamw", "best epoch before the pause", "batch norm", "penalties", "rnn", "net"]
ROUTES = [(case, ("fleet", "fleet")) for case in CASES]
ROUTES += [(case, route) for case in BOTH for route in MIXED]

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*trained alone:sk_tune.exceptions.SkTuneWarning"
)


def _fit(data, name, params, way="fleet", **changes):
    own = {**BASE, **ARCHITECTURES[name], **params}
    if way == "alone":
        # No fleet has callbacks.
        own["callbacks"] = [Callback()]
    return Fit(
        estimator=getattr(sk_tune, f"{name}Classifier")(**own),
        X=data.X,
        y=data.y % 3,
        rows=ROWS,
        monitor=MONITOR,
        seed=7,
        **changes,
    )


def _arrays(trained):
    """Return all trained values as a dictionary of arrays."""
    state = trained.state
    arrays = {"predictions": trained.predictions}
    for part in ("weights", "last_weights", "best_weights"):
        for name, array in (getattr(state, part) or {}).items():
            arrays[f"{part} {name}"] = array
    for index, moments in state.moments.items():
        for name, array in moments.items():
            arrays[f"moment {index} {name}"] = array
    for key in ("train_loss", "valid_loss", "monitor_loss", "monitor_score", "lr", "epoch"):
        arrays[key] = state.curve(key)
    return arrays


@pytest.fixture(scope="module")
def at_once(digits):
    """Return a function that gives nine epochs of a case at once."""
    known = {}

    def at_once(case, way="fleet"):
        if (case, way) not in known:
            (known[case, way],) = train([_fit(digits, *CASES[case], way)])
        return known[case, way]

    return at_once


@pytest.mark.parametrize(("case", "route"), one_in(3, ROUTES))
def test_three_epochs_and_six_more_equal_nine(case, route, digits, at_once):
    """Weights, moments, schedule, order of batches and dropout continue."""
    first, second = route
    expected, n_epochs = at_once(case, first), FIRST.get(case, 3)

    (part,) = train([_fit(digits, *CASES[case], first, n_epochs=n_epochs)])
    rest = _fit(digits, *CASES[case], second, n_epochs=9 - n_epochs, state=part.state)
    (whole,) = train([rest])

    assert len(part.train_loss) == min(n_epochs, len(expected.train_loss))
    ours, reference = _arrays(whole), _arrays(expected)
    assert set(ours) == set(reference)
    for name, array in reference.items():
        if first == second:
            np.testing.assert_array_equal(ours[name], array, err_msg=name)
        else:
            np.testing.assert_allclose(ours[name], array, atol=1e-9, rtol=0, err_msg=name)
    assert whole.state.n_steps == expected.state.n_steps
    assert whole.state.stopping.best_epoch == expected.state.stopping.best_epoch
    assert whole.state.stopping.n_waited == expected.state.stopping.n_waited


def test_the_cases_stop_where_their_names_say(at_once):
    """One case stops before the pause, one after it, and two do not stop early."""
    assert len(at_once("stops in the first part").train_loss) <= 3
    assert 3 < len(at_once("stops in the second part").train_loss) < 9
    for case in ("early stopping", "best epoch before the pause"):
        assert len(at_once(case).train_loss) == 9
    assert at_once("best epoch before the pause").state.stopping.best_epoch < 7


@pytest.mark.parametrize("way", ["fleet", "alone"])
def test_a_state_survives_a_pickle_and_is_not_changed(way, digits, at_once):
    """Single epochs from pickled states equal nine epochs; the states are unchanged."""
    state, states = None, []
    for _ in range(9):
        fit = _fit(digits, *CASES["early stopping"], way, n_epochs=1, state=state)
        (trained,) = train([fit])
        state = pickle.loads(pickle.dumps(trained.state))
        states.append((state, pickle.dumps(state)))

    expected = _arrays(at_once("early stopping", way))
    for name, array in _arrays(trained).items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)
    for kept, before in states:
        assert pickle.dumps(kept) == before


def test_networks_at_different_epochs_continue_in_one_fleet(digits):
    """Networks trained for 5, 2 and 0 epochs reach epoch nine in one fleet."""
    params = [{"dropout": 0.1 * i, "momentum": 0.9 - 0.1 * i} for i in range(3)]
    expected = train([_fit(digits, "MLP", own) for own in params])

    rest = []
    for i, n_epochs in enumerate((5, 2, 0)):
        state = None
        if n_epochs:
            part = _fit(digits, "MLP", params[i], n_epochs=n_epochs)
            state = train([part])[0].state
        more = {"n_epochs": 9 - n_epochs, "state": state}
        rest.append(_fit(digits, "MLP", params[i], **more))

    for ours, reference in zip(train(rest), expected, strict=True):
        assert len(ours.train_loss) == 9
        np.testing.assert_allclose(ours.predictions, reference.predictions, atol=1e-12)


@pytest.mark.parametrize("way", ["fleet", "alone"])
def test_partial_fit_and_the_engine_continue_each_other(way, digits):
    """Three epochs by partial_fit, three by the engine and three more equal nine."""
    fit = _fit(digits, *CASES["dropout"], way)
    X, y = digits.X[ROWS], (digits.y % 3)[ROWS]
    params = {**fit.estimator.get_params(deep=False), "callbacks": None, "random_state": 7}
    expected = sk_tune.MLPClassifier(**params).fit(X, y)

    first = sk_tune.MLPClassifier(**params).partial_fit(X, y, n_epochs=3)
    state = training_state(first.net_)
    more = _fit(digits, *CASES["dropout"], way, n_epochs=3, state=state)
    (trained,) = train([more])
    last = fitted_estimator(more, trained).partial_fit(X, y, n_epochs=3)

    assert last.n_epochs_ == 9
    np.testing.assert_allclose(
        last.predict_proba(digits.X), expected.predict_proba(digits.X), atol=1e-9
    )
    assert last.history_[:, "lr"] == expected.history_[:, "lr"]
