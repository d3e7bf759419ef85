# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The parameter ``augmentation``: what users write, and whether samples allow it."""

from collections.abc import Sequence
from dataclasses import asdict, astuple
from typing import Any

from sk_tune.augment._augmentations import (
    AUGMENTATIONS,
    Augmentation,
    Cutout,
    Layout,
    Shift,
    TimeShift,
)

__all__ = ["as_augmentations", "check_row_shape", "from_plain", "kinds_of", "to_plain"]

_FORMS: dict[Layout, str] = {
    "table": "rows of a table",
    "sequence": "sequences (n_steps, n_features)",
    "signal": "signals (n_channels, n_steps)",
    "image": "images (n_channels, height, width)",
    "volume": "volumes (n_channels, depth, height, width)",
}


def as_augmentations(value: Any) -> tuple[Augmentation, ...]:
    """Return what a user means by a value of the parameter ``augmentation``, in that order.

    A name stands for its augmentation with the default strength. Raises ValueError if the
    value is no augmentation, name, or list or tuple of these, or if more than one mixes
    samples.

    >>> as_augmentations(["flip", Shift(3)])
    (Flip(p=0.5), Shift(pixels=3))
    """
    if value is None:
        return ()
    items = value if isinstance(value, list | tuple) else [value]
    augmentations = tuple(map(_as_augmentation, items))
    mixing = [augmentation for augmentation in augmentations if augmentation.mixes]
    if len(mixing) > 1:
        raise ValueError(
            f"augmentation must hold one that mixes rows at most. Got {mixing!r} instead."
        )
    return augmentations


def _as_augmentation(item: Any) -> Augmentation:
    if isinstance(item, str) and item in AUGMENTATIONS:
        return AUGMENTATIONS[item]()
    if isinstance(item, Augmentation):
        return item
    raise ValueError(
        f"An augmentation must be a str among {set(AUGMENTATIONS)} or made of a class of "
        f"sk_tune.augment. Got {item!r} instead."
    )


def check_row_shape(
    augmentations: Sequence[Augmentation],
    shape: tuple[int, ...],
    layout: Layout,
    caller_name: str,
) -> None:
    """Raise ValueError if samples of a shape and layout cannot be augmented so."""
    for change in augmentations:
        if layout not in change.layouts:
            wanted = " or ".join(_FORMS[form] for form in _FORMS if form in change.layouts)
            raise ValueError(
                f"augmentation={change.name!r} of {caller_name} must be given {wanted}. "
                f"Got rows of shape {shape} instead."
            )
        # Sizes along which a length must be less.
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
    """Return the names of augmentations, in which fits of a fleet must agree."""
    return tuple(augmentation.name for augmentation in augmentations)


def to_plain(value: Any) -> Any:
    """Return a value of the parameter ``augmentation`` as JSON knows it.

    >>> to_plain(["flip", Shift(3)])
    ['flip', {'kind': 'shift', 'pixels': 3}]
    """
    if isinstance(value, Augmentation):
        return {"kind": value.name, **asdict(value)}
    if isinstance(value, list | tuple):
        return type(value)(to_plain(item) for item in value)
    return value


def from_plain(value: Any) -> Any:
    """Return the value that :func:`to_plain` was given.

    Raises ValueError if a dict names no kind of augmentation, or a strength is out of its
    range, and TypeError if it names a strength that its kind does not have.
    """
    if isinstance(value, list | tuple):
        return type(value)(from_plain(item) for item in value)
    if not isinstance(value, dict):
        return value
    kind = AUGMENTATIONS.get(value.get("kind", ""))
    if kind is None:
        raise ValueError(
            f"The kind of an augmentation must be among {set(AUGMENTATIONS)}. Got "
            f"{value.get('kind')!r} instead."
        )
    return kind(**{name: number for name, number in value.items() if name != "kind"})
