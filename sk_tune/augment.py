# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The augmentations, which change training samples at random."""

from sk_tune._augment import (
    Augmentation,
    Brightness,
    Contrast,
    CutMix,
    Cutout,
    Flip,
    Mixup,
    Noise,
    Rotate,
    Saturation,
    Scale,
    Shift,
    TimeMask,
    TimeShift,
)

__all__ = [
    "Augmentation",
    "Brightness",
    "Contrast",
    "CutMix",
    "Cutout",
    "Flip",
    "Mixup",
    "Noise",
    "Rotate",
    "Saturation",
    "Scale",
    "Shift",
    "TimeMask",
    "TimeShift",
]
