# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The kinds of augmentations and their strengths.

An augmentation is a value: it is compared, copied, pickled and printed by its contents, and
checks its strength when it is created.
"""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import astuple, dataclass, field, fields
from numbers import Integral, Real
from typing import Any, ClassVar, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from sk_tune._augment._operations import (
    Layout,
    SampleNumbers,
    blended,
    drawn_shares,
    grey,
    inside_box,
    partners,
    tensor_of,
)

_ANY: frozenset[Layout] = frozenset(get_args(Layout))
_IMAGES: frozenset[Layout] = frozenset({"image"})
_IN_TIME: frozenset[Layout] = frozenset({"sequence", "signal"})


# Mixed samples, and the share of each sample itself in its mixture, (k, B), float64.
Mixed = tuple[Tensor, Tensor]


def _number(default: float, high: float = math.inf, *, above_0: bool = False) -> Any:
    """Declare a strength from 0 to `high`; it is an integer if its default is."""
    return field(default=default, metadata={"high": high, "above_0": above_0})


@dataclass(frozen=True)
class Augmentation:
    """Base of all augmentations: a random change of training samples, with its strength.

    An augmentation of your own is a frozen dataclass with a method :meth:`augment`. The
    class arguments `layouts`, a set of "table", "sequence", "signal", "image", "volume" and
    "other", and `channels`, a tuple of numbers, limit the samples that it accepts.

    Notes
    -----
    Networks with your augmentation train in fleets, and equal the same networks trained
    alone, if `augment` takes all random numbers from its argument.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> import torch
    >>> from sk_tune.augment import Augmentation
    >>> @dataclass(frozen=True)
    ... class Invert(Augmentation, layouts={"image"}):
    ...     p: float = 0.5
    ...
    ...     def augment(self, X, numbers):
    ...         is_inverted = numbers.uniform() < self.p
    ...         return torch.where(is_inverted.view(-1, 1, 1, 1), 1 - X, X)
    >>> Invert(0.1)
    Invert(p=0.1)
    """

    name: ClassVar[str] = ""
    layouts: ClassVar[frozenset[Layout]] = _ANY
    # Allowed numbers of channels; all if empty.
    channels: ClassVar[tuple[int, ...]] = ()
    mixes: ClassVar[bool] = False
    # ``(X, numbers, strength (k,)) -> X`` of all networks at once. X is (k, B, ...), images
    # (k, B, C, H, W), sequences and signals (k, B, C, T) if the operation is in time.
    # Mixing operations take increasing quantiles (k, n) of the share as strength.
    _operation: ClassVar[Callable[..., Any] | None] = None

    def __init_subclass__(
        cls,
        *,
        name: str | None = None,
        layouts: Collection[Layout] | None = None,
        channels: tuple[int, ...] | None = None,
    ) -> None:
        if "augment" in vars(cls):
            name, cls._operation = cls.__name__, None
        # Other subclasses of a kind keep its name.
        cls.name = name or cls.name
        cls.layouts = cls.layouts if layouts is None else frozenset(layouts)
        cls.channels = cls.channels if channels is None else channels

    def __post_init__(self) -> None:
        for strength in fields(self):
            if "high" in strength.metadata:
                value = getattr(self, strength.name)
                value = _checked(type(self).__name__, strength, value)
                # The dataclass is frozen.
                object.__setattr__(self, strength.name, value)

    def augment(self, X: Tensor, numbers: SampleNumbers) -> Tensor:
        """Return the augmented samples of a training batch.

        Parameters
        ----------
        X : torch.Tensor of shape (n_samples, ...)
            Samples, which must not be changed in place.
        numbers : SampleNumbers
            Random numbers: ``uniform(n)``, of shape (n_samples, n), in [0, 1), and
            ``normal(n, dtype)``.  Each method returns the same numbers at each call.

        Returns
        -------
        torch.Tensor of shape (n_samples, ...)
            New samples.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Flip(Augmentation, name="flip", layouts=_IMAGES):
    """Mirror images, left to right.

    Parameters
    ----------
    p : float, default=0.5
        Probability of a flip, in [0, 1].
    """

    p: float = _number(0.5, 1.0)

    @staticmethod
    def _operation(X: Tensor, numbers: SampleNumbers, p: Tensor) -> Tensor:
        turned = numbers.uniform() < p.view(-1, 1, 1)
        columns = torch.arange(X.shape[-1], device=X.device)
        source = torch.where(turned, columns.flip(0), columns)
        # A gather takes a fifth of the time of torch.where with the mirror image.
        return X.gather(-1, source.view(*turned.shape, 1, -1).expand_as(X))


