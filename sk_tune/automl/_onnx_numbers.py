# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Places of dates and of quantiles, as modules that ONNX can express.

Notation: n samples, c columns, Q quantiles.  All numbers are of 64 bits.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sklearn.preprocessing import QuantileTransformer
from torch import Tensor, nn

__all__ = ["Circles", "Quantiles"]

# Of QuantileTransformer: what is nearer to the ends of a column is one of them.
_NEAR = 1e-7
# Of places of dates.
_ROUNDED = 1e9
_MS_PER_DAY = 24 * 60 * 60 * 1000
# Days from 0000-03-01 to 1970-01-01, and those of 4, 100 and 400 years.
_FROM_MARCH, _FOUR, _CENTURY, _CYCLE = 719468, 1461, 36524, 146097

# Of the normal distribution's quantiles, highest power first: algorithm AS 241 (M. Wichura,
# Applied Statistics 37, 1988) near the middle and in the tails; 16 digits up to 1e-11.
_MIDDLE = (
    (
        2.5090809287301226727e3,
        3.3430575583588128105e4,
        6.7265770927008700853e4,
        4.5921953931549871457e4,
        1.3731693765509461125e4,
        1.9715909503065514427e3,
        1.3314166789178437745e2,
        3.3871328727963666080,
    ),
    (
        5.2264952788528545610e3,
        2.8729085735721942674e4,
        3.9307895800092710610e4,
        2.1213794301586595867e4,
        5.3941960214247511077e3,
        6.8718700749205790830e2,
        4.2313330701600911252e1,
        1.0,
    ),
)
_TAIL = (
    (
        7.74545014278341407640e-4,
        2.27238449892691845833e-2,
        2.41780725177450611770e-1,
        1.27045825245236838258,
        3.64784832476320460504,
        5.76949722146069140550,
        4.63033784615654529590,
        1.42343711074968357734,
    ),
    (
        1.05075007164441684324e-9,
        5.47593808499534494600e-4,
        1.51986665636164571966e-2,
        1.48103976427480074590e-1,
        6.89767334985100004550e-1,
        1.67638483018380384940,
        2.05319162663775882187,
        1.0,
    ),
)


class Quantiles(nn.Module):
    """The place of a number among those of the training rows, as a normal quantile."""

    quantiles: Tensor
    references: Tensor
    ends: Tensor

    def __init__(self, transformer: QuantileTransformer) -> None:
        super().__init__()
        quantiles = np.ascontiguousarray(transformer.quantiles_.T)
        references = np.broadcast_to(transformer.references_, quantiles.shape)
        self.register_buffer("quantiles", torch.from_numpy(quantiles))
        self.register_buffer("references", torch.from_numpy(references.copy()))
        ends = torch.tensor([_NEAR, 1 - _NEAR], dtype=torch.float64)
        self.register_buffer("ends", ends)

    def forward(self, x: Tensor) -> Tensor:
        q, p = self.quantiles, self.references
        own = torch.where(x.isnan(), 0.0, x)
        # From below and from above, because quantiles may recur.
        up = _interpolated(own, q, p)
        place = 0.5 * (up - _interpolated(-own, -q.flip(1), -p.flip(1)))
        # As tensors: bounds of ``clamp`` become numbers of 32 bits in ONNX.
        low, high = self.ends
        place = torch.where(own + _NEAR > q[:, -1], high, place)
        place = torch.where(own - _NEAR < q[:, 0], low, place)
        place = torch.minimum(torch.maximum(place, low), high)
        return torch.where(x.isnan(), torch.nan, _normal_quantile(place))


def _interpolated(x: Tensor, xp: Tensor, fp: Tensor) -> Tensor:
    """Return what ``numpy.interp`` does, for each column.

    **Shape**

    - x: (n, c); xp and fp: (c, Q), rising.
    """
    last = xp.shape[1] - 1
    # (n, c): the last of those that are not above.
    place = (xp <= x.unsqueeze(2)).long().sum(dim=2) - 1
    low = place.clamp(0, last - 1)
    places = torch.stack([low, low + 1], dim=0)
    x0, x1 = (
        xp.expand(x.shape[0], -1, -1).gather(2, own.unsqueeze(2))[:, :, 0] for own in places
    )
    f0, f1 = (
        fp.expand(x.shape[0], -1, -1).gather(2, own.unsqueeze(2))[:, :, 0] for own in places
    )
    width = torch.where(x1 > x0, x1 - x0, 1.0)
    inside = f0 + (f1 - f0) / width * (x - x0)
    inside = torch.where(place < 0, fp[:, 0], inside)
    return torch.where(place >= last, fp[:, -1], inside)


def _normal_quantile(p: Tensor) -> Tensor:
    centered = p - 0.5
    r = 0.180625 - centered.square()
    middle = centered * _ratio(_MIDDLE, r)
    tail = _ratio(_TAIL, torch.minimum(p, 1 - p).log().neg().sqrt() - 1.6)
    return torch.where(
        centered.abs() <= 0.425, middle, torch.where(centered < 0, -tail, tail)
    )


def _ratio(polynomials: Any, x: Tensor) -> Tensor:
    above, below = (_polynomial(own, x) for own in polynomials)
    return above / below


def _polynomial(coefficients: Sequence[float], x: Tensor) -> Tensor:
    value = torch.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        value = value * x + coefficient
    return value


class Circles(nn.Module):
    """Places of dates in the year, the week and the day, as those of ``TablePreparer``."""

    def forward(self, days: Tensor) -> Tensor:
        is_missing = days.isnan()
        own = (torch.where(is_missing, 0.0, days) * _MS_PER_DAY).round() / _MS_PER_DAY
        whole = own.floor()
        year = _year(whole)
        start = _new_year(year)
        shares = [
            (own - start) / (_new_year(year + 1) - start),
            _modulo(own + 3, 7) / 7,
            own - whole,
        ]
        # For each sample, date and circle.
        angles = 2 * np.pi * torch.stack(shares, dim=2)
        places = torch.stack([angles.sin(), angles.cos()], dim=3)
        places = (places * _ROUNDED).round() / _ROUNDED
        places = torch.where(is_missing[:, :, None, None], torch.nan, places)
        return places.flatten(1)


def _modulo(a: Tensor, b: float) -> Tensor:
    return a - (a / b).floor() * b


def _year(days: Tensor) -> Tensor:
    """Return the year of days since 1970, in the Gregorian calendar."""
    # Counted from March on, leap days are the last ones of their years.
    since = days + _FROM_MARCH
    cycle = (since / _CYCLE).floor()
    day = since - cycle * _CYCLE
    leap_days = (
        (day / (_FOUR - 1)).floor()
        - (day / _CENTURY).floor()
        + (day / (_CYCLE - 1)).floor()
    )
    year = ((day - leap_days) / 365).floor()
    in_year = day - (365 * year + (year / 4).floor() - (year / 100).floor())
    return year + 400 * cycle + (in_year >= 306).double()


def _new_year(year: Tensor) -> Tensor:
    """Return the days from 1970 to the first day of a year."""
    before = year - 1
    leap_days = (before / 4).floor() - (before / 100).floor() + (before / 400).floor()
    return 365 * before + leap_days + 306 - _FROM_MARCH
