# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Coverage and size of prediction intervals and sets against split conformal prediction.

    python -m pip install --group benchmark-automl
    python benchmarks/intervals.py RESULTS [--part dev] [--seeds 0 1 2 3 4] [--only ...]
    python benchmarks/intervals.py RESULTS --report         # as in the guide

The tables, the preparation and the draws of rows are those of table_nets.py, with at most
3,000 rows to train on and 1,000 to test.  The requested coverage is 90 %.  The method was
chosen on the development tables ("dev"); the others were measured once.  Stored runs are
not repeated.

- "sk_tune": GridSearchCV over ``table_pipeline`` alone, five folds; ``predict_interval`` or
  ``predict_set`` of the refitted model.
- "CV+": the same search with ``keep_models="all"``.
- "boosting": scikit-learn's HistGradientBoosting on four fifths of the rows, calibrated on
  the other fifth: absolute residuals, or one minus the probability of the class (LAC).
- "boosting, folds": sk_tune's intervals and sets of a search over the same boosting.

Sizes are mean widths of intervals, or mean numbers of labels.  "wide third" is the coverage
of the third of the test rows that "sk_tune" gives the widest intervals.
"""

import argparse
import json
import math
import pickle
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.model_selection import KFold, StratifiedKFold, train_test_split
from table_nets import TABLES, boosting, draw, load

from sk_tune import GridSearchCV, table_pipeline

COVERAGE, MOST_ROWS, MOST_TEST_ROWS = 0.9, 3000, 1000
DEV = ["concrete", "sacramento", "cars", "ames", "wages", "hotels", "diamonds"]
OTHER = ["biomass", "homes", "loans", "movies", "chemistry"]
PARTS = {
    "dev": [*DEV, "leaves", "jobs", "cells"],
    "other": [*OTHER, "storms", "parks", "elections"],
}
BASE = "boosting"


def fitted(model, X, y, is_classes, seed, **options):
    """Return a search over one model with its defaults."""
    splitter = StratifiedKFold if is_classes else KFold
    cv = splitter(5, shuffle=True, random_state=seed)
    return GridSearchCV(model, {}, cv=cv, **options).fit(X, y)


def split_conformal(is_classes, seed, X, y, X_test):
    """Return intervals or sets of boosting by a held-out fifth of the rows."""
    stratify = y if is_classes else None
    X, X_held, y, y_held = train_test_split(
        X, y, test_size=0.2, random_state=seed, stratify=stratify
    )
    model = boosting(is_classes, seed).fit(X, y)
    if is_classes:
        scores = 1 - model.predict_proba(X_held)[np.arange(len(y_held)), y_held]
    else:
        scores = np.abs(y_held - model.predict(X_held))
    rank = math.ceil(COVERAGE * (len(scores) + 1))
    bound = np.sort(scores)[rank - 1] if rank <= len(scores) else np.inf
    if is_classes:
        return 1 - model.predict_proba(X_test) <= bound
    center = model.predict(X_test)
    bounds = np.stack([center - bound, center + bound], axis=1)
    # As in sk_tune.
    return np.maximum(bounds, 0) if min(y.min(), y_held.min()) >= 0 else bounds


def sides(name, seed):
    """Return intervals (n, 2) or sets (n, K) of each side, and the targets."""
    is_classes = TABLES[name].is_classes
    X, X_test, y, y_test = draw(name, seed)
    X, y = X[:MOST_ROWS], y[:MOST_ROWS]
    X_test, y_test = X_test[:MOST_TEST_ROWS], y_test[:MOST_TEST_ROWS]
    method = "predict_set" if is_classes else "predict_interval"
    kind = "classifier" if is_classes else "regressor"
    net = table_pipeline(kind, random_state=seed)
    folds = fitted(net, X, y, is_classes, seed, keep_models="all")
    refit = pickle.loads(pickle.dumps(folds))
    del refit.models_
    searches = {
        "sk_tune": refit,
        "CV+": folds,
        "boosting, folds": fitted(boosting(is_classes, seed), X, y, is_classes, seed),
    }
    results = {
        side: getattr(search, method)(X_test, COVERAGE) for side, search in searches.items()
    }
    results[BASE] = split_conformal(is_classes, seed, X, y, X_test)
    return results, y_test, len(X)


def run(name, seed):
    """Yield coverage and size of each side."""
    results, y, n = sides(name, seed)
    wide = None
    for side, result in results.items():
        row = {"table": name, "seed": seed, "n": n, "side": side}
        if TABLES[name].is_classes:
            sizes = result.sum(axis=1)
            covered = result[np.arange(len(y)), y]
        else:
            sizes = result[:, 1] - result[:, 0]
            covered = (result[:, 0] <= y) & (y <= result[:, 1])
            wide = sizes >= np.quantile(sizes, 2 / 3) if wide is None else wide
            row["wide third"] = float(covered[wide].mean())
        yield row | {"coverage": float(covered.mean()), "size": float(sizes.mean())}


def report(results):
    """Yield Markdown: coverage and size of each table, then sums."""
    for title, part in (("Development tables", "dev"), ("Other tables", "other")):
        for kind in (False, True):
            names = [n for n in PARTS[part] if TABLES[n].is_classes == kind]
            some = results[results["table"].isin(names)]
            if len(some):
                what = "labels of a set" if kind else "width"
                yield f"\n### {title}, {'classes' if kind else 'numbers'}\n"
                yield from _table(some, names, what, is_classes=kind)


def _table(results, names, what, *, is_classes):
    means = results.groupby(["table", "side"])[["coverage", "size", "wide third"]].mean()
    names = [name for name in names if name in means.index]
    order = [s for s in results["side"].unique() if s != BASE]
    heads = [f"{head} {side}" for side in [*order, BASE] for head in ("coverage", "size")]
    yield f"| table | rows | {' | '.join(heads)} |"
    yield "| --- |" + " ---: |" * (1 + len(heads))
    rows = results.groupby("table")["n"].first()
    for name in names:
        base = means.loc[(name, BASE), "size"]
        cells = [f"{rows[name]:,}"]
        for side in [*order, BASE]:
            one = means.loc[(name, side)]
            size = one["size"] if is_classes else one["size"] / base
            cells += [f"{100 * one['coverage']:.1f}", f"{size:.2f}"]
        yield f"| {name} | {' | '.join(cells)} |"
    yield f"\n{'Sizes are' if is_classes else 'Relative to boosting,'} {what}."
    for side in [*order, BASE]:
        one = means.xs(side, level="side").loc[names]
        base = means.xs(BASE, level="side").loc[names, "size"]
        ratio = np.exp(np.log(one["size"] / base).mean())
        off = (one["coverage"] - COVERAGE).abs()
        text = (
            f"- {side}: coverage {100 * one['coverage'].mean():.1f} %, within 2 points on "
            f"{(off <= 0.02).sum()} of {len(names)}, smaller than boosting on "
            f"{(one['size'] < base).sum()}, mean ratio {ratio:.3f}"
        )
        if not is_classes:
            text += f", coverage of the wide third {100 * one['wide third'].mean():.1f} %"
        yield text


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path)
    parser.add_argument("--report", action="store_true", help="print stored results")
    parser.add_argument("--part", choices=[*PARTS], default="dev")
    parser.add_argument("--only", nargs="*", help="names of tables")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2, 3, 4])
    args = parser.parse_args()
    if args.report:
        print("\n".join(report(pd.DataFrame(load(args.results)))))
        return
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    done = {(r["table"], r["seed"]) for r in load(args.results)}
    for seed in args.seeds:
        for name in args.only or PARTS[args.part]:
            if (name, seed) in done:
                continue
            for result in run(name, seed):
                print(result, flush=True)
                with args.results.open("a") as file:
                    file.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
