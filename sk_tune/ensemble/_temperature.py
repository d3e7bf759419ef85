# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Temperature scaling of probabilities.

References
----------
.. [1] C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger. On calibration of modern neural
   networks. ICML 2017. Section 4.2.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit

__all__ = ["fitted_temperature", "with_label_temperature", "with_temperature"]

Array = npt.NDArray[Any]

# Probabilities of 0 have no logarithm.
_SMALLEST = 1e-7
_LOWEST, _HIGHEST = 0.05, 20.0


def with_temperature(probabilities: Array, temperature: float) -> Array:
    """Return probabilities whose log-odds are divided by a temperature.

    Parameters
    ----------
    probabilities : ndarray of shape (..., K)
        Of classes, which sum to 1.
    temperature : float
        Above 1 probabilities become more equal, below 1 less.

    Returns
    -------
    ndarray of shape (..., K)
        In the same order from likely to unlikely.
    """
    scaled = np.log(np.maximum(probabilities, _SMALLEST)) / temperature
    scaled = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(scaled / scaled.sum(axis=-1, keepdims=True))


def with_label_temperature(probabilities: Array, temperature: float) -> Array:
    """Return probabilities of labels, (..., K), with log-odds divided by a temperature.

    Above 1 they come nearer to one half, below 1 they go away from it, on the same side.
    """
    inside = np.clip(probabilities, _SMALLEST, 1 - _SMALLEST)
    return np.asarray(expit(logit(inside) / temperature))


def fitted_temperature(probabilities: Array, y: Array, signs: Array | None = None) -> float:
    """Return the temperature between 0.05 and 20 with the least log loss.

    The probabilities, (N, K), are of samples that were not trained on; log loss has one
    minimum in the temperature's reciprocal.  `signs` of -1 take a sample's loss from the
    others'.
    """
    rows = np.arange(len(y))

    def loss(inverse: float) -> float:
        if y.ndim == 2:
            scaled = with_label_temperature(probabilities, 1 / inverse)
            true = np.where(y > 0.5, scaled, 1 - scaled)
        else:
            true = with_temperature(probabilities, 1 / inverse)[rows, y]
        losses = -np.log(np.maximum(true, _SMALLEST))
        return float((losses if signs is None else losses * signs).mean())

    found = minimize_scalar(loss, bounds=(1 / _HIGHEST, 1 / _LOWEST), method="bounded")
    return float(1 / found.x)
