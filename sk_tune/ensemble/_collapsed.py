# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""An ensemble as one predictor: one call, one file, as small as its user wants it.

What is left of an ensemble is a weighted sum of its members; networks of one architecture
in it are stacked.  How they were found and trained is let go.
"""

import statistics
import time
from bisect import bisect_right
from collections.abc import Sequence
from functools import cache
from os import PathLike
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import issparse
from sklearn.metrics import accuracy_score, r2_score
from torch import Tensor, nn

from sk_tune._declaration import with_inherited_docs
from sk_tune.ensemble._combination import Member, network_of
from sk_tune.ensemble._member_inputs import ScalerNumbers, scaler_numbers
from sk_tune.ensemble._parts import (
    SMALLEST_PROBABILITY,
    Combined,
    CombinedClassifier,
    CombinedRegressor,
    Parts,
    parts_of,
)
from sk_tune.estimators import NetworkPredictor, export_module
from sk_tune.saving import load_object, save_object


class Columns(nn.Module):
    """Some columns of the input, by their positions."""

    positions: Tensor

    def __init__(self, positions: Any) -> None:
        super().__init__()
        self.register_buffer("positions", torch.as_tensor(positions))

    def forward(self, x: Tensor) -> Tensor:
        return x.index_select(1, self.positions)


class Fill(nn.Module):
    """A value of each column in the place of missing ones."""

    fill: Tensor

    def __init__(self, fill: Any) -> None:
        super().__init__()
        self.register_buffer("fill", _buffer(fill))

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x.isnan(), self.fill, x)


class ScalerModule(nn.Module):
    """Numbers that are shifted, scaled and clipped."""

    center: Tensor
    divisor: Tensor
    scale: Tensor
    shift: Tensor

    def __init__(self, numbers: ScalerNumbers) -> None:
        super().__init__()
        self.clip = numbers.clip
        for name in ("center", "divisor", "scale", "shift"):
            self.register_buffer(name, _buffer(getattr(numbers, name)))

    def forward(self, x: Tensor) -> Tensor:
        # Equal to scikit-learn's to the last bit: of what is equal to a value of the
        # training samples, quantiles make something else than of its neighbours.
        scaled = (x - self.center) / self.divisor * self.scale + self.shift
        return scaled if self.clip is None else scaled.clamp(*self.clip)


def _buffer(values: Any) -> Tensor:
    # Of one axis at least: a lone number of 64 bits would leave others at 32.
    return torch.from_numpy(np.atleast_1d(np.array(values, dtype=np.float64)))


def scaler_module(transformer: Any) -> nn.Module | None:
    """Return what a fitted scaler or imputer of scikit-learn does; None of others."""
    numbers = scaler_numbers(transformer)
    if numbers is None:
        return None
    return ScalerModule(numbers) if numbers.fill is None else Fill(numbers.fill)


class NetworkInput(nn.Module):
    """Prepared samples in the type and the shape in which a fitted network takes them."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.dtype, self.shape = getattr(torch, network.dtype), network.input_shape_

    def forward(self, x: Tensor) -> Tensor:
        return x.to(self.dtype).reshape(-1, *self.shape)


