# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""A collapsed ensemble as one ONNX model."""

from os import PathLike
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sk_tune.ensemble._affine import AffineMap, affine_tail
from sk_tune.ensemble._combination import Member, network_of
from sk_tune.ensemble._parts import Parts
from sk_tune.estimators import NetworkPredictor, export_module

__all__ = ["export_parts"]


def export_parts(parts: Parts, path: str | PathLike[str]) -> None:
    """Write the parts of an ensemble of networks as an ONNX model.

    Raises TypeError if a member is no network of sk_tune's, or members differ in dtype.
    """
    pairs = [_network_and_scaler(member) for member in parts.members]
    found = [network for network, _ in pairs]
    kinds = {
        (n.dtype, None if m.features is not None else _row_shape(n, scaler))
        for (n, scaler), m in zip(pairs, parts.members, strict=True)
    }
    if len(kinds) > 1:
        raise TypeError(
            "Members of an ensemble must take the same input to be one ONNX model. Got "
            f"{sorted(map(str, kinds))}."
        )
    ((dtype, shape),) = kinds
    example = torch.zeros(2, *(shape or (parts.n_features,)), dtype=getattr(torch, dtype))
    devices = [n.net_.device for n in found]
    module = _SumModule(parts, pairs).eval().cpu()
    try:
        export_module(module, example, path, is_classifier=parts.classes is not None)
    finally:
        for network, device in zip(found, devices, strict=True):
            network.net_.module_.to(device)


def _network_and_scaler(member: Member) -> tuple[Any, AffineMap | None]:
    """Return the network and the scaler, or None, that a member consists of.

    Raises TypeError if it is anything else.
    """
    network: Any = network_of(member.estimator)
    if network is not None and network is member.estimator:
        return network, None
    steps = [] if network is None else [step for _, step in member.estimator.steps[:-1]]
    n_others, scaler = affine_tail(steps)
    does_nothing = [step is None or isinstance(step, str) for step in steps[:n_others]]
    if network is None or not all(does_nothing):
        raise TypeError(
            "Members of an ensemble must be networks of sk_tune's, alone or behind scalers "
            "of scikit-learn's, to be one ONNX model. Got "
            f"{_described(member.estimator)}; put other transformers in front of the "
            "ensemble, not of its members."
        )
    return network, scaler


def _described(estimator: Any) -> str:
    steps = [step for _, step in getattr(estimator, "steps", [])]
    inside = ", ".join(
        step if isinstance(step, str) else type(step).__name__ for step in steps
    )
    return f"a {type(estimator).__name__}" + (f" of {inside}" if inside else "")


class _SumModule(nn.Module):
    """The weighted sum of members, and what is made of it."""

    offset: Tensor

    def __init__(self, parts: Parts, pairs: list[tuple[Any, AffineMap | None]]) -> None:
        super().__init__()
        first = pairs[0][0]
        dtype = getattr(torch, first.dtype)
        self.members = nn.ModuleList(
            _MemberModule(network, scaler, member.features)
            for (network, scaler), member in zip(pairs, parts.members, strict=True)
        )
        self.link = parts.link
        self.is_classifier = parts.classes is not None
        self.is_multilabel = parts.is_multilabel
        self.temperature = parts.temperature
        n_columns = first.n_outputs_
        if parts.member_classes is not None and not parts.is_multilabel:
            n_columns = len(parts.member_classes)
        for number, ((network, _), member) in enumerate(
            zip(pairs, parts.members, strict=True)
        ):
            # Columns of a member, times its weight, to columns of the sum.
            columns = np.arange(n_columns)
            if parts.member_classes is not None and not parts.is_multilabel:
                columns = np.searchsorted(parts.member_classes, network.classes_)
            matrix = torch.zeros(network.n_outputs_, n_columns, dtype=dtype)
            matrix[torch.arange(len(columns)), torch.from_numpy(columns)] = member.weight
            self.register_buffer(f"matrix{number}", matrix)
        offset = torch.zeros(n_columns, dtype=dtype)
        if parts.offset is not None:
            offset = torch.as_tensor(parts.offset, dtype=dtype)
        self.register_buffer("offset", offset)

    def forward(self, x: Tensor) -> Tensor:
        total = self.offset
        for number, member in enumerate(self.members):
            total = total + member(x) @ getattr(self, f"matrix{number}")
        if self.link == "logistic":
            return torch.cat([(-total).sigmoid(), total.sigmoid()], dim=1)
        if self.link == "softmax":
            return total.softmax(dim=1)
        if self.is_classifier and self.temperature != 1:
            if self.is_multilabel:
                inside = total.clamp(1e-7, 1 - 1e-7)
                return ((inside / (1 - inside)).log() / self.temperature).sigmoid()
            return (total.clamp_min(1e-7).log() / self.temperature).softmax(dim=1)
        return total


class _MemberModule(nn.Module):
    """A network behind its columns and its scaler."""

    features: Tensor | None
    center: Tensor | None
    scale: Tensor | None
    fill: Tensor | None

    def __init__(self, network: Any, scaler: AffineMap | None, features: Any) -> None:
        super().__init__()
        self.predictor = NetworkPredictor(network)
        self.dtype = getattr(torch, network.dtype)
        self.input_shape = network.input_shape_
        center, scale, fill = (None, None, None) if scaler is None else scaler
        buffers = {"features": features, "center": center, "scale": scale, "fill": fill}
        for name, values in buffers.items():
            own = None if values is None else torch.from_numpy(values)
            self.register_buffer(name, own)

    def forward(self, x: Tensor) -> Tensor:
        own = x if self.features is None else x.index_select(1, self.features)
        if self.center is not None and self.scale is not None:
            # In float64, as the scaler does: what is far from 0 loses digits in float32.
            scaled = (own.double() - self.center) * self.scale
            if self.fill is not None:
                scaled = torch.where(own.isnan(), self.fill, scaled)
            own = scaled.to(self.dtype).view(-1, *self.input_shape)
        outputs: Tensor = self.predictor(own)
        return outputs


def _row_shape(network: Any, scaler: AffineMap | None) -> tuple[int, ...]:
    """Return the shape of a row as it comes."""
    return network.input_shape_ if scaler is None else (len(scaler.center),)
