"""Contract 2: a network does not depend on its fleet.

Not on the networks beside it, their order, how many train at a time, the number of
workers, networks that end before it, or a pause.  Numbers agree to 1e-12 in float64: how
many networks a matrix product is computed for may change the order of its sums, and nothing
else.
"""

from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sk_tune import CNNClassifier, MLPClassifier, MLPRegressor, NetClassifier, RNNClassifier
from sk_tune.augment import (
    CutMix,
    Cutout,
    Flip,
    Mixup,
    Noise,
    Rotate,
    Scale,
    Shift,
    TimeMask,
    TimeShift,
)
from sk_tune.engine import Fit, _shard, train

TOLERANCE = 1e-12
MONITOR = np.arange(150, 200)
BASE = {"batch_size": 32, "dtype": "float64", "learning_rate": 0.005, "max_epochs": 3}


class Layers(nn.Module):
    """A user's module with torch's own dropout."""

    def __init__(self, n_features, n_outputs, p=0.2):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(n_features, 8), nn.Tanh(), nn.Dropout(p), nn.Linear(8, n_outputs)
        )

    def forward(self, x):
        return self.layers(x)


def _mlp(**params):
    return MLPClassifier(**{**BASE, "hidden_layer_sizes": (12, 8), **params})


def _regressor(**params):
    return MLPRegressor(**{**BASE, "hidden_layer_sizes": (8,), **params})


def _cnn(**params):
    shape = {"n_channels": 2, "width": 6, "input_shape": (8, 8)}
    # SGD, because AdamW blows up the rounding of biases before a batch norm.
    return CNNClassifier(**{**BASE, **shape, "optimizer": "sgd", **params})


def _rnn(**params):
    return RNNClassifier(**{**BASE, "hidden_size": 5, "input_shape": (8, 8), **params})


def _net(dropout=0.2, **params):
    return NetClassifier(**{**BASE, "module": Layers, "module__p": dropout, **params})


def _categories(**params):
    # Pixels as codes: some folds lack some of them.
    return _mlp(categorical_features=[3, 20, 43], **params)


def _periodic(**params):
    own = {"numerical_embedding": "periodic", "numerical_embedding_size": 2}
    return _mlp(**own, n_frequencies=3, **params)


def _piecewise_linear(**params):
    own = {"numerical_embedding": "piecewise_linear", "numerical_embedding_size": 2}
    return _regressor(**own, n_bins=3, **params)


def _members(**params):
    return _mlp(members=3, **params)


def _augmented_table(**params):
    """Strengths that differ by network, as its dropout does."""
    strength = params["dropout"]
    return _mlp(augmentation=[Noise(strength), Mixup(0.1 + strength)], **params)


def _augmented_images(**params):
    strength = params["dropout"]
    parts = [Flip(strength), Shift(int(10 * strength)), Rotate(99 * strength)]
    parts += [Cutout(int(20 * strength)), CutMix(0.1 + strength)]
    return _cnn(augmentation=parts, **params)


def _augmented_sequences(**params):
    strength = params["dropout"]
    parts = [Noise(strength), Scale(strength), TimeMask(strength)]
    parts += [TimeShift(int(10 * strength)), Mixup(0.1 + strength)]
    return _rnn(augmentation=parts, **params)


ESTIMATORS = {
    "mlp": _mlp,
    "regressor": _regressor,
    "cnn": _cnn,
    "rnn": _rnn,
    "net": _net,
    "categories": _categories,
    "members": _members,
    "periodic": _periodic,
    "piecewise linear": _piecewise_linear,
    "augmented table": _augmented_table,
    "augmented images": _augmented_images,
    "augmented sequences": _augmented_sequences,
}


def _fits(make, data, n_fits=5):
    """Return fits whose numbers, seeds, epochs and samples differ."""
    X = data.X * 16 if make in {_categories} else data.X
    return [
        Fit(
            estimator=make(
                learning_rate=0.001 * (1 + i),
                dropout=0.1 * (i % 3),
                weight_decay=0.01 * i,
                gradient_clip=(None, 0.5)[i % 2],
                max_epochs=2 + i % 3,
            ),
            X=X,
            y=data.y,
            rows=np.arange(150)[i * 7 :],
            monitor=MONITOR,
            seed=i,
        )
        for i in range(n_fits)
    ]


