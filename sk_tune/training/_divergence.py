# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What a user is told of a training that left the finite numbers."""

__all__ = ["loss_message", "weights_message"]


def loss_message(prefix: str, loss: float, epoch: int, learning_rate: float) -> str:
    """Return what went wrong and what to do, for a loss that is not finite.

    Parameters
    ----------
    prefix : str
        Which loss: "train" or "valid".
    loss : float
        Its value.
    epoch : int
        Number of the epoch, from 1.
    learning_rate : float
        Of the fit.

    Returns
    -------
    str
        Three sentences at most.
    """
    return (
        f"The {prefix} loss became {loss} at epoch {epoch} with learning_rate="
        f"{learning_rate:g}. Lower learning_rate, set gradient_clip, or scale the features."
    )


def weights_message(name: str, epoch: int, learning_rate: float) -> str:
    """Return what went wrong and what to do, for weights that are not finite.

    Parameters
    ----------
    name : str
        Of the parameter in the module.
    epoch : int
        Number of the epoch, from 1.
    learning_rate : float
        Of the fit.

    Returns
    -------
    str
        Two sentences.
    """
    return (
        f"The weights {name!r} are not finite after epoch {epoch} with learning_rate="
        f"{learning_rate:g}. Lower learning_rate, or set gradient_clip."
    )
