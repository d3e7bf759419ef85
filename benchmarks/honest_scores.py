# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Scores that small searches report, against their scores on new samples.

    python -m pip install --group benchmark-automl
    python benchmarks/honest_scores.py RESULTS [--draws 12] [--kinds ...]
    python benchmarks/honest_scores.py RESULTS --report

A draw takes 100 to 5,000 rows of a table with more than 100,000, searches them with five
folds, and scores the refitted network, and one with default parameters, on 10,000 other
rows.  "coin" has random labels.  No default was chosen on these tables, and the expected
score was developed on others.  Stored draws are not repeated.

Printed for each kind of search, in standard errors of a score (of a mean over folds, of all
draws of the table): the bias and the mean absolute error of ``best_score_`` and of
``expected_score_``, and the difference of these errors with its standard error; the share
of intervals that contain the score on new samples; and the shares of searches that are
worse on these than the default parameters, at all and by two standard errors of the paired
difference.  Searches of one seed share their rows.
"""

import argparse
import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from measure import describe_machine
from scipy.stats import loguniform, uniform
from sklearn.base import clone, is_classifier
from sklearn.pipeline import make_pipeline
from table_nets import r

from sk_tune import (
    BayesSearchCV,
    GridSearchCV,
    HalvingRandomSearchCV,
    HyperbandSearchCV,
    MLPClassifier,
    MLPRegressor,
    RandomizedSearchCV,
    TablePreparer,
)

N_ROWS, N_NEW, MAX_EPOCHS = (100, 5000), 10_000, 27
SPACE = {
    "learning_rate": loguniform(1e-4, 1e-1),
    "width": [8, 16, 32, 64],
    "n_layers": [1, 2, 3],
    "dropout": uniform(0, 0.5),
    "weight_decay": loguniform(1e-4, 1),
}
GRID = {"learning_rate": [1e-3, 1e-2], "width": [8, 32], "dropout": [0, 0.2, 0.4]}


def coin():
    """Return rows whose label is a coin toss."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(110_000, 10))).add_prefix("x")
    return X.assign(y=rng.integers(2, size=len(X)))


def births():
    """Return the logarithm of the births of a state and day."""
    frame = r("mosaicData", "Birthdays", "date")()
    return frame.assign(births=np.log(frame["births"]))


def bribes():
    """Return respondents, and whether they would ever justify a bribe."""
    frame = r("stevedata", "wvs_justifbribe", "uid", "s003")().dropna()
    return frame.assign(f117=(frame["f117"] > 1).astype(int))


TABLES = {
    "coin": (coin, "y"),
    "children": (r("AER", "Fertility"), "morekids"),
    "homes": (r("causaldata", "mortgages"), "home_ownership"),
    "branches": (r("openintro", "military"), "branch"),
    "bribes": (bribes, "f117"),
    "births": (births, "births"),
}


def searches(net, seed):
    """Return the searches by kind."""
    name = type(net).__name__.lower()
    pipe = make_pipeline(TablePreparer(), net)
    space, grid = ({f"{name}__{k}": v for k, v in d.items()} for d in (SPACE, GRID))
    loss = "neg_log_loss" if is_classifier(net) else "neg_mean_absolute_error"
    seeded = {"random_state": seed}
    drawn = {"n_iter": 20, **seeded}
    rungs = {"max_resources": MAX_EPOCHS, **seeded}
    return {
        "grid": GridSearchCV(pipe, grid),
        "random": RandomizedSearchCV(pipe, space, **drawn),
        "random, loss": RandomizedSearchCV(pipe, space, scoring=loss, **drawn),
        "best epoch": RandomizedSearchCV(pipe, space, select_epoch="best", **drawn),
        "one error": RandomizedSearchCV(pipe, space, refit="one_standard_error", **drawn),
        "halving": HalvingRandomSearchCV(pipe, space, resource="max_epochs", **rungs),
        "Hyperband": HyperbandSearchCV(pipe, space, **rungs),
        "Bayes": BayesSearchCV(pipe, space, **drawn),
    }


def sample_scores(estimator, X, y, is_loss):
    """Return scores of samples, whose mean is the estimator's score."""
    if is_classifier(estimator):
        if not is_loss:
            return estimator.predict(X) == y
        columns = np.searchsorted(estimator.classes_, y)
        return np.log(estimator.predict_proba(X)[np.arange(len(y)), columns])
    error = y - estimator.predict(X)
    return -np.abs(error) if is_loss else 1 - error**2 / y.var()


