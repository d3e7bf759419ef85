# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Why a plain skorch net, or a skorch callback, must train outside of fleets."""

import copy
import functools
import inspect
import itertools
import re
from collections.abc import Iterable, Iterator
from types import CodeType, FunctionType
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet, NeuralNetClassifier, NeuralNetRegressor
from skorch.callbacks import (
    EarlyStopping,
    EpochScoring,
    EpochTimer,
    GradientNormClipping,
    LRScheduler,
    PassthroughScoring,
    PrintLog,
)
from skorch.utils import multi_indexing, to_tensor
from torch.utils.data import DataLoader

from sk_tune._engine._digest import installed_name, names_in
from sk_tune._estimators import is_dict
from sk_tune._nets import NamedInput, loose_state, tensor_values
from sk_tune._optimizers import OPTIMIZERS
from sk_tune._training import forked_rng

OPTIMIZER_NAMES: dict[type, str] = {
    getattr(torch.optim, rule.torch_name): name for name, rule in OPTIMIZERS.items()
}
_CALLBACKS = (
    *(EarlyStopping, EpochScoring, EpochTimer, GradientNormClipping),
    *(LRScheduler, PassthroughScoring, PrintLog),
)
# Supported options of optimizers; all others must have their defaults.
_OPTIMIZER_OPTIONS = frozenset({
    *("lr", "weight_decay", "momentum", "nesterov", "betas", "eps", "alpha"),
    # These only concern speed.
    *("foreach", "fused", "differentiable"),
})
# Attributes of a net that bypass its cached predictions.
_INSIDE = frozenset({
    *("evaluation_step", "get_all_learnable_params", "infer", "module_", "optimizer_"),
    "save_params",
})
# Schedulers that change the momentum along with the learning rate.
_CYCLIC = {"OneCycleLR", "CyclicLR"}
# Names that a derived class may redefine: training and adoption do not call them, or call
# them on the net itself. scikit-learn adds methods for metadata requests to each class.
_FREE = re.compile(
    r"__\w+__|predict|predict_proba|score|get_default_callbacks|[gs]et_params"
    r"|(save|load)_params|set_\w+_request"
)


def reason_against_net(net: Any, X: Any, y: Any) -> str | None:
    """Return why a fleet cannot carry an uninitialised skorch net; None if it can.

    The reason is a clause that continues "was trained alone because".
    """
    checks = (_reasons_in_class, _reasons_in_settings, _reasons_in_callbacks)
    for reason in itertools.chain.from_iterable(check(net) for check in checks):
        return reason
    parts = [*(X.values() if is_dict(X) else [X]), y]
    if all(isinstance(part, np.ndarray | torch.Tensor) for part in parts):
        return None
    return "X and y of a skorch net must be arrays, tensors or dicts of them for a fleet"


def _reasons_in_class(net: Any) -> Iterator[str]:
    if not isinstance(net, NeuralNet):
        yield f"{type(net).__name__} is neither sk_tune's nor a skorch net"
    bases = NeuralNetRegressor, NeuralNetClassifier, NeuralNet
    base = next(base for base in bases if isinstance(net, base))
    derived = type(net).__mro__[: type(net).__mro__.index(base)]
    for name in itertools.chain(*map(vars, derived)):
        if hasattr(base, name) and not _FREE.fullmatch(name):
            yield f"{type(net).__name__} overrides {name}"


def _reasons_in_settings(net: Any) -> Iterator[str]:
    if net.compile:
        yield "compile=True"
    if net.warm_start and getattr(net, "initialized_", False):
        yield "it continues from an earlier fit (warm_start=True)"
    if net.iterator_train is not DataLoader or net.iterator_valid is not DataLoader:
        yield "it has a custom iterator"
    params = net.get_params_for("iterator_train") | net.get_params_for("iterator_valid")
    if extra := sorted(set(params) - {"shuffle", "batch_size"}):
        yield f"its iterators have options ({', '.join(extra)})"
    if net.optimizer not in OPTIMIZER_NAMES:
        yield f"its optimizer is {getattr(net.optimizer, '__name__', net.optimizer)}"
    defaults = net.optimizer([torch.nn.Parameter(torch.zeros(1))], lr=1.0).defaults
    for name, value in net.get_params_for("optimizer").items():
        is_default = name in defaults and defaults[name] == value
        if name not in _OPTIMIZER_OPTIONS and not is_default:
            yield f"its optimizer has the option {name}={value!r}"


def _reasons_in_callbacks(net: Any) -> Iterator[str]:
    if net.callbacks != "disable":
        if net.use_caching is False:
            yield "its scores need new predictions (use_caching=False)"
        entries = net.callbacks or []
        callbacks = [e[1] if isinstance(e, tuple) else e for e in entries]
        if reason := reason_against_callbacks(callbacks):
            yield reason


