# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Search strategies, replayed on recorded learning curves without training.

    python -m pip install numpy scikit-learn matplotlib
    python benchmarks/replay.py [--epoch last] [--metric score] [--draws 1000]
    python benchmarks/replay.py --families --figure docs/figures/replay.png
    python benchmarks/replay.py --budgets

replay_bank.py has recorded the curves of 200 random candidates on each data set.  A draw
has 49 of them, as many as one pass of Hyperband with 27 epochs starts.  The reference
trains all 49 on three folds for 27 epochs and takes the best mean loss over the folds.  For
each strategy, over all draws of a data set:

- epochs: of the reference, divided by its own, including epochs that are repeated to return
  to a best epoch from the last checkpoint before it;
- within: share of draws in which the loss of its choice after 27 epochs on three folds is
  within one standard error (over the folds) of the loss of the reference's choice;
- regret: median of the relative difference of these losses;
- new samples: mean of the relative difference of the losses on new samples, of the
  networks of the folds.

``--budgets`` replays budgets of epochs: the brackets of the paper and those on one fold,
each cut to as many candidates as the epochs allow.

``--epoch best``, the default, gives a candidate the loss at the best epoch of its mean
curve up to now, for strategies and reference; ``--epoch last`` the loss after its last
epoch.
``--metric score`` replaces the loss by the error (1 - accuracy, 1 - R2).

