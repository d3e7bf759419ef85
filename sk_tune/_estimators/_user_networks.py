# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""A user's torch module as an estimator."""

import copy
import functools
import inspect
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import field
from itertools import takewhile
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, TypeVar

import numpy as np
import torch
from scipy import sparse
from sklearn.utils.validation import check_array, check_consistent_length
from torch import Tensor, nn

from sk_tune._augment import (
    Brightness,
    Contrast,
    Mixup,
    Noise,
    Rotate,
    Saturation,
    Scale,
    as_augmentations,
)
from sk_tune._compat import HasMethods
from sk_tune._declaration import parameters
from sk_tune._estimators._encoded_data import is_dict
from sk_tune._estimators._network_estimator import NetworkEstimator
from sk_tune._estimators._parameters import OTHER_NAMES, InputShape
from sk_tune._estimators._tasks import NetworkClassifier, NetworkRegressor
from sk_tune._estimators._validation import as_array, requested_shape
from sk_tune._nets import NamedInput, pack_inputs, reading_one_tensor
from sk_tune._text import did_you_mean
from sk_tune._training import count_multiplications, n_weights
from sk_tune._types import Array

_PREFIX = "module__"
# Augmentations that turn integers into other numbers.
_COMPUTING = (Brightness, Contrast, Mixup, Noise, Rotate, Saturation, Scale)
# Types of arrays of integers or Booleans in a module's inputs, by numpy's kinds.
_DTYPES = {"i": "int64", "u": "int64", "b": "bool"}
# Words in torch's errors for inputs of another shape than a module's layers.
_OF_SIZES = re.compile(r"\b(shapes?|sizes?|channels?|dimensions?|elements|[2-5]D)\b")
_Class = TypeVar("_Class", bound=type)