def named_inputs(X: Any) -> tuple[NamedInput, ...]:
    """Return the named inputs of an X that is a dict of arrays or tensors; else empty."""
    if not is_dict(X):
        return ()
    parts = {name: torch.as_tensor(values) for name, values in X.items()}
    return tuple(
        NamedInput(name, tuple(t.shape[1:]), str(t.dtype).removeprefix("torch."))
        for name, t in parts.items()
    )


def reason_against_callbacks(callbacks: Iterable[Any]) -> str | None:
    """Return why a fleet cannot carry callbacks of an initialised net; None if it can."""
    listed = list(callbacks)
    kinds = [c if isinstance(c, type) else type(c) for c in listed]
    for kind in (EarlyStopping, GradientNormClipping):
        if kinds.count(kind) > 1:
            return f"it has several {kind.__name__}"
    reasons = itertools.chain.from_iterable(map(_reasons_against, kinds, listed))
    return next(reasons, None)


def _reasons_against(kind: type, callback: Any) -> Iterator[str]:
    scoring, policy = (getattr(callback, name, "") for name in ("scoring", "policy"))
    name = policy if isinstance(policy, str) else getattr(policy, "__name__", "")
    is_score, is_rate = kind is EpochScoring, kind is LRScheduler
    checks = {
        f"it has callbacks ({kind.__name__})": kind not in _CALLBACKS,
        "GradientNormClipping uses a norm other than 2": kind is GradientNormClipping
        and getattr(callback, "gradient_clip_norm_type", 2) != 2,
        "EpochScoring scores the training samples": is_score
        and getattr(callback, "on_train", False),
        "EpochScoring predicts again (use_caching=False)": is_score
        and not getattr(callback, "use_caching", True),
        "EpochScoring has a function that reads attributes of the net": is_score
        and callable(scoring)
        and _looks_inside(scoring),
        "LRScheduler has a function that reads the net": is_rate
        and callable(getattr(callback, "monitor", None)),
        f"{name} also changes the momentum (cycle_momentum=True)": is_rate
        and name in _CYCLIC
        and getattr(callback, "cycle_momentum", True),
        "ReduceLROnPlateau steps after every batch": is_rate
        and name == "ReduceLROnPlateau"
        and callback.step_every == "batch",
    }
    return (reason for reason, is_met in checks.items() if is_met)


def reason_in_criterion(net: Any, X: Any, y: Any) -> str | None:
    """Return why calls of its criterion change an initialised net; None if they do not."""
    criterion = net.criterion_
    if type(criterion).__module__.startswith("torch.nn."):
        return None
    samples, targets = (
        to_tensor(multi_indexing(part, slice(2)), net.device) for part in (X, y)
    )
    vars(net)["criterion_"] = called = copy.deepcopy(criterion)
    state = loose_state(called), tensor_values(called)
    try:
        with forked_rng(0, net.device), torch.no_grad():
            module = copy.deepcopy(net.module_).eval()
            is_dict = isinstance(samples, dict)
            y_pred = module(**samples) if is_dict else module(samples)
            for training in (True, False):
                called.train(training)
                net.get_loss(y_pred, targets, X=samples, training=training)
    finally:
        vars(net)["criterion_"] = criterion
    changed = (loose_state(called), tensor_values(called)) != state
    return "its criterion changes its state when it is called" if changed else None


def _looks_inside(scoring: Any, asked: frozenset[CodeType] = frozenset()) -> bool:
    """Return whether a scoring may read attributes of a net that a fleet does not train.

    Callables without Python code may, too. A user's functions and methods that a function
    names are inspected recursively, except for code in `asked`.
    """
    if isinstance(scoring, functools.partial):
        return _looks_inside(scoring.func, asked)
    function = getattr(scoring, "__func__", scoring)
    if not hasattr(function, "__code__"):
        function = type(scoring).__call__
    code = getattr(function, "__code__", None)
    if code is None or code in asked:
        return code is None
    names = names_in(code).attributes
    owner = type(getattr(scoring, "__self__", scoring))
    try:
        variables = inspect.getclosurevars(function)
    except (TypeError, ValueError):  # Not a function, or a name that is not bound yet.
        return True
    named = {**vars(owner), **variables.globals, **variables.nonlocals}
    helpers = (named[name] for name in names | set(variables.nonlocals) if name in named)
    return not _INSIDE.isdisjoint(names) or any(
        _looks_inside(helper, asked | {code})
        for helper in helpers
        if isinstance(helper, FunctionType) and not installed_name(helper)
    )