def _assert_same(ours, reference, tolerance=TOLERANCE):
    assert (ours.status, reference.status) == ("trained", "trained"), ours.message
    assert ours.engine == reference.engine == "fleet"
    pairs = [(ours.predictions, reference.predictions)]
    pairs += [
        (getattr(ours, name), getattr(reference, name))
        for name in ("train_loss", "monitor_loss", "monitor_score")
    ]
    for name in ("weights", "last_weights", "best_weights"):
        parts = [getattr(trained.state, name) for trained in (ours, reference)]
        assert (parts[0] is None) == (parts[1] is None)
        if parts[0] is not None:
            assert list(parts[0]) == list(parts[1])
            pairs += zip(parts[0].values(), parts[1].values(), strict=True)
    for index, moments in reference.state.moments.items():
        pairs += [(ours.state.moments[index][key], m) for key, m in moments.items()]
    for a, b in pairs:
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
    assert ours.state.n_steps == reference.state.n_steps
    assert ours.state.stopping.best_epoch == reference.state.stopping.best_epoch


def _alone(fits):
    return [train([fit])[0] for fit in fits]


def _assert_all_same(trained, expected):
    for ours, reference in zip(trained, expected, strict=True):
        _assert_same(ours, reference)


def _at_a_time(n_rows):
    """Let fleets train so many networks side by side."""
    return mock.patch.object(_shard, "networks_at_a_time", return_value=n_rows)


@pytest.fixture(scope="module", params=ESTIMATORS)
def solo(request, digits):
    """Five fits of one kind, and what each gives in a fleet of its own."""
    fits = _fits(ESTIMATORS[request.param], digits)
    return fits, _alone(fits)


def _two_at_a_time(fits):
    with _at_a_time(2):
        return train(fits)


def _with_a_pause(fits):
    """Train an epoch, and then the others in another fleet."""
    paused = train([_with(fit, n_epochs=1) for fit in fits])
    rest = [
        _with(fit, n_epochs=fit.estimator.max_epochs - 1, state=trained.state)
        for fit, trained in zip(fits, paused, strict=True)
    ]
    return train(rest[::-1])[::-1]


def _with(fit, **changes):
    kept = ("estimator", "X", "y", "rows", "monitor", "seed")
    return Fit(**{**{name: getattr(fit, name) for name in kept}, **changes})


@pytest.mark.parametrize(
    "train_together",
    [
        train,
        lambda fits: train(fits[::-1])[::-1],
        lambda fits: train(fits, memory_limit=1),
        _two_at_a_time,
        _with_a_pause,
    ],
    ids=["beside others", "reversed", "one by one", "two at a time", "with a pause"],
)
def test_a_network_does_not_depend_on_its_fleet(train_together, solo):
    """Beside networks of other samples and epochs it gives what it gives alone.

    Wherever it stands, with so little memory that each waits for the last, where it takes
    the place of one that ended, and when it goes on in another fleet.
    """
    fits, expected = solo

    _assert_all_same(train_together(fits), expected)


@pytest.mark.usefixtures("workers_for_little")
@pytest.mark.parametrize("kind", ["mlp", "net", "augmented images"])
def test_a_network_does_not_depend_on_the_number_of_workers(kind, digits):
    """Two processes give what one gives."""
    fits = _fits(ESTIMATORS[kind], digits, n_fits=6)

    trained = train(fits, n_jobs=2)

    _assert_all_same(trained, train(fits, n_jobs=1))


def _stopping(digits, n_fits, **params):
    """Return fits that early stopping ends after different numbers of epochs."""
    options = {"early_stopping": True, "validation_fraction": 0.2, "max_epochs": 8}
    return [
        Fit(
            estimator=_mlp(**options, tol=0.03 * i, patience=1 + i % 2, **params),
            X=digits.X,
            y=digits.y,
            rows=np.arange(150),
            monitor=MONITOR,
            seed=i,
        )
        for i in range(n_fits)
    ]


def test_a_network_does_not_depend_on_networks_that_stop_before_it(digits):
    """Networks leave the fleet by early stopping, and those that stay go on as alone."""
    fits = _stopping(digits, 5)

    trained = train(fits)

    assert len({len(t.train_loss) for t in trained}) > 1
    _assert_all_same(trained, _alone(fits))


def test_a_network_does_not_depend_on_networks_that_diverge(digits):
    """Networks that became infinite leave the fleet, and those that stay go on as alone."""
    good = [_with(f, estimator=_mlp(optimizer="sgd")) for f in _fits(_mlp, digits, 3)]
    wild = _with(good[0], estimator=_mlp(optimizer="sgd", learning_rate=1e6))

    trained = train([wild, good[0], wild, *good[1:], wild])

    assert [trained[i].status for i in (0, 2, 5)] == ["failed"] * 3
    _assert_all_same(trained[1:2] + trained[3:5], _alone(good))


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.filterwarnings("ignore:.*trained alone:sk_tune.exceptions.SkTuneWarning")
def test_places_are_refilled_by_networks_with_and_without_early_stopping(first, digits):
    """Networks of both kinds take the places of networks of both kinds."""
    stopping, plain = _stopping(digits, 3), _fits(_mlp, digits, 3)
    pairs = (
        zip(stopping, plain, strict=True) if first else zip(plain, stopping, strict=True)
    )
    fits = [fit for pair in pairs for fit in pair]

    with _at_a_time(2):
        trained = train(fits)

    _assert_all_same(trained, _alone(fits))


