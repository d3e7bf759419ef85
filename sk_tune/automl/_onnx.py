# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""An average of networks as one ONNX model, with what prepares their columns.

Each network has a preparation of its own, fitted on its fold.  The model takes a column as
a number, of a category its place in a list; what a preparation makes of a category is
looked up in a table, which the fitted transformer filled.

Notation: n rows, c columns, v categories that some member knows, one more for all others.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    OneHotEncoder,
    StandardScaler,
)
from torch import Tensor, nn

from sk_tune._files import replaced_file
from sk_tune.automl._blend import Blend
from sk_tune.automl._channel_scaler import ChannelScaler
from sk_tune.ensemble import network_of
from sk_tune.estimators import NetworkPredictor, export_module
from sk_tune.prepare import MISSING, CategoryCodes, SmoothClipScaler, TablePreparer

__all__ = ["export_blend"]

Array = npt.NDArray[Any]

# The text that no table holds, for categories that nobody knows.
_UNKNOWN = "\0unknown"
_BOUND = 3.0  # Of SmoothClipScaler.
_HUGE = 1e100
_SMALLEST = 1e-7  # Probability, as of temperatures.


def export_blend(blend: Blend, path: str | Path) -> dict[str, Any]:
    """Write an average of networks as an ONNX model.

    Parameters
    ----------
    blend : Blend
        Of networks behind a preparation.
    path : str or Path
        File to write.

    Returns
    -------
    dict
        "inputs", the columns of the model's X: each with "name", "kind" and, of categories,
        "values", whose positions stand for them, any other number for an unknown one;
        "members", each with "model", "fold" and "weight"; "classes".

    Raises
    ------
    TypeError
        If a member cannot be written; it is named with the reason.
    ImportError
        If onnx or onnxscript is not installed.
    """
    members = blend.combination.members
    for name, member in zip(blend.names, members, strict=True):
        if network_of(member.estimator) is None:
            raise TypeError(
                "An ensemble must consist of networks to be one ONNX model. Got "
                f"{name!r}, which is a {type(member.estimator[-1]).__name__}. Export the "
                "networks alone, or keep the model with joblib.dump."
            )
    columns = _columns(blend)
    module = _BlendModule(blend, columns).eval().cpu()
    if columns is None:
        network: Any = members[0].estimator[-1]
        example = torch.zeros(2, *_row_shape(members[0].estimator[0], network))
    else:
        example = torch.zeros(2, len(columns))
    devices = [member.estimator[-1].net_.device for member in members]
    try:
        with replaced_file(Path(path)) as temporary:
            export_module(
                module,
                example.double(),
                temporary,
                is_classifier=blend.classes is not None,
            )
    finally:
        for member, device in zip(members, devices, strict=True):
            member.estimator[-1].net_.module_.to(device)
    return _about(blend, columns)


def _about(blend: Blend, columns: Mapping[str, Any] | None) -> dict[str, Any]:
    folds: dict[str, int] = {}
    members = []
    for name, member in zip(blend.names, blend.combination.members, strict=True):
        fold = folds[name] = folds.get(name, -1) + 1
        members.append({"model": name, "fold": fold, "weight": member.weight})
    inputs: list[dict[str, Any]] = []
    for name, values in (columns or {}).items():
        kind = {"kind": "number"} if values is None else {"kind": "category"}
        own = {} if values is None else {"values": list(values)}
        inputs.append({"name": name, **kind, **own})
    classes = [] if blend.classes is None else [str(label) for label in blend.classes]
    return {"inputs": inputs, "classes": classes, "members": members}


def _columns(blend: Blend) -> dict[str, list[str] | None] | None:
    """Return the columns that members need, of categories with all that are known.

    None if rows are no tables.
    """
    columns: dict[str, list[str] | None] = {}
    for name, member in zip(blend.names, blend.combination.members, strict=True):
        prepare = member.estimator[0]
        if isinstance(prepare, ChannelScaler):
            return None
        if not isinstance(prepare, TablePreparer) or len(member.estimator) != 2:
            raise _not_expressible(name, f"a {type(prepare).__name__}")
        for column, kind in prepare.kinds_:
            is_category = kind == "category"
            known = columns.setdefault(column, [] if is_category else None)
            if is_category is (known is None):
                raise TypeError(
                    "Members must take a column for the same kind to be one ONNX model. "
                    f"Got {column!r}, which is a {kind} in {name!r} only."
                )
        for _, encoder, own in prepare.columns_.transformers_:
            found = getattr(encoder, "encoder_", encoder)
            if not hasattr(found, "categories_"):
                continue
            for column, values in zip(own, found.categories_, strict=True):
                listed = columns[column]
                if listed is not None:
                    listed += [str(v) for v in values if str(v) not in listed]
    return columns


def _not_expressible(name: str, what: str) -> TypeError:
    return TypeError(
        f"The preparation of each member must be one that ONNX can express. Got {name!r} "
        f"with {what}. Keep the model with joblib.dump, or fit without columns of dates."
    )


def _row_shape(scaler: ChannelScaler, network: Any) -> tuple[int, ...]:
    """Return the shape of a row before it was scaled."""
    shape = list(network.input_shape_)
    if scaler.channels_first:
        shape.insert(scaler.axis % (len(shape) + 1) - 1, shape.pop(0))
    return tuple(shape)


