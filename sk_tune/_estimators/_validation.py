# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Checks of users' data and parameters, at the boundary; other code relies on them."""

import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from math import prod
from numbers import Integral
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
import torch
from scipy import sparse
from sklearn.base import is_regressor
from sklearn.utils.validation import validate_data

from sk_tune._compat import StrOptions, check_sample_weight, validate_parameter_constraints
from sk_tune._declaration import COUNT, Number
from sk_tune._frames import check_in_memory
from sk_tune._numerical_embedding import as_embedding
from sk_tune._text import listed
from sk_tune._types import Array
from sk_tune.exceptions import TableError

_N_NAMED = 5  # Columns that an error message lists.
# Advice in error messages about columns of text.
_ENCODE = (
    "Encode it first, for example by make_pipeline(sk_tune.TablePreparer(), ...), or with "
    "OneHotEncoder in a ColumnTransformer."
)
_FILL = "sk_tune.TablePreparer and SimpleImputer fill them."


def is_whole(value: Any, low: int) -> bool:
    """Return whether a value is an integer of at least `low`, and not a bool."""
    return not isinstance(value, bool) and isinstance(value, Integral) and int(value) >= low


def check_parameters(estimator: Any) -> None:
    """Check parameters by the constraints of their classes; defaults are valid."""
    declared, kind = estimator._parameter_constraints, type(estimator)
    values = {name: getattr(estimator, name) for name in declared}
    values = {n: v for n, v in values.items() if v is not getattr(kind, n, ...)}
    validate_parameter_constraints(declared, values, caller_name=type(estimator).__name__)
    if (embedding := as_embedding(values.get("numerical_embedding"))) is not None:
        kinds: dict[Any, Any] = {int: [COUNT], float: [Number(0, closed="neither")]}
        kinds[int | str] = [COUNT, StrOptions({"auto"})]
        validate_parameter_constraints(
            {field.name: kinds[field.type] for field in fields(embedding)},
            embedding.get_params(),
            caller_name=type(embedding).__name__,
        )


class LastSeen:
    """Recognises copies of the last estimator, such as copies for a candidate's folds."""

    def __init__(self) -> None:
        self._kind: type | None = None
        self._values: dict[str, Any] = {}

    def is_like(self, estimator: Any) -> bool:
        """Return whether an estimator has the same attribute objects as before."""
        attributes, values = vars(estimator), self._values.values()
        return (
            type(estimator) is self._kind
            and attributes.keys() == self._values.keys()
            and all(map(operator.is_, map(attributes.get, self._values), values))
        )

    def see(self, estimator: Any) -> None:
        """Remember the current attributes of an estimator."""
        self._kind, self._values = type(estimator), dict(vars(estimator))


def as_array(data: Any) -> Any:
    """Return a torch tensor as a numpy array, and other data unchanged."""
    if not isinstance(data, torch.Tensor):
        return data
    tensor = data.detach().cpu()
    # numpy lacks bfloat16.
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def category_columns(X: Any) -> list[int]:
    """Return the positions of a pandas frame's columns with numerical categories."""
    if not isinstance(X, pd.DataFrame):
        # Categories of polars are always text.
        return []
    return [
        position
        for position, dtype in enumerate(X.dtypes)
        if isinstance(dtype, pd.CategoricalDtype)
        and pd.api.types.is_numeric_dtype(dtype.categories)
    ]


def check_features(estimator: Any, X: Any, *, reset: bool) -> Array:
    """Return X as a C-contiguous array, or a CSR table, in the estimator's dtype.

    With `reset`, in a fresh fit, the number and names of the features are recorded;
    otherwise they are compared. X is copied only if its form changes; a view that repeats
    one sample remains a view.
    """
    check_in_memory(X)
    frame = _as_frame(X)
    codes = category_columns(X) if estimator._allow_codes else []
    for position, (name, dtype) in enumerate({} if frame is None else frame.schema.items()):
        # Columns of these types would convert to meaningless numbers, or fail.
        is_other = dtype.is_temporal() or isinstance(dtype, (nw.Categorical, nw.Enum))
        if is_other and position not in codes:
            raise ValueError(
                f"All columns of X must be numeric for {type(estimator).__name__}. Got "
                f"column {name!r} of type {dtype} instead. {_ENCODE}"
            )
    repeats = isinstance(X, np.ndarray) and X.ndim > 1 and X.strides[0] == 0
    try:
        # Numbers that overflow in the cast become infinite, which is refused.
        with np.errstate(over="ignore"):
            checked: Array = validate_data(
                estimator,
                np.asarray(X) if isinstance(X, list) else as_array(X),
                reset=reset,
                dtype=np.dtype(estimator.dtype),
                order=None if repeats else "C",
                accept_sparse="csr" if estimator._allow_sparse else False,
                allow_nd=estimator._allow_nd,
                ensure_all_finite="allow-nan" if estimator._allow_nan else True,
            )
    except (TypeError, ValueError) as error:
        advice = _other_shapes(estimator, X) or _columns_at_fault(X)
        if not advice:
            raise
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{error}\n{advice}") from error
    return checked


