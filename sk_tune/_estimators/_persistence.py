# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""A fitted estimator as one file: safetensors with JSON in its header, or an ONNX model.

Loading a safetensors file never executes code: weights are numbers, and the rest is JSON
that is decoded into plain values.  Other runtimes run ONNX models without Python.
"""

import hashlib
import json
import math
import os
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from sklearn.base import is_classifier
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from sk_tune._augment import AUGMENTATIONS
from sk_tune._estimators._net_state import load_training_state, to_arrays, training_state
from sk_tune._estimators._onnx_layers import add_network
from sk_tune._estimators._validation import resolve_device
from sk_tune._files import replaced_file
from sk_tune._json_values import decode, encode
from sk_tune._numerical_embedding import EMBEDDINGS
from sk_tune._onnx_graph import Graph
from sk_tune._training import (
    TrainingState,
    arrays_of_state,
    state_from_arrays,
    values_of_state,
)
from sk_tune._warnings import warn_user
from sk_tune.exceptions import SavingWarning

FORMAT_VERSION = 1

_KEY = "sk_tune"
# Attributes that are neither parameters nor learnt from the data: the network, which is
# saved as tensors, and scikit-learn's settings of routing, output and callbacks.
_NOT_LEARNT = frozenset(
    {"net_", "_fitted_params"}
    | {"_metadata_request", "_sklearn_output_config", "_skl_callbacks"}
)
_NOT_SAVED = {"callbacks", "module"}
# Limit of a sample's size; a user's module is called with two samples when it is built.
_MOST_FEATURES = 2**27


class Persistence:
    """Persistence of a fitted network: in files, by pickle and by skops."""

    net_: Any
    input_shape_: tuple[int, ...]

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the fitted estimator to a safetensors file, completely or not at all.

        The file holds the weights, learnt attributes and the training state, so that
        ``partial_fit`` continues exactly.  Callbacks and the code of a user's module are
        not saved.

        Raises
        ------
        FileExistsError
            If the file exists and `overwrite` is False.
        """
        check_is_fitted(self)
        write_file(path, *pack_network(self, for_training=True), overwrite=overwrite)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, module: Any = None) -> Self:
        """Return the estimator saved by ``save``, without executing code from the file.

        Parameters
        ----------
        module : class, callable or torch.nn.Module, default=None
            The module of a ``NetClassifier`` or ``NetRegressor``.

        Raises
        ------
        ValueError
            If the file is damaged, was not written by ``save``, is of a newer version, or
            contains another class.
        """
        unpack = partial(unpack_network, cls, module=module)
        estimator: Self = load_with(unpack, path, cls.__name__)
        return estimator

    def to_onnx(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted network as an ONNX model.

        The input ``X`` has shape ``(n_samples, *input_shape_)`` and type ``dtype``.  The
        output is ``probabilities``, in the order of ``classes_``, or ``prediction`` in the
        units of y and the type of ``predict``.  Steps of NaN at the end of a sequence are
        padding.  Requires the extra ``export``.

        Notes
        -----
        The networks of sk_tune, and an ``nn.Sequential`` of common layers, take less than a
        second.  ``torch.onnx`` writes all other modules, which may take minutes; a warning
        says so.
        """
        check_is_fitted(self)
        # The dtype of the network, even if the parameter was set to another one afterwards.
        graph = Graph(self.input_shape_, self.net_.options.dtype)
        kind = "probabilities" if is_classifier(self) else "prediction"
        graph.write(path, add_network(graph, graph.X, self), kind)

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()  # type: ignore[assignment]
        return {**state, "net_": _StoredNet(state["net_"])} if "net_" in state else state

    def __setstate__(self, state: dict[str, Any]) -> None:
        stored = state.get("net_")
        if isinstance(stored, _StoredNet):
            state = {**state, "net_": stored.net}
            if isinstance(stored.net, dict):
                # Build the net with the parameters that the estimator was fitted with.
                fitted = object.__new__(type(self))
                vars(fitted).update({n: v for n, v in state.items() if n != "net_"})
                vars(fitted).update(state["_fitted_params"])
                tensors = {n: torch.from_numpy(array) for n, array in stored.net.items()}
                state["net_"] = _restore_net(fitted, json.loads(stored.values), tensors)
        super().__setstate__(state)  # type: ignore[misc]


class _StoredNet:
    """A net in the state of an estimator: itself for pickle, its arrays for skops.

    skops cannot store tensors and calls ``__reduce__``; pickle calls ``__reduce_ex__``.
    """

    def __init__(self, net: Any, values: str = "") -> None:
        self.net, self.values = net, values

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return type(self), (self.net, self.values)

    def __reduce__(self) -> tuple[Any, ...]:
        state = training_state(self.net)
        return type(self), (arrays_of_state(state), json.dumps(_values_of(state)))


def write_file(
    path: str | os.PathLike[str],
    tensors: dict[str, Tensor],
    description: dict[str, Any],
    *,
    overwrite: bool,
) -> None:
    """Write tensors and a JSON-compatible description, completely or not at all."""
    target = Path(path)
    if target.exists() and not overwrite:
        raise FileExistsError(f"{target} exists. Pass overwrite=True to replace it.")
    description = {"version": FORMAT_VERSION, **description}
    description["checksum"] = _checksum(tensors, description)
    data = save(tensors, {_KEY: json.dumps(description)})
    with replaced_file(target) as temporary:
        temporary.write_bytes(data)


def pack_network(
    estimator: Any, *, for_training: bool = False
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return a network, `for_training` or prediction, as tensors and a description."""
    if not hasattr(estimator, "net_"):
        return {}, _describe_params(estimator, estimator.get_params(deep=False))
    if for_training:
        state = training_state(estimator.net_)
    else:
        seed = estimator.net_.options.seed
        weights = to_arrays(estimator.net_.module_.state_dict())
        state = TrainingState(seed=seed, weights=weights, moments={})
    arrays = arrays_of_state(state)
    description = {
        **_values_of(state),
        **_describe_params(estimator, estimator._fitted_params),
        "learnt": _describe_learnt(estimator),
    }
    return {name: torch.from_numpy(array) for name, array in arrays.items()}, description


def unpack_network(
    cls: type, tensors: dict[str, Tensor], description: dict[str, Any], module: Any = None
) -> Any:
    """Return the network of class `cls` that :func:`pack_network` packed."""
    params = decode(description["params"], _unpacked)
    if description["needs_module"]:
        # A class of a user may have a module as its default.
        params["module"] = getattr(cls, "module", None) if module is None else module
        if params["module"] is None:
            raise _ModuleNeeded(cls.__name__)
    estimator = cls(**params)
    if "learnt" not in description:
        return estimator
    learnt = decode(description["learnt"])
    vars(estimator).update({n: v for n, v in learnt.items() if _can_be_learnt(cls, n)})
    estimator.net_ = _restore_net(estimator, description, tensors)
    estimator._fitted_params = estimator.get_params(deep=False)
    return estimator


class _ModuleNeeded(Exception):
    """Loading a user's network requires its module; the text names the class."""


def load_with(
    unpack: Callable[[dict[str, Tensor], dict[str, Any]], Any],
    path: str | os.PathLike[str],
    name: str | None,
) -> Any:
    """Return the result of `unpack` for the tensors and the description in a file."""
    tensors, description = read_file(path)
    class_name = description.get("class")
    if name is not None and name != class_name:
        raise ValueError(
            f"{path} must hold a {name}. Got a {class_name}; load it with the load method "
            "of that class, or with sk_tune.load."
        )
    try:
        return unpack(tensors, description)
    except _ModuleNeeded as error:
        raise ValueError(
            f"The module of a {error} is code, which {path} does not contain. Pass it as "
            "module."
        ) from None
    except Exception as error:
        raise ValueError(
            f"The weights and parameters in {path} must match a {class_name} and, for "
            f"your own network, its original module. Got {error!r}."
        ) from error


def _describe_learnt(estimator: Any) -> Any:
    """Return all attributes that fit learnt from the data, as values for JSON."""
    params, learnt = estimator.get_params(deep=False), []
    for name, value in vars(estimator).items():
        if name not in params and _can_be_learnt(type(estimator), name):
            try:
                learnt.append([name, encode(value)])
            except TypeError as error:
                warn_user(f"The attribute {name!r} cannot be saved. {error}", SavingWarning)
    return {"dict": learnt}


def _can_be_learnt(cls: type, name: str) -> bool:
    """Return whether a name can be a learnt attribute, not a method or property."""
    class_attribute = getattr(cls, name, None)
    is_defined = callable(class_attribute) or isinstance(class_attribute, property)
    return name not in _NOT_LEARNT and not is_defined


def _describe_params(estimator: Any, params: dict[str, Any]) -> dict[str, Any]:
    if params["callbacks"]:
        warn_user(
            "The callbacks of the estimator are code and are not saved.", SavingWarning
        )
    if isinstance(params["random_state"], np.random.RandomState):
        params = {**params, "random_state": None}
    encoded = []
    for name in sorted(params.keys() - _NOT_SAVED):
        try:
            encoded.append([name, encode(params[name], _packed)])
        except TypeError as error:
            raise TypeError(f"The parameter {name!r} cannot be saved. {error}") from error
    return {
        "class": type(estimator).__name__,
        "needs_module": "module" in params,
        "params": {"dict": encoded},
    }


# Classes by name whose instances are values of parameters: dataclasses of numbers.
_VALUES: dict[str, dict[str, Any]]
_VALUES = {"augmentation": AUGMENTATIONS, "embedding": EMBEDDINGS}


def _packed(value: Any) -> Any:
    # Array-likes, such as a pandas Index of column names, are saved as lists.
    if isinstance(value, pd.Index | pd.Series):
        return encode(value.tolist())
    kinds = (kind for kind, classes in _VALUES.items() if type(value) in classes.values())
    kind = next(kinds, None)
    return None if kind is None else {kind: value.name, **asdict(value)}


def _unpacked(packed: dict[str, Any]) -> Any:
    kind = "augmentation" if "augmentation" in packed else "embedding"
    numbers = {name: value for name, value in packed.items() if name != kind}
    return _VALUES[kind][packed[kind]](**numbers)


def _values_of(state: TrainingState) -> dict[str, Any]:
    values = values_of_state(state)
    return {**values, "history": encode(values["history"])}


# Readers of files that are mistaken for files of save.
_READERS = {
    ".csv": "pandas.read_csv", ".joblib": "joblib.load", ".npy": "numpy.load",
    ".npz": "numpy.load", ".pickle": "pickle.load", ".pkl": "pickle.load",
}  # fmt: skip


def read_file(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the description that :func:`write_file` wrote."""
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} must be a file that save wrote. Got a folder.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        reader = _READERS.get(path.suffix.lower())
        problem = f"damaged file, or a file of another kind: {error}"
        if reader is not None:
            problem = f"{path.suffix} file, which {reader} reads."
        raise ValueError(
            f"{path} must be a file that save wrote. Got a {problem}"
        ) from error
    if _KEY not in metadata:
        raise ValueError(
            f"{path} must be a file that save wrote. Got a safetensors file from another "
            "program."
        )
    try:
        description = json.loads(metadata[_KEY])
        version, checksum = int(description["version"]), description["checksum"]
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError) as error:
        raise ValueError(
            f"{path} must be a file that save wrote. Its description is not readable: "
            f"{error!r}"
        ) from error
    if version > FORMAT_VERSION:
        raise ValueError(
            f"{path} has format {version}. This version of sk_tune reads formats up to "
            f"{FORMAT_VERSION}. Update sk_tune."
        )
    if checksum != _checksum(tensors, description):
        raise ValueError(f"{path} is damaged: its content does not match its checksum.")
    return tensors, description


def _restore_net(
    estimator: Any, description: dict[str, Any], tensors: dict[str, Tensor]
) -> Any:
    try:
        device = resolve_device(estimator)
    except ValueError as error:
        warn_user(f"{error} The network is loaded on the CPU.", SavingWarning)
        device = "cpu"
    _check_size(estimator, tensors)
    net = estimator._make_net(description["seed"], device)
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    values = {**description, "history": decode(description["history"])}
    state = state_from_arrays(arrays, values)
    load_training_state(net, state)
    return net


def _check_size(estimator: Any, tensors: dict[str, Tensor]) -> None:
    """Raise ValueError unless the parameters give the shapes of the weights."""
    # Checked before the network is built: a tiny file must not allocate gigabytes.  The
    # parameter n_layers has no effect if the layer sizes are listed.
    has_sizes = getattr(estimator, "hidden_layer_sizes", None) is not None
    if not has_sizes and getattr(estimator, "n_layers", 0) > len(tensors):
        raise ValueError(f"{len(tensors)} tensors are too few for n_layers.")
    if math.prod(estimator.input_shape_) > _MOST_FEATURES:
        raise ValueError(f"Rows of shape {estimator.input_shape_} are too large.")
    if hasattr(estimator, "module"):
        # The sizes of a user's module are unknown until it is built.
        return
    with torch.device("meta"):
        module = estimator._build_module(estimator.n_outputs_)
    expected = {f"module.{n}": tuple(t.shape) for n, t in module.state_dict().items()}
    shapes = {n: tuple(t.shape) for n, t in tensors.items() if n in expected}
    if expected != shapes:
        wrong = sorted(n for n in expected if expected[n] != shapes.get(n))
        raise ValueError(f"The shapes of {wrong[:3]} do not match the parameters.")


def _checksum(tensors: dict[str, Tensor], description: dict[str, Any]) -> str:
    content = {name: value for name, value in description.items() if name != "checksum"}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        values = tensors[name].reshape(-1).contiguous()
        if values.numel():
            # Torch cannot view an empty tensor as bytes.
            digest.update(values.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
