# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Where a training stands, as plain arrays that can be sent and stored anywhere.

Only what arrays cannot tell is kept as a module, which can be sent and not stored.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from sk_tune.training._early_stopping import StoppingState

__all__ = ["TrainingState"]

Arrays = dict[str, npt.NDArray[np.generic]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingState:
    """All that a training needs to go on exactly from where it stands.

    Parameters
    ----------
    seed : int
        Source of all random numbers of the fit.
    weights : dict of str to ndarray
        The module's ``state_dict``: the weights in use, the best ones with early stopping.
    moments : dict of int to dict of str to ndarray
        The optimizer's state of each parameter, in the order of ``module.parameters()``.
    last_weights : dict of str to ndarray or None
        Where training goes on from, if that is not `weights`.
    best_weights : dict of str to ndarray or None
        Those of the best epoch, with early stopping.
    n_steps : int
        Updates made.
    first_epoch : int
        Epoch at which the schedule began, counted from 0.
    stopping : StoppingState
        What early stopping remembers.
    history : tuple of dict
        What each epoch gave, by name.
    course : dict of str to object
        What else a plain skorch net goes on from, and leaves behind, as plain values: of
        its callbacks, schedulers and generator.
    modules : dict of str to Module
        Modules that hold more than `weights` tell, by the attribute of the net: counters,
        say, or what a second module has learnt.  Only of fits that were trained alone.
    """

    seed: int
    weights: Arrays
    moments: dict[int, Arrays]
    last_weights: Arrays | None = None
    best_weights: Arrays | None = None
    n_steps: int = 0
    first_epoch: int = 0
    stopping: StoppingState = field(default_factory=StoppingState)
    history: tuple[dict[str, Any], ...] = ()
    course: dict[str, Any] = field(default_factory=dict)
    modules: dict[str, nn.Module] = field(default_factory=dict)

    def curve(self, name: str) -> npt.NDArray[np.float64]:
        """Return one value of every epoch; NaN where the epoch has none.

        Parameters
        ----------
        name : str
            A name of the history.

        Returns
        -------
        ndarray of shape (n_epochs,)
            In the order of the epochs.
        """
        return np.array([row.get(name, np.nan) for row in self.history], dtype=np.float64)
