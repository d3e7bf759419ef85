"""The torch modules that estimators' parameters describe, by the classes' docstrings."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import nn

from sk_tune import Periodic, PiecewiseLinear
from sk_tune._nets import (
    CNN,
    MLP,
    RNN,
    CategoryEmbedding,
    PeriodicEmbedding,
    PiecewiseLinearEmbedding,
    TableInputs,
)

__all__ = ["build_module", "coded_columns", "layout_of", "sample_shape"]

_SHARED = ("activation", "normalization", "residual", "dropout")
_CNN = ("n_layers", "n_channels", "kernel_size", "pooling", "width")
_RNN = ("cell", "n_layers", "hidden_size", "bidirectional")


def sample_shape(params: dict[str, Any], X: np.ndarray) -> tuple[int, ...]:
    """Return the shape in which the network sees a sample of X."""
    shape = params.get("input_shape") or X.shape[1:]
    if params["kind"] == "CNN" and params.get("input_shape") and len(shape) < 3:
        return (1, *shape)
    return tuple(shape)


def layout_of(params: dict[str, Any], shape: tuple[int, ...]) -> str:
    """Return the meaning of a sample's axes for sk_tune._augment."""
    if len(shape) == 2:
        return "signal" if params["kind"] == "CNN" else "sequence"
    return {1: "table", 3: "image", 4: "volume"}[len(shape)]


def coded_columns(params: dict[str, Any]) -> list[int]:
    """Return the columns of codes, of an array; "from_dtype" is for frames."""
    columns = params.get("categorical_features")
    return [] if columns is None or isinstance(columns, str) else list(columns)


def build_module(
    params: dict[str, Any], X: np.ndarray, n_outputs: int, link: str, bin_edges: Any
) -> nn.Module:
    """Return the float64 module for samples like X, drawn from torch's generator.

    `link` makes predictions of outputs, which members average.
    """
    shape = sample_shape(params, X)
    shared = {name: params[name] for name in _SHARED if name in params}
    if params["kind"] == "MLP":
        sizes = params["hidden_layer_sizes"]
        if sizes is None:
            sizes = (params["width"],) * params["n_layers"]
        module: nn.Module = MLP(
            shape[0],
            n_outputs,
            hidden_layer_sizes=np.atleast_1d(sizes).astype(int).tolist(),
            inputs=_table_inputs(params, X, bin_edges),
            members=params["members"],
            link=link,
            **shared,
        )
    elif params["kind"] == "CNN":
        own = {name: params[name] for name in _CNN}
        module = CNN(shape, n_outputs, **own, **shared)
    elif params["kind"] == "RNN":
        own = {name: params[name] for name in _RNN}
        tokens = None
        if params["n_tokens"]:
            n = params["n_tokens"]
            tokens = CategoryEmbedding([1 + n], params["embedding_size"])
            ids = np.unique(X[n > X]).astype(int)
            tokens.set_known([(1 + ids).tolist()])
        module = RNN(shape[-1], n_outputs, **own, **shared, tokens=tokens)
    else:
        arguments = {n[8:]: v for n, v in params.items() if n.startswith("module__")}
        make: Callable[..., nn.Module] = params["module"]
        module = _filled_in(make, arguments, n_features=shape[0], n_outputs=n_outputs)
        # Zeros initialise lazy layers, and show what comes out.
        with torch.no_grad():
            module.eval()(torch.zeros(2, *shape))
    return module.double()


def _filled_in(make: Any, arguments: dict[str, Any], **from_data: int) -> nn.Module:
    code = getattr(make, "func", make)
    code = code.__init__ if isinstance(code, type) else code
    names = code.__code__.co_varnames[: code.__code__.co_argcount]
    return make(**{n: v for n, v in from_data.items() if n in names}, **arguments)


def _table_inputs(params: dict[str, Any], X: np.ndarray, bin_edges: Any) -> Any:
    coded = coded_columns(params)
    kind = params["numerical_embedding"]
    kind = {"periodic": Periodic(), "piecewise_linear": PiecewiseLinear()}.get(kind, kind)
    if not (coded or kind):
        return None
    plain = [column for column in range(X.shape[1]) if column not in coded]
    embedded = [column for column in plain if kind and len(np.unique(X[:, column])) > 2]
    plain = [column for column in plain if column not in embedded]
    categories = None
    known = [np.unique(X[:, column]).astype(int).tolist() for column in coded]
    if coded:
        counts = [codes[-1] + 1 for codes in known]
        size = params["embedding_size"]
        size = min(8, -(-max(counts) // 2)) if size == "auto" else size
        categories = CategoryEmbedding(counts, size)
        categories.set_known(known)
    numbers = None
    # No network has as many as 256 columns or 6,400 samples; only regressors have losses.
    automatic = {"size": 8, "n_bins": 32 if "loss" in params else 16}
    options = asdict(kind) if kind else {}
    options |= {name: automatic[name] for name in options if options[name] == "auto"}
    if embedded and isinstance(kind, Periodic):
        numbers = PeriodicEmbedding(len(embedded), **options)
    elif embedded:
        numbers = PiecewiseLinearEmbedding(len(embedded), **options)
        numbers.double().set_edges([edges.tolist() for edges in bin_edges])
    return TableInputs(
        plain, coded, embedded=embedded, numbers=numbers, categories=categories
    )