Strategies that learn are fitted on the other data sets only.
"""

import argparse
import math
from bisect import insort
from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

N_FOLDS = 3
N_EPOCHS = 27
N_DRAWN = 49
BANK = Path(__file__).parent / "replay_bank.npz"
ALL_EPOCHS = N_DRAWN * N_FOLDS * N_EPOCHS
PARAMETERS = (
    "batch_size", "dropout", "learning_rate", "n_layers", "weight_decay", "width",
)  # fmt: skip
# A rung: candidates, epochs and folds.
Rungs = list[tuple[int, int, int]]


def read_bank(path=BANK):
    """Return the arrays of each data set."""
    sets = defaultdict(dict)
    if Path(path).exists():
        with np.load(path) as bank:
            for key in bank.files:
                name, column = key.split("/")
                sets[name][column] = bank[key]
    return sets


class Recorded:
    """The curves of a data set; less is better."""

    def __init__(self, name, arrays, metric, epoch):
        self.name, self.epoch = name, epoch
        signs = {"loss": 1.0, "score": -1.0}
        held, new, self.losses, self.scores = (
            finite(signs[kind] * arrays[f"{part} {kind}"].astype(float))
            for part, kind in (("held", metric), ("new", metric), ("held", "loss"),
                               ("held", "score"))
        )  # fmt: skip
        if metric == "score":
            held, new = 1 + held, 1 + new
        self.curves, self.n_candidates = held, len(held)
        self.seconds = arrays["seconds"].astype(float)
        self.params = {name: arrays[name].astype(float) for name in PARAMETERS}
        self.n_rows = float(arrays["facts"][0])
        every = np.arange(self.n_candidates)
        # The value after each epoch, and the epoch of this value, by number of folds.
        self.values, self.at = [], []
        for n_folds in range(1, N_FOLDS + 1):
            mean = held[:, :n_folds].mean(axis=1)
            is_best = mean == np.minimum.accumulate(mean, axis=1)
            at = np.where(is_best, np.arange(N_EPOCHS), 0)
            at = np.maximum.accumulate(at, axis=1)
            if epoch == "last":
                at = np.broadcast_to(np.arange(N_EPOCHS), mean.shape)
            self.values.append(np.take_along_axis(mean, at, axis=1))
            self.at.append(at + 1)
        chosen = self.at[-1][:, -1] - 1
        self.final = self.values[-1][:, -1]
        self.on_new = new.mean(axis=1)[every, chosen]
        folds = held[every, :, chosen]
        self.error = folds.std(axis=1, ddof=1) / math.sqrt(N_FOLDS)

    def draws(self, n_draws, seed=0, n_drawn=N_DRAWN):
        order = np.random.default_rng(seed).random((n_draws, self.n_candidates))
        return np.argsort(order, axis=1)[:, :n_drawn]

    def value(self, candidates, n_epochs, n_folds):
        return self.values[n_folds - 1][candidates, n_epochs - 1]

    def repeated(self, candidates, rung, before):
        """Return the epochs that are repeated to return to the best epochs of a rung."""
        if self.epoch == "last":
            return np.zeros(candidates.shape)
        _, n_epochs, n_folds = rung
        best = self.at[n_folds - 1][candidates, n_epochs - 1]
        again = np.zeros(candidates.shape)
        for fold in range(n_folds):
            start = before[1] if fold < before[2] else 0
            # Checkpoints are sqrt(0.6 n) epochs apart, and at the ends of rungs.
            spacing = max(1, round(math.sqrt(0.6 * (n_epochs - start))))
            since = np.where(best >= start, (best - start) % spacing, best)
            again += np.where(best == n_epochs, 0, since)
        return again


def finite(curves):
    """Return curves with a large value after a divergence."""
    return np.where(np.isfinite(curves), np.clip(curves, -1e4, 1e4), 1e4)


@dataclass
class Replayed:
    """The chosen candidate, epochs and seconds of each draw."""

    winners: np.ndarray
    epochs: np.ndarray
    seconds: np.ndarray


def best_of(recorded, candidates):
    losses = recorded.final[candidates]
    return candidates[np.arange(len(candidates)), losses.argmin(axis=1)]


def observed(recorded, candidates, rung):
    """Rank the candidates of a rung by their present values."""
    _, n_epochs, n_folds = rung
    return recorded.value(candidates, n_epochs, n_folds)


def climb(recorded, candidates, rungs, rank=observed):
    """Replay one bracket; the last rung has all epochs and folds."""
    before, n_draws = (0, 0, 0), len(candidates)
    epochs, seconds = np.zeros(n_draws), np.zeros(n_draws)
    for rung in rungs:
        if before[0]:
            order = np.argsort(rank(recorded, candidates, before), axis=1, kind="stable")
            candidates = np.take_along_axis(candidates, order[:, : rung[0]], axis=1)
        again = recorded.repeated(candidates, rung, before)
        for fold in range(rung[2]):
            new = rung[1] - (before[1] if fold < before[2] else 0)
            each = new + again / rung[2]
            epochs += each.sum(axis=1)
            seconds += (each * recorded.seconds[candidates, fold]).sum(axis=1)
        before = rung
    return Replayed(best_of(recorded, candidates), epochs, seconds)


def joined(recorded, parts):
    """Return the result of consecutive brackets."""
    winners = np.stack([part.winners for part in parts], axis=1)
    return Replayed(
        best_of(recorded, winners),
        sum(part.epochs for part in parts),
        sum(part.seconds for part in parts),
    )


HYPERBAND = [
    [(27, 1, 3), (9, 3, 3), (3, 9, 3), (1, 27, 3)],
    [(12, 3, 3), (4, 9, 3), (1, 27, 3)],
    [(6, 9, 3), (2, 27, 3)],
    [(4, 27, 3)],
]


def hyperband(recorded, candidates, n_brackets=4):
    parts, first = [], 0
    for rungs in HYPERBAND[:n_brackets]:
        n = rungs[0][0]
        parts.append(climb(recorded, candidates[:, first : first + n], rungs))
        first += n
    return joined(recorded, parts)


def bohb(recorded, candidates, n_brackets=4, seed=0):
    """Hyperband whose later brackets ask a model (two kernel densities) for candidates.

    They come from all recorded candidates, one in three at random, as in the paper.
    """
    rng = np.random.default_rng(seed)
    columns = [recorded.params[name] for name in PARAMETERS]
    columns = [np.log(c) if (c > 0).all() else c for c in columns]
    points = np.stack([(c - c.mean()) / c.std() for c in columns], axis=1)
    parts = []
    chosen = np.empty((len(candidates), 0), dtype=int)
    for rungs in HYPERBAND[:n_brackets]:
        n = rungs[0][0]
        if not chosen.shape[1]:
            new = candidates[:, :n]
        else:
            new = np.array([proposed(recorded, points, row, n, rng) for row in chosen])
        parts.append(climb(recorded, new, rungs))
        chosen = np.concatenate([chosen, new], axis=1)
    return joined(recorded, parts)


def proposed(recorded, points, chosen, n, rng):
    values = recorded.values[-1][chosen, 2]
    n_good = max(3, len(chosen) // 6)
    order = chosen[np.argsort(values)]
    free = rng.permutation(np.setdiff1d(np.arange(recorded.n_candidates), chosen))
    good, bad = (density(points[free], points[part])
                 for part in (order[:n_good], order[n_good:]))  # fmt: skip
    ranked = free[np.argsort(bad - good)]
    n_random = n // 3
    picked = ranked[: n - n_random]
    return np.concatenate([picked, np.setdiff1d(free, picked, True)[:n_random]])


def density(at, points):
    width = len(points) ** (-1 / (4 + points.shape[1]))
    square = ((at[:, None] - points[None]) ** 2).sum(axis=2) / width**2
    return np.logaddexp.reduce(-square / 2, axis=1) - math.log(len(points))


LEVELS = (1, 3, 9, 27)


def asha(recorded, candidates, *, grows=False):
    """Asynchronous halving with one worker; with `grows` PASHA.

    PASHA starts with two rungs and adds one when the two highest rungs rank their
    candidates differently by more than the standard error.
    """
    every = np.arange(recorded.n_candidates)
    values, costs, before = [], [], 0
    for level in LEVELS:
        values.append(recorded.value(every, level, N_FOLDS).tolist())
        again = recorded.repeated(every, (1, level, N_FOLDS), (1, before, N_FOLDS))
        costs.append((N_FOLDS * (level - before) + again).tolist())
        before = level
    noise = float(np.median(recorded.error))
    results = [asha_once(row.tolist(), values, costs, noise, grows) for row in candidates]
    winners, spent = zip(*results, strict=True)
    seconds = [
        sum(epochs * recorded.seconds[c].mean() for c, epochs in each) for each in spent
    ]
    epochs = [sum(epochs for _, epochs in each) for each in spent]
    return Replayed(*map(np.array, (winners, epochs, seconds)))


def asha_once(waiting, values, costs, noise, grows):
    """Return the winner, and candidates with epochs of all jobs."""
    n_first = len(waiting) // 3
    waiting = waiting[::-1]
    rungs = [[] for _ in LEVELS]  # Pairs of value and candidate, best first.
    promoted = [set() for _ in LEVELS]
    top, spent = (1 if grows else len(LEVELS) - 1), []
    while True:
        job = None
        for level in range(top - 1, -1, -1):
            n = len(rungs[level]) // 3
            if not waiting:
                n = max(n, 1 if level else n_first)
            best = (c for _, c in rungs[level][:n] if c not in promoted[level])
            if (candidate := next(best, None)) is not None:
                promoted[level].add(candidate)
                job = candidate, level + 1
                break
        if job is None and not waiting:
            break
        candidate, level = job or (waiting.pop(), 0)
        spent.append((candidate, costs[level][candidate]))
        insort(rungs[level], (values[level][candidate], candidate))
        if grows and level == top < len(LEVELS) - 1:
            pairs = [(values[top - 1][c], value) for value, c in rungs[top]]
            if any(a[0] < b[0] and a[1] > b[1] + noise for a in pairs for b in pairs):
                top += 1
    winner = rungs[top][0][1]
    spent += [(winner, cost[winner]) for cost in costs[top + 1 :]]
    return winner, spent


# -- promotion by a predicted final rank -------------------------------------------------


def features(recorded, candidates, rung):
    """Return what a rung knows of its candidates, relative to each other."""
    _, n_epochs, n_folds = rung
    curves = np.log(np.maximum(recorded.losses[:, :n_folds, :n_epochs], 1e-6)).mean(axis=1)
    curves = curves[candidates]
    scores = recorded.scores[:, :n_folds, :n_epochs].mean(axis=1)[candidates]
    rate = np.log10(recorded.params["learning_rate"])[candidates]
    batch = recorded.params["batch_size"][candidates]
    steps = n_epochs * np.ceil(recorded.n_rows / batch)
    best, last = curves.min(axis=2), curves[..., -1]
    columns = [
        relative(best),
        relative(last),
        ranks(best),
        ranks(scores.min(axis=2)),
        np.clip(best - best.min(axis=1, keepdims=True), 0, 3),
        np.clip(last - curves[..., max(0, n_epochs // 3 - 1)], -3, 1),
        np.clip(last - curves[..., max(0, n_epochs - 2)], -2, 1),
        1 - (curves.argmin(axis=2) + 1) / n_epochs,
        rate,
        ranks(rate),
        rate + np.log10(steps),
        np.log2(batch),
        recorded.params["dropout"][candidates],
        np.log10(recorded.params["weight_decay"])[candidates],
        ranks(recorded.params["width"][candidates]),
        recorded.params["n_layers"][candidates],
    ]
    return np.stack(columns, axis=2)


def relative(values):
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75], axis=1)[..., None]
    return np.clip((values - middle) / (high - low + 1e-9), -5, 5)


def ranks(values):
    return np.argsort(np.argsort(values, axis=1), axis=1) / max(1, values.shape[1] - 1)


MODELS = {
    "ridge": lambda: make_pipeline(
        PolynomialFeatures(2), StandardScaler(), RidgeCV(np.logspace(0, 5, 6))
    ),
    "trees": lambda: HistGradientBoostingRegressor(
        max_leaf_nodes=8, max_iter=80, min_samples_leaf=200, random_state=0
    ),
}


def learned(kind, rungs, others, n_draws=20):
    """Return a rank by the predicted distance to the best, fitted on other data sets.

    The candidates of a rung are those that the rung before would promote and half as many
    others, so that each model sees what it will rank.
    """
    models = {}
    samples = defaultdict(list)
    for recorded in others:
        candidates = recorded.draws(n_draws, seed=1)
        for rung, before in zip(rungs[:-1], [None, *rungs[:-2]], strict=True):
            if before is not None:
                order = np.argsort(observed(recorded, candidates, before), axis=1)
                n = min(candidates.shape[1], int(1.5 * rung[0]))
                candidates = np.take_along_axis(candidates, order[:, :n], axis=1)
            losses = np.log(np.maximum(recorded.final[candidates], 1e-6))
            target = np.sqrt(np.clip(losses - losses.min(axis=1, keepdims=True), 0, 1))
            X = features(recorded, candidates, rung)
            samples[rung].append((X.reshape(-1, X.shape[2]), target.ravel()))
    for rung, parts in samples.items():
        X, y = (np.concatenate(column) for column in zip(*parts, strict=True))
        models[rung] = MODELS[kind]().fit(X, y)

    def rank(recorded, candidates, rung):
        X = features(recorded, candidates, rung)
        return models[rung].predict(X.reshape(-1, X.shape[2])).reshape(candidates.shape)

    return rank


# -- the comparison -------------------------------------------------------------------


def i_epoch(n):
    return [(N_DRAWN, 1, 3), (n, 27, 3)]


# The default of HyperbandSearchCV.
DEFAULT = [(49, 1, 1), (12, 7, 1), (5, 13, 1), (2, 27, 3)]
SCHEDULES = {
    "random search, all": [(49, 27, 3)],
    "i-Epoch, best of 49": i_epoch(1),
    "i-Epoch, best 3": i_epoch(3),
    "successive halving, factor 3": [(49, 1, 3), (16, 3, 3), (5, 9, 3), (1, 27, 3)],
    "the same, one fold in two rungs": [(49, 1, 1), (16, 3, 1), (5, 9, 3), (1, 27, 3)],
    "16 after 2 epochs on 1, 5 after 4 on 3": [
        (49, 2, 1), (16, 4, 3), (5, 9, 3), (1, 27, 3),
    ],
    "20 after 2 epochs on 1, 8 after 4 on 2": [
        (49, 2, 1), (20, 4, 2), (8, 9, 3), (3, 27, 3),
    ],
    "one fold up to the last rung (default)": DEFAULT,
    "the same, 16 after 1 epoch, 4 after 9": [
        (49, 1, 1), (16, 9, 1), (4, 13, 1), (2, 27, 3),
    ],
    "the same, three folds everywhere": [
        (49, 1, 3), (12, 7, 3), (5, 13, 3), (2, 27, 3),
    ],
}  # fmt: skip
OTHERS = {
    "Hyperband": hyperband,
    "ASHA": asha,
    "PASHA": partial(asha, grows=True),
    "BOHB": bohb,
}


def of_first(run, n):
    return lambda recorded, candidates: run(recorded, candidates[:, :n])


# Strategies with several budgets each.
FAMILIES = {
    "random search": [of_first(partial(climb, rungs=[(n, 27, 3)]), n)
                      for n in (2, 4, 8, 16, 32)],
    "i-Epoch": [partial(climb, rungs=i_epoch(n)) for n in (1, 2, 3, 5, 8, 16)],
    "successive halving": [
        partial(climb, rungs=[(49, 1, 3), (a, 3, 3), (b, 9, 3), (c, 27, 3)])
        for a, b, c in ((8, 3, 1), (16, 5, 1), (16, 5, 2), (24, 8, 3), (32, 16, 8))
    ],
    "Hyperband": [partial(hyperband, n_brackets=n) for n in (1, 2, 3, 4)],
    "BOHB": [partial(bohb, n_brackets=n) for n in (2, 3, 4)],
    "ASHA": [of_first(asha, n) for n in (9, 17, 33, 49)],
    "PASHA": [of_first(partial(asha, grows=True), n) for n in (9, 17, 33, 49)],
    "one fold up to the last rung": [
        partial(climb, rungs=[(49, 1, 1), (a, t, 1), (b, 13, 1), (c, 27, 3)])
        for a, t, b, c in ((6, 3, 2, 1), (12, 4, 3, 1), (12, 7, 5, 2), (16, 9, 5, 3),
                           (24, 9, 8, 4), (32, 9, 16, 8))
    ],
}  # fmt: skip


def measures(recorded, candidates, replayed):
    reference = best_of(recorded, candidates)
    winners = replayed.winners
    losses, best = recorded.final[winners], recorded.final[reference]
    seconds = N_EPOCHS * recorded.seconds[candidates].sum(axis=(1, 2))
    regret = losses / np.maximum(best, 1e-6) - 1
    new = recorded.on_new[winners] / np.maximum(recorded.on_new[reference], 1e-6)
    return {
        "epochs": ALL_EPOCHS / replayed.epochs.mean(),
        "seconds": seconds.mean() / replayed.seconds.mean(),
        "within": np.mean(losses <= best + recorded.error[reference]),
        "regret": np.median(regret),
        "mean regret": np.mean(np.minimum(regret, 1)),
        "new": np.mean(new) - 1,
    }


def compared(sets, n_draws):
    """Return the measures of all strategies by data set."""
    table = defaultdict(dict)
    for recorded in sets:
        candidates = recorded.draws(n_draws)
        others = [each for each in sets if each is not recorded]
        runs = {n: partial(climb, rungs=rungs) for n, rungs in SCHEDULES.items()}
        runs |= OTHERS
        if others:
            for kind in MODELS:
                rank = learned(kind, DEFAULT, others)
                name = f"default, promoted by {kind}"
                runs[name] = partial(climb, rungs=DEFAULT, rank=rank)
        for name, run in runs.items():
            table[name][recorded.name] = measures(
                recorded, candidates, run(recorded, candidates)
            )
    return table


def print_table(table):
    print("| strategy | times fewer epochs (least) | seconds | within (least) | "
          "regret (most) | on new samples |")  # fmt: skip
    print("| --- | --- | --- | --- | --- | --- |")
    for name, by_set in table.items():
        column = {m: np.array([of_set[m] for of_set in by_set.values()])
                  for m in next(iter(by_set.values()))}  # fmt: skip
        print(
            f"| {name} | {column['epochs'].mean():.1f} ({column['epochs'].min():.1f}) | "
            f"{column['seconds'].mean():.1f} | {column['within'].mean():.0%} "
            f"({column['within'].min():.0%}) | {np.mean(column['regret']):.1%} "
            f"({column['regret'].max():.1%}) | {column['new'].mean():+.1%} |"
        )


def print_sets(by_set):
    print(
        "\n| data set | times fewer epochs | seconds | within | regret | on new samples |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for name, m in by_set.items():
        print(
            f"| {name} | {m['epochs']:.1f} | {m['seconds']:.1f} | {m['within']:.0%} | "
            f"{m['regret']:.1%} | {m['new']:+.1%} |"
        )


def frontier(sets, n_draws):
    """Return, by family, the mean measures of each budget."""
    points = {}
    for name, runs in FAMILIES.items():
        points[name] = []
        for run in runs:
            each = []
            for recorded in sets:
                candidates = recorded.draws(n_draws)
                each.append(measures(recorded, candidates, run(recorded, candidates)))
            points[name].append({m: np.mean([e[m] for e in each]) for m in each[0]})
    return points


# Epochs, as shares of the default's epochs.
BUDGETS = (0.25, 0.5, 1, 2, 3)


def n_epochs(rungs):
    """Return the epochs of a bracket without repeated ones."""
    epochs, before = 0, (0, 0, 0)
    for rung in rungs:
        for fold in range(rung[2]):
            epochs += rung[0] * (rung[1] - (before[1] if fold < before[2] else 0))
        before = rung
    return epochs


def within_budget(brackets, budget, promoted):
    """Return the first brackets, the last one with as many candidates as there is time."""
    cut = []
    for rungs in brackets:
        for n in range(rungs[0][0], 0, -1):
            shaped = [(n, *rungs[0][1:])]
            for before, rung in pairwise(rungs):
                n_next = max(1, promoted(shaped[-1][0], before[0], rung[0]))
                shaped.append((n_next, *rung[1:]))
            if n_epochs(shaped) <= budget or (n == 1 and not cut):
                break
        else:
            break
        cut.append(shaped)
        budget -= n_epochs(shaped)
    return cut


def print_budgets(sets, n_draws):
    """Print, for each budget and strategy, its candidates and the means over data sets."""
    strategies = {
        "brackets of the paper": (HYPERBAND, lambda n, *_: n // 3),
        "on one fold, three passes at most": (
            3 * [DEFAULT], lambda n, before, after: round(n * after / before)
        ),
    }  # fmt: skip
    print("| budget | strategy | candidates | within | mean regret | on new samples |")
    print("| --- | --- | --- | --- | --- | --- |")
    for share in BUDGETS:
        for name, (brackets, promoted) in strategies.items():
            cut = within_budget(brackets, share * n_epochs(DEFAULT), promoted)
            each = []
            for recorded in sets:
                draws = recorded.draws(n_draws, n_drawn=3 * N_DRAWN)
                first, parts = 0, []
                for rungs in cut:
                    n = rungs[0][0]
                    parts.append(climb(recorded, draws[:, first : first + n], rungs))
                    first += n
                result = joined(recorded, parts)
                each.append(measures(recorded, draws[:, :N_DRAWN], result))
            mean = {m: np.mean([e[m] for e in each]) for m in each[0]}
            print(
                f"| {share:.0%} | {name} | {first} | {mean['within']:.0%} | "
                f"{mean['mean regret']:.1%} | {mean['new']:+.1%} |"
            )


def print_frontier(points):
    print("\n| family | times fewer epochs: within, mean regret |")
    print("| --- | --- |")
    for name, budgets in points.items():
        texts = (
            f"{b['epochs']:.1f}: {b['within']:.0%}, {b['mean regret']:.1%}" for b in budgets
        )
        print(f"| {name} | {'; '.join(texts)} |")


def draw_figure(points, path):
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import NullFormatter

    figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True, layout="constrained")
    for axis, cost in zip(axes, ("epochs", "seconds"), strict=True):
        for name, budgets in points.items():
            x = [100 / b[cost] for b in budgets]
            y = [100 * max(b["mean regret"], 1e-3) for b in budgets]
            is_ours = name.startswith("one fold")
            axis.plot(x, y, "o-", label=name, lw=2.5 if is_ours else 1, ms=4,
                      color="black" if is_ours else None)  # fmt: skip
        axis.set(xscale="log", yscale="log", xlabel=f"{cost}, % of full random search")
        axis.set_xticks([5, 10, 20, 50, 100], ["5", "10", "20", "50", "100"])
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.grid(alpha=0.3, which="both")
    axes[0].set_ylabel("mean regret of the loss, %")
    axes[1].legend(fontsize=8)
    figure.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epoch", choices=["best", "last"], default="best")
    parser.add_argument("--metric", choices=["loss", "score"], default="loss")
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--bank", type=Path, default=BANK)
    parser.add_argument("--families", action="store_true", help="several budgets each")
    parser.add_argument("--figure", type=Path, help="picture of the families")
    parser.add_argument("--budgets", action="store_true", help="cut to budgets of epochs")
    arguments = parser.parse_args()
    bank = read_bank(arguments.bank)
    sets = [Recorded(n, a, arguments.metric, arguments.epoch) for n, a in bank.items()]
    if arguments.budgets:
        print_budgets(sets, arguments.draws)
        return
    if arguments.families:
        points = frontier(sets, arguments.draws)
        print_frontier(points)
        if arguments.figure:
            draw_figure(points, arguments.figure)
        return
    table = compared(sets, arguments.draws)
    print(f"{len(sets)} data sets, {arguments.draws} draws, {arguments.metric} at the "
          f"{arguments.epoch} epoch\n")  # fmt: skip
    print_table(table)
    print_sets(table["one fold up to the last rung (default)"])


if __name__ == "__main__":
    main()