class WeightedSum(nn.Module):
    """The weighted sum of what members predict, and `Parts.finish`, in torch.

    `models` are the members' last steps, in the order of the parts.
    """

    offset: Tensor

    def __init__(self, parts: Parts, models: Sequence[Any], dtype: torch.dtype) -> None:
        super().__init__()
        self.link, self.temperature = parts.link, parts.temperature
        self.is_classifier = parts.classes is not None
        self.is_multilabel = parts.is_multilabel
        for number, (model, member) in enumerate(zip(models, parts.members, strict=True)):
            # Columns of a member, times its weight, to columns of the sum.
            if parts.member_classes is None or parts.is_multilabel:
                matrix = torch.eye(getattr(model, "n_outputs_", 1), dtype=dtype)
            else:
                n_classes = len(parts.member_classes)
                places = np.searchsorted(parts.member_classes, model.classes_)
                matrix = torch.eye(n_classes, dtype=dtype)[torch.from_numpy(places)]
            self.register_buffer(f"matrix{number}", matrix * member.weight)
        offset = np.zeros(matrix.shape[1]) if parts.offset is None else parts.offset
        self.register_buffer("offset", torch.as_tensor(offset, dtype=dtype))

    def forward(self, predicted: list[Tensor]) -> Tensor:
        """Return probabilities or targets for what each member predicts, (n, c) each."""
        total = self.offset
        for number, of_member in enumerate(predicted):
            total = total + of_member.to(total.dtype) @ getattr(self, f"matrix{number}")
        if self.link == "logistic":
            return torch.cat([(-total).sigmoid(), total.sigmoid()], dim=1)
        if self.link == "softmax":
            return total.softmax(dim=1)
        if not self.is_classifier:
            return total
        if self.is_multilabel:
            if self.temperature == 1:
                return total
            inside = total.clamp(SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
            return ((inside / (1 - inside)).log() / self.temperature).sigmoid()
        total = total / total.sum(dim=1, keepdim=True)
        if self.temperature == 1:
            return total
        return (total.clamp_min(SMALLEST_PROBABILITY).log() / self.temperature).softmax(
            dim=1
        )


Array = npt.NDArray[Any]

# Calls of which the median counts.
_N_CALLS = 7


class _Collapsed(Combined):
    """Pruning and files of an ensemble, for both tasks.

    Parameters
    ----------
    parts : Parts
        What :func:`collapse` makes of an ensemble.

    Attributes
    ----------
    estimators_ : list of estimators
        The members.
    weights_ : ndarray of shape (n_members,)
        Their weights.
    n_features_in_ : int
        Columns of X, if the ensemble knew.
    n_stacks_ : int
        Stacks of several networks that the last prediction used.
    """

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self._combination = parts.combination()
        if parts.n_features is not None:
            self.n_features_in_ = parts.n_features

    def __len__(self) -> int:
        """Return the number of members."""
        return len(self.parts.members)

    @property
    def estimators_(self) -> list[Any]:
        """The members."""
        return [member.estimator for member in self.parts.members]

    @property
    def weights_(self) -> Array:
        """Their weights."""
        return np.array([member.weight for member in self.parts.members])

    @property
    def n_stacks_(self) -> int:
        """Stacks of several networks that the last prediction used."""
        return self._combination.n_stacks

    def prune(
        self, *, max_members: int | None = None, max_ms: float | None = None, X: Any = None
    ) -> Self:
        """Return a smaller ensemble of the most important members.

        Of a mean these are the heaviest, of a boosting the first stages.

        Parameters
        ----------
        max_members : int or None, default=None
            Members to keep at most.
        max_ms : float or None, default=None
            Milliseconds that a prediction may take on this machine: as many members are
            kept as the median of some calls allows.
        X : array-like of shape (n_samples, n_features) or None, default=None
            The samples that are to be predicted in that time; one sample of zeros if None.

        Returns
        -------
        CollapsedClassifier or CollapsedRegressor
            Another one, which shares the members.

        Raises
        ------
        ValueError
            If a number is too small, or a single member takes longer.
        """
        n_members = len(self)
        if max_members is not None:
            if max_members < 1:
                raise ValueError(f"max_members must be at least 1. Got {max_members!r}.")
            n_members = min(n_members, max_members)
        if max_ms is not None:
            n_members = self._affordable(n_members, max_ms, X)
        return type(self)(self.parts.first(n_members))

    def _affordable(self, most: int, max_ms: float, X: Any) -> int:
        """Return how many members predict in a time; time grows with their number."""
        if X is None:
            if self.parts.n_features is None:
                raise ValueError("max_ms needs X for an ensemble of unknown width.")
            X = np.zeros((1, self.parts.n_features))
        X = self._checked(X)

        @cache
        def milliseconds(n_members: int) -> float:
            return _milliseconds(self.parts.first(n_members), X)

        if milliseconds(most) <= max_ms:
            return most
        n_members = bisect_right(range(1, most), max_ms, key=milliseconds)
        if not n_members:
            raise ValueError(
                f"max_ms must be at least what one member takes, {milliseconds(1):.2g} ms. "
                f"Got {max_ms!r}."
            )
        return n_members

    def save(self, path: str | PathLike[str], *, overwrite: bool = True) -> None:
        """Write the ensemble to one safetensors file.

        Members must be networks of sk_tune's, alone or at the end of pipelines such as
        :func:`sk_tune.save` takes.

        Parameters
        ----------
        path : str or path-like
            File to write.  It is replaced as a whole or not at all.
        overwrite : bool, default=True
            Whether a file that exists may be replaced.

        Raises
        ------
        TypeError
            If a member is anything else.
        FileExistsError
            If the file exists and `overwrite` is False.
        """
        save_object(self, path, overwrite=overwrite, for_training=False)

    @classmethod
    def load(cls, path: str | PathLike[str], *, module: Any = None) -> Self:
        """Return the ensemble that ``save`` wrote; nothing in the file is executed.

        Parameters
        ----------
        path : str or path-like
            File to read.
        module : class, callable or torch.nn.Module, default=None
            The module of members that are ``NetClassifier`` or ``NetRegressor``.

        Returns
        -------
        CollapsedClassifier or CollapsedRegressor
            As it was.

        Raises
        ------
        ValueError
            If the file is damaged, foreign, newer than this version, or holds another
            class.
        """
        ensemble: Self = load_object(path, module=module, name=cls.__name__)
        return ensemble

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy of labels, or R^2 of targets.

        Parameters
        ----------
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Labels or targets; of several labels a sample, all count.
        """
        measure = r2_score if self.parts.classes is None else accuracy_score
        model: Any = self
        return float(measure(y, model.predict(X), sample_weight=sample_weight))

    def to_onnx(self, path: str | PathLike[str]) -> None:
        """Write the ensemble as one ONNX model.

        Its input is ``X``, its output ``probabilities`` or ``prediction``.  Members must be
        networks of sk_tune's, alone or behind scikit-learn's ``StandardScaler``,
        ``MinMaxScaler``, ``MaxAbsScaler``, ``RobustScaler`` or ``SimpleImputer``.  Needs
        the extra ``export``.

        Parameters
        ----------
        path : str or path-like
            File to write.

        Raises
        ------
        TypeError
            If a member is anything else.
        """
        parts = self.parts
        found = map(_module_of, parts.members)
        modules, networks, shapes = zip(*found, strict=True)
        kinds = {(net.dtype, shape) for net, shape in zip(networks, shapes, strict=True)}
        if len(kinds) > 1:
            raise TypeError(
                "Members of an ensemble must take the same input to be one ONNX model. Got "
                f"{sorted(map(str, kinds))}."
            )
        ((dtype_name, shape),) = kinds
        dtype = getattr(torch, dtype_name)
        module = _SumModule(modules, WeightedSum(parts, networks, dtype))
        example = torch.zeros(2, *(shape or (parts.n_features,)), dtype=dtype)
        is_classifier = parts.classes is not None
        export_module(module, networks, example, path, is_classifier=is_classifier)

    def _parts(self) -> Parts:
        return self.parts

    def _checked(self, X: Any) -> Any:
        """Return X as the ensemble gives it to its members, after the ensemble's checks."""
        parts = self.parts
        if not parts.takes_arrays:
            return X
        known, given = parts.names, getattr(X, "columns", None)
        if known is not None and given is not None and list(given) != list(known):
            raise ValueError(
                "The feature names of X must be those that the ensemble was fitted with, "
                f"in their order: {list(known)}. Got {list(given)}."
            )
        X = X if issparse(X) else np.asarray(X)
        if parts.n_features is not None and X.ndim == 2 and X.shape[1] != parts.n_features:
            raise ValueError(
                f"X must have {parts.n_features} features, as in the fit of the ensemble. "
                f"Got {X.shape[1]}."
            )
        return X

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __getstate__(self) -> dict[str, Any]:
        return {"parts": self.parts}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


@with_inherited_docs
class CollapsedClassifier(_Collapsed, CombinedClassifier):
    """An ensemble of classifiers as one predictor.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels in the order of the columns of ``predict_proba``; of a multilabel problem the
        numbers of the labels.
    {attributes}
    """

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self.classes_ = np.asarray(parts.classes)
        self._is_multilabel = parts.is_multilabel


@with_inherited_docs
class CollapsedRegressor(_Collapsed, CombinedRegressor):
    """An ensemble of regressors as one predictor.

    {parameters and attributes}
    """


def collapse(ensemble: Any) -> CollapsedClassifier | CollapsedRegressor:
    """Return an ensemble as one predictor.

    Members whose networks have the same architecture become one batched network, whatever
    stands in front of them; all others are asked one by one.

    Parameters
    ----------
    ensemble : estimator
        Fitted: one of sk_tune's of trials, seeds or bags, or boosting; scikit-learn's
        bagging or soft voting; or any whose prediction is the mean of its ``estimators_``
        under its ``weights_``.

    Returns
    -------
    CollapsedClassifier or CollapsedRegressor
        It predicts what the ensemble does.

    Raises
    ------
    TypeError
        If the prediction is no such mean or sum.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sk_tune import BaggingClassifier, MLPClassifier
    >>> from sk_tune.ensemble import collapse
    >>> X, y = load_iris(return_X_y=True)
    >>> net = MLPClassifier(width=16, learning_rate=0.01, batch_size=16)
    >>> bag = BaggingClassifier(net, random_state=0).fit(X, y)
    >>> small = collapse(bag).prune(max_members=3)
    >>> len(small), small.predict_proba(X).shape
    (3, (150, 3))
    """
    parts = parts_of(ensemble)
    return (CollapsedRegressor if parts.classes is None else CollapsedClassifier)(parts)


def _milliseconds(parts: Parts, X: Any) -> float:
    combination = parts.combination()
    combination(X)
    seconds = []
    for _ in range(_N_CALLS):
        start = time.perf_counter()
        parts.finish(combination(X))
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds)


