# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Files of fitted objects of known classes, without pickle.

Names in a file are looked up in the tables of this module: classes and functions outside
them are neither written nor read, and a file cannot cause an import of its choice.
"""

import math
import warnings
from collections import defaultdict
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from importlib import import_module
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd
import sklearn
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from sk_tune._estimators import (
    NetworkEstimator,
    load_with,
    pack_network,
    unpack_network,
    write_file,
)
from sk_tune._json_values import decode, encode
from sk_tune._types import Array
from sk_tune._warnings import warn_user
from sk_tune.exceptions import ReleaseWarning

# Classes and functions by package; the package is imported when a file names one of them.
# Their states consist of numbers, text, and each other.
_NAMES = {
    "sk_tune._estimators": (
        "CNNClassifier", "CNNRegressor", "MLPClassifier", "MLPRegressor", "NetClassifier",
        "NetRegressor", "RNNClassifier", "RNNRegressor",
    ),
    "sk_tune._conformal": ("Calibration",),
    "sk_tune._ensemble": ("CollapsedClassifier", "CollapsedRegressor", "Member", "Parts"),
    "sk_tune._prepare": (
        "CategoryCodes", "ColumnKinds", "SmoothClipScaler", "TablePreparer",
        "TextComponents", "TextFormat", "circle_names", "circles", "cross_names",
        "output_name", "pair_crosses",
    ),
    "sklearn.compose": (
        "ColumnTransformer", "TransformedTargetRegressor", "make_column_selector",
    ),
    "sklearn.decomposition": ("PCA", "TruncatedSVD"),
    "sklearn.feature_extraction.text": ("TfidfTransformer", "TfidfVectorizer"),
    "sklearn.feature_selection": ("VarianceThreshold",),
    "sklearn.impute": ("KNNImputer", "MissingIndicator", "SimpleImputer"),
    "sklearn.model_selection": ("KFold", "StratifiedKFold"),
    "sklearn.pipeline": ("FeatureUnion", "Pipeline"),
    "sklearn.preprocessing": (
        "Binarizer", "FunctionTransformer", "KBinsDiscretizer", "LabelBinarizer",
        "LabelEncoder", "MaxAbsScaler", "MinMaxScaler", "Normalizer", "OneHotEncoder",
        "OrdinalEncoder", "PolynomialFeatures", "PowerTransformer", "QuantileTransformer",
        "RobustScaler", "StandardScaler", "TargetEncoder",
    ),
}  # fmt: skip
_HOMES = {name: home for home, names in _NAMES.items() for name in names}
_TYPES = {"bool": bool, "float": float, "int": int, "object": object, "str": str}
_PLAIN = (bool, str, int, float, list, tuple, dict, np.ndarray, np.generic, type(None))
_KEEP = "Write the whole model with joblib.dump instead."
_NUMBERS = [np.dtype(c) for c in "?bBhHiIlLqQefd"]


def is_known(value: Any) -> bool:
    """Return whether files support a value's class, or the value as a function."""
    name = getattr(value, "__name__", type(value).__name__)
    return name in _HOMES and any(_named(name) is kind for kind in (value, type(value)))


def _named(name: str) -> Any:
    if name not in _HOMES:
        raise ValueError(f"Files can hold only objects of known classes. Got a {name!r}.")
    return getattr(import_module(_HOMES[name]), name)


