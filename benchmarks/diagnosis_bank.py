# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Plant faults in the training of networks, and keep the harmful ones, by test losses.

A small random search that sees the test rows finds a good configuration for a data set.  A
fault is planted in it, and nets are trained on the folds.  Then the same nets are trained
with each of the `variants`, the cures of all faults.  A fault counts as real if its own
cure lowers the loss on the test rows, and clearly more than the cure of any other fault;
see `label`.  The labels do not depend on the diagnosis.
"""

import gzip
import json
import math
import os
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from diagnosis_problems import (
    FIRST_DRAWN_SEED,
    Problem,
    is_only_healthy,
    make_problem,
)
from sklearn.model_selection import KFold, StratifiedKFold, train_test_split

from sk_tune import MLPClassifier, MLPRegressor
from sk_tune._engine import Fit, fitted_estimator, train

Params = dict[str, Any]

# A cure counts from this share of the loss on, beyond this number of standard errors.
LEAST_GAIN = 0.05
LEAST_ERRORS = 2.5
# A run is healthy only if no variant gains the first share by more than two standard
# errors, and none the second share.
MOST_GAIN_HEALTHY = (0.05, 0.1)
# A fault's own cure must lower the loss by this factor more than the cures of other faults;
# otherwise the fault has no unique name.
RIVAL = 1.1
# Largest difference of loss to a run of a third of the epochs for a run that converged long
# ago, and least difference for other runs.
CONVERGED, NOT_CONVERGED = 0.01, 0.02
# Folds whose nets are trained with the variants.
N_COMPARED = 3
LONG = 50  # Epochs from which on no variant trains five times as long.
WIDE = 128
N_CLIMBS = 2
MOST_KEPT = 2  # Runs of one class on one problem.
# The stored bank has ordinary networks.
MEMBERS = int(os.environ.get("MEMBERS", "1"))
LEAST_P = 1e-12

CURES = {
    "underfitting": ("wider", "freer", "wider and freer"),
    "overfitting": ("dropout", "decay", "narrower", "best epoch"),
    "learning rate too high": ("lower rate",),
    "learning rate too low": ("higher rate",),
    "too few epochs": ("longer",),
}
# Cures that also help against another fault: a lower rate trains less.
NO_RIVALS = {("overfitting", "learning rate too high")}
# Faults of data, which no parameter cures.
OF_DATA = ("shifted fold", "group leak", "tiny data", "no signal")
CLASSES = (
    "healthy",
    "converged long ago",
    *CURES,
    *OF_DATA,
)


@dataclass(frozen=True)
class Planted:
    """A planted fault before training; ``seed`` fixes rows and folds."""

    fault: str
    params: Params
    seed: int
    detail: str = ""


@dataclass(frozen=True, eq=False)
class Data:
    """All rows, including the test rows, and the held-out rows of each fold."""

    X: np.ndarray
    y: np.ndarray
    folds: list[np.ndarray]

    @property
    def rows(self) -> np.ndarray:
        return np.sort(np.concatenate(self.folds))

    def train_rows(self, fold: int) -> np.ndarray:
        folds = [rows for i, rows in enumerate(self.folds) if i != fold]
        return np.sort(np.concatenate(folds))


@dataclass
class Run:
    """A trained run with its losses and notes."""

    planted: Planted
    data: Data
    curves: dict[str, np.ndarray]
    losses: dict[str, np.ndarray] = field(default_factory=dict)  # Of shape (folds, rows).
    notes: dict[str, float] = field(default_factory=dict)


# -- configurations --------------------------------------------------------------------


def random_params(rng, shared) -> Params:
    rate = (3e-3, 2e-1) if shared["optimizer"] == "sgd" else (3e-4, 2e-2)
    decay = (1e-3, 1.0) if is_decoupled(shared) else (1e-5, 1e-2)
    return {
        **shared,
        "n_layers": int(rng.choice([1, 2])),
        "width": int(rng.choice([8, 16, 32, 64, 128])),
        "dropout": float(rng.choice([0.0, 0.0, 0.1, 0.2, 0.4])),
        "learning_rate": log_uniform(rng, *rate),
        "weight_decay": log_uniform(rng, *decay),
        "l1": 0.0,
    }


def is_decoupled(params: Params) -> bool:
    """Return whether weight decay is decoupled from the gradient."""
    return params["optimizer"] == "adamw"


def log_uniform(rng, low, high) -> float:
    return float(f"{np.exp(rng.uniform(math.log(low), math.log(high))):.3g}")


def times(params: Params, name: str, factor: float) -> Params:
    return {**params, name: float(f"{params[name] * factor:.3g}")}


def planted_runs(good: list[Params], rng, *, only_healthy: bool) -> Iterator[Planted]:
    if only_healthy:
        runs: Iterable[tuple[str, Params, str]] = [("healthy", p, "") for p in good[:3]]
    else:
        runs = chain(good_runs(good, rng), faulty_runs(good, rng))
    for fault, params, detail in runs:
        yield Planted(fault, params, int(rng.integers(2**31)), detail)


def good_runs(good: list[Params], rng) -> Iterator[tuple[str, Params, str]]:
    for params in good[:3]:
        yield "healthy", params, ""
    for params in good[:2]:
        calm = {"dropout": max(params["dropout"], 0.2), "width": min(params["width"], 32)}
        n_epochs = int(rng.choice([80, 120, 160]))
        yield "converged long ago", {**params, **calm, "max_epochs": n_epochs}, ""


def faulty_runs(good: list[Params], rng) -> Iterator[tuple[str, Params, str]]:
    best = good[0]
    for name, change in underfitting(best, rng):
        yield "underfitting", {**best, **change}, name
    for width, n_layers, factor in ((256, 1, 1), (128, 2, 2)):
        large = {"width": width, "n_layers": n_layers, "dropout": 0.0, "weight_decay": 0.0}
        n_epochs = best["max_epochs"] * int(rng.choice([2, 3]))
        params = times(best, "learning_rate", factor)
        yield "overfitting", {**params, **large, "max_epochs": n_epochs}, ""
    for power in (1.0, 1.6, 2.3, 3.0, -1.25, -2.0, -3.0):
        factor = 10 ** (power + rng.uniform(-0.2, 0.2))
        fault = f"learning rate too {'high' if power > 0 else 'low'}"
        yield fault, times(best, "learning_rate", factor), f"x{factor:.3g}"
    for n_epochs in (2, 4, 7):
        yield "too few epochs", {**best, "max_epochs": n_epochs}, ""
    for kind in ("sensor", "labels", "extremes"):
        yield "shifted fold", best, kind
    for params in (best, {**best, "width": 128, "dropout": 0.0}):
        yield "group leak", params, f"{rng.choice([3, 5])} times"
    for n_rows in (25, 40):
        yield "tiny data", best, f"{n_rows} rows"
    for params in good[:2]:
        yield "no signal", params, ""


def underfitting(best: Params, rng) -> Iterator[tuple[str, Params]]:
    yield "narrow", {"width": int(rng.choice([1, 2])), "n_layers": 1}
    decay = (3, 60) if is_decoupled(best) else (0.05, 0.5)
    strong = {
        "dropout": {"dropout": float(rng.choice([0.8, 0.9]))},
        "weight decay": {"weight_decay": log_uniform(rng, *decay)},
        "l1": {"l1": log_uniform(rng, 0.003, 0.05)},
    }
    for name in rng.permutation(list(strong))[:2]:
        yield str(name), strong[name]


def arranged(problem: Problem, planted: Planted) -> Data:
    """Return rows, targets and folds of a planted run."""
    rng = np.random.default_rng(planted.seed)
    if planted.fault == "shifted fold":
        return shifted_fold(problem, planted.detail, rng)
    if planted.fault == "group leak":
        return group_leak(problem, int(planted.detail.split()[0]), rng)
    if planted.fault == "tiny data":
        rows = few_rows(problem, int(planted.detail.split()[0]), rng)
        return Data(problem.X, problem.y, draw_folds(problem, rows, 4, rng))
    rows = np.arange(problem.n_train)
    y = rng.permutation(problem.y) if planted.fault == "no signal" else problem.y
    folds = draw_folds(problem, rows, int(rng.choice([3, 5])), rng, y)
    return Data(problem.X, y, folds)


def few_rows(problem: Problem, n_rows: int, rng) -> np.ndarray:
    rows = np.arange(problem.n_train)
    if problem.is_regression:
        return rng.choice(rows, n_rows, replace=False)
    n_rows = max(n_rows, 4 * (int(problem.y.max()) + 1))
    few, _ = train_test_split(
        rows,
        train_size=n_rows,
        stratify=problem.y[rows],
        random_state=int(rng.integers(2**31)),
    )
    return few


def shifted_fold(problem: Problem, kind: str, rng) -> Data:
    """Make the first fold differ: other sensors, other labels, or an end of the data."""
    X, y = problem.X.copy(), problem.y.copy()
    first, *others = draw_folds(problem, np.arange(problem.n_train), 5, rng)
    if kind == "extremes":
        main = np.linalg.svd(X[: problem.n_train], full_matrices=False)[2][0]
        order = np.argsort(X[: problem.n_train] @ main)
        n_shifted = problem.n_train // 5
        first = order[-n_shifted:]
        others = np.array_split(rng.permutation(order[:-n_shifted]), 4)
    elif kind == "sensor":
        X[first] = X[first] * rng.uniform(0.3, 2.0) + rng.normal(size=X.shape[1])
    elif problem.is_regression:
        y[first] += 1.5 * y.std()
    else:
        flipped = first[rng.random(len(first)) < 0.5]
        y[flipped] = (y[flipped] + 1) % (int(y.max()) + 1)
    return Data(X, y, [first, *others])


def group_leak(problem: Problem, n_times: int, rng) -> Data:
    """Record every row several times with small differences, and ignore it in the folds."""
    rows = rng.choice(problem.n_train, problem.n_train // n_times, replace=False)
    rows = np.repeat(rows, n_times)
    X, y = problem.X.copy(), problem.y.copy()
    X[: len(rows)] = X[rows] + 0.1 * rng.normal(size=(len(rows), X.shape[1]))
    y[: len(rows)] = y[rows]
    return Data(X, y, draw_folds(problem, np.arange(len(rows)), 5, rng, y))


def draw_folds(problem: Problem, rows, n_folds, rng, y=None) -> list[np.ndarray]:
    kind = KFold if problem.is_regression else StratifiedKFold
    folds = kind(n_folds, shuffle=True, random_state=int(rng.integers(2**31)))
    y = problem.y if y is None else y
    return [rows[test] for _, test in folds.split(rows, y[rows])]


def variants(params: Params, best: Params) -> dict[str, Params]:
    """Return the cures of all faults by name, without cures that change no parameter."""
    wide = {
        "width": min(max(4 * params["width"], 32), 128),
        "n_layers": max(params["n_layers"], 2),
    }
    calm = 1e-2 if is_decoupled(params) else 1e-5
    free = {"dropout": 0.0, "l1": 0.0, "weight_decay": min(params["weight_decay"], calm)}
    decay = max(params["weight_decay"] * 10, 1.0 if is_decoupled(params) else 1e-2)
    n_epochs = params["max_epochs"]
    changes: dict[str, Params] = {
        "freer": free,
        "dropout": {"dropout": max(params["dropout"], 0.4)},
        "decay": {"weight_decay": decay},
        "narrower": {"width": max(params["width"] // 4, 2)},
        "shorter": {"max_epochs": math.ceil(0.3 * n_epochs)},
    }
    if n_epochs <= LONG:
        changes["longer"] = {"max_epochs": 5 * n_epochs}
    if params["width"] < WIDE:
        changes["wider"] = wide
        changes["wider and freer"] = {**wide, **free}
    own, good = params["learning_rate"], best["learning_rate"]
    factor = 4 if own == good else 10
    for rate in (own / factor, own * factor, good):
        if abs(math.log(rate / own)) > math.log(1.2):
            kind = "lower rate" if rate < own else "higher rate"
            changes[f"{kind} {rate:.2g}"] = {"learning_rate": float(f"{rate:.3g}")}
    result: dict[str, Params] = {}
    for name, change in changes.items():
        changed = {**params, **change}
        if changed != params and changed not in result.values():
            result[name] = changed
    return result


# -- training --------------------------------------------------------------------------


def net(params: Params, *, is_regression: bool):
    kind = MLPRegressor if is_regression else MLPClassifier
    # The runs of the bank have one network that trains for all epochs.
    fixed = {"members": MEMBERS, "early_stopping": False, "device": "cpu"}
    return kind(**params, **fixed, random_state=0)


@dataclass(frozen=True)
class Job:
    """One net to train, with its run and variant."""

    run: int
    variant: str
    fit: Fit


def fold_fit(data: Data, estimator, fold, *, monitored=False, n_epochs=None) -> Fit:
    return Fit(
        estimator=estimator,
        X=data.X,
        y=data.y,
        rows=data.train_rows(fold),
        monitor=np.sort(data.folds[fold]) if monitored else None,
        seed=fold + 100 * estimator.random_state,
        n_epochs=n_epochs,
    )


def row_losses(problem: Problem, fit: Fit, trained, rows) -> np.ndarray:
    """Return the loss on each of some rows; infinite if training failed."""
    if trained.state is None:
        return np.full(len(rows), np.inf)
    model = fitted_estimator(fit, trained)
    y = fit.y[rows]
    if problem.is_regression:
        scale = np.var(fit.y[fit.rows])
        with np.errstate(over="ignore"):
            return (model.predict(fit.X[rows]).astype(float) - y) ** 2 / scale
    p = model.predict_proba(fit.X[rows]).astype(float)
    all_p = np.zeros((len(rows), int(problem.y.max()) + 1))
    all_p[:, model.classes_] = p
    p_true = all_p[np.arange(len(rows)), y]
    return -np.log(np.maximum(np.where(np.isfinite(p_true), p_true, 0.0), LEAST_P))


def fold_curves(trained) -> dict[str, np.ndarray]:
    """Return curves of shape (folds, epochs), NaN where a fold has no value."""
    names = {
        "train_loss": "train_loss",
        "valid_loss": "monitor_loss",
        "valid_score": "monitor_score",
    }
    n_epochs = max(1, *(len(result.train_loss) for result in trained))
    curves = {}
    for name, source in names.items():
        curves[name] = np.full((len(trained), n_epochs), np.nan)
        for i, result in enumerate(trained):
            curve = getattr(result, source)
            curves[name][i, : len(curve)] = curve
    return curves


def search(problem: Problem, shared: Params, rng, n_candidates=16) -> list[Params]:
    """Return random configurations by ascending test loss."""
    folds = draw_folds(problem, np.arange(problem.n_train), 3, rng)
    data = Data(problem.X, problem.y, folds)
    candidates = [random_params(rng, shared) for _ in range(n_candidates)]
    fits = [
        fold_fit(data, net(p, is_regression=problem.is_regression), i)
        for p in candidates
        for i in range(2)
    ]
    losses = [
        row_losses(problem, fit, trained, problem.test_rows).mean()
        for fit, trained in zip(fits, train(fits), strict=True)
    ]
    means = np.reshape(losses, (n_candidates, 2)).mean(axis=1)
    return [candidates[i] for i in np.argsort(means)]


def shared_params(problem: Problem, rng) -> Params:
    """Return the common parameters of all configurations of a problem."""
    optimizer = "sgd" if problem.seed % 3 == 2 else "adamw"
    schedule = "constant" if problem.seed % 2 else "cosine"
    if problem.seed >= FIRST_DRAWN_SEED:
        optimizer = str(rng.choice(["sgd", "sgd", "adamw", "adam"]))
        schedule = str(rng.choice(["constant", "cosine", "one_cycle"]))
    return {
        "optimizer": optimizer,
        "lr_schedule": schedule,
        "batch_size": 32 if problem.n_train < 400 else 64,
        "max_epochs": int(rng.choice([20, 30])),
    }


def train_planted(problem: Problem, planted: list[Planted]) -> list[Run]:
    """Train the nets of all folds, with their held-out rows as monitors."""
    data = [arranged(problem, own) for own in planted]
    fits = [
        fold_fit(
            at, net(own.params, is_regression=problem.is_regression), i, monitored=True
        )
        for own, at in zip(planted, data, strict=True)
        for i in range(len(at.folds))
    ]
    trained = iter(zip(fits, train(fits), strict=True))
    runs = []
    for own, at in zip(planted, data, strict=True):
        pairs = [next(trained) for _ in at.folds]
        run = Run(own, at, fold_curves([t for _, t in pairs]))
        run.losses["own"] = np.array([
            row_losses(problem, fit, t, problem.test_rows) for fit, t in pairs
        ])
        if own.fault == "shifted fold":
            note_shift(problem, run, pairs)
        runs.append(run)
    return runs


def note_shift(problem: Problem, run: Run, pairs) -> None:
    """Note how much harder each fold's rows are than test rows for the same net."""
    folds = zip(pairs, run.data.folds, strict=True)
    inside = [row_losses(problem, *pair, fold) for pair, fold in folds]
    run.notes = shift_notes(inside, run.losses["own"], 0)


