# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Many fits by the engine, against GridSearchCV with skorch and with scikit-learn's MLP.

    env -u OMP_NUM_THREADS python benchmarks/engine.py [CASE ...] [--runs 3] [--quick]

Every side trains the same candidates on the same folds, with the same network, batch size
and epochs, in float32 on two workers, and scores each fit on its held-out fold; sides take
turns, medians.  Differences of the work: the engine scores the held-out fold after each
epoch, other sides once; scikit-learn's MLPClassifier has Adam instead of AdamW, and an
equal number of values of `alpha` instead of dropout; each side draws its own initial
weights and batches.  skorch has its defaults, without its inner validation split.

Goals refer to wall-clock time; processor seconds of all processes are printed next to it.
Other processes disturb both, most of all sides that depend on caches: their share of the
processors is printed for each run, and --wait waits for them to end, up to the given
seconds before each run of a side.

Each case runs in its own process.  Environment variables that pin kernels of OpenBLAS slow
the numpy side and are removed.
"""

import argparse
import math
import os
import statistics
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import describe_machine, record
from sklearn.datasets import load_digits, make_classification
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.neural_network import MLPClassifier as SklearnMLP
from skorch import NeuralNetClassifier
from threadpoolctl import threadpool_info
from torch import nn

import sk_tune
from sk_tune import CNNClassifier, MLPClassifier, RNNClassifier, table_pipeline
from sk_tune.engine import Fit, train

N_JOBS = 2
PINNED = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
FOLDS = StratifiedKFold(5, shuffle=True, random_state=0)
# Share of skorch's candidates with --quick.
QUICK_SHARE = 0.25
# Numbers of networks in one product; the fastest number is the limit.
TILES = (1, 2, 4, 8, 16, 24, 32)
MOST_BYTES = 1.5 * 2**30
MOST_QUOTIENT = 3
ROWS = (10, 100, 1000, 5000)
FLAT = 0.2
# Share of the machine that other processes may take.
QUIET = 0.05


class MLPNet(nn.Module):
    def __init__(self, sizes, dropout=0.0, activation=nn.ReLU, normalize=False):
        super().__init__()
        layers = []
        for n_in, n_out in pairwise(sizes[:-1]):
            layers += [nn.Linear(n_in, n_out), *[nn.BatchNorm1d(n_out)] * normalize]
            layers += [activation()]
            layers += [nn.Dropout(dropout)] if dropout else []
        self.layers = nn.Sequential(*layers, nn.Linear(*sizes[-2:]))

    def forward(self, x):
        return self.layers(x)


class CNNNet(nn.Module):
    """Two blocks on square images, then a dense layer: as sk_tune's CNN."""

    def __init__(self, n_channels=16, width=64, dropout=0.1, size=8):
        super().__init__()
        n, layers = 1, []
        for n_out in (n_channels, 2 * n_channels):
            layers += [nn.Conv2d(n, n_out, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
            layers += [nn.Dropout(dropout)] if dropout else []
            n = n_out
        layers += [nn.Flatten(), nn.Linear(n * (size // 4) ** 2, width), nn.ReLU()]
        layers += [nn.Dropout(dropout)] if dropout else []
        self.layers = nn.Sequential(*layers, nn.Linear(width, 10))

    def forward(self, x):
        return self.layers(x)


class GRUNet(nn.Module):
    def __init__(self, hidden_size=32):
        super().__init__()
        self.gru = nn.GRU(1, hidden_size, batch_first=True)
        self.output = nn.Linear(hidden_size, 10)

    def forward(self, x):
        return self.output(self.gru(x)[0][:, -1])


def digits(*shape):
    X, y = load_digits(return_X_y=True)
    return (X / 16).astype(np.float32).reshape(len(X), *shape), y.astype(np.int64)


def table(n_rows, n_features, n_classes):
    X, y = make_classification(
        n_rows,
        n_features,
        n_informative=n_features // 2,
        n_classes=n_classes,
        random_state=0,
    )
    return X.astype(np.float32), y.astype(np.int64)


def signals(n_rows=2000, n_steps=40, n_classes=10, noise=0.1):
    """Return noisy, scaled and shifted copies of one curve for each class."""
    rng = np.random.default_rng(0)
    n_knots = 10
    knots = rng.normal(size=(n_classes, n_knots))
    y = rng.permutation(np.arange(n_rows) % n_classes)
    X = np.empty((n_rows, n_steps, 1), np.float32)
    for row, label in zip(X[:, :, 0], y, strict=True):
        length = n_steps * rng.uniform(0.7, 0.95)
        start = rng.uniform(0, n_steps - length)
        where = start + np.linspace(0, length, n_knots)
        row[:] = np.interp(np.arange(n_steps), where, knots[label], left=0, right=0)
        row *= rng.uniform(0.75, 1.25)
        row += noise * rng.normal(size=n_steps)
    return X, y.astype(np.int64)


def rates(n, low=-3.5, high=-2.0):
    return [float(rate) for rate in np.logspace(low, high, n)]


@dataclass(frozen=True)
class Case:
    """The same work for all sides, and the goals."""

    title: str
    load: Callable[[], tuple[Any, Any]]
    # Learning rate, dropout, and scikit-learn's alpha instead of dropout.
    candidates: list[tuple[float, float, float]]
    n_epochs: int
    batch_size: int
    estimator: Callable[..., Any]
    module: type[nn.Module]
    module_params: dict[str, Any]
    # Least ratio to the speed of each side.
    wanted: dict[str, float]
    # Inputs, hidden units and outputs of an MLP.
    sizes: tuple[int, ...] = ()
    with_alone: bool = False


def mlp_case(hidden, title, ours=(), theirs=(), **options):
    sizes = (options.pop("n_features"), *hidden, options.pop("n_classes"))
    return Case(
        title=title,
        estimator=partial(
            MLPClassifier, hidden_layer_sizes=hidden, members=1, **dict(ours)
        ),
        module=MLPNet,
        module_params={"sizes": sizes, **dict(theirs)},
        sizes=sizes,
        **options,
    )


DIGITS = {
    "load": partial(digits, 64),
    "n_features": 64,
    "n_classes": 10,
    "candidates": [
        (rate, dropout, alpha)
        for rate, (dropout, alpha) in product(
            rates(8), [(0.0, 1e-4), (0.2, 1e-3), (0.4, 1e-2)]
        )
    ],
    "n_epochs": 20,
    "batch_size": 64,
}

CASES = {
    "small": mlp_case(
        (64, 64),
        "digits, MLP 64-64",
        wanted={"skorch": 8, "MLPClassifier": 2.5},
        **DIGITS,
    ),
    "silu": mlp_case(
        (64, 64),
        "digits, MLP 64-64 with SiLU (scikit-learn: ReLU)",
        ours={"activation": "silu"},
        theirs={"activation": nn.SiLU},
        wanted={"skorch": 12},
        **DIGITS,
    ),
    "batch_norm": mlp_case(
        (64, 64),
        "digits, MLP 64-64 with batch normalisation (scikit-learn: without)",
        ours={"normalization": "batch"},
        theirs={"normalize": True},
        wanted={"skorch": 12},
        **DIGITS,
    ),
    "tiny": mlp_case((32,), "digits, MLP 32", wanted={"skorch": 12}, **DIGITS),
    "wide": mlp_case(
        (256, 256, 256),
        "made classification 10,000 x 30, MLP 256-256-256",
        load=partial(table, 10_000, 30, 5),
        n_features=30,
        n_classes=5,
        candidates=[(rate, 0.0, 1e-4) for rate in rates(4)],
        n_epochs=3,
        batch_size=256,
        wanted={"skorch": 1.5, "MLPClassifier": 0.95, "alone": 0.95},
        with_alone=True,
    ),
    "cnn": Case(
        title="digits, CNN 16-32-64",
        load=partial(digits, 1, 8, 8),
        candidates=[(rate, 0.1, 0.0) for rate in rates(8)],
        n_epochs=5,
        batch_size=64,
        estimator=partial(
            CNNClassifier,
            input_shape=(1, 8, 8),
            n_layers=2,
            n_channels=16,
            width=64,
            normalization=None,
        ),
        module=CNNNet,
        module_params={},
        wanted={"skorch": 2},
    ),
    "gru": Case(
        title="signals of 40 steps, GRU 32",
        load=signals,
        candidates=[(rate, 0.0, 0.0) for rate in rates(6, -2.5, -1.5)],
        n_epochs=3,
        batch_size=32,
        estimator=partial(RNNClassifier, cell="gru", hidden_size=32, gradient_clip=None),
        module=GRUNet,
        module_params={},
        wanted={"skorch": 2},
    ),
}


def evenly(values, n):
    return [
        values[i] for i in np.linspace(0, len(values) - 1, max(1, n)).round().astype(int)
    ]


def fits_of(case, candidates, X, y):
    folds = list(FOLDS.split(X, y))
    fits = []
    for rate, dropout, _ in candidates:
        estimator = case.estimator(
            learning_rate=rate,
            dropout=dropout,
            batch_size=case.batch_size,
            max_epochs=case.n_epochs,
            lr_schedule="constant",
            device="cpu",
        )
        fits += [
            Fit(estimator=estimator, X=X, y=y, rows=rows, monitor=held_out, seed=seed)
            for seed, (rows, held_out) in enumerate(folds, len(fits))
        ]
    return fits


def by_engine(fits, engine="fleet"):
    trained = train(fits, n_jobs=N_JOBS, engine=engine)
    wrong = [t.message for t in trained if t.status != "trained" or t.engine != engine]
    if wrong:
        raise RuntimeError(f"{len(wrong)} fits failed or were trained alone: {wrong[0]}")
    return float(np.mean([t.monitor_score[-1] for t in trained]))


def by_grid_search(estimator, grid, X, y):
    search = GridSearchCV(
        estimator,
        [{name: [value] for name, value in point.items()} for point in grid],
        cv=FOLDS,
        n_jobs=N_JOBS,
        refit=False,
        error_score="raise",
    )
    return float(np.mean(search.fit(X, y).cv_results_["mean_test_score"]))


def skorch_side(case, candidates, X, y, *, fused):
    net = NeuralNetClassifier(
        case.module,
        **{f"module__{name}": value for name, value in case.module_params.items()},
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.AdamW,
        batch_size=case.batch_size,
        max_epochs=case.n_epochs,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
    )
    if fused:
        net.set_params(optimizer__fused=True)
    names = ["lr"] if case.module is GRUNet else ["lr", "module__dropout"]
    grid = [dict(zip(names, point, strict=False)) for point in candidates]
    return partial(by_grid_search, net, grid, X, y)


def sklearn_side(case, candidates, X, y):
    net = SklearnMLP(
        case.sizes[1:-1],
        batch_size=case.batch_size,
        max_iter=case.n_epochs,
        n_iter_no_change=case.n_epochs + 1,
        tol=0,
    )
    grid = [{"learning_rate_init": rate, "alpha": alpha} for rate, _, alpha in candidates]
    return partial(by_grid_search, net, grid, X, y)


def compare(case, options):
    X, y = case.load()
    candidates = evenly(case.candidates, round(len(case.candidates) * options.rows_scale))
    fits = fits_of(case, candidates, X, y)
    some = candidates
    if options.quick:
        some = evenly(candidates, math.ceil(len(candidates) * QUICK_SHARE))
    sides = {
        "sk_tune": partial(by_engine, fits),
        "skorch": skorch_side(case, some, X, y, fused=options.fused),
    }
    if case.sizes:
        sides["MLPClassifier"] = sklearn_side(case, candidates, X, y)
    if case.with_alone:
        sides["alone"] = partial(by_engine, fits, "alone")
    n_steps = math.ceil(len(fits[0].rows) / case.batch_size)
    print(
        f"{case.title}: {len(candidates)} candidates x {FOLDS.n_splits} folds, "
        f"{case.n_epochs} epochs of {n_steps} steps, batches of {case.batch_size}"
    )
    factors = {"skorch": len(candidates) / len(some)}
    if options.quick:
        print(
            f"--quick: skorch trains {len(some)} of {len(candidates)} candidates, "
            f"its seconds are multiplied by {factors['skorch']:.2f}"
        )
    seconds, processor, scores = in_turn(sides, options, factors)
    report(seconds, processor, scores, case.wanted)
    record(
        "engine",
        case.title,
        fits=f"{len(candidates)} x {FOLDS.n_splits} fits, {case.n_epochs} epochs",
        seconds={name: statistics.median(values) for name, values in seconds.items()},
        processor={name: statistics.median(values) for name, values in processor.items()},
        scores=scores,
    )
    n_row_steps = len(fits) * case.n_epochs * n_steps
    ours = 1e6 * statistics.median(seconds["sk_tune"]) * N_JOBS / n_row_steps
    busy = 1e6 * statistics.median(processor["sk_tune"]) / n_row_steps
    print(
        f"  a step of a row on a core, all included: {ours:.1f} us ({busy:.1f} processor)"
    )
    if case.sizes:
        report_limit(ours, step_alone(fits, n_steps, options), case, len(fits[0].rows))


def in_turn(sides, options, factors):
    """Return each side's seconds in each round except the first, and its last score."""
    seconds = {name: [] for name in sides}
    processor = {name: [] for name in sides}
    scores = {}
    for round_ in range(options.runs + 1):
        order = list(sides) if round_ % 2 else list(reversed(sides))
        cells = []
        for name in order:
            factor = factors.get(name, 1.0)
            wait_for_quiet(options.wait)
            watch = Watch()
            scores[name] = sides[name]()
            passed, busy, others = watch.read()
            cells.append(f"{name} {passed * factor:.2f} s (others {others:.0%})")
            if round_:
                seconds[name].append(passed * factor)
                processor[name].append(busy * factor)
        label = f"run {round_}" if round_ else "warm-up, not counted"
        print(f"  {label}: {', '.join(cells)}", flush=True)
    return seconds, processor, scores


class Watch:
    """Measures time from its construction on."""

    def __init__(self):
        self.start = self._now()

    def read(self):
        """Return seconds, processor seconds, and the share of other processes."""
        passed, own, total = (
            now - then for now, then in zip(self._now(), self.start, strict=True)
        )
        return passed, own, max(0.0, total - own) / passed / os.cpu_count()

    @staticmethod
    def _now():
        # User, nice and system time of all processors.
        ticks = sum(map(int, Path("/proc/stat").read_text().split(maxsplit=4)[1:4]))
        total = ticks / os.sysconf("SC_CLK_TCK")
        return time.perf_counter(), processor_seconds(), total


def wait_for_quiet(most_seconds):
    until = time.perf_counter() + most_seconds
    while time.perf_counter() < until:
        watch = Watch()
        time.sleep(1)
        if watch.read()[2] < QUIET:
            return


def report(seconds, processor, scores, wanted):
    print(
        f"{'':>15} {'seconds':>8} {'min-max':>13} {'ratio':>6} {'min-max':>13} "
        f"{'processor':>9} {'ratio':>6} {'acc.':>7}"
    )
    own = seconds["sk_tune"]
    own_busy = statistics.median(processor["sk_tune"])
    for name, values in seconds.items():
        ratio = statistics.median(values) / statistics.median(own)
        ratios = [theirs / ours for theirs, ours in zip(values, own, strict=True)]
        busy = statistics.median(processor[name])
        line = (
            f"{name:>15} {statistics.median(values):8.2f} {span(values):>13} "
            f"{ratio:6.2f} {span(ratios):>13} {busy:9.2f} {busy / own_busy:6.2f} "
            f"{scores[name]:7.4f}"
        )
        if name in wanted:
            met = "met" if ratio >= wanted[name] else "MISSED"
            line += f"   wanted {wanted[name]:g}: {met}"
        if ratio < 1:
            line += f"   {name} is faster"
        print(line)


def span(values):
    return f"{min(values):.2f}-{max(values):.2f}"


def step_alone(fits, n_steps, options):
    """Return microseconds of one network's step, for some networks in this process.

    The difference between many and few epochs excludes the fixed cost of a call; without
    the held-out fold, only steps remain.
    """
    some = [replace(fit, monitor=None) for fit in fits[:32]]
    few, many = 2, max(4, fits[0].estimator.max_epochs)
    times = []
    for _ in range(options.runs):
        passed = []
        for n_epochs in (few, many):
            start = time.perf_counter()
            train([replace(fit, n_epochs=n_epochs) for fit in some])
            passed.append(time.perf_counter() - start)
        times.append((passed[1] - passed[0]) / (many - few) / n_steps / len(some))
    return 1e6 * statistics.median(times)


def report_limit(ours, step, case, n_train):
    full, last_batch = divmod(n_train, case.batch_size)
    batches = (
        [(case.batch_size, full), (last_batch, 1)]
        if last_batch
        else [(case.batch_size, full)]
    )
    n_steps = sum(n for _, n in batches)
    limits = {
        tile: sum(products(case.sizes, size, tile) * n for size, n in batches) / n_steps
        for tile in TILES
    }
    tile = min(limits, key=limits.__getitem__)
    print(
        f"  its matrix products alone: {limits[tile]:.1f} us ({tile} networks side by side)"
    )
    for name, value in (("step, all included", ours), ("step alone", step)):
        quotient = value / limits[tile]
        print(
            f"  {name}: {value:.1f} us, quotient {quotient:.2f}   wanted {MOST_QUOTIENT}: "
            f"{'met' if quotient <= MOST_QUOTIENT else 'MISSED'}"
        )
    cells = [f"{t}: {limit:.1f}" for t, limit in limits.items()]
    print(f"  products alone, us by networks side by side: {', '.join(cells)}", flush=True)


def products(sizes, n_batch, tile):
    """Return the least microseconds of a network's products in one step."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    shapes = list(pairwise(sizes))
    x = [torch.randn(tile, n_batch, n) for n in sizes]
    dz = [torch.randn(tile, n_batch, n) for n in sizes]
    w = [torch.randn(tile, n_out, n_in) for n_in, n_out in shapes]
    dw = [torch.empty_like(weight) for weight in w]
    z = [torch.empty_like(values) for values in x]
    dx = [torch.empty_like(values) for values in x]
    # The last product is computed in the faster order for few outputs.
    out = torch.empty(tile, sizes[-1], n_batch)

    def step():
        for i in range(len(shapes) - 1):
            torch.bmm(x[i], w[i].mT, out=z[i + 1])
        torch.bmm(w[-1], x[-2].mT, out=out)
        for i in reversed(range(len(shapes))):
            torch.bmm(dz[i + 1].mT, x[i], out=dw[i])
            if i:
                torch.bmm(dz[i + 1], w[i], out=dx[i])

    seconds = []
    until = time.perf_counter() + 0.3
    while len(seconds) < 10 or time.perf_counter() < until:
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    torch.set_num_threads(n_threads)
    return 1e6 * min(seconds) / tile


def defaults_for_tables(options):
    """Time networks with embeddings and 8 members, by the kernel and by torch."""
    rng = np.random.default_rng(0)
    n, n_epochs, n_fits = 2000, 4, max(1, round(4 * options.rows_scale))
    codes = rng.integers(0, 9, (n, 3))
    X = np.hstack([rng.normal(size=(n, 8)), codes]).astype(np.float32)
    y = (X[:, 0] + np.sin(3 * X[:, 1]) + (codes[:, 0] > 4) > 0.3).astype(int)
    estimator = table_pipeline("classifier")["net"].set_params(
        categorical_features=[8, 9, 10], max_epochs=n_epochs, device="cpu"
    )
    rows, monitor = np.arange(1600), np.arange(1600, n)
    fits = [
        Fit(estimator=estimator, X=X, y=y, rows=rows, monitor=monitor, seed=seed)
        for seed in range(n_fits)
    ]

    def run(switch):
        os.environ.pop("SK_TUNE_KERNEL", None)
        os.environ.update(switch)
        # In this process: workers keep the environment of their start.
        train(fits, n_jobs=1)

    sides = {"kernel": partial(run, {}), "torch": partial(run, {"SK_TUNE_KERNEL": "0"})}
    seconds, _, _ = in_turn(sides, options, {})
    kernel, torch_alone = (
        1e3 * statistics.median(values) / n_fits / n_epochs for values in seconds.values()
    )
    print(
        f"table_pipeline, 8 numbers and 3 categories, 1600 rows, {n_fits} networks: "
        f"{kernel:.1f} ms a network and epoch, by torch {torch_alone:.1f}, "
        f"ratio {torch_alone / kernel:.2f}   wanted 4"
    )


def scaling(options):
    """Time 10 to 5,000 rows of the small network, and of the tiny one for 5 epochs."""
    scaling_of(CASES["small"], options)
    scaling_of(Case(**{**vars(CASES["tiny"]), "n_epochs": 5}), options)


def scaling_of(case, options):
    sizes = [max(5, round(n * options.rows_scale)) for n in ROWS]
    X, y = digits(64)
    print(f"{case.title}: seconds for a row, by rows; {case.n_epochs} epochs")
    seconds = {n: [] for n in sizes}
    for round_ in range(options.runs + 1):
        cells = []
        for n in sizes:
            candidates = [(rate, 0.2, 0.0) for rate in rates(math.ceil(n / FOLDS.n_splits))]
            fits = fits_of(case, candidates, X, y)[:n]
            # Short runs are repeated.
            n_times = max(1, 200 // n) if round_ else 1
            wait_for_quiet(options.wait)
            watch = Watch()
            for _ in range(n_times):
                by_engine(fits)
            passed, busy, others = watch.read()
            passed, busy = passed / n_times / n, busy / n_times / n
            cells.append(
                f"{n}: {1e3 * passed:.2f} ms (processor {1e3 * busy:.2f}, "
                f"others {others:.0%})"
            )
            if round_:
                seconds[n].append(passed)
        print(
            f"  {f'run {round_}' if round_ else 'warm-up'}: {', '.join(cells)}", flush=True
        )
    medians = {n: statistics.median(values) for n, values in seconds.items()}
    lowest = min(medians.values())
    for n, median in medians.items():
        spread = span([1e3 * value for value in seconds[n]])
        print(
            f"{n:>8} rows: {1e3 * median:6.2f} ms a row ({spread}), "
            f"{median / lowest:.2f} of the lowest; {n * median:.2f} s in all"
        )
    flat = max(medians.values()) <= (1 + FLAT) * lowest
    large = list(medians.values())[1:]
    flat_large = max(large) <= (1 + FLAT) * min(large)
    print(
        f"  flat within {FLAT:.0%}: {'met' if flat else 'MISSED'}; without the fewest "
        f"rows: {'yes' if flat_large else 'no'}"
    )


def memory(options):
    """Print the memory of this process and its workers while 1,000 networks train."""
    n_candidates = max(1, round(200 * options.rows_scale))
    case = mlp_case(
        (32,),
        "made classification 100,000 x 50, MLP 32",
        load=partial(table, 100_000, 50, 2),
        n_features=50,
        n_classes=2,
        candidates=[(rate, 0.0, 0.0) for rate in rates(n_candidates)],
        n_epochs=1,
        batch_size=1024,
        wanted={},
    )
    # Workers start and import before the measurement.
    by_engine(fits_of(case, case.candidates[:40], *table(20_000, 50, 2)))
    imported = resident()
    X, y = case.load()
    data = X.nbytes + y.nbytes
    with_data = resident()
    fits = fits_of(case, case.candidates, X, y)
    print(f"{case.title}: {len(fits)} rows, {case.n_epochs} epoch, batches of 1024")
    start = time.perf_counter()
    with PeakMemory() as peak:
        score = by_engine(fits)
    seconds = time.perf_counter() - start
    verdict = "met" if peak.bytes[0] < MOST_BYTES else "MISSED"
    for position, kind in enumerate(("resident", "proportional (shared pages once)")):
        print(
            f"  {kind}, MiB: {imported[position] / 2**20:.0f} after imports, "
            f"{with_data[position] / 2**20:.0f} with the data made, at most "
            f"{peak.bytes[position] / 2**20:.0f} in training, which is "
            f"{(peak.bytes[position] - with_data[position]) / 2**20:.0f} more"
        )
    print(f"  at the peak, resident MiB by process: {peak.by_process}")
    print(
        f"  the data alone {data / 2**20:.0f} MiB; {seconds:.1f} s; accuracy {score:.4f}; "
        f"wanted under {MOST_BYTES / 2**20:.0f} MiB resident in all: {verdict}"
    )


class PeakMemory:
    """Samples memory from a thread during a block."""

    def __init__(self, interval=0.02):
        self.interval = interval
        self.bytes = [0, 0]
        self.by_process = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._stop.set()
        self._thread.join()

    def _watch(self):
        while not self._stop.wait(self.interval):
            rss, pss, by_process = memory_of(process_tree())
            if rss > self.bytes[0]:
                self.by_process = [round(n / 2**20) for n in by_process]
            self.bytes = [max(self.bytes[0], rss), max(self.bytes[1], pss)]


def resident():
    return memory_of(process_tree())[:2]


def process_tree():
    """Return the times, in ticks, of this process and its descendants, by id."""
    times = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name, in parentheses, may hold blanks.
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        # Ticks of the process and of its ended children.
        times[int(path.parent.name)] = (int(fields[1]), sum(map(int, fields[11:15])))
    tree = [os.getpid()]
    for pid in tree:
        tree += [child for child, (parent, _) in times.items() if parent == pid]
    return {pid: times[pid][1] for pid in tree if pid in times}


def processor_seconds():
    return sum(process_tree().values()) / os.sysconf("SC_CLK_TCK")


def memory_of(pids):
    """Return resident and proportional bytes in all, and resident bytes by process."""
    resident_bytes, proportional = [], 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        fields = dict(line.split()[:2] for line in text.splitlines()[1:])
        resident_bytes.append(1024 * int(fields["Rss:"]))
        proportional += 1024 * int(fields["Pss:"])
    return sum(resident_bytes), proportional, resident_bytes


def describe_kernels():
    for lib in threadpool_info():
        if lib["user_api"] == "blas":
            kind, path = lib.get("architecture", ""), Path(lib["filepath"]).parent.name
            print(f"  {lib['internal_api']} {lib['version']} {kind} ({path})")
    config = torch.__config__.show().splitlines()
    blas = [
        line.strip(" -") for line in config if "Math Kernel" in line or "MKL-DNN" in line
    ]
    print(f"  torch: {'; '.join(blas)}; {torch.backends.cpu.get_cpu_capability()}")
    threads = os.environ.get("OMP_NUM_THREADS")
    if threads is not None:
        print(f"  warning: OMP_NUM_THREADS={threads} is set")


def without_pinned_kernels():
    """Restart without variables that slow the numpy side; kernels are chosen at import."""
    pinned = [name for name in PINNED if name in os.environ]
    if pinned:
        print(f"warning: {', '.join(pinned)} set; unset for all sides", flush=True)
        environment = {
            name: value for name, value in os.environ.items() if name not in pinned
        }
        os.execve(sys.executable, [sys.executable, *sys.argv], environment)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(EVERY))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--rows-scale", type=float, default=1.0, help="of the candidates")
    parser.add_argument("--quick", action="store_true", help="skorch on a part of the work")
    parser.add_argument("--wait", type=float, default=0.0, help="for a quiet machine")
    parser.add_argument(
        "--fused", action="store_true", help="torch's fused AdamW in skorch"
    )
    options = parser.parse_args()
    names = options.cases or list(EVERY)
    if unknown := set(names) - set(EVERY):
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    without_pinned_kernels()
    if len(names) > 1:
        arguments = [a for a in sys.argv[1:] if a not in names]
        for name in names:
            subprocess.run([sys.executable, sys.argv[0], name, *arguments], check=True)
        return
    warnings.simplefilter("ignore")
    print(f"== {names[0]}: {describe_machine()}, {os.cpu_count()} cores")
    print(f"  sk_tune {sk_tune.__version__} in {Path(sk_tune.__file__).parent}")
    describe_kernels()
    EVERY[names[0]](options)


EVERY = {
    **{name: partial(compare, case) for name, case in CASES.items()},
    "table_pipeline": defaults_for_tables,
    "scaling": scaling,
    "memory": memory,
}

if __name__ == "__main__":
    # Imported, so that workers find the modules under a name.
    from engine import main as imported_main

    imported_main()
