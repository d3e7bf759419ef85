# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What a search is going to do, made before anything trains."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from sk_tune._text import bytes_text, html_table, seconds_text, text_table
from sk_tune.schedule import Rung

__all__ = ["PlannedRound", "SearchPlan", "planned_rounds"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRound:
    """One round: candidates that are trained and scored together.

    `rung` is counted from 0 in its bracket; `bracket` is Hyperband's number of reductions.
    `n_fits` has one for each candidate and fold; `n_epochs` are those that they train in
    the round together, 0 if they have none.
    """

    rung: int
    n_candidates: int
    n_resources: int
    n_fits: int
    n_epochs: int
    bracket: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchPlan:
    """What a search is going to do.

    Parameters
    ----------
    rounds : tuple of PlannedRound
        In the order in which they are trained.
    resource : str
        What rounds grant more of, for example ``"epochs"``.
    n_folds : int
        Folds of each candidate.
    seconds : float or None, default=None
        Expected time of the search; None if it was not measured.
    memory : int or None, default=None
        Bytes that training takes at most; None if it is not known.
    is_asynchronous : bool, default=False
        Whether no rung is waited for, so that more candidates than these may come to all
        rungs but the first.
    measured : str, default=""
        What was trained to tell the time, in a sentence.
    """

    rounds: tuple[PlannedRound, ...]
    resource: str
    n_folds: int
    seconds: float | None = None
    memory: int | None = None
    is_asynchronous: bool = False
    measured: str = ""

    @property
    def n_candidates(self) -> int:
        """Candidates that enter the search."""
        return sum(r.n_candidates for r in self.rounds if r.rung == 0)

    @property
    def n_fits(self) -> int:
        """Fits of all rounds."""
        return sum(r.n_fits for r in self.rounds)

    @property
    def n_epochs(self) -> int:
        """Epochs of all fits."""
        return sum(r.n_epochs for r in self.rounds)

    def __str__(self) -> str:
        return f"{text_table(*self._table())}\n{self._summary()}"

    def _repr_html_(self) -> str:
        return f"{html_table(*self._table())}<p>{escape(self._summary())}</p>"

    def _table(self) -> tuple[list[str], list[list[object]]]:
        header = ["rung", "candidates", self.resource, "fits", "epochs in all"]
        rows: list[list[object]] = [
            [r.rung, r.n_candidates, r.n_resources, r.n_fits, r.n_epochs]
            for r in self.rounds
        ]
        if any(r.bracket is not None for r in self.rounds):
            header.insert(0, "bracket")
            for row, r in zip(rows, self.rounds, strict=True):
                row.insert(0, r.bracket)
        return header, rows

    def _summary(self) -> str:
        total = (
            f"In all {self.n_candidates} candidates on {self.n_folds} folds: "
            f"{'at least ' if self.is_asynchronous else ''}{self.n_fits} fits, "
            f"{self.n_epochs} epochs"
        )
        if self.seconds is not None:
            total += f", about {seconds_text(self.seconds)}"
        if self.memory is not None:
            total += f", at most {bytes_text(self.memory)} of memory"
        return f"{total}. {self.measured}".rstrip()


def planned_rounds(
    rungs: Sequence[Rung],
    *,
    n_folds: int,
    epochs_per_fit: float | None = None,
    goes_on: bool = True,
    bracket: int | None = None,
) -> tuple[PlannedRound, ...]:
    """Return the rounds that train the rungs of one bracket, in their order.

    `epochs_per_fit` is the mean if the resource is something else, None if it is epochs.
    `goes_on` says that a rung trains only the epochs that it adds to those of the rung
    before; one that adds none trains them all anew.

    >>> rungs = [Rung(n_candidates=9, n_resources=1), Rung(n_candidates=3, n_resources=3)]
    >>> rounds = planned_rounds(rungs, n_folds=5)
    >>> print(SearchPlan(rounds=rounds, resource="epochs", n_folds=5))
    rung  candidates  epochs  fits  epochs in all
       0           9       1    45             45
       1           3       3    15             30
    In all 9 candidates on 5 folds: 60 fits, 75 epochs.
    """
    granted = [rung.n_resources for rung in rungs]
    before = [0, *(a if goes_on and a < b else 0 for a, b in pairwise(granted))]
    epochs: list[float] = [b - a for a, b in zip(before, granted, strict=True)]
    if epochs_per_fit is not None:
        epochs = [epochs_per_fit] * len(rungs)
    return tuple(
        PlannedRound(
            rung=i,
            n_candidates=rung.n_candidates,
            n_resources=rung.n_resources,
            n_fits=rung.n_candidates * n_folds,
            n_epochs=round(rung.n_candidates * n_folds * epochs[i]),
            bracket=bracket,
        )
        for i, rung in enumerate(rungs)
    )
