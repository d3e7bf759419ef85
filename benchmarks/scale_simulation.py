# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""A SIMULATION of successive halving on 1 to 256 workers, synchronous and asynchronous.

    python benchmarks/scale_simulation.py [--candidates 243] [--repeats 20]

No parallel training takes place: the simulation shows the gain of an asynchronous schedule
on more workers than one machine has.  Promotions are decided by the function of the
searches.  First, curves are recorded: networks on digits, random learning rates, widths and
dropouts, 27 epochs, one fold.  A discrete-event simulation then replays them: a job moves
one candidate from one rung (1, 3, 9, 27 epochs) to the next, takes one unit of time per
epoch, and sometimes runs on a straggler that takes five times as long.  Synchronous halving
waits for a complete rung; asynchronous halving [1]_ promotes a candidate in the best third
of the present results of its rung, or starts a new one.  Both get the same candidates.

References
----------
.. [1] L. Li, K. Jamieson, A. Rostamizadeh, E. Gonina, J. Ben-tzur, M. Hardt, B. Recht,
   A. Talwalkar. A system for massively parallel hyperparameter tuning. MLSys 2020.
   Algorithm 2.
"""

import argparse
import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.stats import loguniform, randint, uniform
from sklearn.datasets import load_digits
from sklearn.model_selection import ShuffleSplit

from sk_tune import MLPClassifier, RandomizedSearchCV
from sk_tune._schedule import AsynchronousBracket, Rung, RungJob

Curves = npt.NDArray[np.float64]
ETA = 3
RUNGS = (1, 3, 9, 27)
WORKERS = (1, 4, 16, 64, 256)
# Share of stragglers among jobs, and their slowness.
STRAGGLERS = ((0.0, 1.0), (0.05, 5.0))
# A schedule is near its best when it has a candidate this close to it.
NEAR = 0.005


def recorded_curves(n: int) -> Curves:
    """Return validation accuracy by candidate and epoch."""
    X, y = load_digits(return_X_y=True)
    net = MLPClassifier(
        width=128, members=1, max_epochs=RUNGS[-1], lr_schedule="constant", random_state=0
    )
    space = {
        "learning_rate": loguniform(1e-5, 1e-1),
        "width": randint(4, 65),
        "dropout": uniform(0, 0.6),
    }
    cv = ShuffleSplit(1, test_size=0.3, random_state=0)
    search = RandomizedSearchCV(net, space, n_iter=n, cv=cv, refit=False, random_state=0)
    table = search.fit(X / 16, y).learning_curves_
    return table.pivot(index="result_row", columns="epoch", values="valid_score").to_numpy()


@dataclass
class Run:
    """The results of a schedule."""

    n_workers: int
    busy: float = 0.0
    end: float = 0.0
    # Time and score of each fully trained candidate.
    finished: list[tuple[float, float]] = field(default_factory=list)
    epochs: int = 0

    def note(self, time: float, job: tuple[int, int], curves: Curves) -> None:
        candidate, rung = job
        self.end = max(self.end, time)
        self.epochs += epochs_of(rung)
        if rung == len(RUNGS) - 1:
            self.finished.append((time, float(curves[candidate, -1])))

    @property
    def utilisation(self) -> float:
        return self.busy / (self.n_workers * self.end)

    @property
    def best(self) -> float:
        return max(score for _, score in self.finished)

    @property
    def time_to_near_best(self) -> float:
        return min(time for time, score in self.finished if score >= self.best - NEAR)


def epochs_of(rung: int) -> int:
    return RUNGS[rung] - (RUNGS[rung - 1] if rung else 0)


def score_in(curves: Curves, job: tuple[int, int]) -> float:
    return float(curves[job[0], RUNGS[job[1]] - 1])


class Synchronous:
    """Waits until a rung is complete."""

    def __init__(self, curves: Curves) -> None:
        self._curves = curves
        self._rung = 0
        self._waiting = list(range(len(curves)))
        self._running = 0
        self._done: list[int] = []

    def next(self) -> tuple[int, int] | None:
        if not self._waiting:
            return None
        self._running += 1
        return self._waiting.pop(0), self._rung

    def end(self, job: tuple[int, int]) -> None:
        self._running -= 1
        self._done.append(job[0])
        if self._waiting or self._running or self._rung == len(RUNGS) - 1:
            return
        best = sorted(self._done, key=lambda c: -score_in(self._curves, (c, self._rung)))
        self._waiting = best[: len(best) // ETA]
        self._rung, self._done = self._rung + 1, []


class Asynchronous:
    """Promotes a candidate as soon as it is in the best third, as the searches do."""

    def __init__(self, curves: Curves) -> None:
        self._curves = curves
        n = len(curves)
        rungs = [
            Rung(n_candidates=max(1, n // ETA**i), n_resources=own)
            for i, own in enumerate(RUNGS)
        ]
        self._bracket = AsynchronousBracket(rungs, ETA)

    def next(self) -> tuple[int, int] | None:
        job = self._bracket.next_job()
        if job is None:
            return None
        self._bracket.start(job)
        return job.candidate, job.rung

    def end(self, job: tuple[int, int]) -> None:
        finished = RungJob(candidate=job[0], rung=job[1])
        self._bracket.end(finished, score_in(self._curves, job))


def simulate(
    make: Callable[[Curves], Synchronous | Asynchronous],
    curves: Curves,
    n_workers: int,
    stragglers: tuple[float, float],
    seed: int,
) -> Run:
    """Return the results of a schedule on some workers."""
    rng, schedule, run = np.random.default_rng(seed), make(curves), Run(n_workers)
    running: list[tuple[float, int, tuple[int, int]]] = []
    now, n_started = 0.0, 0
    share, slowness = stragglers
    while True:
        while len(running) < n_workers and (job := schedule.next()) is not None:
            slow = slowness if rng.uniform() < share else 1.0
            seconds = epochs_of(job[1]) * slow
            run.busy += seconds
            n_started += 1
            heapq.heappush(running, (now + seconds, n_started, job))
        if not running:
            return run
        now, _, job = heapq.heappop(running)
        schedule.end(job)
        run.note(now, job, curves)


def table(bank: Curves, n: int, repeats: int) -> Iterator[str]:
    yield (
        "| stragglers | workers | speed-up, synchronous | asynchronous | utilisation, "
        "synchronous | asynchronous | time to the best, synchronous / asynchronous | "
        "epochs, asynchronous / synchronous | best score, asynchronous - synchronous |"
    )
    yield "| --- |" + " --- |" * 8
    kinds = (Synchronous, Asynchronous)
    for stragglers in STRAGGLERS:
        base: dict[type, float] = {}
        for n_workers in WORKERS:
            runs: dict[type, list[Run]] = {kind: [] for kind in kinds}
            for seed in range(repeats):
                rng = np.random.default_rng(seed)
                curves = bank[rng.integers(len(bank), size=n)]
                for kind in kinds:
                    runs[kind].append(simulate(kind, curves, n_workers, stragglers, seed))
            mean = {k: float(np.mean([r.end for r in own])) for k, own in runs.items()}
            base = base or mean
            used = [np.mean([r.utilisation for r in runs[k]]) for k in kinds]
            pairs = list(zip(*runs.values(), strict=True))
            sooner = np.median([
                s.time_to_near_best / a.time_to_near_best for s, a in pairs
            ])
            epochs = np.mean([a.epochs / s.epochs for s, a in pairs])
            gain = np.mean([a.best - s.best for s, a in pairs])
            ups = [base[k] / mean[k] for k in kinds]
            label = f"{stragglers[0]:.0%}, {stragglers[1]:.0f} times slower"
            yield (
                f"| {label if stragglers[0] else 'none'} | {n_workers} | {ups[0]:.1f} | "
                f"{ups[1]:.1f} | {used[0]:.0%} | {used[1]:.0%} | {sooner:.1f} | "
                f"{epochs:.2f} | {gain:+.4f} |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--candidates", type=int, default=243)
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    bank = recorded_curves(options.candidates)
    print(
        f"SIMULATION over {len(bank)} recorded curves, {options.candidates} candidates of "
        f"them (drawn with replacement), {options.repeats} repeats."
    )
    for line in table(bank, options.candidates, options.repeats):
        print(line)


if __name__ == "__main__":
    main()
