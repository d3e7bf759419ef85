# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Seconds for the choice of the next candidate, against scikit-optimize and Optuna.

    python benchmarks/sampler_cost.py [--runs 5] [--points 10 50 100 200]

One candidate is proposed and scored, after 10 to 200 points, in a space of six parameters
(two logarithmic, one uniform, two integers, one of four categories).  All sides have the
same points and take turns, with one thread; medians, in milliseconds per candidate.  The
scikit-optimize loop is the loop of its BayesSearchCV: an Optimizer with its defaults that
proposes lists of one point.
"""

import argparse
import math
import warnings

import numpy as np
import optuna
import skopt
from measure import describe_machine, medians
from skopt.space import Categorical, Integer, Real
from threadpoolctl import threadpool_limits

from sk_tune._space import as_space
from sk_tune.sampler import BayesSampler, TPESampler

BATCH = 8
SPACE = {
    "activation": Categorical(["relu", "gelu", "silu", "tanh"]),
    "dropout": Real(0.0, 0.5),
    "learning_rate": Real(1e-4, 1e-1, "log-uniform"),
    "n_layers": Integer(1, 5),
    "weight_decay": Real(1e-5, 1.0, "log-uniform"),
    "width": Integer(16, 512, "log-uniform"),
}


def score(candidate):
    """Return a smooth score with some noise that depends on the candidate only."""
    lr, decay = (math.log10(candidate[n]) for n in ("learning_rate", "weight_decay"))
    value = -((lr + 2.5) ** 2) - 0.1 * (decay + 2) ** 2
    value -= 4 * (candidate["dropout"] - 0.2) ** 2 + 0.2 * (candidate["n_layers"] - 2) ** 2
    value -= 0.1 * (math.log2(candidate["width"]) - 7) ** 2
    value += {"relu": 0.2, "gelu": 0.3, "silu": 0.25, "tanh": 0.0}[candidate["activation"]]
    return value + 0.05 * math.sin(1e4 * lr)


def ours(make, points, batch):
    """Return a function that asks and tells one of our samplers."""
    sampler = make(as_space(SPACE))
    sampler.tell(points, [score(p) for p in points])

    def step():
        candidates = sampler.ask(batch)
        sampler.tell(candidates, [score(c) for c in candidates])

    return step


def skopt_loop(points):
    """Return the work of scikit-optimize's BayesSearchCV between evaluations."""
    optimizer = skopt.Optimizer(list(SPACE.values()), random_state=0)
    optimizer.tell(
        [[p[name] for name in SPACE] for p in points], [-score(p) for p in points]
    )

    def step():
        rows = optimizer.ask(n_points=1)
        candidates = [dict(zip(SPACE, row, strict=True)) for row in rows]
        optimizer.tell(rows, [-score(c) for c in candidates])

    return step


def optuna_loop(sampler, points):
    """Return Optuna's ask and tell with one of its own samplers."""
    distributions = {}
    for name, dimension in SPACE.items():
        if isinstance(dimension, Categorical):
            distributions[name] = optuna.distributions.CategoricalDistribution(
                dimension.categories
            )
            continue
        kind = "Int" if isinstance(dimension, Integer) else "Float"
        distributions[name] = getattr(optuna.distributions, f"{kind}Distribution")(
            dimension.low, dimension.high, log=dimension.prior == "log-uniform"
        )
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for p in points:
        study.add_trial(
            optuna.trial.create_trial(params=p, distributions=distributions, value=score(p))
        )

    def step():
        trial = study.ask(distributions)
        study.tell(trial, score(trial.params))

    return step


def sides(points):
    return {
        "sk_tune Bayes": (ours(lambda s: BayesSampler(s, 0), points, 1), 1),
        f"sk_tune Bayes, {BATCH} at once": (
            ours(lambda s: BayesSampler(s, 0), points, BATCH),
            BATCH,
        ),
        "sk_tune Bayes, GP": (
            ours(lambda s: BayesSampler(s, 0, base_estimator="GP"), points, 1),
            1,
        ),
        "sk_tune Bayes, ET": (
            ours(lambda s: BayesSampler(s, 0, base_estimator="ET"), points, 1),
            1,
        ),
        "sk_tune TPE": (ours(lambda s: TPESampler(s, 0), points, 1), 1),
        "scikit-optimize loop": (skopt_loop(points), 1),
        "Optuna TPE": (optuna_loop(optuna.samplers.TPESampler(seed=0), points), 1),
        "Optuna GP": (optuna_loop(optuna.samplers.GPSampler(seed=0), points), 1),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--points", type=int, nargs="+", default=[10, 50, 100, 200])
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rng = np.random.RandomState(0)
    with threadpool_limits(1):
        print(describe_machine())
        print("milliseconds a candidate; in brackets, in units of sk_tune Bayes")
        for n_points in arguments.points:
            timed = sides(as_space(SPACE).sample(n_points, rng))
            seconds = medians({k: step for k, (step, _) in timed.items()}, arguments.runs)
            each = {name: seconds[name] / batch for name, (_, batch) in timed.items()}
            print(f"after {n_points} points")
            for name, value in each.items():
                ratio = value / each["sk_tune Bayes"]
                print(f"  {name:28} {1e3 * value:8.1f} ({ratio:.2f})", flush=True)


if __name__ == "__main__":
    main()