@dataclass(frozen=True)
class Shift(Augmentation, name="shift", layouts=_IMAGES):
    """Move images by whole pixels, like random cropping after padding.

    Parameters
    ----------
    pixels : int, default=2
        Largest distance along each axis, less than the image's height and width.  Pixels of
        the edge fill the gap.
    """

    pixels: int = _number(2)

    @staticmethod
    def _operation(X: Tensor, numbers: SampleNumbers, pixels: Tensor) -> Tensor:
        most = int(pixels.max())
        largest = pixels.view(-1, 1, 1)
        distances = (numbers.uniform(2) * (2 * largest + 1)).floor_() - largest
        # Start of the image in the padded image, (k B,) for each axis.
        y_start, x_start = (distances + most).long().flatten(0, 1).unbind(1)
        padded = F.pad(X.flatten(0, 1), (most,) * 4, mode="replicate")
        windows = padded.unfold(2, X.shape[3], 1).unfold(3, X.shape[4], 1)
        images = torch.arange(len(padded), device=X.device)
        return windows[images, :, y_start, x_start].view_as(X)


@dataclass(frozen=True)
class Rotate(Augmentation, name="rotate", layouts=_IMAGES):
    """Rotate images about their centre.

    Parameters
    ----------
    degrees : float, default=10.0
        Largest angle in either direction, in [0, 180].  Pixels are interpolated linearly;
        pixels of the edge fill the gaps.
    """

    degrees: float = _number(10.0, 180.0)

    @staticmethod
    def _operation(X: Tensor, numbers: SampleNumbers, degrees: Tensor) -> Tensor:
        images = X.flatten(0, 1)
        height, width = X.shape[3:]
        turns = (numbers.uniform().squeeze(-1) * 2 - 1) * degrees.unsqueeze(1)
        angles = torch.deg2rad(turns.flatten())
        cos, sin = angles.cos(), angles.sin()
        # Coordinates run from -1 to 1 along each axis, for any size.
        matrix = images.new_zeros(len(images), 2, 3)
        matrix[:, 0, 0] = matrix[:, 1, 1] = cos.to(X.dtype)
        matrix[:, 0, 1] = (-sin * (height / width)).to(X.dtype)
        matrix[:, 1, 0] = (sin * (width / height)).to(X.dtype)
        grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
        turned = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
        return turned.view_as(X)


@dataclass(frozen=True)
class Cutout(Augmentation, name="cutout", layouts=_IMAGES):
    """Set a square of each image to 0 (DeVries and Taylor 2017).

    Parameters
    ----------
    pixels : int, default=4
        Side of the square, less than the image's height and width.  Its centre is any
        pixel, so the square may be partly outside the image.

    Notes
    -----
    0 must be neutral: the mean of standardised pixels, or the background.
    """

    pixels: int = _number(4)

    @staticmethod
    def _operation(X: Tensor, numbers: SampleNumbers, pixels: Tensor) -> Tensor:
        sizes = tensor_of(X.shape[3:], X.device)
        sides = pixels.view(-1, 1, 1)
        start = (numbers.uniform(2) * sizes).floor_() - (sides / 2).floor()
        box = inside_box(start, start + sides, X.shape[3], X.shape[4])
        return X * (~box).to(X.dtype).unsqueeze(2)


@dataclass(frozen=True)
class Brightness(Augmentation, name="brightness", layouts=_IMAGES):
    """Multiply each image by a factor, as torchvision's ``adjust_brightness`` does.

    Parameters
    ----------
    change : float, default=0.2
        The factor is uniform in [max(0, 1 - change), 1 + change], as in ``ColorJitter``.

    Notes
    -----
    For images with values from 0 to 1.  Results are clipped to [0, 1], or to the range of
    the image if that is wider; the same holds for `Contrast` and `Saturation`.
    """

    change: float = _number(0.2)

    @staticmethod
    def _operation(X: Tensor, numbers: SampleNumbers, change: Tensor) -> Tensor:
        return blended(X, torch.zeros_like(X), numbers, change)