def test_a_paused_network_brings_its_best_weights_into_a_fleet_without_any(digits):
    """A network whose best epoch lies behind it enters beside others without any."""
    # Labels that mean nothing, so that the loss on other samples soon rises.
    noise = np.random.default_rng(0).permutation(np.arange(200) % 4)
    fit = _with(_fits(_mlp, digits)[0], y=noise)
    options = {"early_stopping": True, "patience": 9, "max_epochs": 9}
    worsening = _one_layer(fit, **options, learning_rate=0.1)
    (paused,) = train([_with(worsening, n_epochs=6)])
    assert paused.state.stopping.best_epoch < 6
    resumed = _with(worsening, n_epochs=1, state=paused.state)
    short, long = (_one_layer(fit, max_epochs=n) for n in (1, 5))

    with _at_a_time(2):
        trained = train([short, long, resumed])

    _assert_same(trained[2], train([resumed])[0])


def _one_layer(fit, **params):
    return _with(fit, estimator=_mlp(hidden_layer_sizes=(8,), **params))


def test_weights_of_samples_in_one_network_leave_the_others_alone(digits):
    """A network without weights gives the same beside one that has some."""
    plain, other = _fits(_mlp, digits)[:2]
    weighted = Fit(
        estimator=other.estimator,
        X=other.X,
        y=other.y,
        rows=other.rows,
        monitor=other.monitor,
        sample_weight=np.arange(200) % 5 / 2,
        seed=1,
    )

    trained = train([weighted, plain])

    _assert_all_same(trained, _alone([weighted, plain]))


def test_padding_in_one_network_leaves_the_others_alone(digits):
    """A network of full sequences gives the same beside one whose sequences end early."""
    X = digits.X.reshape(-1, 8, 8).copy()
    X[::3, 5:] = np.nan
    full = np.flatnonzero(np.arange(150) % 3)
    params = {"normalization": "batch", "optimizer": "sgd"}
    fits = [
        Fit(estimator=_rnn(**params), X=X, y=digits.y, rows=rows, monitor=rows[:9], seed=i)
        for i, rows in enumerate((full, np.arange(150), full[5:]))
    ]

    _assert_all_same(train(fits), _alone(fits))


ROWS = st.fixed_dictionaries({
    "learning_rate": st.floats(1e-4, 1e-2),
    "dropout": st.sampled_from([0.0, 0.2, 0.5]),
    "max_epochs": st.integers(1, 4),
    "early_stopping": st.booleans(),
    "l1": st.sampled_from([0.0, 1e-3]),
    "label_smoothing": st.sampled_from([0.0, 0.1]),
    "lr_schedule": st.sampled_from(["constant", "cosine", "one_cycle", "step"]),
    "momentum": st.sampled_from([0.0, 0.9]),
    "n_rows": st.integers(60, 150),
    "seed": st.integers(0, 2**32 - 1),
})


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    rows=st.lists(ROWS, min_size=2, max_size=6), optimizer=st.sampled_from(["sgd", "adam"])
)
def test_any_fleet_gives_what_its_networks_give_alone(rows, optimizer, digits):
    """Whatever numbers the networks have, each equals its solo twin."""
    fits = [_drawn(row, optimizer, digits) for row in rows]

    _assert_all_same(train(fits), _alone(fits))


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    rows=st.lists(ROWS, min_size=2, max_size=6),
    n_at_a_time=st.integers(1, 6),
)
def test_any_refilled_fleet_gives_what_its_networks_give_alone(rows, n_at_a_time, digits):
    """Whatever networks train at a time, each equals its solo twin."""
    fits = [_drawn(row, "adamw", digits) for row in rows]

    with _at_a_time(n_at_a_time):
        trained = train(fits)

    _assert_all_same(trained, _alone(fits))


def _drawn(row, optimizer, digits):
    params = {name: value for name, value in row.items() if name not in {"n_rows", "seed"}}
    # Two classes, so that any samples can be stratified.
    return Fit(
        estimator=_mlp(
            optimizer=optimizer, validation_fraction=0.2, patience=1, tol=0.01, **params
        ),
        X=digits.X,
        y=digits.y % 2,
        rows=np.arange(row["n_rows"]),
        monitor=MONITOR,
        seed=row["seed"],
    )
