# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Features made of a table's columns: which of them help a network, which help boosting?

    python -m pip install --group benchmark-automl
    python benchmarks/table_features.py RESULTS [--only ...] [--seeds 0 1]
    python benchmarks/table_features.py RESULTS --report

The tables are the development tables of ``table_nets.py``, with its splits and losses, the
passengers of the Titanic with the numbers of their tickets, and tables with columns of
text.  Every feature is learned from training rows and is added to the table, in front of
``table_pipeline`` ("network") or scikit-learn's HistGradientBoosting with native categories
("boosting"):

- "target encoding": ``TablePreparer(target_encoding=True)``.
- "crosses": ``TablePreparer(crosses=3)``.
- "frequencies": logarithms of the frequencies of categories, for columns with more than 9.
- "groups": means by category, and differences to them, of the three numbers that correlate
  most with the target, for the two columns with most categories.
- "10 of text", "30 of text": ``TablePreparer(text_components=10)``, and 30.

The side "AutoML" is AutoClassifier or AutoRegressor with 60 seconds and one process; "10 of
text" is as it comes, if it decides to use the text, and otherwise it cannot use the text.

Features that a table cannot have are left out.  Stored runs are not repeated.  Reported is
the loss relative to the loss without features, as geometric mean over seeds.
"""

import argparse
import json
import warnings
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import table_nets
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.pipeline import make_pipeline
from table_nets import CLASSES, SIDES, TABLES, Table, dev, draw, r

from sk_tune import AutoClassifier, AutoRegressor

MANY, N_COLUMNS, N_NUMBERS = 9, 2, 3
TEXT = "10 of text"
PARAMS = {
    "target encoding": {"target_encoding": True},
    "crosses": {"crosses": 3},
    TEXT: {"text_components": 10},
    "30 of text": {"text_components": 30},
}
# The parts of TablePreparer with these features.
BLOCKS = {"target encoding": "targets", "crosses": "crosses"}
FEATURES = [*PARAMS, "frequencies", "groups"]
NETWORK, BOOSTING, AUTOML = "table_pipeline", "boosting", "AutoML"


def titanic_with_tickets():
    return table_nets.titanic(without=("boat", "body", "name"))


def titanic_with_texts():
    return table_nets.titanic(without=("boat", "body"))


def strikes():
    frame = r("openintro", "birds")()
    return frame[frame["effect"].notna()]


def affected():
    frame = r("Ecdat", "HHSCyberSecurityBreaches")()
    return frame[frame["Individuals.Affected"] > 0]


def tweets():
    frame = r("dslabs", "trump_tweets", "id_str", "retweet_count")()
    return frame[frame["favorite_count"] > 0]


def loans_with_jobs():
    without = ["grade", "sub_grade", "installment", "balance", "paid_total"]
    without += ["paid_principal", "paid_interest", "paid_late_fees", "loan_status"]
    return r("openintro", "loans_full_schema", *without)()


def movies_with_titles():
    return r("ggplot2movies", "movies", *[f"r{i}" for i in range(1, 11)])()


TABLES["titanic, tickets"] = dev(titanic_with_tickets, "survived", **CLASSES)
TABLES |= {
    "titanic, texts": dev(titanic_with_texts, "survived", **CLASSES),
    "breaches": dev(affected, "Individuals.Affected", log=True),
    "artworks": dev(r("modeldata", "tate_text", "id"), "year"),
    "mileage": dev(r("openintro", "epa2021", "hwy_mpg", "city_mpg"), "comb_mpg", log=True),
    "meals": dev(r("openintro", "fastfood", "cal_fat"), "calories", log=True),
    "strikes": dev(strikes, "effect", **CLASSES),
    "restaurants": dev(r("causaldata", "restaurant_inspections"), "inspection_score"),
    "tweets": dev(tweets, "favorite_count", log=True),
    "companies": dev(r("HSAUR", "Forbes2000", "rank"), "marketvalue", log=True),
    "films": dev(r("dslabs", "movielens"), "rating"),
    "processors": dev(r("openintro", "cpu"), "base_clock", log=True),
    # Nothing was chosen on the tables from here on.
    "loans, jobs": Table(loans_with_jobs, "interest_rate"),
    "movies, titles": Table(movies_with_titles, "rating"),
    "houses": Table(
        r(
            "Stat2Data",
            "GrinnellHouses",
            "CostPerSqFt",
            "SPLPPct",
            "ListPrice",
            "OrigPrice",
        ),
        "SalePrice",
        log=True,
    ),
    "courses": Table(r("openintro", "ucla_f18", "subject_abbr"), "subject", **CLASSES),
}


class Added(TransformerMixin, BaseEstimator):
    """Adds one kind of features to a table."""

    def __init__(self, kind=""):
        self.kind = kind

    def fit(self, X, y):
        texts = X.select_dtypes("category")
        levels = texts.nunique().sort_values(ascending=False)
        numbers = X.drop(columns=texts.columns).astype(float)
        targets = pd.get_dummies(y).to_numpy().T if len(np.unique(y)) < 50 else [y]
        strength = {
            name: max(abs(np.corrcoef(x.fillna(x.median()), t)[0, 1]) for t in targets)
            for name, x in numbers.items()
            if x.nunique() > 2
        }
        best = sorted(strength, key=strength.get, reverse=True)[:N_NUMBERS]
        self.frequencies_, self.means_ = {}, {}
        if self.kind == "frequencies":
            many = levels.index[levels > MANY]
            self.frequencies_ = {name: np.log(X[name].value_counts() + 1) for name in many}
        if self.kind == "groups":
            for group in levels.index[:N_COLUMNS]:
                by = numbers[best].groupby(X[group], observed=True)
                self.means_[group] = by.mean(), numbers[best].mean()
        return self

    def transform(self, X):
        new = {}
        for name, counts in self.frequencies_.items():
            new[f"{name} frequency"] = X[name].astype(object).map(counts).fillna(0.0)
        for group, (means, overall) in self.means_.items():
            for name in means:
                of_group = X[group].astype(object).map(means[name]).fillna(overall[name])
                new[f"{name} by {group}"] = of_group
                new[f"{name} minus {group}"] = X[name] - of_group
        return X.assign(**new)


def run(name, side, kind, seed):
    """Return the loss with features of a kind; None if the table has none."""
    X, X_test, y, y_test = draw(name, seed)
    is_classes = TABLES[name].is_classes
    if side == AUTOML:
        model = fitted_automl(X, y, is_classes, seed, reads_text=kind == TEXT)
        if kind == TEXT and not model.kinds_.texts:
            return None
        return loss(model, X_test, y_test, is_classes)
    model = SIDES[side](is_classes, seed)
    if kind in PARAMS:
        prepare = model[0].set_params(**PARAMS[kind])
        blocks = [block for block, *_ in prepare.fit(X, y).columns_.transformers_]
        if BLOCKS.get(kind, "texts") not in blocks:
            return None
    elif kind:
        added = Added(kind)
        if added.fit_transform(X, y).shape == X.shape:
            return None
        model = make_pipeline(added, model)
    return loss(model.fit(X, y), X_test, y_test, is_classes)


def fitted_automl(X, y, is_classes, seed, *, reads_text):
    scoring = "neg_log_loss" if is_classes else "neg_root_mean_squared_error"
    model = AutoClassifier if is_classes else AutoRegressor
    decision = "sk_tune._automl._texts.reason_against_texts"
    never = nullcontext() if reads_text else patch(decision, return_value="is not wanted")
    with never:
        return model(scoring=scoring, n_jobs=1, random_state=seed).fit(X, y)


def loss(model, X, y, is_classes):
    p = model.predict_proba(X) if is_classes else model.predict(X)
    return table_nets.loss_of(p, y, is_classes=is_classes)


def report(results):
    """Return the losses relative to those without features, as Markdown."""
    plain = results[results["kind"] == ""].set_index(["table", "side", "seed"])["loss"]
    results = results[(results["kind"] != "") & results["loss"].notna()]
    keys = pd.MultiIndex.from_frame(results[["table", "side", "seed"]])
    ratio = np.log(results["loss"].to_numpy() / plain[keys].to_numpy())
    sides = (NETWORK, BOOSTING, AUTOML)
    columns = [(side, kind) for side in sides for kind in FEATURES]
    table = results.assign(ratio=ratio).pivot_table("ratio", "table", ["side", "kind"])
    columns = [column for column in columns if column in table]
    table = np.exp(table[columns])
    table = table.loc[[name for name in TABLES if name in table.index]]
    table.loc["geometric mean"] = np.exp(np.log(table).mean())
    lines = ["| table | " + " | ".join(f"{s}: {k}" for s, k in columns) + " |"]
    lines.append("| --- " * (len(columns) + 1) + "|")
    for name, row in table.iterrows():
        cells = ("" if np.isnan(value) else f"{value:.3f}" for value in row)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path)
    parser.add_argument("--report", action="store_true", help="print stored results")
    parser.add_argument("--only", nargs="*", help="names of tables")
    sides = [BOOSTING, NETWORK, AUTOML]
    parser.add_argument("--sides", nargs="*", choices=sides, default=sides[:2])
    parser.add_argument("--features", nargs="*", default=FEATURES)
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1])
    args = parser.parse_args()
    stored = table_nets.load(args.results)
    if args.report:
        print(report(pd.DataFrame(stored)))
        return
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    done = {(r["table"], r["side"], r["kind"], r["seed"]) for r in stored}
    names = args.only or [n for n, t in TABLES.items() if t.is_dev and not t.is_large]
    for seed in args.seeds:
        for name in names:
            for side in args.sides:
                for kind in ["", *args.features]:
                    if (name, side, kind, seed) in done:
                        continue
                    result = {"table": name, "side": side, "kind": kind, "seed": seed}
                    result["loss"] = run(name, side, kind, seed)
                    print(result, flush=True)
                    with args.results.open("a") as file:
                        file.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