@dataclass(frozen=True)
class Contrast(Augmentation, name="contrast", layouts=_IMAGES, channels=(1, 3)):
    """Scale each image about its mean grey, as torchvision's ``adjust_contrast`` does.

    Parameters
    ----------
    change : float, default=0.2
        The factor is uniform in [max(0, 1 - change), 1 + change].  At 0 the image is
        grey.

    Notes
    -----
    For images of 1 channel, or of red, green and blue, with grey = 0.2989 R + 0.587 G +
    0.114 B.  Results are clipped to [0, 1], or to the range of the image if that is
    wider.
    """

    change: float = _number(0.2)

    @staticmethod
    def _operation(X: Tensor, numbers: SampleNumbers, change: Tensor) -> Tensor:
        return blended(X, grey(X).mean(dim=(2, 3, 4), keepdim=True), numbers, change)


@dataclass(frozen=True)
class Saturation(Augmentation, name="saturation", layouts=_IMAGES, channels=(3,)):
    """Scale colours about the grey of each pixel, as torchvision's ``adjust_saturation``.

    Parameters
    ----------
    change : float, default=0.2
        The factor is uniform in [max(0, 1 - change), 1 + change].  At 0 the image has no
        colours.

    Notes
    -----
    For images of red, green and blue, with grey = 0.2989 R + 0.587 G + 0.114 B.  Results
    are clipped to [0, 1], or to the range of the image if that is wider.
    """

    change: float = _number(0.2)

    @staticmethod
    def _operation(X: Tensor, numbers: SampleNumbers, change: Tensor) -> Tensor:
        return blended(X, grey(X), numbers, change)


@dataclass(frozen=True)
class Noise(Augmentation, name="noise", layouts=_ANY):
    """Add normally distributed noise to every value ("jitter" of sequences).

    Parameters
    ----------
    std : float, default=0.1
        Standard deviation in the units of X, so scale X first; at least 0.

    Notes
    -----
    Columns of 0 and 1, such as one-hot encoded categories, also get noise;
    `categorical_features` of a network do not.
    """

    std: float = _number(0.1)

    @staticmethod
    def _operation(X: Tensor, numbers: SampleNumbers, std: Tensor) -> Tensor:
        noise = numbers.normal(X[0, 0].numel(), X.dtype)
        return noise.mul_(std.to(X.dtype).view(-1, 1, 1)).view_as(X).add_(X)


@dataclass(frozen=True)
class Scale(Augmentation, name="scale", layouts=_ANY - {"table"}):
    """Multiply each sequence or image by a random number.

    Parameters
    ----------
    std : float, default=0.1
        Standard deviation of the factor, which is normally distributed about 1; at least 0.
    """

    std: float = _number(0.1)

    @staticmethod
    def _operation(X: Tensor, numbers: SampleNumbers, std: Tensor) -> Tensor:
        factor = 1 + numbers.normal(1, X.dtype) * std.to(X.dtype).view(-1, 1, 1)
        return X * factor.view(*X.shape[:2], *(1,) * (X.ndim - 2))


@dataclass(frozen=True)
class TimeMask(Augmentation, name="time_mask", layouts=_IN_TIME):
    """Set a block of consecutive steps of each sequence to 0 (Park et al. 2019).

    Parameters
    ----------
    share : float, default=0.2
        Largest number of steps as a share of all steps, in [0, 1]; the number is drawn
        uniformly from 0 on.

    Notes
    -----
    0 must be neutral, as in standardised sequences.
    """

    share: float = _number(0.2, 1.0)

    @staticmethod
    def _operation(X: Tensor, numbers: SampleNumbers, share: Tensor) -> Tensor:
        n_steps = X.shape[-1]
        most = (share * n_steps).floor().unsqueeze(1)
        size, place = numbers.uniform(2).unbind(-1)
        size = (size * (most + 1)).floor_()
        start = (place * (n_steps - size + 1)).floor_()
        steps = torch.arange(n_steps, device=X.device)
        mask = steps.lt(start.unsqueeze(-1)) | steps.ge((start + size).unsqueeze(-1))
        return X * mask.to(X.dtype).unsqueeze(2)


