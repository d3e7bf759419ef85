"""Distilled networks: gain of the ensemble that they keep, and times faster to predict.

The ensemble is the one of ``table_nets.py``: the weighted candidates of a Hyperband search
around ``table_pipeline``, each fitted again on all rows.  The best single network is the
best candidate of the search, fitted on all rows.  "labels" is a network of the distilled
form that is trained on the labels.  Losses are log losses, or RMSE relative to the spread
of the targets, on rows that nothing was trained on; times are processor time.

    python benchmarks/distill.py results.jsonl --part other
    python benchmarks/distill.py results.jsonl --report
"""

import argparse
import json
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.base import clone
from table_nets import TABLES, draw, load, loss_of

from sk_tune import (
    HyperbandSearchCV,
    TrialEnsembleClassifier,
    TrialEnsembleRegressor,
    distill,
    table_pipeline,
    table_space,
)

MOST_TRAINING_ROWS = 1000
# Ten tables on which nothing was chosen.
OTHER = ("schools", "elections", "tumours", "dengue", "tips", "insurance", "hearts")
OTHER += ("biomass", "homes", "loans")


def timed(predict, X):
    """Return predictions, and milliseconds of processor time for 10,000 rows."""
    many = pd.concat([X] * (1 + 10_000 // len(X)), ignore_index=True)[:10_000]
    predictions, seconds = np.asarray(predict(X), dtype=float), []
    while sum(seconds) < 0.3:
        start = time.process_time()
        predict(many)
        seconds.append(time.process_time() - start)
    return predictions, 1000 * min(seconds)


def search_and_ensemble(X, y, *, is_classes):
    """Return the best single network and the ensemble."""
    pipe = table_pipeline("classifier" if is_classes else "regressor", random_state=0)
    scoring = "neg_log_loss" if is_classes else "neg_root_mean_squared_error"
    search = HyperbandSearchCV(
        pipe, table_space(pipe), factor=3, cv=5, scoring=scoring, random_state=0
    )
    kind = TrialEnsembleClassifier if is_classes else TrialEnsembleRegressor
    search.set_params(keep_predictions="all").fit(X, y)
    ensemble = kind.from_search(search, refit=True, X=X, y=y, random_state=0)
    return search.best_estimator_, ensemble


def compare(single, ensemble, X, y, X_test, y_test, *, is_classes):
    """Return losses, milliseconds and seconds of training of one distillation."""
    start = time.process_time()
    small = distill(ensemble, X, y, random_state=0)
    seconds = time.process_time() - start
    labels = clone(small).fit(X, y)
    result = {"seconds": round(seconds, 1), "members": len(ensemble.estimators_)}
    models = {"single": single, "ensemble": ensemble, "labels": labels, "distilled": small}
    for name, model in models.items():
        predict = model.predict_proba if is_classes else model.predict
        predictions, ms = timed(predict, X_test)
        loss = loss_of(predictions, y_test, is_classes=is_classes)
        result |= {name: loss, f"{name} ms": round(ms, 1)}
    return result


def run(name, seed):
    """Return the results of a table."""
    is_classes = TABLES[name].is_classes
    X, X_test, y, y_test = draw(name, seed)
    X, y = X[:MOST_TRAINING_ROWS].reset_index(drop=True), y[:MOST_TRAINING_ROWS]
    models = search_and_ensemble(X, y, is_classes=is_classes)
    outcome = compare(*models, X, y, X_test, y_test, is_classes=is_classes)
    return {"table": name, "seed": seed, "n": len(X), **outcome}


def report(results):
    """Yield the results as Markdown, means over the seeds."""
    mean = results.drop(columns="seed").groupby("table", sort=False).mean()
    gain = mean["single"] - mean["ensemble"]
    mean["kept %"] = 100 * (mean["single"] - mean["distilled"]) / gain
    mean["times faster"] = mean["ensemble ms"] / mean["distilled ms"]
    # Without a gain the distilled network must not lose more than the ensemble.
    keeps = mean["distilled"] <= mean["single"] - gain + 0.05 * gain.abs()
    yield mean.round(4).to_markdown()
    ahead = {
        k: (mean["distilled"] < mean[k]).sum() for k in ("single", "ensemble", "labels")
    }
    yield (
        f"\n{keeps.sum()} of {len(mean)} keep 95 % of the gain, "
        f"{(mean['times faster'] >= 20).sum()} are 20 times faster. Lower loss than: "
        + ", ".join(f"{name} on {n}" for name, n in ahead.items())
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path)
    parser.add_argument("--report", action="store_true", help="print stored results")
    parser.add_argument("--part", choices=("dev", "other"), default="dev")
    parser.add_argument("--only", nargs="*", help="names of tables")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    args = parser.parse_args()
    if args.report:
        print("\n".join(report(pd.DataFrame(load(args.results)))))
        return
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    dev = [name for name, table in TABLES.items() if table.is_dev]
    names = args.only or (dev if args.part == "dev" else OTHER)
    done = {(r["table"], r["seed"]) for r in load(args.results)}
    for seed in args.seeds:
        for name in names:
            if (name, seed) in done:
                continue
            result = run(name, seed)
            print(result, flush=True)
            with args.results.open("a") as file:
                file.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