class _BlendModule(nn.Module):
    """The weighted sum of networks, each behind its preparation."""

    def __init__(self, blend: Blend, columns: Mapping[str, Any] | None) -> None:
        super().__init__()
        self.is_classifier = blend.classes is not None
        self.temperature = blend.temperature
        fronts: list[nn.Module] = []
        predictors: list[nn.Module] = []
        for number, (name, member) in enumerate(
            zip(blend.names, blend.combination.members, strict=True)
        ):
            prepare, network = member.estimator[0], member.estimator[-1]
            if columns is None:
                fronts.append(_ScalerModule(prepare))
            else:
                fronts.append(_TableModule(prepare, columns, name))
            predictors.append(NetworkPredictor(network))
            n_columns, places = 1, np.zeros(1, dtype=np.intp)
            if blend.classes is not None:
                # A fold may lack a class.
                n_columns = len(blend.classes)
                places = np.searchsorted(blend.classes, network.classes_)
            matrix = torch.zeros(len(places), n_columns, dtype=torch.float64)
            matrix[torch.arange(len(places)), torch.from_numpy(places)] = member.weight
            self.register_buffer(f"matrix{number}", matrix)
        self.fronts = nn.ModuleList(fronts)
        self.predictors = nn.ModuleList(predictors)
        self.dtypes = [
            getattr(torch, member.estimator[-1].dtype)
            for member in blend.combination.members
        ]

    def forward(self, x: Tensor) -> Tensor:
        total: Any = 0.0
        for number, (front, predictor) in enumerate(
            zip(self.fronts, self.predictors, strict=True)
        ):
            own = predictor(front(x).to(self.dtypes[number]))
            total = total + own.double() @ getattr(self, f"matrix{number}")
        if self.is_classifier:
            total = total / total.sum(dim=1, keepdim=True)
            if self.temperature != 1:
                total = (total.clamp_min(_SMALLEST).log() / self.temperature).softmax(dim=1)
        result: Tensor = total.float()
        return result


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

    def __init__(
        self, prepare: TablePreparer, columns: Mapping[str, Any], member: str
    ) -> None:
        super().__init__()
        places = {name: place for place, name in enumerate(columns)}
        blocks: list[nn.Module] = []
        for block, transformer, own in prepare.columns_.transformers_:
            if block == "remainder":
                continue
            positions = [places[name] for name in own]
            if isinstance(transformer, OneHotEncoder | CategoryCodes):
                known = [columns[name] for name in own]
                blocks.append(_LookUp(transformer, own, positions, known))
            elif isinstance(transformer, MissingIndicator):
                blocks.append(_Missing(positions))
            elif block in {"days", "circles"}:
                raise _not_expressible(member, f"columns of dates, {', '.join(own)}")
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

    def chosen(self, x: Tensor) -> Tensor:
        """Return them; infinity counts as missing."""
        own = x.index_select(1, self.positions)
        return torch.where(own.isinf(), torch.nan, own)


class _Missing(_Columns):
    """1 where a value is missing."""

    def forward(self, x: Tensor) -> Tensor:
        return self.chosen(x).isnan().double()


class _Numbers(_Columns):
    """Numbers that are shifted, scaled, clipped and filled."""

    center: Tensor
    scale: Tensor
    shift: Tensor
    fill: Tensor

    def __init__(
        self, positions: Sequence[int], numbers: Mapping[str, Any], clips: str
    ) -> None:
        super().__init__(positions)
        self.clips = clips
        for name, values in numbers.items():
            own = np.broadcast_to(np.asarray(values, dtype=np.float64), len(positions))
            self.register_buffer(name, torch.from_numpy(own.copy()))

    def forward(self, x: Tensor) -> Tensor:
        own = self.chosen(x)
        is_missing = own.isnan()
        scaled = (torch.where(is_missing, 0.0, own) - self.center) * self.scale + self.shift
        if self.clips == "smoothly":
            scaled = scaled.clamp(-_HUGE, _HUGE)
            scaled = scaled / (1 + (scaled / _BOUND).square()).sqrt()
        elif self.clips == "hard":
            scaled = scaled.clamp(-1.0, 1.0)
        return torch.where(is_missing, self.fill, scaled)


def _numbers_module(transformer: Any, positions: Sequence[int], member: str) -> _Numbers:
    """Return what a transformer of numbers does, if it is one that ONNX can express."""
    scaler: Any = transformer
    fill: Any = np.nan
    if isinstance(transformer, Pipeline):
        scaler, imputer = transformer[0], transformer[-1]
        if len(transformer) != 2 or not isinstance(imputer, SimpleImputer):
            raise _not_expressible(member, f"a {type(imputer).__name__}")
        fill = np.asarray(imputer.statistics_, dtype=np.float64)
        if np.isnan(fill).any():
            raise _not_expressible(member, "a column of missing values only")
    numbers: dict[str, Any] = {"center": 0.0, "scale": 1.0, "shift": 0.0, "fill": fill}
    if isinstance(scaler, SmoothClipScaler):
        numbers |= {"center": scaler.center_, "scale": scaler.scale_}
        return _Numbers(positions, numbers, "smoothly")
    if isinstance(scaler, StandardScaler):
        numbers |= {"center": scaler.mean_, "scale": 1 / scaler.scale_}
        return _Numbers(positions, numbers, "")
    if isinstance(scaler, MinMaxScaler) and scaler.feature_range == (-1, 1):
        numbers |= {"scale": scaler.scale_, "shift": scaler.min_}
        return _Numbers(positions, numbers, "hard" if scaler.clip else "")
    if isinstance(scaler, FunctionTransformer) and scaler.func is None:
        return _Numbers(positions, numbers, "")
    name = type(scaler[-1] if isinstance(scaler, Pipeline) else scaler).__name__
    raise _not_expressible(member, f"a {name}")


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
        own, total = self.chosen(x), self.base
        for number, (n, missing) in enumerate(zip(self.sizes, self.missing, strict=True)):
            code = own[:, number]
            is_known = (code >= 0) & (code < n)
            place = torch.where(is_known, code, float(n))
            place = torch.where(code.isnan(), float(missing), place).long()
            total = total + getattr(self, f"table{number}")[place]
        return total
