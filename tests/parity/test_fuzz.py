"""Any network is the same alone, in any fleet, after a pause, by the kernel and by torch.

Signatures, numbers, data and seeds are drawn at random, each example by its number.
``SK_TUNE_FUZZ=10000`` draws as many instead of 200, of which 60 are quick.  (Hypothesis
draws most as variations of the last ones, and finds faults of two options together late.)
"""

import os
import random
from dataclasses import replace

import numpy as np
import pytest
from marks import slow
from parity import reference
from parity.modules import Attentive, Unbiased

import sk_tune
from sk_tune import Periodic, PiecewiseLinear
from sk_tune._augment import Cutout, Flip, Mixup, Noise, Scale, TimeShift
from sk_tune._engine import Fit, fitted_estimator, train
from sk_tune._nets import ACTIVATIONS
from sk_tune._training import arrays_of_state
from sk_tune.exceptions import SkTuneWarning

N_EXAMPLES = int(os.environ.get("SK_TUNE_FUZZ", "200"))
N_QUICK = N_EXAMPLES if "SK_TUNE_FUZZ" in os.environ else 40
N_TOGETHER = 10
KERNEL = "SK_TUNE_KERNEL"
N_TRAIN = 36
FLOAT32 = 1e-3
MONITOR = np.arange(N_TRAIN, 48)

_rng = np.random.default_rng(0)
TABLE = _rng.normal(size=(48, 6))
TABLE[:, 4:] = _rng.integers(0, 5, size=(48, 2))
IMAGES = _rng.normal(size=(48, 16))
PADDED = _rng.normal(size=(48, 4, 8))
for _length, _sequence in zip(_rng.integers(1, 5, size=48), PADDED, strict=True):
    _sequence[_length:] = np.nan
STEPS = _rng.normal(size=(48, 4, 8))
CLASSES = np.arange(48) % 3
TARGETS = {
    "classes": CLASSES,
    "labels": np.stack([CLASSES > 0, np.arange(48) % 5 > 2], axis=1).astype(int),
    "number": TABLE[:, 0] * 3 + CLASSES,
    "numbers": np.stack([TABLE[:, 0] * 3 + CLASSES, TABLE[:, 1] ** 2], axis=1),
}
WEIGHTS = np.arange(48) % 4 / 2


# Alternatives, of which each example takes one.
HIDDEN = {
    "activation": list(ACTIVATIONS),
    "normalization": [None, None, "batch", "layer"],
    "residual": [False, True],
}
SIZES = [(3,), (9,), (5, 8), (6, 6), (12, 4, 4), (1, 7), (2, 2, 2)]
PLAIN = {"hidden_layer_sizes": SIZES}
MLPS = {**HIDDEN, "hidden_layer_sizes": SIZES[:-2], "members": [1, 1, 1, 3]}
LINEAR = {"n_layers": [0], "members": [1, 3]}
EMBEDDED = {
    "hidden_layer_sizes": [(5,)],
    "categorical_features": [None, [4, 5]],
    "numerical_embedding": [
        None,
        *(Periodic(n_frequencies=n, size=size) for n in (1, 3) for size in (1, 2)),
        *(PiecewiseLinear(n_bins=n, size=size) for n in (2, 3, 5) for size in (2, 4)),
    ],
    "members": [1, 1, 3],
}
CNNS = {
    **HIDDEN,
    "n_layers": [1, 2],
    "n_channels": [1, 2, 3],
    "kernel_size": [1, 2, 3, 4],
    "pooling": ["max", "avg", None],
    "width": [3, 6],
    "input_shape": [(4, 4), (4, 4), (16,), (2, 8), (2, 2, 2, 2)],
}
RNNS = {
    "cell": ["gru", "lstm", "rnn"],
    "n_layers": [1, 2],
    "hidden_size": [3, 5],
    "bidirectional": [False, True],
    "activation": ["tanh", "relu"],
    "normalization": [None, None, "batch", "layer"],
    "residual": [False, True],
}
# Kinds of estimators, their alternatives, and their samples; some more often than others.
ARCHITECTURES = [
    *[("MLP", PLAIN, TABLE)] * 3,
    *[("MLP", MLPS, TABLE)] * 4,
    ("MLP", LINEAR, TABLE),
    *[("MLP", EMBEDDED, TABLE)] * 2,
    *[("CNN", CNNS, IMAGES)] * 4,
    ("RNN", RNNS, PADDED),
    ("RNN", RNNS, IMAGES.reshape(48, 4, 4)),
    ("Net", {"module": [Unbiased]}, TABLE),
    ("Net", {"module": [Attentive]}, STEPS),
]
SHARED = {
    "optimizer": ["adamw", "adam", "sgd", "rmsprop"],
    "batch_size": [4, 7, 16, 35, 64, -1],
    "dtype": ["float64", "float64", "float32"],
}
# What may differ between the networks of a fleet.
NUMBERS = {
    "learning_rate": [1e-4, 1e-3, 3e-3, 1e-2],
    "dropout": [0.0, 0.2, 0.5],
    "weight_decay": [0.0, 0.01, 0.1],
    "l1": [0.0, 0.0, 1e-3],
    "momentum": [0.0, 0.5, 0.9],
    "gradient_clip": [None, 0.1, 1.0],
    "lr_schedule": ["constant", "cosine", "one_cycle", "step"],
    "label_smoothing": [0.0, 0.1],
    "class_weight": [None, None, "balanced"],
    "early_stopping": [False, True],
    "n_iter_no_change": [1, 2],
    "tol": [0.0, 0.05],
    "max_epochs": [1, 2, 3, 4],
}
SHARES, COUNTS = [0.1, 0.5, 1.0], [0, 1, 3]
AUGMENTATIONS = {
    "MLP": [(Noise, SHARES), (Mixup, SHARES)],
    "CNN": [(Flip, SHARES), (Cutout, COUNTS)],
    "RNN": [(Scale, SHARES), (TimeShift, COUNTS)],
}