def shift_notes(inside, outside, shifted: int) -> dict[str, float]:
    """Compare losses on the rows of each fold with losses on other rows."""
    gaps, ratios = [], []
    for own, other in zip(inside, outside, strict=True):
        error = math.hypot(standard_error(own), standard_error(other))
        gaps.append((own.mean() - other.mean()) / error)
        ratios.append(own.mean() / other.mean())
    return {
        "errors of the shifted fold": float(gaps.pop(shifted)),
        "ratio of the shifted fold": float(ratios[shifted]),
        "errors of another": float(max(gaps)),
    }


def standard_error(values) -> float:
    return float(np.std(values) / math.sqrt(len(values)))


def train_variants(problem: Problem, runs: list[Run], best: Params) -> None:
    """Train the same nets with each variant, and note their losses on test rows."""
    jobs = [
        job
        for number, run in enumerate(runs)
        if run.planted.fault not in {"shifted fold", "group leak"}
        for job in variant_jobs(problem, number, run, best)
    ]
    found: dict[tuple[int, str], list[np.ndarray]] = {}
    for job, trained in zip(jobs, train([job.fit for job in jobs]), strict=True):
        losses = row_losses(problem, job.fit, trained, problem.test_rows)
        found.setdefault((job.run, job.variant), []).append(losses)
    for (number, name), losses in found.items():
        runs[number].losses[name] = np.array(losses)


