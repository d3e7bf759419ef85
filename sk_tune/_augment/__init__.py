# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Random augmentations of training samples: values of the parameter ``augmentation``."""

from sk_tune._augment._augmentations import (
    AUGMENTATIONS,
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
    as_augmentations,
    check_row_shape,
    kinds_of,
)
from sk_tune._augment._operations import Layout
from sk_tune._augment._row_augmenter import RowAugmenter
