# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""A collapsed ensemble as one file: safetensors, with JSON in its header, or ONNX.

Nothing in a safetensors file is ever executed.  It holds networks of sk_tune's only: other
estimators, and transformers in front of networks, are code.
"""

from os import PathLike
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import sk_tune.estimators as networks
from sk_tune.ensemble._combination import Member, network_of
from sk_tune.ensemble._parts import Parts
from sk_tune.estimators import (
    NetworkPredictor,
    export_module,
    pack_network,
    read_file,
    unpack_network,
    write_file,
)

__all__ = ["export_parts", "load_parts", "save_parts"]


def save_parts(
    parts: Parts, name: str, path: str | PathLike[str], *, overwrite: bool
) -> None:
    """Write the parts of an ensemble to a file.

    Parameters
    ----------
    parts : Parts
        Of networks.
    name : str
        Of the class that is saved.
    path : str or path-like
        File to write.
    overwrite : bool
        Whether a file that exists may be replaced.

    Raises
    ------
    TypeError
        If a member is no network of sk_tune's.
    FileExistsError
        If there is a file that must not be replaced.
    """
    tensors: dict[str, Tensor] = {}
    members = []
    for number, member in enumerate(parts.members):
        own, description = pack_network(_network(member))
        tensors |= {f"{number}.{key}": tensor for key, tensor in own.items()}
        features = None if member.features is None else member.features.tolist()
        members.append({
            "network": description,
            "weight": member.weight,
            "features": features,
        })
    description = {
        "class": name,
        "members": members,
        "n_features": parts.n_features,
        "classes": _plain(parts.classes),
        "member_classes": _plain(parts.member_classes),
        "link": parts.link,
        "offset": _plain(parts.offset),
        "temperature": parts.temperature,
    }
    write_file(path, tensors, description, overwrite=overwrite)


def load_parts(path: str | PathLike[str], name: str, module: Any) -> Parts:
    """Return the parts that a file holds.

    Parameters
    ----------
    path : str or path-like
        File from :func:`save_parts`.
    name : str
        Of the class that was saved.
    module : callable or None
        The module of members that are ``NetClassifier`` or ``NetRegressor``.

    Returns
    -------
    Parts
        With members on this machine's device.

    Raises
    ------
    ValueError
        If the file is damaged, foreign, or holds another class.
    """
    tensors, description = read_file(path)
    if description["class"] != name:
        raise ValueError(
            f"{path} must hold a {name}. Got a {description['class']}; load it with the "
            "load method of that class."
        )
    own: list[dict[str, Tensor]] = [{} for _ in description["members"]]
    for key, tensor in tensors.items():
        number, _, rest = key.partition(".")
        own[int(number)][rest] = tensor
    members = []
    for weights, member in zip(own, description["members"], strict=True):
        cls = _class_named(member["network"]["class"])
        features = member["features"]
        members.append(
            Member(
                unpack_network(cls, weights, member["network"], module),
                member["weight"],
                None if features is None else np.array(features, dtype=np.intp),
            )
        )
    classes, member_classes, offset = (
        _array(description[key]) for key in ("classes", "member_classes", "offset")
    )
    return Parts(
        members=tuple(members),
        n_features=description["n_features"],
        classes=classes,
        member_classes=member_classes,
        link=description["link"],
        offset=offset,
        temperature=description["temperature"],
    )


def export_parts(parts: Parts, path: str | PathLike[str]) -> None:
    """Write the parts of an ensemble as an ONNX model.

    Parameters
    ----------
    parts : Parts
        Of networks.
    path : str or path-like
        File to write.

    Raises
    ------
    TypeError
        If a member is no network of sk_tune's, or members differ in dtype.
    """
    found = [_network(member) for member in parts.members]
    kinds = {
        (n.dtype, n.input_shape_ if m.features is None else None)
        for n, m in zip(found, parts.members, strict=True)
    }
    if len(kinds) > 1:
        raise TypeError(
            "Members of an ensemble must take the same input to be one ONNX model. Got "
            f"{sorted(map(str, kinds))}."
        )
    ((dtype, shape),) = kinds
    example = torch.zeros(2, *(shape or (parts.n_features,)), dtype=getattr(torch, dtype))
    devices = [n.net_.device for n in found]
    module = _SumModule(parts, found).eval().cpu()
    try:
        export_module(module, example, path, is_classifier=parts.classes is not None)
    finally:
        for network, device in zip(found, devices, strict=True):
            network.net_.module_.to(device)


class _SumModule(nn.Module):
    """The weighted sum of members, and what is made of it."""

    offset: Tensor

    def __init__(self, parts: Parts, found: list[Any]) -> None:
        super().__init__()
        dtype = getattr(torch, found[0].dtype)
        self.members = nn.ModuleList(map(NetworkPredictor, found))
        self.link = parts.link
        self.is_classifier = parts.classes is not None
        self.temperature = parts.temperature
        n_columns = found[0].n_outputs_
        if parts.member_classes is not None:
            n_columns = len(parts.member_classes)
        self.n_members = len(found)
        for number, (member, network) in enumerate(zip(parts.members, found, strict=True)):
            # Columns of a member, times its weight, to columns of the sum.
            columns = np.arange(n_columns)
            if parts.member_classes is not None:
                columns = np.searchsorted(parts.member_classes, network.classes_)
            matrix = torch.zeros(network.n_outputs_, n_columns, dtype=dtype)
            matrix[torch.arange(len(columns)), torch.from_numpy(columns)] = member.weight
            self.register_buffer(f"matrix{number}", matrix)
            index = None if member.features is None else torch.from_numpy(member.features)
            self.register_buffer(f"features{number}", index)
        offset = torch.zeros(n_columns, dtype=dtype)
        if parts.offset is not None:
            offset = torch.as_tensor(parts.offset, dtype=dtype)
        self.register_buffer("offset", offset)

    def forward(self, x: Tensor) -> Tensor:
        total = self.offset
        for number, member in enumerate(self.members):
            features = getattr(self, f"features{number}")
            own = x if features is None else x.index_select(1, features)
            total = total + member(own) @ getattr(self, f"matrix{number}")
        if self.link == "logistic":
            return torch.cat([(-total).sigmoid(), total.sigmoid()], dim=1)
        if self.link == "softmax":
            return total.softmax(dim=1)
        if self.is_classifier and self.temperature != 1:
            return (total.clamp_min(1e-7).log() / self.temperature).softmax(dim=1)
        return total


def _network(member: Member) -> Any:
    """Return the network that is all there is to a member."""
    if network_of(member.estimator) is not member.estimator:
        raise TypeError(
            "Members of an ensemble must be networks of sk_tune's to be written to a file. "
            f"Got a {type(member.estimator).__name__}; pickle the ensemble, or put "
            "transformers in front of it, not of its members."
        )
    return member.estimator


def _class_named(name: str) -> type:
    if name not in networks.__all__ or not name.endswith(("Classifier", "Regressor")):
        raise ValueError(f"The file must hold networks of sk_tune's. Got a {name!r}.")
    cls: type = getattr(networks, name)
    return cls


def _plain(values: Any) -> Any:
    """Return an array as JSON knows it."""
    if values is None:
        return None
    if values.dtype.kind not in "biufUO":
        raise TypeError(f"Labels must be numbers or strings. Got type {values.dtype}.")
    return {"values": values.tolist(), "dtype": values.dtype.str}


def _array(plain: Any) -> Any:
    return None if plain is None else np.array(plain["values"], dtype=plain["dtype"])