class Packer:
    """Encodes a fitted object as JSON, and collects its arrays in `tensors`."""

    def __init__(self, *, for_training: bool) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._for_training = for_training
        self._steps: list[str] = []

    def __call__(self, value: Any) -> Any:
        """Return a value for JSON; raises TypeError that names the step."""
        return encode(value, self._encoded)

    def _encoded(self, value: Any) -> Any:
        is_named = type(value) is tuple and len(value) > 1 and isinstance(value[0], str)
        # A step of a pipeline.
        if is_named and hasattr(value[1], "get_params"):
            self._steps.append(value[0])
            packed = {"tuple": [self(item) for item in value]}
            self._steps.pop()
            return packed
        for kinds, pack in self._kinds():
            if isinstance(value, kinds) and (packed := pack(value)) is not None:
                return packed
        if isinstance(value, NetworkEstimator) and is_known(value):
            tensors, description = pack_network(value, for_training=self._for_training)
            place = f"network{len(self.tensors)}"
            self.tensors |= {f"{place}.{name}": t for name, t in tensors.items()}
            return {"at": place, **description}
        if callable(value) and hasattr(value, "__name__"):
            return self._code(value)
        if is_known(value):
            return self._object(value)
        if not isinstance(value, _PLAIN):
            remedy = _KEEP
            if isinstance(getattr(value, "best_estimator_", None), BaseEstimator):
                remedy = "Save its best_estimator_."
            elif hasattr(value, "estimators_"):
                remedy = "Save the result of sk_tune.collapse."
            raise self._refusal(f"a {type(value).__name__}", remedy)
        return None

    def _object(self, value: Any) -> Any:
        state = _state_of(value)
        if _opens_files(state):
            raise self._refusal(f"a {type(value).__name__} that opens files")
        packed = {name: self(part) for name, part in state.items()}
        return {"class": type(value).__name__, "state": packed}

    def _kinds(self) -> tuple[tuple[type, Callable[[Any], Any]], ...]:
        return (
            (np.ndarray, self._array),
            (np.generic, _scalar),
            (np.dtype, lambda kind: {"kind": kind.str}),
            (slice, lambda s: {"slice": [self(v) for v in (s.start, s.stop, s.step)]}),
            (pd.Index, lambda index: self(index.tolist())),
            (type, self._code),
        )

    def _array(self, array: Array) -> Any:
        if array.dtype.hasobject:
            items = [self(item) for item in array.ravel().tolist()]
            return {"objects": items, "shape": list(array.shape)}
        if array.dtype not in _NUMBERS:
            return None
        # Memory order can affect the last bits of a product.
        is_turned = array.flags.f_contiguous and not array.flags.c_contiguous
        name = f"array{len(self.tensors)}"
        ordered = np.array(array.T if is_turned else array, order="C")
        self.tensors[name] = torch.from_numpy(ordered)
        return {"tensor": name, "turned": is_turned}

    def _code(self, value: Any) -> dict[str, str]:
        name, is_class = value.__name__, isinstance(value, type)
        if is_class and (issubclass(value, np.generic) or value in _TYPES.values()):
            return {"type": name}
        is_ufunc = isinstance(value, np.ufunc) and getattr(np, name, None) is value
        if is_ufunc or (not is_class and is_known(value)):
            return {"function": name}
        kind = "class" if is_class else "function"
        raise self._refusal(f"the {kind} {name}, which is code")

    def _refusal(self, what: str, remedy: str = _KEEP) -> TypeError:
        step = " > ".join(map(repr, self._steps))
        where = f" in the step {step}" if step else ""
        return TypeError(
            "save accepts networks of sk_tune, TablePreparer, and transformers of "
            f"scikit-learn that contain only numbers and text. Got {what}{where}. {remedy}"
        )