def variant_jobs(
    problem: Problem, number: int, run: Run, best: Params, n_folds: int = N_COMPARED
) -> Iterator[Job]:
    params = run.planted.params
    several = [(name, p, None) for name, p in variants(params, best).items()]
    epoch = best_epoch(run.curves["valid_loss"])
    if epoch and epoch < params["max_epochs"]:
        several.append(("best epoch", params, epoch))
    for fold in range(n_folds):
        for name, changed, n_epochs in several:
            estimator = net(changed, is_regression=problem.is_regression)
            fit = fold_fit(run.data, estimator, fold, n_epochs=n_epochs)
            yield Job(number, name, fit)
        if run.planted.fault == "tiny data":
            # All rows outside of its own folds.
            unused_rows = np.setdiff1d(np.arange(problem.n_train), run.data.rows)
            fit = fold_fit(run.data, net(params, is_regression=problem.is_regression), fold)
            rows = np.sort(np.append(fit.rows, unused_rows))
            yield Job(number, "more rows", replace(fit, rows=rows))


def best_epoch(valid: np.ndarray) -> int:
    """Return the epoch, from 1, with the least mean held-out loss; 0 if there is none."""
    mean = valid.mean(axis=0)
    return 1 + int(np.nanargmin(mean)) if np.isfinite(mean).any() else 0