@parameters
class _NetEstimator(NetworkEstimator):
    """A user's module and its arguments.

    Parameters
    ----------
    module : class, callable or torch.nn.Module
        Called with the arguments `module__*` to build the network.  ``n_features``,
        ``n_outputs`` and ``input_shape`` are filled in from the data if the callable has
        arguments of these names and they are not set.  Lazy layers are initialised.  An
        instance is copied, with its weights.  The network takes a float tensor, or an int64
        tensor if X holds integers and the network refuses floats.  It returns a tensor of
        shape (n_samples, n_outputs): unnormalised scores for each class, or one column for
        each target.  If a classifier's network returns probabilities, for example by a
        final softmax, it is trained on their logarithms, and ``net_.module_.module`` is the
        network.
    input_shape : tuple of int, default=None
        Shape to which samples of X are reshaped; None leaves them unchanged.
    **module__parameters : dict
        Arguments of `module`, each with the prefix ``module__``, as in skorch.

    Attributes
    ----------
    named_inputs_ : dict of str to tuple or None
        Sample shape and type of each array, if X was a dict of arrays.

    Notes
    -----
    X may be a dict of arrays with the same number of samples, such as skorch's
    ``SliceDict``, which can be split into folds.  The network's ``forward`` gets them as
    keyword arguments: integers as int64, Booleans as bool, and other numbers in `dtype`.
    """

    module: Annotated[
        nn.Module | Callable[..., nn.Module], callable, HasMethods("forward")
    ] = field(kw_only=False)
    input_shape: InputShape = None

    if TYPE_CHECKING:
        # For type checkers: module__* next to the declared parameters.
        def __init__(
            self, module: nn.Module | Callable[..., nn.Module], **parameters: Any
        ) -> None: ...

    _allow_nd: ClassVar[bool] = True
    _other_names: ClassVar[dict[str, str]] = OTHER_NAMES | {
        name: f"Arguments of the module have a prefix: use '{_PREFIX}{name}'."
        for name in ("activation", "dropout", "hidden_layer_sizes", "hidden_size", "width")
    }
    # Because a user's module may hold nn.Dropout.
    _global_rng: ClassVar[bool] = True

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: FBT001
        """Return the parameters, including the module's."""
        params: dict[str, Any] = super().get_params(deep)
        params.update({k: v for k, v in vars(self).items() if k.startswith(_PREFIX)})
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters, including the module's."""
        module_params = {k: v for k, v in params.items() if k.startswith(_PREFIX)}
        super().set_params(**{k: v for k, v in params.items() if k not in module_params})
        self.__dict__.update(module_params)
        return self

    def _check_X(self, X: Any, *, reset: bool) -> Array:
        if reset:
            self.named_inputs_, self._has_integers = None, False
        if is_dict(X):
            checks = {"dtype": "numeric", "ensure_2d": False, "allow_nd": True}
            arrays: dict[str, Array] = {
                name: check_array(as_array(values), input_name=name, **checks)
                for name, values in X.items()
            }
            check_consistent_length(*arrays.values())
            inputs = {
                name: (values.shape[1:], _DTYPES.get(values.dtype.kind, ""))
                for name, values in arrays.items()
            }
            self.named_inputs_ = inputs if reset else self.named_inputs_
            fitted = self.named_inputs_ or {}
            # Integers may stand for real numbers.
            comparable = {
                n: (s, k if fitted.get(n, ((), ""))[1] else "")
                for n, (s, k) in inputs.items()
            }
            if comparable != fitted:
                raise ValueError(
                    f"X must hold arrays with samples of the shapes {_inputs_text(fitted)} "
                    f"for {type(self).__name__}, as in fit. Got {_inputs_text(inputs)} "
                    "instead."
                )
            X = pack_inputs(arrays, self._inputs_of_module(), self.dtype)
        elif self.named_inputs_ is not None:
            names = ", ".join(map(repr, self.named_inputs_))
            raise ValueError(
                f"X must be a dict of the arrays {names} for {type(self).__name__}, as in "
                f"fit. Got {type(X).__name__} instead."
            )
        elif reset and not sparse.issparse(X):  # The superclass refuses sparse arrays.
            with suppress(ValueError):  # The superclass reports rows of unequal length.
                values = np.asarray(as_array(X))
                self._has_integers = values.dtype.kind in "iu"
                if self._has_integers:
                    rounded = values.astype(self.dtype).astype(values.dtype)
                    self._inexact = values[rounded != values][:1].tolist()
        return super()._check_X(X, reset=reset)

    def _inputs_of_module(self) -> list[NamedInput]:
        return [NamedInput(n, *kind) for n, kind in (self.named_inputs_ or {}).items()]

    @property
    def _categorical(self) -> list[int]:
        has_codes = [
            part.dtype for part in self._inputs_of_module() for _ in range(part.size)
        ]
        return np.flatnonzero(has_codes).tolist()

    def _shape_input(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return requested_shape(self, shape, most=8) or shape

    def _build_module(self, n_outputs: int) -> nn.Module:
        module = self._make_module(n_outputs)
        if self.named_inputs_:
            module = reading_one_tensor(module, self._inputs_of_module())
        was_training = module.training
        # An instance may have any dtype and be on any device.
        kinds = ((p.dtype, p.device) for p in module.parameters())
        dtype, device = next(kinds, (torch.float32, torch.device("cpu")))
        # Two samples of zeros initialise lazy layers and show the output shape.
        samples = torch.zeros(2, *self.input_shape_, dtype=dtype, device=device)
        with torch.no_grad(), count_multiplications(module.eval()) as counts:
            try:
                samples, outputs = _outputs_for(module, samples)
            except Exception as error:
                rows = f"rows of shape {self.input_shape_}"
                if self.named_inputs_:
                    rows = f"rows each of {_inputs_text(self.named_inputs_)}"
                if type(error) is RuntimeError and _OF_SIZES.search(str(error)):
                    raise self._size_error(rows, error) from error
                if not self._has_integers:
                    error.add_note(f"{type(self).__name__} passed 2 {rows} to its module.")
                    raise
                self._check_integers()
                integers = NamedInput("", self.input_shape_, "int64")
                module = reading_one_tensor(module, [integers])
                samples, outputs = _outputs_for(module, samples)
        module.train(was_training)
        self._sample_work = sum(counts) / len(samples) or n_weights(module)
        if not isinstance(outputs, torch.Tensor) or outputs.shape != (2, n_outputs):
            got = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else outputs
            raise ValueError(
                f"The module of {type(self).__name__} must return a tensor of shape "
                f"(n_samples, {n_outputs}), one column for each class or target. Got "
                f"{got} for 2 rows of shape {self.input_shape_} instead."
            )
        return self._as_scores(module, samples, outputs)

    def _check_integers(self) -> None:
        """Raise ValueError if a module that reads integers would get others than in X."""
        if self._inexact:
            raise ValueError(
                f"Integers of X must be exact in {self.dtype} for {type(self).__name__}. "
                f"Got {self._inexact[0]}. Number them from 0, or use dtype='float64'."
            ) from None
        for augmentation in as_augmentations(self.augmentation):
            if isinstance(augmentation, _COMPUTING):
                raise ValueError(
                    f"The 'augmentation' parameter of {type(self).__name__} must keep the "
                    "integers of X, which the module reads as int64, for example by CutMix "
                    f"or TimeShift. Got {augmentation!r}."
                ) from None

    def _size_error(self, rows: str, error: RuntimeError) -> ValueError:
        """Return the error for a module whose sizes differ from the data's."""
        name, names = type(self).__name__, " or ".join(self._from_data())
        example = f", for example by its argument {names}, which {name} sets"
        return ValueError(
            f"The module of {name} must accept {rows}, as in X. Got the error "
            f"{str(error)!r} for 2 rows instead. Match its layers to each other and to "
            f"X{example if names else ''}."
        )

    def _from_data(self) -> dict[str, Any]:
        """Return the arguments of a module that the data determine, by name."""
        if self.named_inputs_:
            return {}
        shape = self.input_shape_
        n_features = {"n_features": shape[0]} if len(shape) == 1 else {}
        return {**n_features, "input_shape": shape}

    def _as_scores(self, module: nn.Module, samples: Tensor, outputs: Tensor) -> nn.Module:
        """Return a module with outputs for the loss, given the outputs of two samples."""
        return module

    def _count_multiplications(self, module: nn.Module) -> float:
        # A subclass may override _build_module.
        return getattr(self, "_sample_work", super()._count_multiplications(module))

    def _make_module(self, n_outputs: int) -> nn.Module:
        arguments = {
            name.removeprefix(_PREFIX): value
            for name, value in vars(self).items()
            if name.startswith(_PREFIX)
        }
        requirement = f"The 'module' parameter of {type(self).__name__} must "
        if isinstance(self.module, nn.Module):
            if arguments:
                raise ValueError(
                    f"{requirement}be a class or callable to take "
                    f"{[_PREFIX + name for name in arguments]}. Got an instance, which is "
                    "used unchanged."
                )
            return copy.deepcopy(self.module)
        requirement += "make a torch.nn.Module."
        try:
            signature = inspect.signature(self.module).parameters
        except ValueError as error:
            raise ValueError(f"{requirement} Got {self.module!r} instead.") from error
        # Subclasses declare arguments of their module as parameters.
        classes = takewhile(lambda cls: cls.__module__ != __name__, type(self).__mro__)
        declared = {name for cls in classes for name in inspect.get_annotations(cls)}
        arguments |= {n: getattr(self, n) for n in declared.intersection(signature)}
        takes_all = any(p.kind is p.VAR_KEYWORD for p in signature.values())
        unknown = next((name for name in arguments if name not in signature), None)
        if unknown is not None and not takes_all:
            raise ValueError(
                f"Invalid parameter {_PREFIX + unknown!r} for {type(self).__name__}: its "
                f"module takes no argument {unknown!r}.{did_you_mean(unknown, signature)} "
                f"It takes {', '.join(signature) or 'none'}."
            )
        from_data = {"n_outputs": n_outputs, **self._from_data()}
        # Arguments bound by functools.partial take precedence.
        bound = getattr(self.module, "keywords", {})
        names = from_data.keys() & signature.keys() - bound.keys()
        module = self.module(**{n: from_data[n] for n in names} | arguments)
        if not isinstance(module, nn.Module):
            raise ValueError(f"{requirement} Got {type(module).__name__} instead.")
        return module


def _inputs_text(inputs: Mapping[str, tuple[tuple[int, ...], str]]) -> str:
    """Return the names of inputs with the shapes and required types of their samples."""
    texts = [f"{n!r} {s} {dtype}".rstrip() for n, (s, dtype) in inputs.items()]
    return ", ".join(texts)


def _outputs_for(module: nn.Module, samples: Tensor) -> tuple[Tensor, Any]:
    """Return samples and their outputs: zeros, or 1 everywhere if zeros fail."""
    try:
        return samples, module(samples)
    except Exception as error:  # noqa: BLE001 - any error of a user's module
        # Some modules treat zeros as padding, and fail on samples of padding only.
        samples = torch.ones_like(samples)
        try:
            return samples, module(samples)
        except Exception:  # noqa: BLE001 - the first error is reported
            raise error from None


def _with_module_parameters(cls: _Class) -> _Class:
    """Let a constructor take ``module__*`` next to the declared parameters."""
    init = cls.__init__  # type: ignore[misc]

    @functools.wraps(init)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        module_params = {k: kwargs.pop(k) for k in [*kwargs] if k.startswith(_PREFIX)}
        init(self, *args, **kwargs)
        vars(self).update(module_params)

    declared = inspect.signature(init)
    # With the prefix, so that a call with all names of the signature is valid.
    extra = inspect.Parameter("module__parameters", inspect.Parameter.VAR_KEYWORD)
    __init__.__signature__ = declared.replace(  # type: ignore[attr-defined]
        parameters=[*declared.parameters.values(), extra]
    )
    cls.__init__ = __init__  # type: ignore[misc]
    return cls


class _LogProbabilities(nn.Module):
    """Logarithms of a module's probabilities, as its unnormalised scores.

    Without `one_class`, columns are independent labels with log-odds as scores.
    `while_training` says whether the module returns probabilities in training mode, too.
    """

    def __init__(self, module: nn.Module, *, one_class: bool, while_training: bool) -> None:
        super().__init__()
        self.module = module
        self.one_class = one_class
        self.while_training = while_training

    def forward(self, x: Tensor) -> Tensor:
        """Return unnormalised scores, (B, C), of a batch (B, ...)."""
        outputs: Tensor = self.module(x)
        if self.training and not self.while_training:
            return outputs
        numbers = torch.finfo(outputs.dtype)
        if self.one_class:
            return outputs.clamp_min(numbers.tiny).log()
        return outputs.logit(eps=numbers.eps)


@_with_module_parameters
@parameters
class NetClassifier(_NetEstimator, NetworkClassifier):
    """Your own torch module as a classifier.

    {parameters and attributes}

    See Also
    --------
    NetRegressor : The same for real-valued targets.
    MLPClassifier : A multi-layer perceptron.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from torch import nn
    >>> from sk_tune import NetClassifier
    >>> class Net(nn.Module):
    ...     def __init__(self, n_features, n_outputs, width=32):
    ...         super().__init__()
    ...         self.layers = nn.Sequential(
    ...             nn.Linear(n_features, width), nn.ReLU(), nn.Linear(width, n_outputs)
    ...         )
    ...     def forward(self, x):
    ...         return self.layers(x)
    >>> X, y = load_iris(return_X_y=True)
    >>> net = NetClassifier(Net, module__width=64, batch_size=16, random_state=0)
    >>> bool(net.fit(X, y).score(X, y) > 0.9)
    True
    """

    def _as_scores(self, module: nn.Module, samples: Tensor, outputs: Tensor) -> nn.Module:
        def can_be(values: Tensor) -> bool:
            # Independent sigmoids of exclusive classes sum to one only by chance.
            if self._is_multilabel:
                return bool(((values >= 0) & (values <= 1)).all())
            sums = values.sum(dim=1)
            # Half precision rounds at 1e-3.
            error = 1e-2 if values.element_size() < 4 else 1e-4
            is_one = torch.allclose(sums, torch.ones_like(sums), atol=error)
            return is_one and bool((values >= 0).all())

        def are_probabilities(inputs: Tensor, *, training: bool) -> bool:
            try:
                outputs = copy.deepcopy(module).train(training)(inputs)
            except Exception:  # noqa: BLE001 - e.g. it cannot be copied, or refuses ones
                return not self._is_multilabel
            # Scores may lie between 0 and 1, too.
            by = type(outputs.grad_fn).__name__
            return can_be(outputs) and (not self._is_multilabel or by.startswith("Sigmoid"))

        # Without biases, outputs for zeros may sum to 1 by chance, so try other samples.
        if not can_be(outputs) or not are_probabilities(samples + 1, training=False):
            return module
        # Some modules return probabilities in evaluation mode only.
        while_training = are_probabilities(samples, training=True)
        return _LogProbabilities(
            module, one_class=not self._is_multilabel, while_training=while_training
        )


@_with_module_parameters
@parameters
class NetRegressor(_NetEstimator, NetworkRegressor):
    """Your own torch module as a regressor.

    {parameters and attributes}

    See Also
    --------
    NetClassifier : The same for classes.
    MLPRegressor : A multi-layer perceptron.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from torch import nn
    >>> from sk_tune import NetRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> net = NetRegressor(nn.LazyLinear, module__out_features=1, random_state=0)
    >>> net.fit(X, y).predict(X[:2]).shape
    (2,)
    """
