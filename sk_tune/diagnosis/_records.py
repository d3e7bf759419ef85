# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What a diagnosis reads and what it says: curves in, findings out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

__all__ = ["Change", "Curves", "Finding", "Outcome", "Severity"]

Floats = npt.NDArray[np.float64]
Outcome = Literal["issue", "tip", "passed", "not applicable"]
Severity = Literal["low", "medium", "high"]
# What codes of the leak guard begin with.
_LEAKS = "SKT2"
# How a change turns what a parameter could be into what it should be.
Action = Literal["set", "at least", "at most", "multiply", "extend below", "extend above"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Curves:
    """Learning curves by epochs of one configuration, a line for each fold.

    Parameters
    ----------
    train_loss : ndarray of shape (F, T)
        Of F folds after each of T epochs, on the rows trained on; less is better.  NaN
        after a fold's last epoch.
    valid_loss : ndarray of shape (F, T)
        On held-out rows; all NaN if there were none.
    valid_score : ndarray of shape (F, T)
        On held-out rows, greater is better; all NaN if there is none.
    params : mapping of str to object, default=empty
        Parameters of the configuration, by their names in the network (without the steps
        of a pipeline before them).
    baseline_loss : float or None, default=None
        Loss of the best constant prediction, on the scale of the losses.
    n_samples : int or None, default=None
        Rows of all folds together.
    n_repeats : float, default=1.0
        How often each row is held out.  Folds of repetitions are not independent: F of them
        count as ``F / n_repeats`` in standard errors.
    """

    train_loss: Floats
    valid_loss: Floats
    valid_score: Floats
    params: Mapping[str, Any] = field(default_factory=dict)
    baseline_loss: float | None = None
    n_samples: int | None = None
    n_repeats: float = 1.0

    @property
    def n_folds(self) -> int:
        """Folds; F."""
        return len(self.train_loss)

    @property
    def n_epochs(self) -> int:
        """Epochs of the longest fold; T."""
        return int(self.train_loss.shape[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of a parameter, or of the range in which it may vary.

    Parameters
    ----------
    parameter : str
        Name in the network, without the steps of a pipeline before it.
    action : {"set", "at least", "at most", "multiply", "extend below", "extend above"}
        What is done to its value or to the ends of its range.
    value : object
        The value, the bound, or the factor.
    reason : str
        Why, in a few words.
    """

    parameter: str
    action: Action
    value: Any
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check found.

    Parameters
    ----------
    code : str
        Stable, as "SKT101".
    name : str
        Of the check, as "overfitting".
    outcome : {"issue", "tip", "passed", "not applicable"}
        Something is wrong; something could be better; nothing was found; the check could
        not be made.
    severity : {"low", "medium", "high"} or None
        Of an issue or a tip.
    message : str
        One sentence.
    evidence : mapping of str to float, default=empty
        The numbers that it rests on, those of uncertainty over folds included.
    remedy : str, default=""
        What to do, in one sentence.
    changes : tuple of Change, default=()
        The remedy as changes of parameters or of a space, for ``apply``.
    candidate : int or None, default=None
        The row of ``cv_results_`` that it is about; None if it is about all.
    """

    code: str
    name: str
    outcome: Outcome
    severity: Severity | None
    message: str
    evidence: Mapping[str, float] = field(default_factory=dict)
    remedy: str = ""
    changes: tuple[Change, ...] = ()
    candidate: int | None = None

    def __str__(self) -> str:
        kind = self.outcome if self.severity is None else f"{self.outcome}, {self.severity}"
        return f"{self.name} ({kind}): {self.message} {self.remedy}".rstrip()

    @property
    def is_of_leaks(self) -> bool:
        """Whether the leak guard made it, not a check of a network or a search."""
        return self.code.startswith(_LEAKS)