# -- truth -----------------------------------------------------------------------------


def gain(own: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Return the relative decrease of the loss, and the decrease in standard errors.

    Losses are (folds, rows), of the same folds and rows.  The error combines the errors of
    the mean over rows and of the mean over folds.
    """
    own = own[: len(other)]
    if not np.isfinite(other).all():
        return -math.inf, -math.inf
    if not np.isfinite(own).all():
        return 1.0, math.inf
    difference = own - other
    by_rows = standard_error(difference.mean(axis=0))
    by_folds = difference.mean(axis=1).std(ddof=1) / math.sqrt(len(difference))
    error = math.hypot(by_rows, by_folds)
    mean = difference.mean()
    return float(mean / own.mean()), float(mean / error) if error else 0.0


def gains(run: Run) -> dict[str, tuple[float, float]]:
    return {
        name: gain(run.losses["own"], losses)
        for name, losses in run.losses.items()
        if name != "own"
    }


def kind_of(variant: str) -> str:
    """Return the kind of a variant: its name without the rate."""
    return " ".join(variant.split()[:2]) if " rate " in variant else variant


def best_by_class(found: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """Return the largest gain among each fault's cures."""
    return {
        fault: max(
            (g for name, g in found.items() if kind_of(name) in cures),
            default=(-math.inf, -math.inf),
        )
        for fault, cures in CURES.items()
    }


def label(problem: Problem, run: Run) -> str | None:
    """Return the class of a run according to losses on test rows, or None."""
    planted = run.planted.fault
    if planted == "shifted fold":
        return planted if is_shifted(run.notes) else None
    if planted == "group leak":
        return planted if is_leaking(run) else None
    found = gains(run)
    if planted == "no signal":
        return planted if has_no_signal(problem, run) else None
    if planted == "tiny data":
        return planted if needs_rows(found) else None
    if planted in CURES:
        # A diverged run has this fault only.
        is_other = planted != "learning rate too high" and has_diverged(run)
        is_kept = is_real(planted, best_by_class(found)) and not is_other
        return planted if is_kept else None
    return label_of_good(problem, run, found)


def is_real(fault: str, best: dict[str, tuple[float, float]]) -> bool:
    share, errors = best[fault]
    if share < LEAST_GAIN or errors < LEAST_ERRORS:
        return False
    return all(
        share >= RIVAL * other
        for rival, (other, _) in best.items()
        if rival != fault and (fault, rival) not in NO_RIVALS
    )


def label_of_good(problem: Problem, run: Run, found) -> str | None:
    """Distinguish healthy from converged long ago; None if a variant is clearly better."""
    least, most = MOST_GAIN_HEALTHY
    for share, errors in found.values():
        if share > most or (share > least and errors > 2):
            return None
    learnt, errors = gain(constant_losses(problem, run), run.losses["own"])
    if learnt < LEAST_GAIN or errors < LEAST_ERRORS:
        # It is uncertain whether the run is better than a constant.
        return None
    shorter = found["shorter"][0]
    if shorter >= -CONVERGED:
        return "converged long ago"
    return "healthy" if shorter < -NOT_CONVERGED else None


def has_diverged(run: Run) -> bool:
    return not np.isfinite(run.losses["own"]).all()


def needs_rows(found) -> bool:
    """Return whether more rows lower the loss clearly, and more than any variant."""
    share, errors = found["more rows"]
    best_other = max(g for name, (g, _) in found.items() if name != "more rows")
    return share > 2 * LEAST_GAIN and errors > LEAST_ERRORS and share > best_other


def is_shifted(notes) -> bool:
    """Return whether one fold's rows are clearly harder for the nets than test rows."""
    return bool(
        notes["errors of the shifted fold"] > 4
        and notes["ratio of the shifted fold"] > 1.3
        and notes["errors of another"] < 4
    )


def is_leaking(run: Run) -> bool:
    """Return whether the folds' losses are much lower than the losses on test rows."""
    inside, outside = run.curves["valid_loss"][:, -1], run.losses["own"].mean(axis=1)
    if not np.isfinite(inside).all():
        return False
    error = standard_error(inside - outside)
    return bool((outside - inside).mean() > max(0.25 * outside.mean(), 4 * error))


def has_no_signal(problem: Problem, run: Run) -> bool:
    """Return whether no variant is better than a constant."""
    constant = constant_losses(problem, run)
    return all(
        gain(constant, losses)[1] < 2 or gain(constant, losses)[0] < 0.01
        for losses in run.losses.values()
    )


def constant_losses(problem: Problem, run: Run) -> np.ndarray:
    """Return the losses on test rows of each fold's best constant prediction."""
    folds = range(len(run.data.folds))
    return np.array([constant_loss(problem, run.data, i, problem.test_rows) for i in folds])


def constant_loss(problem: Problem, data: Data, fold: int, rows) -> np.ndarray:
    """Return the loss on each of some rows of a fold's best constant prediction."""
    y, train_rows = data.y, data.train_rows(fold)
    if problem.is_regression:
        return (y[rows] - y[train_rows].mean()) ** 2 / y[train_rows].var()
    p = np.bincount(y[train_rows], minlength=int(problem.y.max()) + 1) / len(train_rows)
    return -np.log(np.maximum(p[y[rows]], LEAST_P))


def baseline_loss(problem: Problem, run: Run) -> float:
    """Return the loss of the best constant on the rows of all folds."""
    if problem.is_regression:
        return 1.0
    p = np.bincount(run.data.y[run.data.rows])
    p = p[p > 0] / p.sum()
    return float(-(p * np.log(p)).sum())


# -- the bank --------------------------------------------------------------------------


def plant(name: str, seed: int) -> tuple[Problem, list[Run], list[str | None]]:
    """Plant all faults in one problem, and label the runs."""
    problem = make_problem(name, seed)
    rng = np.random.default_rng([1, zlib.crc32(name.encode()), seed])
    good = search(problem, shared_params(problem, rng), rng)
    planted = planted_runs(good, rng, only_healthy=is_only_healthy(seed))
    runs = train_planted(problem, list(planted))
    train_variants(problem, runs, good[0])
    for _ in range(N_CLIMBS):
        climbed = [
            Planted("healthy", params, int(rng.integers(2**31)))
            for params in better_params(problem, runs, good[0])
        ]
        more = train_planted(problem, climbed)
        train_variants(problem, more, good[0])
        runs += more
    return problem, runs, [label(problem, run) for run in runs]


def better_params(problem: Problem, runs: list[Run], best: Params) -> list[Params]:
    """Return variants that beat the best runs that were planted as healthy but are not.

    Data sets without a good configuration from the search thus get healthy runs, too.
    """
    meant = [run for run in runs if run.planted.fault == "healthy"]
    n_missing = MOST_KEPT - sum(label(problem, run) == "healthy" for run in meant)
    meant = [run for run in meant if label(problem, run) is None]
    meant.sort(key=lambda run: run.losses["own"].mean())
    better = []
    for run in meant[: max(n_missing, 0)]:
        found = gains(run)
        name = max(found, key=lambda n: found[n][0])
        several = variants(run.planted.params, best)
        epoch = best_epoch(run.curves["valid_loss"])
        better.append(several.get(name, {**run.planted.params, "max_epochs": epoch}))
    return better


def make_records(name: str, seed: int) -> list[dict[str, Any]]:
    """Return the records of one problem: at most two runs of each class."""
    problem, runs, labels = plant(name, seed)
    counts: dict[str, int] = {}
    records = []
    for run, truth in zip(runs, labels, strict=True):
        print(name, seed, run.planted.fault, run.planted.detail, "->", truth, flush=True)
        if truth is None or counts.get(truth, 0) == MOST_KEPT:
            continue
        counts[truth] = counts.get(truth, 0) + 1
        records.append(record(problem, run, truth))
    return records


def record(problem: Problem, run: Run, truth: str) -> dict[str, Any]:
    losses = {name: rounded(values.mean()) for name, values in run.losses.items()}
    return {
        "data": problem.name,
        "seed": problem.seed,
        "truth": truth,
        "planted": run.planted.fault,
        "detail": run.planted.detail,
        "planted_seed": run.planted.seed,
        "noise": problem.noise,
        "task": "regression" if problem.is_regression else "classification",
        "params": run.planted.params,
        "n_samples": len(run.data.rows),
        "baseline_loss": rounded(baseline_loss(problem, run)),
        "ceiling": rounded(problem.ceiling),
        "test_losses": losses,
        "gains": {n: [rounded(g), rounded(e)] for n, (g, e) in gains(run).items()},
        "notes": {name: rounded(value) for name, value in run.notes.items()},
        "curves": {
            name: [[rounded(v) for v in fold] for fold in curve]
            for name, curve in run.curves.items()
        },
    }


def rounded(value: float | None) -> float | None:
    """Return five digits of a number, and None if JSON cannot represent it."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.5g}")


def write_bank(records: list[dict[str, Any]], path: Path) -> None:
    lines = [json.dumps(r, separators=(",", ":")) for r in records]
    # Without a time stamp, so that equal banks are equal files.
    text = "".join(f"{line}\n" for line in lines)
    path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def read_bank(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
