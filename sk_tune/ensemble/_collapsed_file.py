# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""A collapsed ensemble as one file: safetensors, with JSON in its header.

Nothing in a safetensors file is ever executed.  It holds networks of sk_tune's, and what
scalers in front of them do, as numbers; other estimators and transformers are code.
"""

from os import PathLike
from typing import Any

import numpy as np
import torch
from sklearn.pipeline import Pipeline
from torch import Tensor

import sk_tune.estimators as networks
from sk_tune.ensemble._affine import AffineMap, AffineScaler, affine_tail
from sk_tune.ensemble._combination import Member, network_of
from sk_tune.ensemble._parts import Parts
from sk_tune.estimators import (
    pack_network,
    read_file,
    unpack_network,
    write_file,
)

__all__ = ["load_parts", "network_and_scaler", "save_parts"]

# In front of the names of a scaler's numbers.
_SCALER = "scaler."


def save_parts(
    parts: Parts, name: str, path: str | PathLike[str], *, overwrite: bool
) -> None:
    """Write the parts of an ensemble of networks to a file, for the class of that `name`.

    Raises TypeError if a member is no network of sk_tune's, alone or behind scalers, and
    FileExistsError if there is a file that must not be replaced.
    """
    tensors: dict[str, Tensor] = {}
    members = []
    for number, member in enumerate(parts.members):
        network, scaler = network_and_scaler(member)
        own, description = pack_network(network)
        tensors |= {f"{number}.{key}": tensor for key, tensor in own.items()}
        if scaler is not None:
            tensors |= {f"{number}.{key}": t for key, t in _packed(scaler).items()}
        features = None if member.features is None else member.features.tolist()
        names = getattr(member.estimator, "feature_names_in_", None)
        members.append({
            "network": description,
            "weight": member.weight,
            "features": features,
            "names": None if names is None else list(map(str, names)),
        })
    description = {
        "class": name,
        "members": members,
        "n_features": parts.n_features,
        "takes_arrays": parts.takes_arrays,
        "names": None if parts.names is None else list(map(str, parts.names)),
        "classes": _plain(parts.classes),
        "member_classes": _plain(parts.member_classes),
        "link": parts.link,
        "offset": _plain(parts.offset),
        "temperature": parts.temperature,
    }
    write_file(path, tensors, description, overwrite=overwrite)


def load_parts(path: str | PathLike[str], name: str, module: Any) -> Parts:
    """Return the parts that :func:`save_parts` wrote for the class of that `name`.

    `module` is that of members that are ``NetClassifier`` or ``NetRegressor``. Raises
    ValueError if the file is damaged, foreign, or holds another class.
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
        scaler = _unpacked(weights)
        estimator = unpack_network(cls, weights, member["network"], module)
        if scaler is not None:
            if member.get("names") is not None:
                scaler.feature_names_in_ = np.array(member["names"], dtype=object)
            estimator = Pipeline([("scale", scaler), ("network", estimator)])
        members.append(
            Member(
                estimator,
                member["weight"],
                None if features is None else np.array(features, dtype=np.intp),
            )
        )
    names = description.get("names")
    classes, member_classes, offset = (
        _array(description[key]) for key in ("classes", "member_classes", "offset")
    )
    return Parts(
        members=tuple(members),
        n_features=description["n_features"],
        takes_arrays=description.get("takes_arrays", False),
        names=None if names is None else np.array(names, dtype=object),
        classes=classes,
        member_classes=member_classes,
        link=description["link"],
        offset=offset,
        temperature=description["temperature"],
    )


def network_and_scaler(member: Member) -> tuple[Any, AffineMap | None]:
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
            "of scikit-learn's, to be written to a file. Got "
            f"{_described(member.estimator)}; pickle the ensemble, or put other "
            "transformers in front of it, not of its members."
        )
    return network, scaler


def _described(estimator: Any) -> str:
    steps = [step for _, step in getattr(estimator, "steps", [])]
    inside = ", ".join(
        step if isinstance(step, str) else type(step).__name__ for step in steps
    )
    return f"a {type(estimator).__name__}" + (f" of {inside}" if inside else "")


def _packed(scaler: AffineMap) -> dict[str, Tensor]:
    """Return what a scaler does as tensors."""
    return {
        f"{_SCALER}{name}": torch.from_numpy(np.array(values))
        for name, values in scaler._asdict().items()
        if values is not None
    }


def _unpacked(tensors: dict[str, Tensor]) -> AffineScaler | None:
    """Take a scaler out of the tensors of a member."""
    names = [name for name in tensors if name.startswith(_SCALER)]
    own = {name.removeprefix(_SCALER): tensors.pop(name).numpy() for name in names}
    return AffineScaler(**own) if own else None


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