def _other_shapes(estimator: Any, X: Any) -> str:
    """Return advice on the form of X: a dict, unequal rows or too many axes."""
    if isinstance(X, dict):
        return "X must be one array or table; NetClassifier and NetRegressor take dicts."
    lengths = {len(row) for row in X if hasattr(row, "__len__")} if type(X) is list else {}
    if len(lengths) > 1:
        return (
            f"All rows of X must have the same length. Got lengths from {min(lengths)} to "
            f"{max(lengths)}. Recurrent networks accept sequences of unequal length."
        )
    if estimator._allow_nd or getattr(X, "ndim", 2) not in {3, 4}:
        return ""
    task = "Regressor" if is_regressor(estimator) else "Classifier"
    return (
        f"CNN{task} takes images, RNN{task} sequences; {type(estimator).__name__} takes "
        "flat samples, for example X.reshape(len(X), -1)."
    )


def check_complete(estimator: Any, y: Any) -> None:
    """Raise TableError for missing targets, ValueError for targets that are not numbers.

    Only regressors require numbers. numpy would convert dates to microseconds or
    nanoseconds, whichever the dtype has.
    """
    if y is None or sparse.issparse(y):
        return
    name = type(estimator).__name__
    # numpy would convert None and NaN in a list of labels to text.
    targets = np.asarray(as_array(y), dtype=object if isinstance(y, list | tuple) else None)
    if not targets.ndim or not targets.size:
        return
    missing = np.asarray(pd.isna(targets)).reshape(len(targets), -1).any(axis=1)
    if missing.any():
        positions = listed([*map(str, np.flatnonzero(missing))], _N_NAMED)
        raise TableError(
            f"Input y contains NaN. {name} needs a target for each sample. Got "
            f"{missing.sum()} missing of {len(targets)}, at position {positions}. Remove "
            "these samples from X and y, for example by pandas.notna(y)."
        )
    if is_regressor(estimator) and targets.dtype.kind in "mM":
        raise ValueError(
            f"y must hold numbers for {name}. Got dtype {targets.dtype}. Choose a unit, "
            "for example days by (y - y.min()).dt.days or y.dt.days."
        )
    if is_regressor(estimator) and targets.dtype.kind in "OU":
        text = _first_text(targets.ravel().tolist())
        if text is not None:
            other = name.removesuffix("Regressor") + "Classifier"
            raise ValueError(
                f"y must hold numbers for {name}. Got text, for example {text!r}. "
                f"{other} learns labels."
            )


def check_range(loss: str, y: Array, *, is_first: bool = True) -> None:
    """Raise ValueError for targets that a deviance, "poisson" for example, cannot have.

    The first targets give the mean; later ones may all be 0.
    """
    least = y.min(initial=np.inf)
    if loss == "gamma" and least <= 0:
        requirement = "strictly positive y"
    elif least < 0 or (is_first and not np.all(y.sum(axis=0) > 0)):
        requirement = "non-negative y and sum(y) > 0"
    else:
        return
    raise ValueError(f"loss={loss!r} requires {requirement}. Got a minimum of {least:g}.")


def check_weights(sample_weight: Any, X: Array) -> Array | None:
    """Return sample weights, (n_samples,), as float64; None stays None."""
    if sample_weight is None:
        return None
    table = X if sparse.issparse(X) else X.reshape(len(X), -1)
    weights: Array = check_sample_weight(
        as_array(sample_weight), table, dtype=np.float64, ensure_non_negative=True
    )
    if not weights.any():
        raise ValueError(
            "sample_weight must hold at least one weight greater than 0. Got "
            f"{len(weights)} sample weights of 0."
        )
    return weights


def device_of(name: Any) -> str:
    """Return the name of a torch device; "auto" is "cuda" if available, else "cpu"."""
    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else str(name)


