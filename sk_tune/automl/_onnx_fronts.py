# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What is in front of a model, as a module that ONNX can express.

All numbers are of 64 bits.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.feature_selection import VarianceThreshold
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    OneHotEncoder,
    QuantileTransformer,
    StandardScaler,
)
from torch import Tensor, nn

from sk_tune.automl._channel_scaler import ChannelScaler
from sk_tune.automl._onnx_numbers import Circles, Quantiles
from sk_tune.prepare import MISSING, CategoryCodes, SmoothClipScaler, TablePreparer

__all__ = ["Columns", "front_of", "not_expressible"]

# Columns of a table by name: of categories with all values that some member knows.
Columns = Mapping[str, tuple[str, Sequence[str]]]

# The text that no table holds, for categories that nobody knows.
_UNKNOWN = "\0unknown"
_BOUND = 3.0  # Of SmoothClipScaler.
_HUGE = 1e100


def not_expressible(name: str, what: str) -> TypeError:
    """Return the error of a member whose preparation cannot be written."""
    return TypeError(
        f"The preparation of each member must be one that ONNX can express. Got {name!r} "
        f"with {what}. Keep the model with joblib.dump."
    )


def front_of(steps: Sequence[Any], columns: Columns | None, member: str) -> nn.Module:
    """Return what the fitted steps before a model do; raises TypeError if it cannot."""
    modules: list[nn.Module] = []
    for step in steps:
        if isinstance(step, TablePreparer) and columns is not None and not modules:
            modules.append(_TableModule(step, columns, member))
        elif isinstance(step, ChannelScaler):
            modules.append(_ScalerModule(step))
        elif isinstance(step, FunctionTransformer) and columns is None:
            # Of AutoML's, which flattens rows.
            modules.append(nn.Flatten())
        else:
            modules.append(_numbers_module(step, None, member))
    return nn.Sequential(*modules)


