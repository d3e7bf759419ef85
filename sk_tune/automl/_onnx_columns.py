# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The preparation of columns in front of a model, as modules that ONNX can express.

Notation: n samples, c columns, Q quantiles.  All numbers are of 64 bits.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.feature_selection import VarianceThreshold
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, QuantileTransformer
from torch import Tensor, nn

from sk_tune.automl._models import ChannelScaler
from sk_tune.ensemble import Columns, ScalerModule, ScalerNumbers, scaler_module
from sk_tune.prepare import MISSING, CategoryCodes, SmoothClipScaler, TablePreparer, circles

# QuantileTransformer takes what is nearer to an end of a column for that end.
_NEAR = 1e-7
# The digits to which places of dates are rounded.
_ROUNDED = 1e9
_MS_PER_DAY = 24 * 60 * 60 * 1000
# Days of a mean year, and from 0001-01-01 to 1970-01-01.
_DAYS_OF_YEAR, _TO_1970 = 365.2425, 719162

# The normal distribution's quantiles, highest power first: algorithm AS 241 (M. Wichura,
# Applied Statistics 37, 1988) near the middle and in the tails; 16 digits up to 1e-11.
_MIDDLE = (
    (2.5090809287301226727e3, 3.3430575583588128105e4, 6.7265770927008700853e4,
     4.5921953931549871457e4, 1.3731693765509461125e4, 1.9715909503065514427e3,
     1.3314166789178437745e2, 3.3871328727963666080),
    (5.2264952788528545610e3, 2.8729085735721942674e4, 3.9307895800092710610e4,
     2.1213794301586595867e4, 5.3941960214247511077e3, 6.8718700749205790830e2,
     4.2313330701600911252e1, 1.0),
)  # fmt: skip
_TAIL = (
    (7.74545014278341407640e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1,
     1.27045825245236838258, 3.64784832476320460504, 5.76949722146069140550,
     4.63033784615654529590, 1.42343711074968357734),
    (1.05075007164441684324e-9, 5.47593808499534494600e-4, 1.51986665636164571966e-2,
     1.48103976427480074590e-1, 6.89767334985100004550e-1, 1.67638483018380384940,
     2.05319162663775882187, 1.0),
)  # fmt: skip


class Quantiles(nn.Module):
    """The place of a number among those of the training samples, as a normal quantile."""

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
        known = torch.where(x.isnan(), 0.0, x)
        # It is interpolated from below and from above, because quantiles may recur.
        up = _interpolated(known, q, p)
        place = 0.5 * (up - _interpolated(-known, -q.flip(1), -p.flip(1)))
        # ``where`` takes the bounds as tensors; those of ``clamp`` become 32-bit in ONNX.
        low, high = self.ends
        place = torch.where(known + _NEAR > q[:, -1], high, place)
        place = torch.where(known - _NEAR < q[:, 0], low, place)
        place = torch.minimum(torch.maximum(place, low), high)
        return torch.where(x.isnan(), torch.nan, _normal_quantile(place))