@dataclass(frozen=True)
class TimeShift(Augmentation, name="time_shift", layouts=_IN_TIME):
    """Move each sequence in time by whole steps.

    Parameters
    ----------
    steps : int, default=2
        Largest distance in either direction, less than the number of steps.  The first or
        last step fills the gap; a padded sequence keeps its length.
    """

    steps: int = _number(2)

    @staticmethod
    def _operation(X: Tensor, numbers: SampleNumbers, steps: Tensor) -> Tensor:
        n_steps, largest = X.shape[-1], steps.view(-1, 1, 1)
        distance = ((numbers.uniform() * (2 * largest + 1)).floor_() - largest).long()
        # The source step of each place, (k, B, T); padding stays in place.
        place = torch.arange(n_steps, device=X.device).expand(*X.shape[:2], -1)
        lengths = n_steps - X[:, :, 0].isnan().sum(dim=-1, keepdim=True)
        source = (place - distance).clamp(min=0).minimum(lengths - 1)
        source = torch.where(place < lengths, source, place)
        return X.gather(-1, source.unsqueeze(2).expand_as(X))


@dataclass(frozen=True)
class Mixup(Augmentation, name="mixup", layouts=_ANY):
    """Mix each sample and its target with another sample of its batch (Zhang et al. 2018).

    Parameters
    ----------
    alpha : float, default=0.2
        The share s of the second sample is drawn from Beta(alpha, alpha), and replaced by
        ``1 - s`` if it is above 1/2.  `alpha` must be above 0.  Small values leave most
        samples nearly unchanged; 1 draws uniform shares.

    Notes
    -----
    Classes are mixed in the loss, real-valued targets directly; weights are mixed, too.
    A category comes from one of the two samples, with a probability equal to its share.
    Mixed sequences have the length of the shorter sequence.
    """

    mixes: ClassVar[bool] = True
    alpha: float = _number(0.2, above_0=True)

    @staticmethod
    def _operation(X: Tensor, numbers: SampleNumbers, quantiles: Tensor) -> Mixed:
        share = drawn_shares(numbers.uniform().squeeze(-1), quantiles)
        share = share.maximum(1 - share)
        factor = share.to(X.dtype).view(*share.shape, *(1,) * (X.ndim - 2))
        return torch.lerp(partners(X), X, factor), share


@dataclass(frozen=True)
class CutMix(Augmentation, name="cutmix", layouts=_IMAGES):
    """Replace a rectangle of each image with that of another image (Yun et al. 2019).

    Parameters
    ----------
    alpha : float, default=1.0
        The share of the rectangle is drawn from Beta(alpha, alpha); above 0.  The rectangle
        is clipped at the edges.  Targets are mixed by area.
    """

    mixes: ClassVar[bool] = True
    alpha: float = _number(1.0, above_0=True)

    @staticmethod
    def _operation(X: Tensor, numbers: SampleNumbers, quantiles: Tensor) -> Mixed:
        drawn = numbers.uniform(3)
        sizes = tensor_of(X.shape[3:], X.device)
        area = 1 - drawn_shares(drawn[..., 0], quantiles)
        sides = (area.sqrt().unsqueeze(-1) * sizes).floor_()
        start = (drawn[..., 1:] * sizes).floor_() - (sides / 2).floor()
        box = inside_box(start, start + sides, X.shape[3], X.shape[4])
        share = 1 - box.double().mean(dim=(2, 3))
        return torch.where(box.unsqueeze(2), partners(X), X), share


_KINDS = (
    *(Flip, Shift, Rotate, Cutout, Brightness, Contrast, Saturation),
    *(Noise, Scale, TimeMask, TimeShift, Mixup, CutMix),
)
# Augmentations by name; a name stands for the default strength.
AUGMENTATIONS: dict[str, type[Augmentation]] = {kind.name: kind for kind in _KINDS}


