# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Fleets on a GPU, against skorch, a raw torch loop and JAX on the same card.

    python benchmarks/gpu.py [CASE ...] [--device cuda] [--runs 3] [--quick] [--profile]

Cases: "mlp-100", "mlp-1000" and "mlp-4096" are 100, 1,000 and 4,096 64-64 networks on
digits, with batches of 64, dropout 0.1, AdamW and 20 epochs, over 5 folds; "long" is 1,000
of them for two epochs of 20,000 samples, where steps take nearly all of the time; "cnn" is
100 networks of two convolutions on MNIST-5k, "table" 100 networks of ``table_pipeline``,
"hyperband" a whole search with 27 epochs and 3 folds.

All sides train in float32 in one process, in turn, medians after one warm-up round.  skorch
and the loop train some of the networks, one after another, and are extrapolated, as is the
processor's side (two threads); the loop gathers its batches on the device.  JAX trains all
networks as one program (``vmap`` of the gradient, ``scan`` over an epoch), omits last
batches that are not full, and draws its own numbers.  "alone" is sk_tune's loop for single
networks.  The engine scores the held-out fold after each epoch, other sides never.

A step is one update of one network.  "steps alone" excludes the fixed cost of a call by the
difference between many and few epochs.  --profile prints the share of a call's time in
which the card computes.