class Unpacker:
    """Decodes the output of a `Packer`; `module` is the module of users' networks."""

    def __init__(self, tensors: dict[str, Tensor], module: Any) -> None:
        self._module = module
        self._of_networks: dict[str, dict[str, Tensor]] = defaultdict(dict)
        for name, tensor in tensors.items():
            place, _, part = name.partition(".")
            self._of_networks[place][part] = tensor
        self._tensors = tensors
        self._arrays: dict[str, Array] = {}

    def __call__(self, packed: Any) -> Any:
        """Return the value; raises exceptions of any kind for foreign input."""
        return decode(packed, self._decoded)

    def _decoded(self, packed: dict[str, Any]) -> Any:
        if "class" in packed:
            return self._object(packed)
        if "tensor" in packed:
            return self._array(packed["tensor"], is_turned=packed["turned"])
        if "objects" in packed:
            return self._objects(packed["objects"], packed["shape"])
        if "scalar" in packed:
            return decode(packed["scalar"])[0]
        if "kind" in packed:
            return decode({"array": [], "dtype": packed["kind"]}).dtype
        if "slice" in packed:
            return slice(*self(packed["slice"]))
        return _code_named(packed["type"] if "type" in packed else packed["function"])

    def _array(self, name: str, *, is_turned: bool) -> Array:
        # A copy that is independent of the file.
        if name not in self._arrays:
            self._arrays[name] = self._tensors[name].numpy().copy()
        return self._arrays[name].T if is_turned else self._arrays[name]

    def _objects(self, items: list[Any], shape: list[int]) -> Array:
        if math.prod(shape) != len(items):
            raise ValueError(f"{len(items)} values do not fit an array of shape {shape}.")
        array = np.empty(len(items), dtype=object)
        for place, item in enumerate(items):
            array[place] = self(item)
        return array.reshape(shape)

    def _object(self, packed: dict[str, Any]) -> Any:
        cls = _named(packed["class"])
        if issubclass(cls, NetworkEstimator):
            tensors = self._of_networks[packed["at"]]
            return unpack_network(cls, tensors, packed, self._module)
        state = {name: self(part) for name, part in packed["state"].items()}
        if not _has_attributes(cls):
            return cls(**state)
        if _opens_files(state):
            raise ValueError(f"{cls.__name__} in a file must have input='content'.")
        if "memory" in state:
            # A folder of pickles.
            state["memory"] = None
        estimator = object.__new__(cls)
        vars(estimator).update(state)
        return estimator


def _opens_files(state: dict[str, Any]) -> bool:
    """Return whether a vectorizer takes texts as names of files."""
    return bool(state.get("input", "content") != "content")


def _has_attributes(cls: type) -> bool:
    """Return whether files hold the attributes of a class, else constructor arguments."""
    # A collapsed ensemble has a state of its own, its parts.
    return getattr(cls, "__getstate__", None) is BaseEstimator.__getstate__


def _state_of(value: Any) -> dict[str, Any]:
    has_attributes = _has_attributes(type(value))
    if is_dataclass(value) and not has_attributes:
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, tuple):
        return value._asdict()  # type: ignore[attr-defined, no-any-return]
    state = vars(value) if has_attributes else value.__getstate__()
    # Random generators are not saved, as in the files of networks, and a cache folder
    # belongs to the user.
    random = (np.random.RandomState, np.random.Generator)
    return {
        name: None if name == "memory" or isinstance(part, random) else part
        for name, part in state.items()
        if name != "_metadata_request"
    }


def _scalar(value: Any) -> Any:
    if value.dtype not in _NUMBERS:
        return None
    return {"scalar": {"array": [value.item()], "dtype": value.dtype.str}}


def _code_named(name: str) -> Any:
    """Return a type of numbers or text, a ufunc of numpy, or a function of sk_tune."""
    code: Any = _named(name) if name in _HOMES else _TYPES.get(name) or getattr(np, name)
    is_number = isinstance(code, type) and issubclass(code, np.generic)
    if not (is_number or isinstance(code, np.ufunc) or name in {*_HOMES, *_TYPES}):
        raise ValueError(
            f"Files can hold only functions of numpy and sk_tune. Got {name!r}."
        )
    return code


