# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Parameters shared by several estimators, each declared and described once."""

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Annotated, Any

import numpy as np

from sk_tune._augment import AUGMENTATIONS, Augmentation, as_augmentations
from sk_tune._compat import Options, StrOptions
from sk_tune._declaration import Number, WholeNumber, parameters
from sk_tune._nets import ACTIVATIONS
from sk_tune._optimizers import OPTIMIZERS
from sk_tune._schedule import LR_SCHEDULES
from sk_tune._training import REGRESSION_LOSSES

Augmentations = str | Augmentation | Sequence[str | Augmentation] | None
ClassWeight = Mapping[Any, float] | Sequence[Mapping[Any, float]] | str | None
InputShape = Annotated[int | Sequence[int] | None, "array-like", WholeNumber(1), None]

# Parameters of the modules of all of sk_tune's networks.
ARCHITECTURE = ("activation", "normalization", "residual", "dropout")

# Advice for parameters of scikit-learn's MLPs with other names.
OTHER_NAMES = {
    "solver": f"Use 'optimizer', one of {[*OPTIMIZERS]}.",
    "alpha": (
        "Use 'weight_decay': alpha / batch_size of scikit-learn with optimizer='adam' or "
        "'sgd'. The default, 'adamw', decouples the decay from the gradient."
    ),
    "learning_rate_init": "Use 'learning_rate'.",
    "power_t": "Use 'lr_schedule', one of 'constant', 'cosine', 'one_cycle' and 'step'.",
    "max_iter": "Use 'max_epochs'.",
    "nesterovs_momentum": "Use 'momentum', which is always Nesterov's for optimizer='sgd'.",
    "beta_1": "Use 'momentum'.",
    "beta_2": "It is 0.999, torch's default.",
    "epsilon": "It is 1e-8, torch's default.",
    "shuffle": "Samples are shuffled in each epoch.",
    "max_fun": "There is no optimizer 'lbfgs'.",
    "patience": "Use 'n_iter_no_change', with early_stopping=True.",
}


class AugmentationNames(StrOptions):  # type: ignore[misc]
    """Constraint: a name or instance of an augmentation, or a list or tuple of these."""

    def __init__(self) -> None:
        super().__init__(set(AUGMENTATIONS))

    def is_satisfied_by(self, val: Any) -> bool:
        """Return whether a value names augmentations, at most one of them mixing."""
        try:
            as_augmentations(val)
        except ValueError:
            return False
        return val is not None

    def __str__(self) -> str:
        return (
            f"{super().__str__()}, an instance of a class of sk_tune.augment, a list or "
            "tuple of these with at most one entry that mixes rows"
        )


@parameters
class TrainingParameters:
    """Parameters of training.

    Parameters
    ----------
    optimizer : {"adamw", "adam", "sgd", "rmsprop"}, default="adamw"
        Optimizer of torch.
    learning_rate : float, default=3e-3
        Step size; the peak of `lr_schedule`.
    momentum : float, default=0.9
        Momentum of RMSprop, Nesterov's momentum of SGD, beta_1 of Adam and AdamW; in
        [0, 1).
    batch_size : int, default=64
        Samples in a mini-batch; -1 for all samples.
    max_epochs : int or "auto", default=20
        Passes over the training samples.  "auto" is the number of passes for 3,000 steps,
        but at least 20 and at most 200.  Without early stopping, it is the number for 400
        steps, but at least 20 and at most 50 in classification and 100 in regression.
    lr_schedule : {"constant", "cosine", "one_cycle", "step"}, default="cosine"
        Learning rate over `max_epochs`: "cosine" falls along half a cosine to 0;
        "one_cycle" rises for 30 % of the steps and then falls; "step" is divided by 10 at
        half and at three quarters of the steps.
    gradient_clip : float, default=None
        Largest Euclidean norm of the gradient; longer gradients are scaled down to it.
    weight_decay : float, default=0.01
        L2 regularisation.  AdamW decouples it from the gradient, the other optimizers add
        it to the gradient.
    l1 : float, default=0.0
        L1 regularisation: ``l1 * sum(|w|)`` over the weight matrices is added to the loss.
    augmentation : str, Augmentation, or list or tuple of these, default=None
        Random changes of training samples before each step: names or instances of the
        classes of :mod:`sk_tune.augment`, applied in this order, for example
        ``["flip", Shift(2)]``; at most one of them may mix samples.  Validation samples and
        samples to predict are never changed.
    early_stopping : bool or "auto", default="auto"
        Whether to hold out samples, stop when the loss on them stops falling, and use the
        weights of the best epoch.  "auto" does so if `max_epochs` is "auto", there are at
        least 300 samples (150 in classification), and there are no `callbacks`; not if
        ``partial_fit`` begins the training.
    validation_fraction : float, default=0.1
        Share of samples held out for early stopping; stratified in classification.
    n_iter_no_change : int, default=10
        Number of epochs without progress after which early stopping ends training.
    tol : float, default=1e-4
        Decrease of the validation loss that counts as progress.
    warm_start : bool, default=False
        Whether ``fit`` continues from the trained network for `max_epochs` more epochs,
        with a new cycle of `lr_schedule`.
    random_state : int, RandomState instance or None, default=None
        Seed of initial weights, batch order, dropout and the validation split.  Global
        generators are never used or changed; None draws fresh entropy in every fit.
    device : {"auto", "cpu", "cuda", "cuda:N", "mps"} or str, default="auto"
        Device for training, as named by torch; "auto" is "cuda" if available, else "cpu".
        Fleets run on the CPU and CUDA; on other devices networks are trained alone.
    dtype : {"float32", "float64"}, default="float32"
        Type of weights, probabilities and real-valued predictions.
    callbacks : list of skorch callbacks, default=None
        Called with the skorch net during training, as in skorch.  ``clone`` copies them,
        ``fit`` does not.  A callback that changes the learning rate needs
        ``lr_schedule="constant"``.  Networks with callbacks other than ``EarlyStopping``,
        ``EpochScoring``, ``LRScheduler``, ``GradientNormClipping``, ``PrintLog`` and
        ``EpochTimer`` train outside of fleets.
    verbose : int, default=0
        Whether to print a line per epoch.
    """

    optimizer: Annotated[str, StrOptions(set(OPTIMIZERS))] = "adamw"
    learning_rate: Annotated[float, Number(0, closed="neither")] = 3e-3
    momentum: Annotated[float, Number(0, 1)] = 0.9
    batch_size: Annotated[int, WholeNumber(1), Options(Integral, {-1})] = 64
    max_epochs: Annotated[int | str, WholeNumber(1), StrOptions({"auto"})] = 20
    lr_schedule: Annotated[str, StrOptions(set(LR_SCHEDULES))] = "cosine"
    gradient_clip: Annotated[float | None, Number(0, closed="neither"), None] = None
    weight_decay: Annotated[float, Number(0)] = 0.01
    l1: Annotated[float, Number(0)] = 0.0
    augmentation: Annotated[Augmentations, AugmentationNames(), None] = None
    early_stopping: Annotated[bool | str, "boolean", StrOptions({"auto"})] = "auto"
    validation_fraction: Annotated[float, Number(0, 1, closed="neither")] = 0.1
    n_iter_no_change: Annotated[int, WholeNumber(1)] = 10
    tol: Annotated[float, Number(0)] = 1e-4
    warm_start: Annotated[bool, "boolean"] = False
    random_state: Annotated[int | np.random.RandomState | None, "random_state"] = None
    device: Annotated[str, str] = "auto"
    dtype: Annotated[str, StrOptions({"float32", "float64"})] = "float32"
    callbacks: Annotated[Sequence[Any] | None, list, tuple, None] = None
    verbose: Annotated[int, "verbose"] = 0