class _SumModule(nn.Module):
    """The weighted sum of members, from X on."""

    def __init__(self, members: Sequence[nn.Module], weighted_sum: nn.Module) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.weighted_sum = weighted_sum

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = self.weighted_sum([member(x) for member in self.members])
        return total


def _module_of(member: Member) -> tuple[nn.Module, Any, tuple[int, ...] | None]:
    """Return a member as a module, its network, and the shape of the samples that it takes.

    The shape is None if it takes some columns.  TypeError if ONNX cannot express it.
    """
    estimator, network = member.estimator, network_of(member.estimator)
    steps = [step for _, step in getattr(estimator, "steps", [])]
    scalers = [s for s in steps[:-1] if not (s is None or isinstance(s, str))]
    modules = [m for m in map(scaler_module, scalers) if m is not None]
    if network is None or len(modules) < len(scalers):
        names = [s if isinstance(s, str) else type(s).__name__ for s in steps]
        inside = f" of {', '.join(names)}" if names else ""
        raise TypeError(
            "Members of an ensemble must be networks of sk_tune's, alone or behind scalers "
            f"of scikit-learn's, to be one ONNX model. Got a {type(estimator).__name__}"
            f"{inside}; put other transformers in front of the ensemble, not of its "
            "members."
        )
    shape: Any = (scalers[0].n_features_in_,) if scalers else network.input_shape_
    if member.features is not None:
        modules.insert(0, Columns(member.features))
        shape = None
    whole = nn.Sequential(*modules, NetworkInput(network), NetworkPredictor(network))
    return whole, network, shape