def _taken(draw, alternatives):
    return {name: draw.choice(values) for name, values in alternatives.items()}


def _drawn(draw):
    """Draw fits of one signature."""
    kind, architecture, X = draw.choice(ARCHITECTURES)
    target = draw.choice(["classes", "classes", *TARGETS])
    task = "Regressor" if target.startswith("number") else "Classifier"
    shape = {**_taken(draw, architecture), **_taken(draw, SHARED)}
    if (shape.get("activation"), shape.get("normalization")) == ("identity", "batch"):
        # The next layer's normalisation takes away shifts, which rounding alone would move.
        shape["normalization"] = "layer"
    # Of images, which flat samples of some shapes are not.
    may_change = kind in {"MLP", "RNN"} or shape.get("input_shape") == (4, 4)
    augments = may_change and draw.random() < 0.25
    fits = []
    for _ in range(draw.randint(1, 3)):
        params = {**_taken(draw, NUMBERS), **shape, "validation_fraction": 0.2}
        if augments:
            params["augmentation"] = [
                change(draw.choice(values)) for change, values in AUGMENTATIONS[kind]
            ]
        if task == "Regressor" or target == "labels":
            del params["class_weight"]
        if task == "Regressor":
            del params["label_smoothing"]
        if kind == "Net":
            params["module__p"] = params.pop("dropout")
        fits.append(
            Fit(
                estimator=getattr(sk_tune, kind + task)(**params),
                X=X,
                y=TARGETS[target],
                rows=np.arange(N_TRAIN)[-draw.randint(24, N_TRAIN) :],
                monitor=MONITOR,
                sample_weight=draw.choice([None, WEIGHTS]),
                seed=draw.randrange(2**32),
            )
        )
    return fits


def _arrays(trained):
    """Return all results of a training as arrays by name."""
    assert trained.status == "trained", trained.message
    arrays = {"predictions": trained.predictions, **arrays_of_state(trained.state)}
    for name in ("train_loss", "valid_loss", "monitor_loss", "monitor_score", "lr"):
        arrays[name] = trained.state.curve(name)
    return arrays


def _assert_same(trained, expected, tolerance, case):
    arrays, others = _arrays(trained), _arrays(expected)
    assert arrays.keys() == others.keys(), case
    for name, array in others.items():
        np.testing.assert_allclose(
            arrays[name], array, rtol=tolerance, atol=tolerance, err_msg=f"{case}: {name}"
        )
    assert trained.state.n_steps == expected.state.n_steps
    assert trained.state.stopping.best_epoch == expected.state.stopping.best_epoch


def _tolerance(fit, limit=1e-9):
    """Return 0 for networks that the kernel trains: bitwise equal in any fleet."""
    params = fit.estimator.get_params()
    plain = {"activation": "relu", "normalization": None, "members": 1}
    plain |= {"numerical_embedding": None, "categorical_features": None}
    plain |= {"augmentation": None}
    if all(params.get(name) == value for name, value in plain.items()):
        return 0.0
    return limit if params["dtype"] == "float64" else FLOAT32


