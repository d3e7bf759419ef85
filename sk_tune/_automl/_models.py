# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The models of AutoML, their transformers and their spaces.

Parameter names have the prefix of the step, as in scikit-learn: ``net__width``.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Self

import numpy as np
from scipy.stats import loguniform, randint, uniform
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.decomposition import PCA
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge, TweedieRegressor
from sklearn.metrics import (
    mean_absolute_error,
    mean_absolute_percentage_error,
    median_absolute_error,
)
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.validation import check_is_fitted

from sk_tune._automl._limited_boosting import (
    PACKAGES,
    SPACE,
    PackagedClassifier,
    PackagedRegressor,
    TimedBoostingClassifier,
    TimedBoostingRegressor,
    installed_packages,
)
from sk_tune._automl._problem import Problem
from sk_tune._automl._scoring import deviance_power
from sk_tune._ensemble import step_rule
from sk_tune._epochs import epochs_of, stops_early
from sk_tune._estimators import (
    CNNClassifier,
    CNNRegressor,
    MLPClassifier,
    MLPRegressor,
    RNNClassifier,
    RNNRegressor,
)
from sk_tune._onnx_graph import Graph
from sk_tune._prepare import TablePreparer, table_pipeline
from sk_tune._report import baseline_models
from sk_tune._scores import scorer_metric
from sk_tune._space import table_space
from sk_tune._types import Array