@parameters
class ClassifierParameters:
    """Parameters of classifiers only.

    Parameters
    ----------
    label_smoothing : float, default=0.0
        Share of each target that is spread evenly over all classes; in [0, 1).
    class_weight : dict, list of dict, "balanced" or None, default=None
        Weights of the classes.  "balanced" makes them inversely proportional to the total
        sample weight of each class in training.  For multilabel y, a list with a dict for
        each column.
    """

    label_smoothing: Annotated[float, Number(0, 1)] = 0.0
    class_weight: Annotated[ClassWeight, dict, list, StrOptions({"balanced"}), None] = None


@parameters
class RegressorParameters:
    """Parameters of regressors only.

    Parameters
    ----------
    loss : {"squared_error", "absolute_error", "huber", "poisson", "gamma", "tweedie", \
            "quantile"}, default="squared_error"
        Training loss.  With squared errors, the network predicts means, and with absolute
        errors, medians.  "huber" is quadratic up to one standard deviation of the target
        and linear beyond, which reduces the influence of outliers.  "poisson" (for counts),
        "gamma" (for positive targets whose standard deviation grows with the mean) and
        "tweedie" (for positive targets with zeros) are deviances with a log link, with
        which the network predicts positive means.  "quantile" is the mean pinball loss of
        `quantiles`.
    quantiles : float or sequence of float, default=(0.1, 0.5, 0.9)
        Increasing levels between 0 and 1 for ``loss="quantile"``.  One network predicts all
        of them.  ``predict`` returns the quantile nearest to 0.5; with
        ``return_quantiles=True``, it returns all quantiles, sorted.
    tweedie_power : float, default=1.5
        Power of ``loss="tweedie"``, between 1, as for "poisson", and 2, as for "gamma":
        the variance is proportional to this power of the mean.
    """

    loss: Annotated[str, StrOptions(set(REGRESSION_LOSSES))] = "squared_error"
    quantiles: Annotated[
        float | Sequence[float], Number(0, 1, closed="neither"), "array-like"
    ] = (0.1, 0.5, 0.9)
    tweedie_power: Annotated[float, Number(1, 2, closed="neither")] = 1.5


@parameters
class ArchitectureParameters:
    """Parameters of all of sk_tune's network architectures.

    Parameters
    ----------
    activation : str, default="relu"
        "relu", "tanh", "logistic", "identity", "gelu", "silu", "elu", "selu",
        "leaky_relu" or "mish".
    normalization : {"batch", "layer"} or None, default=None
        Normalisation of the hidden layers.
    residual : bool, default=False
        Whether each hidden layer adds its input to its output.
    dropout : float, default=0.0
        Probability of dropping a hidden unit while training; in [0, 1).
    """

    activation: Annotated[str, StrOptions(set(ACTIVATIONS))] = "relu"
    normalization: Annotated[str | None, StrOptions({"batch", "layer"}), None] = None
    residual: Annotated[bool, "boolean"] = False
    dropout: Annotated[float, Number(0, 1)] = 0.0