def resolve_device(estimator: Any) -> str:
    """Return an estimator's torch device; ValueError if it is not available."""
    name = estimator.device
    if name == "auto":
        return device_of(name)
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type == "meta":
        requirement = "'auto', 'cpu', 'cuda', 'cuda:N', 'mps' or another torch device"
    elif not has_device(device):
        requirement = "a device of this machine"
        if device.type == "cuda":
            requirement += f", which has {torch.cuda.device_count()} CUDA devices"
    else:
        return str(device)
    raise ValueError(
        f"The 'device' parameter of {type(estimator).__name__} must be {requirement}. "
        f"Got {name!r} instead. Use 'auto' or 'cpu'."
    )


def has_device(device: torch.device) -> bool:
    """Return whether this machine has a device, without initialising CUDA."""
    if device.type == "cuda":
        return (device.index or 0) < torch.cuda.device_count()
    try:
        torch.empty(0, device=device)
    except (RuntimeError, NotImplementedError, AssertionError):
        return False
    return True


def resolve_seed(random_state: Any) -> int:
    """Return the seed of one fit, in ``[0, 2**32)``."""
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1)[0])
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    return int(random_state)


@contextmanager
def naming_monitor(net: Any) -> Iterator[None]:
    """Raise ValueError if a callback fails because its monitor is not in the history."""
    try:
        yield
    except KeyError as error:
        monitors = [getattr(callback, "monitor", None) for _, callback in net.callbacks_]
        record = net.history[-1] if net.history else {}
        # The samples of a monitor must not end a training.
        columns = [name for name in record if not name.startswith("monitor_")]
        missing = [m for m in monitors if isinstance(m, str) and m not in columns]
        if not missing:
            raise
        raise ValueError(
            "The 'monitor' of a callback must be a column of history_, which are "
            f"{columns}. Got {missing[0]!r}. early_stopping=True adds 'valid_loss' and "
            "'valid_score'."
        ) from error


def is_multilabel(y: Any) -> bool:
    """Return whether y is multilabel: several columns of a classifier's target."""
    labels = np.asarray(y)
    return labels.ndim == 2 and labels.shape[1] > 1


def _columns_at_fault(X: Any) -> str:
    """Return a sentence on the columns of text or with NaN, if X is a table."""
    if sparse.issparse(X):
        return ""
    frame = _as_frame(X)
    try:
        # Without pyarrow, which conversions of polars to pandas need.
        columns = as_array(X) if frame is None else frame.to_dict(as_series=False)
        table = pd.DataFrame(columns)
    except (TypeError, ValueError):
        return ""
    for name, column in {} if frame is None else table.items():
        text = _first_text(column.tolist())
        if text is not None:
            return f"Column {name!r} holds text, for example {text!r}. {_ENCODE}"
    # pandas recognises None, NaN, NaT and NA.
    counts = table.isna().sum()
    named = listed([f"{name!r} ({n})" for name, n in counts.items() if n], _N_NAMED)
    return f"Columns with NaN (number of NaN): {named}. {_FILL}" if named else ""


def _as_frame(X: Any) -> Any:
    if not hasattr(X, "columns"):
        return None
    frame = nw.from_native(X, pass_through=True, eager_only=True)
    return frame if isinstance(frame, nw.DataFrame) else None


def _first_text(values: Sequence[Any]) -> str | None:
    for value in values:
        if isinstance(value, str):
            try:
                float(value)
            except ValueError:
                return value
    return None


def requested_shape(
    estimator: Any,
    shape: tuple[int, ...],
    *,
    most: int,
    completed: Callable[[tuple[int, ...]], tuple[int, ...]] = tuple,
) -> tuple[int, ...] | None:
    """Return the completed parameter ``input_shape`` for samples of `shape`."""
    value, name = estimator.input_shape, type(estimator).__name__
    if value is None:
        return None
    sizes = np.atleast_1d(np.asarray(value, dtype=object)).tolist()
    if not (1 <= len(sizes) <= most and all(is_whole(size, 1) for size in sizes)):
        raise ValueError(
            f"The 'input_shape' parameter of {name} must hold 1 to {most} integers of at "
            f"least 1. Got {value!r} instead."
        )
    target = completed(tuple(int(size) for size in sizes))
    if prod(shape) != prod(target):
        raise ValueError(
            f"X must have {prod(target)} values in each row for input_shape={value!r} of "
            f"{name}. Got rows of shape {shape}, which hold {prod(shape)}."
        )
    axes, target_axes = ([size for size in part if size != 1] for part in (shape, target))
    if axes != target_axes and sorted(axes) == sorted(target_axes):
        raise ValueError(
            f"Rows of X must have their axes in the order of input_shape={value!r} of "
            f"{name}, or be flat. Got rows of shape {shape}. Transpose X, for example with "
            "numpy.moveaxis."
        )
    return target