class _ScalerModule(nn.Module):
    """What ChannelScaler does."""

    mean: Tensor
    scale: Tensor

    def __init__(self, scaler: ChannelScaler) -> None:
        super().__init__()
        self.axis, self.channels_first = scaler.axis, scaler.channels_first
        self.register_buffer("mean", torch.as_tensor(scaler.mean_, dtype=torch.float64))
        self.register_buffer("scale", torch.as_tensor(scaler.scale_, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        scaled = (x - self.mean) / self.scale
        if not self.channels_first:
            return scaled
        return torch.where(scaled.isnan(), 0.0, scaled).movedim(self.axis, 1)


class _TableModule(nn.Module):
    """What TablePreparer does, block by block."""

    def __init__(self, prepare: TablePreparer, columns: Columns, member: str) -> None:
        super().__init__()
        places = {name: place for place, name in enumerate(columns)}
        blocks: list[nn.Module] = []
        for block, transformer, own in prepare.columns_.transformers_:
            if block == "remainder":
                continue
            positions = [places[name] for name in own]
            if isinstance(transformer, OneHotEncoder | CategoryCodes):
                known = [columns[name][1] for name in own]
                blocks.append(_LookUp(transformer, own, positions, known))
            elif isinstance(transformer, MissingIndicator):
                blocks.append(_Missing(positions))
            elif block == "circles":
                blocks.append(_circles_module(transformer, positions))
            else:
                blocks.append(_numbers_module(transformer, positions, member))
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([block(x) for block in self.blocks], dim=1)


class _Columns(nn.Module):
    """Some columns of the input."""

    positions: Tensor

    def __init__(self, positions: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("positions", torch.as_tensor(positions))

    def forward(self, x: Tensor) -> Tensor:
        """Return them; infinity counts as missing."""
        own = x.index_select(1, self.positions)
        return torch.where(own.isinf(), torch.nan, own)


class _Missing(_Columns):
    """1 where a value is missing."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).isnan().double()


def _numbers_module(
    transformer: Any, positions: Sequence[int] | None, member: str
) -> nn.Module:
    """Return what a transformer of numbers does, if it is one that ONNX can express."""
    steps = list(transformer) if isinstance(transformer, Pipeline) else [transformer]
    fill: Any = np.nan
    if isinstance(steps[-1], SimpleImputer):
        fill = np.asarray(steps.pop().statistics_, dtype=np.float64)
        if np.isnan(fill).any():
            raise not_expressible(member, "a column of missing values only")
    flat = [
        own for step in steps for own in (step if isinstance(step, Pipeline) else [step])
    ]
    n = None if positions is None else len(positions)
    chosen = [] if positions is None else [_Columns(positions)]
    return nn.Sequential(
        *chosen, *(_scaler(step, n, member) for step in flat), _Fill(fill, n)
    )


def _scaler(scaler: Any, n_columns: int | None, member: str) -> nn.Module:
    if isinstance(scaler, SmoothClipScaler):
        return _Scale(
            n_columns, center=scaler.center_, scale=scaler.scale_, clips="smoothly"
        )
    if isinstance(scaler, StandardScaler):
        return _Scale(n_columns, center=scaler.mean_, divisor=scaler.scale_)
    if isinstance(scaler, MinMaxScaler) and scaler.feature_range == (-1, 1):
        clips = "hard" if scaler.clip else ""
        return _Scale(n_columns, scale=scaler.scale_, shift=scaler.min_, clips=clips)
    if isinstance(scaler, QuantileTransformer) and scaler.output_distribution == "normal":
        return Quantiles(scaler)
    if isinstance(scaler, FunctionTransformer) and scaler.func is None:
        return nn.Identity()
    raise not_expressible(member, f"a {type(scaler).__name__}")


class _Fill(nn.Module):
    """A value of each column in the place of missing ones."""

    fill: Tensor

    def __init__(self, fill: Any, n_columns: int | None) -> None:
        super().__init__()
        self.register_buffer("fill", _numbers(fill, n_columns))

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x.isnan(), self.fill, x)


class _Scale(nn.Module):
    """Numbers that are shifted, scaled and clipped."""

    center: Tensor
    divisor: Tensor
    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        n_columns: int | None,
        *,
        center: Any = 0.0,
        divisor: Any = 1.0,
        scale: Any = 1.0,
        shift: Any = 0.0,
        clips: str = "",
    ) -> None:
        super().__init__()
        self.clips = clips
        numbers = {"center": center, "divisor": divisor, "scale": scale, "shift": shift}
        for name, values in numbers.items():
            self.register_buffer(name, _numbers(values, n_columns))

    def forward(self, x: Tensor) -> Tensor:
        # To the last bit as scikit-learn does it: of what is equal to a value of the
        # training rows, quantiles make something else than of its neighbours.
        scaled = (x - self.center) / self.divisor * self.scale + self.shift
        if self.clips == "smoothly":
            scaled = scaled.clamp(-_HUGE, _HUGE)
            return scaled / (1 + (scaled / _BOUND).square()).sqrt()
        return scaled.clamp(-1.0, 1.0) if self.clips == "hard" else scaled


def _numbers(values: Any, n_columns: int | None) -> Tensor:
    own = np.asarray(values, dtype=np.float64)
    if n_columns is not None:
        own = np.broadcast_to(own, n_columns)
    return torch.from_numpy(own.copy())


def _circles_module(transformer: Any, positions: Sequence[int]) -> nn.Module:
    steps = list(transformer) if isinstance(transformer, Pipeline) else [transformer]
    flat = [
        own for step in steps for own in (step if isinstance(step, Pipeline) else [step])
    ]
    modules: list[nn.Module] = [_Columns(positions)]
    for step in flat:
        if isinstance(step, VarianceThreshold):
            modules.append(_Columns(np.flatnonzero(step.get_support()).tolist()))
        elif isinstance(step, SimpleImputer):
            modules.append(_Fill(step.statistics_, None))
        else:
            modules.append(Circles())
    return nn.Sequential(*modules)


class _LookUp(_Columns):
    """What an encoder makes of categories, from a table for each column."""

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
        # Missing is a category, or as unknown as others that no training row had.
        self.missing = [
            values.index(MISSING) if MISSING in values else len(values) for values in known
        ]
        for number, (name, values) in enumerate(zip(names, known, strict=True)):
            rows = pd.concat([unknown] * (len(values) + 1), ignore_index=True)
            rows[name] = [*values, _UNKNOWN]
            made = np.asarray(encoder.transform(rows), dtype=np.float64)
            self.register_buffer(f"table{number}", torch.from_numpy(made - base))

    def forward(self, x: Tensor) -> Tensor:
        own, total = super().forward(x), self.base
        for number, (n, missing) in enumerate(zip(self.sizes, self.missing, strict=True)):
            code = own[:, number]
            is_known = (code >= 0) & (code < n)
            place = torch.where(is_known, code, float(n))
            place = torch.where(code.isnan(), float(missing), place).long()
            total = total + getattr(self, f"table{number}")[place]
        return total