On a rented card, in this order: ``pytest -m gpu -x -q tests/gpu``; ``gpu.py --profile
mlp-1000 long``; ``gpu.py mlp-1000 long --runs 3``; ``gpu.py mlp-100 mlp-4096 table cnn
hyperband --runs 2``.  The four steps take about 25 minutes.
"""

import argparse
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from engine import CNNNet, MLPNet, digits, rates
from measure import describe_machine, medians
from quality import mnist_5k
from scipy.stats import loguniform, uniform
from sklearn.model_selection import RandomizedSearchCV, StratifiedKFold
from skorch import NeuralNetClassifier
from torch import nn

import sk_tune
from sk_tune import CNNClassifier, HyperbandSearchCV, MLPClassifier, table_pipeline
from sk_tune.engine import Fit, train

SIZES, DROPOUT, BATCH, N_FOLDS = (64, 64, 64, 10), 0.1, 64, 5
SPACE = {"learning_rate": loguniform(3e-4, 3e-2), "dropout": uniform(0, 0.4)}
# Largest number of the case's networks that a side trains.
PART = {"skorch": 5, "raw torch": 5, "alone": 5, "processor": 100}
MOST_STEPS = "steps/s"


@dataclass(frozen=True)
class Case:
    """The same work for all sides, and the goals."""

    title: str
    load: Callable[..., tuple[Any, Any]]
    n_networks: int
    n_epochs: int
    estimator: Callable[..., Any]
    module: Callable[[], nn.Module] | None = None
    with_jax: bool = False
    # Least ratio to the speed of each side, and steps per second.
    wanted: dict[str, float] = field(default_factory=dict)


def repeated_digits(n_samples, *, quick):
    X, y = digits(64)
    rows = np.random.default_rng(0).integers(len(X), size=n_samples // (10 if quick else 1))
    return X[rows], y[rows]


def images(*, quick):
    if quick:
        X, y = digits(1, 8, 8)
        return np.kron(X[:500], np.ones((1, 1, 3, 3), np.float32)), y[:500]
    X, y = mnist_5k()
    return (X / 255).astype(np.float32).reshape(-1, 1, 28, 28), y.astype(np.int64)


def table(*, quick):
    rng, n = np.random.default_rng(0), 500 if quick else 2000
    codes = rng.integers(0, 9, (n, 3))
    X = np.hstack([rng.normal(size=(n, 8)), codes]).astype(np.float32)
    return X, (X[:, 0] + np.sin(3 * X[:, 1]) + (codes[:, 0] > 4) > 0.3).astype(np.int64)


def mlp_case(n_networks, **options):
    return Case(**{
        "title": f"digits, {n_networks:,} networks 64-64",
        "load": lambda *, quick: digits(64),
        "n_networks": n_networks,
        "n_epochs": 20,
        "estimator": partial(
            MLPClassifier,
            hidden_layer_sizes=SIZES[1:-1],
            members=1,
            dropout=DROPOUT,
            batch_size=BATCH,
        ),
        "module": partial(MLPNet, SIZES, DROPOUT),
        "with_jax": True,
        **options,
    })


CASES = {
    "mlp-100": mlp_case(100),
    "mlp-1000": mlp_case(1000, wanted={"skorch": 50, "processor": 5}),
    "mlp-4096": mlp_case(4096),
    "long": mlp_case(
        1000,
        title="20,000 digits, 1,000 networks 64-64",
        load=partial(repeated_digits, 20_000),
        n_epochs=2,
        wanted={MOST_STEPS: 2e6},
    ),
    "cnn": Case(
        "MNIST-5k, 100 CNNs 16-32-64",
        images,
        100,
        5,
        partial(
            CNNClassifier,
            n_layers=2,
            n_channels=16,
            width=64,
            normalization=None,
            dropout=DROPOUT,
            batch_size=BATCH,
        ),
        None,
    ),
    "table": Case(
        "table_pipeline, 8 numbers and 3 categories, 100 networks",
        table,
        100,
        10,
        partial(
            MLPClassifier,
            **{
                **table_pipeline("classifier")["net"].get_params(deep=False),
                "categorical_features": [8, 9, 10],
            },
        ),
    ),
}


def fits_of(case, X, y, device, n_networks, n_epochs):
    """Return one fit for each network, over the folds, by learning rate."""
    folds = list(StratifiedKFold(N_FOLDS, shuffle=True, random_state=0).split(X, y))
    fits = []
    for rate in rates(-(-n_networks // N_FOLDS)):
        estimator = case.estimator(
            learning_rate=rate, max_epochs=n_epochs, lr_schedule="constant", device=device
        )
        fits += [
            Fit(estimator=estimator, X=X, y=y, rows=rows, monitor=held_out, seed=seed)
            for seed, (rows, held_out) in enumerate(folds, len(fits))
        ]
    return fits[:n_networks]


def by_engine(fits, engine="fleet"):
    wrong = [t.message for t in train(fits, engine=engine) if t.status != "trained"]
    if wrong:
        raise RuntimeError(f"{len(wrong)} fits failed: {wrong[0]}")


def by_skorch(case, fits, device):
    for fit in fits:
        net = NeuralNetClassifier(
            case.module,
            criterion=nn.CrossEntropyLoss,
            optimizer=torch.optim.AdamW,
            lr=fit.estimator.learning_rate,
            batch_size=BATCH,
            max_epochs=fit.estimator.max_epochs,
            iterator_train__shuffle=True,
            train_split=None,
            verbose=0,
            device=device,
        )
        net.fit(fit.X[fit.rows], fit.y[fit.rows])


def by_hand(case, fits, device):
    """Train in a plain loop: data on the device, no synchronisation within an epoch."""
    for fit in fits:
        net, loss_of = case.module().to(device), nn.CrossEntropyLoss()
        rate = fit.estimator.learning_rate
        optimizer = torch.optim.AdamW(net.parameters(), lr=rate, fused=True)
        X, y = (torch.from_numpy(part[fit.rows]).to(device) for part in (fit.X, fit.y))
        for _ in range(fit.estimator.max_epochs):
            order = torch.randperm(len(X)).to(device)
            for rows in order.split(BATCH):
                optimizer.zero_grad()
                loss_of(net(X[rows]), y[rows]).backward()
                optimizer.step()
        next(net.parameters()).sum().item()


def by_jax(case, fits):
    """Return a function that trains all networks as one JAX program; None without JAX."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    try:
        import jax
        from jax import numpy as jnp
    except ImportError:
        return None
    n_epochs, k = fits[0].estimator.max_epochs, len(fits)
    X, y, n = jnp.asarray(fits[0].X), jnp.asarray(fits[0].y), min(len(f.rows) for f in fits)
    rows = jnp.asarray(np.stack([f.rows[:n] for f in fits]))
    lr = jnp.asarray([f.estimator.learning_rate for f in fits])

    def loss_of(weights, X, y, key):
        h = X
        for i, (w, b) in enumerate(weights):
            h = h @ w + b
            if i < len(weights) - 1:
                kept = jax.random.bernoulli(
                    jax.random.fold_in(key, i), 1 - DROPOUT, h.shape
                )
                h = jnp.where(kept, jax.nn.relu(h) / (1 - DROPOUT), 0)
        return -jnp.take_along_axis(jax.nn.log_softmax(h), y[:, None], 1).mean()

    def update(state, batch, lr):
        weights, m, v, t = state
        index, key = batch
        gradients = jax.grad(loss_of)(weights, X[index], y[index], key)
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, gradients)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, gradients)
        t = t + 1

        def moved(w, m, v):
            step = m / (1 - 0.9**t) / (jnp.sqrt(v / (1 - 0.999**t)) + 1e-8)
            return w * (1 - lr * 0.01) - lr * step

        return (jax.tree.map(moved, weights, m, v), m, v, t), None

    def epoch(state, key, rows, lr):
        order = jax.random.permutation(key, rows)[: n // BATCH * BATCH].reshape(-1, BATCH)
        batches = (order, jax.random.split(key, len(order)))
        return jax.lax.scan(lambda state, batch: update(state, batch, lr), state, batches)[
            0
        ]

    epochs = jax.jit(jax.vmap(epoch))

    def run():
        rng = np.random.default_rng(0)
        weights = [
            (
                jnp.asarray(rng.normal(size=(k, a, b), scale=a**-0.5), jnp.float32),
                jnp.zeros((k, b)),
            )
            for a, b in pairwise(SIZES)
        ]
        zeros = jax.tree.map(jnp.zeros_like, weights)
        state = (weights, zeros, zeros, jnp.zeros(k))
        for number in range(n_epochs):
            keys = jax.random.split(jax.random.key(number), k)
            state = epochs(state, keys, rows, lr)
        jax.block_until_ready(state)

    return run


def compare(case, options):
    X, y = case.load(quick=options.quick)
    n_networks = min(case.n_networks, 20) if options.quick else case.n_networks
    n_epochs = 2 if options.quick else case.n_epochs
    fits = fits_of(case, X, y, options.device, n_networks, n_epochs)
    parts = {n: fits[: min(m, 2) if options.quick else m] for n, m in PART.items()}
    here = [
        replace(f, estimator=sk_tune_clone(f.estimator, "cpu")) for f in parts["processor"]
    ]
    sides = {
        "sk_tune": partial(by_engine, fits),
        "alone": partial(by_engine, parts["alone"], "alone"),
    }
    module = cnn_module(X) if "CNN" in case.title else case.module
    if module is not None:
        case = replace(case, module=module)
        sides["skorch"] = partial(by_skorch, case, parts["skorch"], options.device)
        sides["raw torch"] = partial(by_hand, case, parts["raw torch"], options.device)
    if case.with_jax:
        jax_side = by_jax(case, fits)
        if jax_side is None:
            print("  JAX is not installed")
        else:
            sides["JAX vmap"] = jax_side
    if options.device != "cpu":
        sides["processor"] = partial(train, here, n_jobs=2)
    seconds = medians(
        {n: synchronized(run, options.device) for n, run in sides.items()}, options.runs
    )
    counts = {n: min(len(fits), len(parts.get(n, fits))) for n in sides}
    each = {n: s / counts[n] for n, s in seconds.items()}
    report(case, each, counts, n_networks, n_steps(fits) / len(fits))
    alone = steps_alone(fits, options)
    wanted = case.wanted.get(MOST_STEPS)
    verdict = "" if wanted is None else f"   wanted {wanted:,.0f}: {met(alone >= wanted)}"
    print(f"{'steps alone':>14} {'':>31} {alone:14,.0f}{verdict}", flush=True)


def report(case, each, counts, n_networks, steps):
    heads = f"{'networks':>9} {'seconds':>9} {'ms each':>11} {'steps/s':>14} {'ratio':>8}"
    print(f"{'':>14} {heads}")
    for name, seconds in each.items():
        ratio = seconds / each["sk_tune"]
        line = (
            f"{name:>14} {counts[name]:9,} {seconds * n_networks:9.2f} "
            f"{1e3 * seconds:11.3f} {steps / seconds:14,.0f} {ratio:8.2f}"
        )
        if name in case.wanted:
            wanted = case.wanted[name]
            line += f"   wanted {wanted:g}: {met(ratio >= wanted)}"
        print(line, flush=True)


def met(is_met):
    return "met" if is_met else "MISSED"


def sk_tune_clone(estimator, device):
    return type(estimator)(**{**estimator.get_params(), "device": device})


def cnn_module(X):
    return partial(CNNNet, n_channels=16, width=64, dropout=DROPOUT, size=X.shape[2])


def n_steps(fits):
    """Return the number of updates of all fits."""
    return sum(
        -(-len(f.rows) // f.estimator.batch_size) * f.estimator.max_epochs for f in fits
    )


def steps_alone(fits, options):
    """Return steps per second, without the fixed cost of a call and held-out samples."""
    few, many = fits[0].estimator.max_epochs, 3 * fits[0].estimator.max_epochs
    times = []
    for n_epochs in (few, many):
        some = [
            replace(f, monitor=None, n_epochs=n_epochs, estimator=longer(f.estimator, many))
            for f in fits
        ]
        run = synchronized(partial(by_engine, some), options.device)
        times.append(medians({"": run}, options.runs, warm_up=False)[""])
    return 2 * n_steps(fits) / max(times[1] - times[0], 1e-9)


def longer(estimator, n_epochs):
    return type(estimator)(**{**estimator.get_params(), "max_epochs": n_epochs})


def synchronized(run, device):
    """Return a function that runs and waits for the device."""

    def waiting():
        run()
        if device != "cpu":
            torch.cuda.synchronize(device)

    return waiting


def hyperband(options):
    """Time a whole search, next to the processor's and skorch's random search."""
    X, y = digits(64)
    print("digits, a pass of Hyperband, 64-64 networks, 27 epochs, 3 folds")
    most = 3 if options.quick else 27

    def search(device, n_jobs):
        net = MLPClassifier(SIZES[1:-1], members=1, batch_size=BATCH, device=device)
        fitted = HyperbandSearchCV(
            net, SPACE, max_resources=most, cv=3, random_state=0, n_jobs=n_jobs
        )
        return fitted.fit(X, y)

    n_candidates = len(search("cpu", 1).cv_results_["params"])
    part = 1 if options.quick else 3
    net = NeuralNetClassifier(
        MLPNet,
        module__sizes=SIZES,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.AdamW,
        batch_size=BATCH,
        max_epochs=most,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
        device=options.device,
    )
    space = {"lr": SPACE["learning_rate"], "module__dropout": SPACE["dropout"]}
    random = RandomizedSearchCV(net, space, n_iter=part, cv=3, random_state=0)
    sides = {
        "sk_tune": partial(search, options.device, 1),
        "skorch": partial(random.fit, X, y),
    }
    if options.device != "cpu":
        sides["processor"] = partial(search, "cpu", 2)
    seconds = medians(sides, options.runs)
    seconds["skorch"] *= n_candidates / part
    for name, value in seconds.items():
        note = f" (random search, {n_candidates} candidates)" if name == "skorch" else ""
        print(
            f"{name:>14} {value:9.2f} s {value / seconds['sk_tune']:8.2f}{note}", flush=True
        )


def profile(case, options):
    """Print the share of a call's time in which the card computes."""
    from torch.profiler import ProfilerActivity

    X, y = case.load(quick=options.quick)
    n_networks = min(case.n_networks, 20) if options.quick else case.n_networks
    fits = fits_of(case, X, y, options.device, n_networks, 4)
    by_engine(fits)
    is_cpu = options.device == "cpu"
    activity = ProfilerActivity.CPU if is_cpu else ProfilerActivity.CUDA
    start = time.perf_counter()
    with torch.profiler.profile(activities=[activity]) as profiler:
        synchronized(partial(by_engine, fits), options.device)()
        seconds = time.perf_counter() - start
    busy, end = 0.0, 0.0
    for span in sorted((e.time_range.start, e.time_range.end) for e in profiler.events()):
        busy += max(0.0, span[1] - max(span[0], end))
        end = max(end, span[1])
    what = "operators of torch" if is_cpu else "the card"
    share = 1e-6 * busy / seconds
    print(f"  {what} compute {share:.0%} of {seconds:.2f} s, with the profiler")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(EVERY))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a smoke run, no figures")
    parser.add_argument(
        "--profile", action="store_true", help="the share of computing only"
    )
    options = parser.parse_args()
    names = options.cases or list(EVERY)
    if unknown := set(names) - set(EVERY):
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    warnings.simplefilter("ignore")
    options.runs = 1 if options.quick else options.runs
    card = options.device if options.device == "cpu" else torch.cuda.get_device_name()
    print(f"{card}: sk_tune {sk_tune.__version__}, {describe_machine()}")
    for name in names:
        print(f"== {name}: {CASES[name].title if name in CASES else ''}", flush=True)
        if not options.profile:
            EVERY[name](options)
        elif name in CASES:
            profile(CASES[name], options)


EVERY = {**{n: partial(compare, case) for n, case in CASES.items()}, "hyperband": hyperband}

if __name__ == "__main__":
    main()