def _interpolated(x: Tensor, xp: Tensor, fp: Tensor) -> Tensor:
    """Return what ``numpy.interp`` does, for each column: x is (n, c), all else (c, Q)."""
    last = xp.shape[1] - 1
    # (n, c): the last of those that are not above.
    place = (xp <= x.unsqueeze(2)).long().sum(dim=2) - 1
    low = place.clamp(0, last - 1)
    x0, x1, f0, f1 = (
        values.expand(x.shape[0], -1, -1).gather(2, end.unsqueeze(2))[:, :, 0]
        for values in (xp, fp)
        for end in (low, low + 1)
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
    above, below = torch.zeros_like(x), torch.zeros_like(x)
    for of_above, of_below in zip(*polynomials, strict=True):
        above, below = above * x + of_above, below * x + of_below
    return above / below


class Circles(nn.Module):
    """Places of dates in the year, the week and the day, as those of ``TablePreparer``."""

    def forward(self, x: Tensor) -> Tensor:
        is_missing = x.isnan()
        known = (torch.where(is_missing, 0.0, x) * _MS_PER_DAY).round() / _MS_PER_DAY
        whole = known.floor()
        # By the mean length of a year, or one beside it.
        year = 1970 + (whole / _DAYS_OF_YEAR).floor()
        year = year - (whole < _new_year(year)).double()
        year = year + (whole >= _new_year(year + 1)).double()
        start = _new_year(year)
        of_year = (known - start) / (_new_year(year + 1) - start)
        of_week = (known + 3 - ((known + 3) / 7).floor() * 7) / 7
        shares = [of_year, of_week, known - whole]
        # The shape is (n, n_dates, n_circles).
        angles = 2 * np.pi * torch.stack(shares, dim=2)
        places = torch.stack([angles.sin(), angles.cos()], dim=3)
        places = (places * _ROUNDED).round() / _ROUNDED
        places = torch.where(is_missing[:, :, None, None], torch.nan, places)
        return places.flatten(1)


def _new_year(year: Tensor) -> Tensor:
    """Return the days from 1970 to the first day of a year, in the Gregorian calendar."""
    before = year - 1
    leap_days = (before / 4).floor() - (before / 100).floor() + (before / 400).floor()
    return 365 * before + leap_days - _TO_1970


# Columns of a table by name: of categories with all values that some member knows.
TableColumns = Mapping[str, tuple[str, Sequence[str]]]

# The text that no table holds, for categories that nobody knows.
_UNKNOWN = "\0unknown"
_BOUND = 3.0  # The bound of SmoothClipScaler.
_HUGE = 1e100


def not_expressible(name: str, what: str) -> TypeError:
    """Return the error of a member whose preparation cannot be written."""
    return TypeError(
        f"The preparation of each member must be one that ONNX can express. Got {name!r} "
        f"with {what}. Keep the model with joblib.dump."
    )


def front_of(steps: Sequence[Any], columns: TableColumns | None, member: str) -> nn.Module:
    """Return what the fitted steps before a model do; raises TypeError if it cannot."""
    modules: list[nn.Module] = []
    for step in steps:
        if isinstance(step, TablePreparer) and columns is not None and not modules:
            modules.append(_TableModule(step, columns, member))
        elif isinstance(step, ChannelScaler):
            numbers = ScalerNumbers(center=step.mean_, divisor=step.scale_)
            modules.append(ScalerModule(numbers))
            if step.channels_first:
                modules.append(_ChannelsFirst(step.axis))
        elif isinstance(step, FunctionTransformer) and columns is None:
            # AutoML's FunctionTransformer flattens samples.
            modules.append(nn.Flatten())
        else:
            modules.append(_numbers_module(step, None, member))
    return nn.Sequential(*modules)


class _ChannelsFirst(nn.Module):
    """Channels on the second axis, and missing values 0, as convolutions take them."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x.isnan(), 0.0, x).movedim(self.axis, 1)


class _TableModule(nn.Module):
    """A TablePreparer, block by block."""

    def __init__(self, prepare: TablePreparer, columns: TableColumns, member: str) -> None:
        super().__init__()
        places = {name: place for place, name in enumerate(columns)}
        blocks: list[nn.Module] = []
        for block, transformer, names in prepare.columns_.transformers_:
            if block == "remainder":
                continue
            positions = [places[name] for name in names]
            if isinstance(transformer, OneHotEncoder | CategoryCodes):
                known = [columns[name][1] for name in names]
                blocks.append(_LookUp(transformer, names, positions, known))
            elif isinstance(transformer, MissingIndicator):
                blocks.append(_Missing(positions))
            else:
                blocks.append(_numbers_module(transformer, positions, member))
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([block(x) for block in self.blocks], dim=1)


class _ChosenColumns(Columns):
    """Some columns of the input, where infinity counts as missing."""

    def forward(self, x: Tensor) -> Tensor:
        chosen = super().forward(x)
        return torch.where(chosen.isinf(), torch.nan, chosen)


class _Missing(_ChosenColumns):
    """1 where a value is missing."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).isnan().double()


def _flat(step: Any) -> list[Any]:
    """Return a transformer as a list of steps, those of nested pipelines in their order."""
    if not isinstance(step, Pipeline):
        return [step]
    return [part for inner in step for part in _flat(inner)]


def _numbers_module(
    transformer: Any, positions: Sequence[int] | None, member: str
) -> nn.Module:
    """Return what a transformer of numbers does, if it is one that ONNX can express."""
    chosen = [] if positions is None else [_ChosenColumns(positions)]
    return nn.Sequential(
        *chosen, *(_step_module(step, member) for step in _flat(transformer))
    )


def _step_module(step: Any, member: str) -> nn.Module:
    if isinstance(step, SmoothClipScaler):
        numbers = ScalerNumbers(center=step.center_, scale=step.scale_)
        return nn.Sequential(ScalerModule(numbers), _SmoothClip())
    if isinstance(step, QuantileTransformer) and step.output_distribution == "normal":
        return Quantiles(step)
    if isinstance(step, VarianceThreshold):
        return _ChosenColumns(np.flatnonzero(step.get_support()).tolist())
    if isinstance(step, FunctionTransformer) and step.func is circles:
        return Circles()
    if isinstance(step, FunctionTransformer) and step.func is None:
        return nn.Identity()
    module = scaler_module(step)
    if module is not None:
        return module
    what = f"a {type(step).__name__}"
    if isinstance(step, SimpleImputer):
        what = "a column of missing values only"
    raise not_expressible(member, what)


class _SmoothClip(nn.Module):
    """Scaled numbers that approach a bound."""

    def forward(self, x: Tensor) -> Tensor:
        clipped = x.clamp(-_HUGE, _HUGE)
        return clipped / (1 + (clipped / _BOUND).square()).sqrt()


class _LookUp(_ChosenColumns):
    """An encoder of categories, as a table for each column."""

    base: Tensor

    def __init__(
        self,
        encoder: Any,
        names: Sequence[str],
        positions: Sequence[int],
        known: Sequence[Sequence[str]],
    ) -> None:
        super().__init__(positions)
        unknown = pd.DataFrame({name: [_UNKNOWN] for name in names}, dtype=object)
        # An encoder works column by column: what one adds to a row of unknown categories
        # does not depend on the others.
        base = np.asarray(encoder.transform(unknown), dtype=np.float64)
        self.register_buffer("base", torch.from_numpy(base))
        self.sizes = [len(values) for values in known]
        # Missing is a category, or as unknown as others that no training sample had.
        self.missing = [
            values.index(MISSING) if MISSING in values else len(values) for values in known
        ]
        for number, (name, values) in enumerate(zip(names, known, strict=True)):
            rows = pd.concat([unknown] * (len(values) + 1), ignore_index=True)
            rows[name] = [*values, _UNKNOWN]
            made = np.asarray(encoder.transform(rows), dtype=np.float64)
            self.register_buffer(f"table{number}", torch.from_numpy(made - base))

    def forward(self, x: Tensor) -> Tensor:
        codes, total = super().forward(x), self.base
        for number, (n, missing) in enumerate(zip(self.sizes, self.missing, strict=True)):
            code = codes[:, number]
            is_known = (code >= 0) & (code < n)
            place = torch.where(is_known, code, float(n))
            place = torch.where(code.isnan(), float(missing), place).long()
            total = total + getattr(self, f"table{number}")[place]
        return total