def measure(table, frame, kind, seed):
    """Return the scores of a draw."""
    rng = np.random.default_rng(seed)
    n = round(float(loguniform(*N_ROWS).rvs(random_state=rng)))
    frame = frame.iloc[rng.permutation(len(frame))[: n + N_NEW]].reset_index(drop=True)
    y = frame.pop(TABLES[table][1])
    is_number = y.dtype.kind == "f"
    y = y.to_numpy(float) if is_number else np.unique(y.astype(str), return_inverse=True)[1]
    make = MLPRegressor if is_number else MLPClassifier
    net = make(
        width=128, members=1, max_epochs=MAX_EPOCHS, batch_size=32, random_state=seed
    )
    search = searches(net, seed)[kind].fit(frame[:n], y[:n])
    default = clone(search.estimator).fit(frame[:n], y[:n])
    scores = pd.DataFrame(search.cv_results_).filter(regex=r"^split\d+_test")
    folds = scores.iloc[search.best_index_]
    expected = search.expected_score_
    is_loss = kind == "random, loss"
    of_search, of_default = (
        np.asarray(sample_scores(each, frame[n:], y[n:], is_loss), np.float64)
        for each in (search, default)
    )
    return {
        "table": table,
        "kind": kind,
        "seed": seed,
        "n": n,
        "best": search.best_score_,
        "expected": expected.score,
        "low": expected.low,
        "high": expected.high,
        "error": folds.std(ddof=1) / len(folds) ** 0.5,
        "new": search.score(frame[n:], y[n:]),
        "default": search.scorer_(default, frame[n:], y[n:]),
        "gain_error": (of_search - of_default).std(ddof=1) / N_NEW**0.5,
    }


def report(draws):
    """Print a line for each kind of search."""
    tosses = draws[(draws["table"] == "coin") & (draws["kind"] != "random, loss")]
    means = tosses[["best", "expected", "new"]].mean()
    print(
        f"{len(tosses)} searches of coin tosses, mean accuracy: {means.round(3).to_dict()}"
    )
    # The standard error of a table falls with the square root of its rows.
    variance = draws["error"] ** 2 * draws["n"]
    groups = [draws["table"], draws["kind"] == "random, loss"]
    error = np.sqrt(variance.groupby(groups).transform("mean") / draws["n"])
    draws = draws.assign(
        **{name: (draws[name] - draws["new"]) / error for name in ("best", "expected")},
        is_covered=draws["new"].between(draws["low"], draws["high"]),
        # On coin tosses every difference is noise.
        is_worse=(draws["new"] < draws["default"]) * 1.0,
        is_clear=(draws["new"] < draws["default"] - 2 * draws["gain_error"]) * 1.0,
    )
    shares = ["is_worse", "is_clear"]
    draws[shares] = draws[shares].where(draws["table"] != "coin")
    print(f"{len(draws)} searches; bias and absolute error in standard errors")
    print(
        "kind           draws   best_score_   expected_score_   difference"
        "      covered   worse   by two errors"
    )
    for kind, of_kind in [*draws.groupby("kind", sort=False), ("all", draws)]:
        best, expected = of_kind["best"], of_kind["expected"]
        by_seed = (expected.abs() - best.abs()).groupby(of_kind["seed"]).mean()
        print(
            f"{kind:14} {len(of_kind):5}  {best.mean():+.2f}  {best.abs().mean():.2f}"
            f"      {expected.mean():+.2f}  {expected.abs().mean():.2f}"
            f"       {by_seed.mean():+.2f} ± {by_seed.std() / len(by_seed) ** 0.5:.2f}"
            f"      {of_kind['is_covered'].mean():4.0%}"
            f"     {of_kind['is_worse'].mean():4.0%}      {of_kind['is_clear'].mean():4.1%}"
        )


def main():
    """Run the missing draws, or report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("results", type=Path)
    parser.add_argument(
        "--draws", type=int, default=12, help="draws of each table and kind"
    )
    parser.add_argument("--kinds", nargs="+", default=list(searches(MLPClassifier(), 0)))
    parser.add_argument("--report", action="store_true")
    arguments = parser.parse_args()
    path = arguments.results
    lines = path.read_text().splitlines() if path.exists() else []
    if arguments.report:
        report(pd.DataFrame(map(json.loads, lines)))
        return
    print(describe_machine())
    warnings.simplefilter("ignore")
    keys = ("table", "kind", "seed")
    done = {tuple(json.loads(line)[key] for key in keys) for line in lines}
    frames = {table: load() for table, (load, _) in TABLES.items()}
    for seed in range(arguments.draws):
        for table, frame in frames.items():
            for kind in arguments.kinds:
                if (table, kind, seed) not in done:
                    draw = measure(table, frame, kind, seed)
                    with path.open("a") as file:
                        print(json.dumps(draw), file=file)
    report(pd.DataFrame(map(json.loads, path.read_text().splitlines())))


if __name__ == "__main__":
    main()