class ChannelScaler(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Scale each channel along `axis` to mean 0 and variance 1.

    With `channels_first` channels move to the second axis and missing values become 0, as
    convolutions require. ``mean_`` and ``scale_`` ignore missing values.
    """

    def __init__(self, axis: int, *, channels_first: bool = False) -> None:
        self.axis = axis
        self.channels_first = channels_first

    def fit(self, X: Array, y: Any = None) -> Self:
        axes = tuple(k for k in range(X.ndim) if k != self.axis % X.ndim)
        self.mean_ = np.nanmean(X, axis=axes, keepdims=True)[0]
        scale = np.nanstd(X, axis=axes, keepdims=True)[0]
        self.scale_ = np.where(scale > 0, scale, 1.0)
        return self

    def transform(self, X: Array) -> Array:
        """Return scaled samples, float32."""
        check_is_fitted(self)
        scaled: Array = ((X - self.mean_) / self.scale_).astype(np.float32)
        if not self.channels_first:
            return scaled
        return np.nan_to_num(np.moveaxis(scaled, self.axis, 1), nan=0.0)


@step_rule(ChannelScaler)
def _channels_to_onnx(graph: Graph, x: Any, step: ChannelScaler) -> Any:
    scaled = (x - step.mean_) / step.scale_
    if not step.channels_first:
        return scaled
    n_axes = step.mean_.ndim + 1
    axes = [k for k in range(1, n_axes) if k != step.axis % n_axes]
    return scaled.is_nan().where(0, scaled).transpose(0, step.axis % n_axes, *axes)


def _flat(X: Any) -> Any:
    return X.reshape(len(X), -1)


@step_rule(_flat)
def _flat_to_onnx(graph: Graph, x: Any, step: Any) -> Any:
    return graph.op("Flatten", x)


# Samples above which batches are enlarged; tables need small batches longer.
_MANY_ROWS, _MANY_ROWS_OF_TABLE = 4000, 30_000
_MAX_BATCH_FACTOR = 16
# Steps of the default network, and limits of its epochs.
_N_STEPS = 4000
_FEWEST_EPOCHS, _MOST_EPOCHS = 20, 100
# Members of a network for tables: eight take twice the time and are no better on average.
_MEMBERS = 4
# Features made from columns and the target, and the most classes for which they help.
_FEATURES = {"prepare__crosses": [0, 3], "prepare__target_encoding": [False, True]}
_MOST_CLASSES_TO_ENCODE = 10
# Numbers of principal components of spectra.
_COMPONENTS = [5, 10, 20, 40]
# Augmentations that keep the meaning of digits and signs.
_AUGMENTATIONS = {
    "image": ("shift", "rotate", "cutout"),
    "sequence": ("noise", "scale", "time_mask"),
}
_NETWORKS: dict[str, tuple[Any, Any]] = {
    "MLP": (MLPClassifier, MLPRegressor),
    "CNN": (CNNClassifier, CNNRegressor),
    "RNN": (RNNClassifier, RNNRegressor),
}
NETWORK_FAMILIES = frozenset(_NETWORKS)
# Defaults that differ from the estimator's, and search spaces. Perceptrons have no space,
# because few random perceptrons are good.
_DEFAULTS: dict[str, dict[str, Any]]
_DEFAULTS = {"MLP": {"dropout": 0.1}, "CNN": {"n_channels": 16}, "RNN": {}}
_SPACES: dict[str, dict[str, Any]] = {
    "CNN": {
        "n_layers": [1, 2, 3],
        "n_channels": [8, 16, 32],
        "kernel_size": [3, 5],
        "width": [64, 128, 256],
    },
    "RNN": {
        "cell": ["gru", "lstm"],
        "n_layers": [1, 2],
        "hidden_size": [32, 64, 128],
        "bidirectional": [False, True],
    },
}
# Scaling of numeric columns: "smooth_clip" bounds long tails smoothly.
_LINEAR_NUMERIC = {"prepare__numeric": ["smooth_clip", "standard"]}
# Histogram gradient boosting: early stopping is unreliable on fewer samples.
_ROWS_TO_STOP_EARLY = 1000
_FEWEST_OF_A_CLASS = 10
_L2_OF_RARE_CLASSES = 1.0
_BOOSTING_SPACE: dict[str, Any] = {
    "learning_rate": loguniform(0.02, 0.3),
    "max_leaf_nodes": [4, 8, 16, 31, 64],
    "min_samples_leaf": [2, 5, 10, 20, 50],
    "l2_regularization": loguniform(1e-4, 30.0),
    "max_features": uniform(0.3, 0.7),
}
_MOST_ITERATIONS, _ITERATIONS_OF_SMALL = 500, 100
# Packages keep the best iteration, so more iterations do not overfit.
_MOST_TREES = 3000
# Trees of random candidates without early stopping.
_TREES_OF_SMALL = [50, 100, 200, 400]
# Pixels and steps are many columns with few relevant values.
_BINS_OF_MANY_COLUMNS = 31
# Losses with a log link, for positive targets with proportional variation.
_POSITIVE_LOSSES = ("poisson", "gamma")
# Regression metrics for which the median is a better prediction than the mean.
_ABSOLUTE = {mean_absolute_error, mean_absolute_percentage_error, median_absolute_error}
# Iterations of logistic regression on scaled columns.
_LINEAR_STEPS = 300
# Least units of a sound model: samples are reduced before units fall below these.
_ENOUGH_EPOCHS, _ENOUGH_ITERATIONS, _ENOUGH_LINEAR_STEPS = 10, 30, 30
_REGULARISATION = 10.0 ** np.arange(-3, 4)
# Number of columns above which ridge regression uses an iterative solver.
_MANY_COLUMNS = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model to tune.

    `family` is "dummy", "linear", "boosting", "MLP", "CNN" or "RNN"; `label` distinguishes
    models of a family. `estimator` is an unfitted pipeline with defaults, `grid` the grid
    of the first search, `space` the space of rounds. `resource` determines the training
    time; `most_resources` is its full value, `enough_resources` the least value of a sound
    model. `make` returns the model for a problem. With `is_narrow`, each point of the space
    is about as good as the defaults, and is trained with all resources. With `can_grow`,
    the resources of candidates are doubled while that makes the defaults better. With
    `is_fallback`, the model is trained only if no other network had time for all rows.
    """

    family: str
    estimator: Pipeline
    space: Mapping[str, Any] = field(default_factory=dict)
    grid: Mapping[str, list[Any]] = field(default_factory=dict)
    resource: str = ""
    most_resources: int = 0
    enough_resources: int = 0
    make: Callable[[Problem], "Model"] | None = None
    label: str = ""
    is_narrow: bool = False
    can_grow: bool = False
    is_fallback: bool = False

    @property
    def name(self) -> str:
        return self.label or self.family

    def on(self, problem: Problem) -> "Model":
        """Return the model for another problem with the same columns, such as a sample."""
        return self if self.make is None else replace(self.make(problem), make=self.make)

    @property
    def is_packaged(self) -> bool:
        """Whether it is boosting of an installed package."""
        return self.label in PACKAGES.values()

    @property
    def is_network(self) -> bool:
        return self.family in NETWORK_FAMILIES

    def with_half_the_members(self) -> "Model":
        """Return a table network with half of the members, which trains in less time."""
        net = self.estimator.named_steps["net"]
        smaller = clone(self.estimator).set_params(net__members=max(net.members // 2, 1))
        return replace(self, estimator=smaller)


def dummy_model(problem: Problem) -> Model:
    """Return a model that predicts class shares or the mean and ignores all columns."""
    dummy = DummyClassifier() if problem.is_classification else DummyRegressor()
    return Model(
        family="dummy",
        estimator=Pipeline([("dummy", dummy)]),
        grid={"dummy__strategy": [dummy.strategy]},
    )


def linear_model(problem: Problem) -> Model:
    """Return logistic or ridge regression with a grid of regularisations."""
    if problem.kind == "table":
        _, linear = baseline_models(
            problem.X,
            is_classification=problem.is_classification,
            text_components=problem.text_components,
        )
    else:
        # The time of this solver grows with the columns, not with their cube.
        is_wide = np.prod(problem.X.shape[1:]) > _MANY_COLUMNS
        model = Ridge(solver="lsqr" if is_wide else "auto")
        model = LogisticRegression() if problem.is_classification else model
        linear = Pipeline([
            ("flat", FunctionTransformer(_flat)),
            ("fill", SimpleImputer(keep_empty_features=True)),
            ("scale", StandardScaler()),
            ("linear", model),
        ])
    step, _ = linear.steps[-1]
    # Moderate values first, in case the time is too short for all.
    values = sorted(map(float, _REGULARISATION), key=lambda value: abs(np.log(value)))
    strength = "C" if problem.is_classification else "alpha"
    grid: dict[str, list[Any]] = {f"{step}__{strength}": values}
    if "prepare" in linear.named_steps:
        grid |= _LINEAR_NUMERIC
    if (power := deviance_power(problem.scoring)) is not None:
        model = TweedieRegressor(power=power, link="log", max_iter=_LINEAR_STEPS)
        linear.steps[-1] = (step, model)
    if not problem.is_classification:
        return Model(family="linear", estimator=linear, grid=grid)
    return Model(
        family="linear",
        estimator=linear,
        grid=grid,
        resource=f"{step}__max_iter",
        most_resources=_LINEAR_STEPS,
        enough_resources=_ENOUGH_LINEAR_STEPS,
    )


def boosting_models(problem: Problem) -> list[Model]:
    """Return scikit-learn's boosting, and for tables installed packages of boosting."""
    models = [boosting_model(problem)]
    if problem.kind == "table" and problem.y.ndim == 1:
        names = installed_packages(_losses(problem)[0])
        makers = [partial(_packaged_model, package=name) for name in names]
        models += [replace(make(problem), make=make) for make in makers]
    return models


def _packaged_model(problem: Problem, package: str) -> Model:
    """Return boosting of a package, behind the preparation of scikit-learn's boosting."""
    model = boosting_model(problem)
    boosting = model.estimator[-1]
    kind = PackagedClassifier if problem.is_classification else PackagedRegressor
    most = _MOST_TREES if boosting.early_stopping else boosting.max_iter
    space = SPACE if boosting.early_stopping else {**SPACE, "n_estimators": _TREES_OF_SMALL}
    packaged = kind(
        package,
        n_estimators=most,
        loss=_losses(problem)[0],
        early_stopping=boosting.early_stopping,
        random_state=problem.seed,
    )
    return replace(
        model,
        estimator=Pipeline([model.estimator.steps[0], ("boosting", packaged)]),
        space={f"boosting__{name}": dimension for name, dimension in space.items()},
        grid={},
        resource=f"boosting__{packaged.resource}",
        most_resources=most,
        label=PACKAGES[package],
    )


def boosting_model(problem: Problem) -> Model:
    """Return scikit-learn's histogram gradient boosting; axes of X become columns."""
    boosting_class: Any = TimedBoostingRegressor
    grid: dict[str, list[Any]] = {}
    is_rare = False
    if problem.is_classification:
        boosting_class = TimedBoostingClassifier
        counts = [np.unique(problem.y[k], return_counts=True)[1] for k, _ in problem.folds]
        is_rare = min(map(min, counts)) < _FEWEST_OF_A_CLASS
    else:
        losses = _boosting_losses(problem)
        boosting_class = partial(boosting_class, loss=losses[0])
        grid = {"boosting__loss": losses} if len(losses) > 1 else {}
    can_stop = problem.n_train >= _ROWS_TO_STOP_EARLY and not is_rare
    most = _MOST_ITERATIONS if can_stop else _ITERATIONS_OF_SMALL
    boosting = boosting_class(
        max_iter=most,
        early_stopping=can_stop,
        n_iter_no_change=20,
        # Else the leaves of a rare class may diverge within 100 iterations.
        l2_regularization=_L2_OF_RARE_CLASSES if is_rare else 0.0,
        categorical_features="from_dtype",
        random_state=problem.seed,
    )
    # Trees accept missing values, and categories as codes.
    prepare: Any = FunctionTransformer(_flat)
    if problem.kind != "table":
        boosting.set_params(max_bins=_BINS_OF_MANY_COLUMNS)
    else:
        prepare = TablePreparer(
            numeric=None,
            impute_strategy=None,
            add_indicator=False,
            embeddings=True,
            max_categories=1,
            text_components=problem.text_components,
        )
    space = {f"boosting__{name}": values for name, values in _BOOSTING_SPACE.items()}
    if not can_stop:
        space["boosting__max_iter"] = _TREES_OF_SMALL
    return Model(
        family="boosting",
        estimator=Pipeline([("prepare", prepare), ("boosting", boosting)]),
        space={**space, **grid},
        grid=grid,
        resource=f"boosting__{boosting.resource}",
        most_resources=most,
        enough_resources=_ENOUGH_ITERATIONS,
        make=boosting_model,
    )


def network_models(problem: Problem) -> list[Model]:
    """Return the networks that suit the data, for tables a cheap one last."""
    families = {"table": ["MLP"], "image": ["CNN"], "sequence": ["RNN", "CNN"]}
    makers: list[Callable[[Problem], Model]]
    makers = [_component_network] if problem.is_collinear else []
    makers += [table_network] if problem.kind == "table" else []
    makers += [partial(_plain_network, family=name) for name in families[problem.kind]]
    return [replace(make(problem), make=make) for make in makers]


def _plain_network(problem: Problem, family: str) -> Model:
    is_recurrent, is_sequence = family == "RNN", problem.kind == "sequence"
    batch_size = _batch_size(problem, 32 if is_recurrent else 64)
    steps = math.ceil(problem.n_train / batch_size)
    epochs = int(np.clip(round(_N_STEPS / steps), _FEWEST_EPOCHS, _MOST_EPOCHS))
    net = _NETWORKS[family][not problem.is_classification](
        **_DEFAULTS[family],
        batch_size=batch_size,
        max_epochs=epochs,
        random_state=problem.seed,
    )
    prepare: Any = TablePreparer(text_components=problem.text_components)
    space: dict[str, Any] = {}
    if problem.kind != "table":
        first = is_sequence and not is_recurrent
        prepare = ChannelScaler(-1 if is_sequence else 1, channels_first=first)
        space = {
            **_SPACES[family],
            "dropout": uniform(0.0, 0.5),
            "learning_rate": loguniform(1e-3 if is_recurrent else 3e-4, 3e-2),
            "weight_decay": loguniform(1e-4, 0.3),
            "batch_size": [batch_size // 2, batch_size, 2 * batch_size],
        }
    if family == "CNN":
        space["augmentation"] = [None, *_AUGMENTATIONS[problem.kind]]
    pipe = Pipeline([("prepare", prepare), ("net", net)])
    space = {f"net__{name}": dimension for name, dimension in space.items()}
    model = _network(problem, family, pipe, space)
    return replace(model, is_fallback=problem.kind == "table")


def _component_network(problem: Problem) -> Model:
    """Return a network behind principal components of equal variance, and its space.

    It learns from small differences between columns that are nearly equal.
    """
    net = _NETWORKS["MLP"][not problem.is_classification](random_state=problem.seed)
    net.set_params(
        max_epochs=epochs_of(net, problem.n_train),
        early_stopping=stops_early(net, problem.n_train),
    )
    n_rows = min(len(train) for train, _ in problem.folds)
    most = max(1, min(n_rows, int(problem.X.notna().any().sum())) // 2)
    sizes = [n for n in _COMPONENTS if n <= most] or [most]
    components = PCA(min(_COMPONENTS[2], sizes[-1]), whiten=True, svd_solver="full")
    steps = {"prepare": TablePreparer(), "components": components, "net": net}
    pipe = Pipeline(list(steps.items()))
    space = {"components__n_components": sizes}
    return _narrow_network(problem, pipe, "component network", space)


def table_network(problem: Problem) -> Model:
    """Return a slower network with defaults tuned on tables, and the space around it."""
    kind: Any = "classifier" if problem.is_classification else "regressor"
    pipe = table_pipeline(kind, random_state=problem.seed)
    net = pipe.named_steps["net"]
    # Epochs are the resource, and with explicit epochs, "auto" does not stop early.
    pipe.set_params(
        net__max_epochs=epochs_of(net, problem.n_train),
        net__early_stopping=stops_early(net, problem.n_train),
        net__batch_size=_batch_size(problem, net.batch_size, _MANY_ROWS_OF_TABLE),
        net__members=_MEMBERS,
        prepare__text_components=problem.text_components,
    )
    if problem.is_wide:
        # The embedding takes most of the time, and few rows do not determine it.
        pipe.set_params(net__numerical_embedding=None)
    else:
        n_bins = net.numerical_embedding.n_bins_for(
            problem.n_train, is_classification=problem.is_classification
        )
        # A number, which the space halves and doubles.
        pipe.set_params(net__numerical_embedding__n_bins=n_bins)
    has_few = problem.y.ndim == 1 and problem.n_classes <= _MOST_CLASSES_TO_ENCODE
    return _narrow_network(problem, pipe, "table network", _FEATURES if has_few else {})


def _narrow_network(
    problem: Problem, pipe: Pipeline, label: str, space: Mapping[str, Any]
) -> Model:
    """Return a network with the space around it, and further dimensions."""
    # Another seed gives another network.
    space = {**table_space(pipe), "net__random_state": randint(0, 2**20), **space}
    model = _network(problem, "MLP", pipe, space)
    # Classifiers, and networks that keep their best epoch, have enough epochs.
    can_grow = not (problem.is_classification or pipe.named_steps["net"].early_stopping)
    return replace(model, label=label, is_narrow=True, can_grow=can_grow)


def _network(
    problem: Problem, family: str, pipe: Pipeline, space: Mapping[str, Any]
) -> Model:
    losses = _losses(problem)
    if not problem.is_classification:
        pipe.set_params(net__loss=losses[0])
    if losses == ["tweedie"]:
        pipe.set_params(net__tweedie_power=deviance_power(problem.scoring))
    if space and len(losses) > 1:
        space = {**space, "net__loss": losses}
    # Networks of this size train no faster on a GPU.
    pipe.set_params(net__device="cpu")
    return Model(
        family=family,
        estimator=pipe,
        space=space,
        resource="net__max_epochs",
        most_resources=pipe.named_steps["net"].max_epochs,
        enough_resources=_ENOUGH_EPOCHS,
    )


def _boosting_losses(problem: Problem) -> list[str]:
    """Return the losses for scikit-learn's boosting, which does not support Tweedie's."""
    losses = _losses(problem)
    if problem.y.min() > 0:
        losses += [loss for loss in _POSITIVE_LOSSES if loss not in losses]
    return [loss for loss in losses if loss != "tweedie"] or ["poisson"]


def _losses(problem: Problem) -> list[str]:
    """Return losses for the metric of a regression, the nearest one first."""
    power = deviance_power(problem.scoring)
    if power is not None:
        return [{1.0: "poisson", 2.0: "gamma"}.get(power, "tweedie")]
    metric = None if problem.scoring is None else scorer_metric(problem.scoring)
    is_absolute = metric is not None and metric.function in _ABSOLUTE
    return ["absolute_error", "squared_error"] if is_absolute else ["squared_error"]


def _batch_size(problem: Problem, least: int, many_rows: int = _MANY_ROWS) -> int:
    factor = 2 ** max(0, round(math.log2(problem.n_train / many_rows)))
    return int(least * min(factor, _MAX_BATCH_FACTOR))