def _checked(kind: str, strength: Any, value: Any) -> Any:
    """Return a strength as a Python number; ValueError if it is out of range."""
    high, above_0 = strength.metadata["high"], strength.metadata["above_0"]
    is_integer = isinstance(strength.default, int)
    is_number = isinstance(value, Integral if is_integer else Real)
    if (
        not is_number
        or isinstance(value, bool)
        or not math.isfinite(value)
        or value < 0
        or (above_0 and value == 0)
        or value > high
    ):
        kind_of_number = "an int" if is_integer else "a float"
        start, end = "(0" if above_0 else "[0", f"{high}]" if high < math.inf else "inf)"
        raise ValueError(
            f"The {strength.name!r} parameter of {kind} must be {kind_of_number} in "
            f"the range {start}, {end}. Got {value!r} instead."
        )
    return int(value) if is_integer else float(value)


_FORMS: dict[Layout, str] = {
    "table": "rows of a table",
    "sequence": "sequences (n_steps, n_features)",
    "signal": "signals (n_channels, n_steps)",
    "image": "images (n_channels, height, width)",
    "volume": "volumes (n_channels, depth, height, width)",
}


def as_augmentations(value: Any) -> tuple[Augmentation, ...]:
    """Return the augmentations of a value of the parameter ``augmentation``, in order.

    >>> as_augmentations(["flip", Shift(3)])
    (Flip(p=0.5), Shift(pixels=3))
    """
    if value is None:
        return ()
    augmentations: list[Augmentation] = []
    for item in value if isinstance(value, list | tuple) else [value]:
        kind = AUGMENTATIONS.get(item) if isinstance(item, str) else None
        augmentation = item if kind is None else kind()
        if not isinstance(augmentation, Augmentation):
            raise ValueError(
                f"An augmentation must be a str among {set(AUGMENTATIONS)} or an instance "
                f"of a class of sk_tune.augment. Got {item!r} instead."
            )
        if not augmentation.name:
            raise ValueError(
                f"{type(augmentation).__name__} must define augment(X, numbers) to be an "
                "augmentation."
            )
        augmentations.append(augmentation)
    mixing = [change for change in augmentations if change.mixes]
    if len(mixing) > 1:
        raise ValueError(
            "augmentation must have at most one entry that mixes rows. "
            f"Got {mixing!r} instead."
        )
    return tuple(augmentations)


def check_row_shape(
    augmentations: Sequence[Augmentation],
    shape: tuple[int, ...],
    layout: Layout,
    caller_name: str,
) -> None:
    """Raise ValueError if samples of a shape and layout do not suit the augmentations."""
    for change in augmentations:
        if layout not in change.layouts:
            forms = " or ".join(_FORMS[form] for form in _FORMS if form in change.layouts)
            hint = ""
            if change.layouts == _IMAGES:
                hint = " CNNs read flat rows as images with input_shape=(height, width)."
            raise ValueError(
                f"augmentation={change.name!r} of {caller_name} needs {forms}. Got rows "
                f"of shape {shape} instead.{hint}"
            )
        if change.channels and shape[0] not in change.channels:
            allowed = " or ".join(map(str, change.channels))
            raise ValueError(
                f"augmentation={change.name!r} of {caller_name} needs images with "
                f"{allowed} channels. Got rows of shape {shape} instead."
            )
        # Sizes that a distance must not reach.
        sizes: tuple[int, ...] = ()
        if isinstance(change, TimeShift):
            sizes = (shape[0] if layout == "sequence" else shape[-1],)
        elif isinstance(change, Shift | Cutout):
            sizes = shape[-2:]
        if sizes and astuple(change)[0] >= min(sizes):
            raise ValueError(
                f"{change!r} in the 'augmentation' parameter of {caller_name} must be less "
                f"than {min(sizes)}, since rows have shape {shape}."
            )


def kinds_of(augmentations: Sequence[Augmentation]) -> tuple[str, ...]:
    """Return the names of augmentations; the fits of a fleet have the same."""
    # The module distinguishes a user's augmentation from a namesake of sk_tune.
    return tuple(
        a.name if a._operation else f"{a.__module__}.{a.name}" for a in augmentations
    )
