# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Networks with the loss of the question, against scikit-learn with the same loss.

    python -m pip install --group benchmark-automl
    python benchmarks/losses.py [--seeds 0 1 2] [--part dev]

Two questions on real tables, with a table for each; nothing was chosen on tables that are
not development tables ("dev").  A seed draws the rows (at most 4,000), the test quarter and
the network, as in ``table_nets.py``; one thread.

- Quantiles: mean pinball loss at 0.1, 0.5 and 0.9, divided by the standard deviation of the
  test targets; share of targets between the outer quantiles (0.8 is asked for); and seconds
  of processor time.  One network of ``table_pipeline`` with ``loss="quantile"`` against
  three histogram gradient boostings with ``loss="quantile"``.
- Counts: mean Poisson deviance.  The same network with ``loss="poisson"``, and with squared
  errors; boosting with ``loss="poisson"``; PoissonRegressor with the best of five `alpha`
  by cross-validation.  Predictions below a hundredth of the mean are raised to that.
"""

import argparse
import time
import warnings
from functools import partial

import numpy as np
import pandas as pd
from sklearn.linear_model import PoissonRegressor
from sklearn.metrics import mean_pinball_loss, mean_poisson_deviance
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from table_nets import TABLES, Table, boosting, dev, draw, r

from sk_tune import TablePreparer, table_pipeline

LEVELS = (0.1, 0.5, 0.9)
QUANTILES = ["concrete", "sacramento", "ames", "hotels", "wages", "cars", "diamonds"]
QUANTILES += ["biomass", "homes", "loans"]
OTHER_ARRESTS = ("nfarr86", "nparr86", "ptime86", "pt86sq", "inc86sq", "qemp86", "pcnvsq")
COUNTS = {
    "office visits": dev(
        r("AER", "NMES1988", "nvisits", "ovisits", "novisits", "emergency", "hospital"),
        "visits",
    ),
    "publications": dev(r("pscl", "bioChemists"), "art"),
    "solder skips": dev(r("survival", "solder"), "skips"),
    "arrests": dev(r("wooldridge", "crime1", *OTHER_ARRESTS), "narr86"),
    "days in hospital": dev(r("COUNT", "azpro"), "los"),
    "doctor visits": dev(r("COUNT", "rwm1984", "hospvis"), "docvis"),
    # Held out.
    "consultations": Table(r("AER", "DoctorVisits"), "visits"),
    "trips": Table(r("AER", "RecreationDemand"), "trips"),
    "reports": Table(r("AER", "CreditCard"), "reports"),
    "ticks": Table(r("lme4", "grouseticks", "INDEX", "cHEIGHT"), "TICKS"),
    "fruits": Table(r("lme4", "Arabidopsis"), "total.fruits"),
    "physicians": Table(r("COUNT", "mdvis"), "numvisit"),
    "stays": Table(r("COUNT", "medpar", "provnum"), "los"),
    "children": Table(r("wooldridge", "fertil2", "ceb"), "children"),
}
TABLES |= COUNTS


def network(seed, **params):
    pipe = table_pipeline("regressor", random_state=seed)
    pipe[-1].set_params(**params)
    return pipe


class Boostings:
    """A gradient boosting for each quantile."""

    def __init__(self, seed):
        options = {"loss": "quantile"}
        self.models = [boosting(False, seed, **options, quantile=a) for a in LEVELS]

    def fit(self, X, y):
        for model in self.models:
            model.fit(X, y)

    def predict(self, X, *, return_quantiles):
        return np.column_stack([model.predict(X) for model in self.models])


def linear(seed):
    alphas = {"alpha": np.logspace(-4, 0, 5)}
    search = GridSearchCV(
        PoissonRegressor(max_iter=1000), alphas, scoring="neg_mean_poisson_deviance"
    )
    return make_pipeline(TablePreparer(), search)


OF_QUANTILES = {"network": partial(network, loss="quantile"), "boosting": Boostings}
OF_COUNTS = {
    "network": partial(network, loss="poisson"),
    "squared errors": network,
    "boosting": partial(boosting, False, loss="poisson"),
    "PoissonRegressor": linear,
}


def of_quantiles(model, X, y):
    """Return the mean loss, the loss of each level, and the share of targets inside."""
    predicted = model.predict(X, return_quantiles=True)
    losses = [
        mean_pinball_loss(y, column, alpha=level) / y.std()
        for level, column in zip(LEVELS, predicted.T, strict=True)
    ]
    inside = (predicted[:, 0] <= y) & (y <= predicted[:, -1])
    columns = {f"{level}": loss for level, loss in zip(LEVELS, losses, strict=True)}
    return {"loss": np.mean(losses), **columns, "inside": inside.mean()}


def of_counts(model, X, y):
    """Return the mean Poisson deviance."""
    return {"loss": mean_poisson_deviance(y, np.maximum(model.predict(X), y.mean() / 100))}


def measure(names, sides, scores, seeds):
    """Print the means over the seeds, and how often the network is better."""
    rows = []
    for name in names:
        for side, build in sides.items():
            for seed in seeds:
                X, X_test, y, y_test = draw(name, seed)
                model = build(seed)
                start = time.process_time()
                with warnings.catch_warnings(action="ignore"):
                    model.fit(X, y)
                seconds = time.process_time() - start
                part = "dev" if TABLES[name].is_dev else "held out"
                row = {"part": part, "table": name, "side": side, "seconds": seconds}
                rows.append(row | scores(model, X_test, y_test))
    frame = pd.DataFrame(rows)
    means = frame.groupby(["part", "table", "side"], sort=False).mean()
    print(means.round(4).to_string())
    losses = means["loss"].unstack("side")[[*sides]]
    others = losses.drop(columns="network")
    for part in losses.index.unique("part"):
        rival = others.loc[part]
        wins = (losses.loc[part, ["network"]].to_numpy() < rival).sum()
        gain = np.exp(np.log(losses.loc[part, ["network"]].to_numpy() / rival).mean()) - 1
        print(f"\n{part}, {len(rival)} tables: the network is better than")
        for side in rival:
            print(
                f"  {side} on {wins[side]}; its loss is {gain[side]:+.1%} of it, as a mean"
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--part", choices=["dev", "held out"])
    options = parser.parse_args()

    def chosen(names):
        parts = {n: "dev" if TABLES[n].is_dev else "held out" for n in names}
        return [n for n in names if options.part in (None, parts[n])]

    measure(chosen(QUANTILES), OF_QUANTILES, of_quantiles, options.seeds)
    print()
    measure(chosen(COUNTS), OF_COUNTS, of_counts, options.seeds)