def save(estimator: Any, path: str | PathLike[str], *, overwrite: bool = False) -> None:
    """Write a fitted network, pipeline or collapsed ensemble to one file, without pickle.

    Parameters
    ----------
    estimator : estimator
        A network of sk_tune, the result of ``collapse``, or a pipeline of ``TablePreparer``
        and scikit-learn's scalers, imputers, encoders, ``ColumnTransformer`` and the like
        that ends in a network.
    path : str or path-like
        Safetensors file to write.  It is replaced completely or not at all.
    overwrite : bool, default=False
        Whether to replace an existing file.

    Raises
    ------
    TypeError
        If a part is not supported, such as a function of your own.  The message names it
        and its step.
    FileExistsError
        If the file exists and `overwrite` is False.

    See Also
    --------
    load : Read the file.
    sk_tune.collapse : Make one predictor of an ensemble.

    Notes
    -----
    Arrays are saved as tensors, everything else as JSON.  Callbacks and the code of a
    user's module are not saved.

    Examples
    --------
    >>> import os, tempfile
    >>> import pandas as pd
    >>> from sklearn.pipeline import make_pipeline
    >>> from sk_tune import MLPClassifier, TablePreparer, load, save
    >>> X = pd.DataFrame({"age": [20, None, 40, 31] * 9, "town": ["Bern", "Ulm"] * 18})
    >>> y = ["yes", "no", "no", "yes"] * 9
    >>> model = make_pipeline(TablePreparer(), MLPClassifier(max_epochs=5)).fit(X, y)
    >>> path = os.path.join(tempfile.mkdtemp(), "model.safetensors")
    >>> save(model, path)
    >>> bool((load(path).predict_proba(X) == model.predict_proba(X)).all())
    True
    """
    has_save = not isinstance(estimator, type) and hasattr(estimator, "save")
    if has_save and is_known(estimator):
        estimator.save(path, overwrite=overwrite)
        return
    check_is_fitted(estimator)
    save_object(estimator, path, overwrite=overwrite, for_training=True)


def load(path: str | PathLike[str], *, module: Any = None) -> Any:
    """Return the estimator saved by ``save``, without executing code from the file.

    Parameters
    ----------
    path : str or path-like
        File to read.
    module : class, callable or torch.nn.Module, default=None
        The module of a ``NetClassifier`` or ``NetRegressor`` in the file.

    Returns
    -------
    estimator
        Fitted, with the predictions of the saved estimator.

    Raises
    ------
    ValueError
        If the file is damaged, was not written by ``save``, or is of a newer version.

    Warns
    -----
    ReleaseWarning
        If the transformers in it were fitted by another version of scikit-learn.

    See Also
    --------
    save : Write the file.

    Examples
    --------
    >>> import os, tempfile
    >>> from sklearn.datasets import load_iris
    >>> from sk_tune import MLPClassifier, load
    >>> X, y = load_iris(return_X_y=True)
    >>> path = os.path.join(tempfile.mkdtemp(), "net.safetensors")
    >>> MLPClassifier(max_epochs=5).fit(X, y).save(path)
    >>> type(load(path)).__name__
    'MLPClassifier'
    """
    return load_object(path, module=module)


def is_savable(estimator: Any) -> bool:
    """Return whether :func:`save` supports a fitted estimator."""
    with warnings.catch_warnings(action="ignore"):  # Warnings of omitted parts.
        try:
            Packer(for_training=False)(estimator)
        except TypeError:
            return False
    return True


def save_object(
    value: Any, path: str | PathLike[str], *, overwrite: bool, for_training: bool
) -> None:
    """Write an object of a known class; `for_training` includes networks' training."""
    packer = Packer(for_training=for_training)
    description = packer(value)
    write_file(
        path,
        packer.tensors,
        {"scikit-learn": sklearn.__version__, **description},
        overwrite=overwrite,
    )


def load_object(
    path: str | PathLike[str], *, module: Any = None, name: str | None = None
) -> Any:
    """Return the object in a file; ValueError unless it is of class `name`, if given."""

    def unpack(tensors: dict[str, Tensor], description: dict[str, Any]) -> Any:
        version = description.get("scikit-learn", sklearn.__version__)
        if "state" not in description:
            # A network by itself is not packed as an object.
            tensors = {f"alone.{name}": tensor for name, tensor in tensors.items()}
        value = Unpacker(tensors, module)({"at": "alone", **description})
        if version != sklearn.__version__:
            warn_user(
                f"{path} was saved with scikit-learn {version}. This is "
                f"{sklearn.__version__}, whose transformers may differ: compare "
                "predictions with earlier results, or fit again.",
                ReleaseWarning,
            )
        return value

    return load_with(unpack, path, name)