def _paused(fits, n_epochs):
    """Train some epochs, and the rest in a fleet with another order."""
    first = train([replace(f, n_epochs=min(n_epochs, _epochs(f))) for f in fits])
    rest = [
        replace(fit, n_epochs=_epochs(fit) - n_epochs, state=trained.state)
        if _epochs(fit) > n_epochs
        else None
        for fit, trained in zip(fits, first, strict=True)
    ]
    more = iter(train([fit for fit in rest if fit is not None][::-1])[::-1])
    return [a if b is None else next(more) for a, b in zip(first, rest, strict=True)]


def _epochs(fit):
    return fit.estimator.max_epochs


@pytest.mark.parametrize(
    "first", [slow(i) if i >= N_QUICK else i for i in range(0, N_EXAMPLES, N_TOGETHER)]
)
def test_a_network_is_the_same_everywhere(first, monkeypatch):
    """In a fleet, alone, permuted with little memory, resumed, and without the kernel."""
    for example in range(first, min(first + N_TOGETHER, N_EXAMPLES)):
        monkeypatch.delenv(KERNEL, raising=False)
        _assert_same_everywhere(example, monkeypatch)


# Volumes with layer normalisation, whose fleet failed.
@pytest.mark.parametrize("example", [3135])
def test_what_a_longer_run_found_stays_mended(example, monkeypatch):
    """The same of examples beyond the first 200."""
    _assert_same_everywhere(example, monkeypatch)


def _assert_same_everywhere(example, monkeypatch):
    draw = random.Random(example)
    fits = _drawn(draw)
    try:
        _compare(fits, draw, monkeypatch)
    except (AssertionError, SkTuneWarning) as error:
        estimators = "\n".join(str(fit.estimator) for fit in fits)
        error.add_note(f"Example {example}, of {estimators}")
        raise


def _compare(fits, draw, monkeypatch):
    together = train(fits)
    assert {t.engine for t in together} == {"fleet"}
    tolerance = _tolerance(fits[0])
    places = draw.sample(range(len(fits)), len(fits))
    memory_limit = draw.choice([1.0, 2e4, 1e5])
    ways = {"resumed": (range(len(fits)), _paused(fits, draw.randint(1, 3)))}
    if len(fits) > 1:
        permuted = train([fits[i] for i in places], memory_limit=memory_limit)
        ways |= {"permuted": (places, permuted), "alone": ([0], train(fits[:1]))}
    for way, (indices, trained) in ways.items():
        for index, network in zip(indices, trained, strict=True):
            _assert_same(network, together[index], tolerance, way)
    limit = FLOAT32
    if fits[0].estimator.dtype == "float64":
        limit = 1e-9
        _assert_reference(fits[0], together[0])
    if not tolerance:
        monkeypatch.setenv(KERNEL, "0")
        for network, expected in zip(train(fits), together, strict=True):
            _assert_same(network, expected, limit, "torch")


def _assert_reference(fit, trained):
    """Hold a network, and the plain fit of its estimator, against the plain loop."""
    rows, weight = fit.rows, fit.sample_weight
    weight = None if weight is None else weight[rows]
    estimator = fitted_estimator(fit, trained)
    expected = reference.train(
        fit.estimator,
        fit.X[rows],
        fit.y[rows],
        seed=fit.seed,
        sample_weight=weight,
        monitor=(fit.X[MONITOR], fit.y[MONITOR]),
        bin_edges=getattr(estimator, "bin_edges_", ()),
    )
    plain = fit.estimator.set_params(random_state=fit.seed)
    plain.fit(fit.X[rows], fit.y[rows], sample_weight=weight)
    predict = getattr(plain, "predict_proba", plain.predict)
    for name, curve in expected.curves.items():
        given = [trained.state.curve(name)]
        given += [] if "monitor" in name else [plain.history_[:, name]]
        for ours in given:
            np.testing.assert_allclose(ours, curve, rtol=1e-9, atol=1e-9, err_msg=name)
    for ours in (trained.predictions, predict(fit.X[MONITOR])):
        np.testing.assert_allclose(ours, expected.predictions, rtol=1e-9, atol=1e-9)
    for ours in (trained.state.weights, plain.net_.module_.state_dict()):
        for name, array in expected.weights.items():
            np.testing.assert_allclose(
                ours[name], array, rtol=1e-9, atol=1e-9, err_msg=name
            )
