# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""skorch: declaration of a net's parts before they are set."""

from typing import ClassVar

from skorch import NeuralNet

_PARTS = ["module", "criterion", "optimizer"]


class NetOfKnownParts(NeuralNet):  # type: ignore[misc]
    """A skorch net with a fixed list of parts.

    skorch registers a part when its attribute is set, which may never happen for an
    optimizer that is built at its first use.
    """

    prefixes_: ClassVar[list[str]] = [*NeuralNet.prefixes_, *_PARTS]
    cuda_dependent_attributes_: ClassVar[list[str]] = [f"{part}_" for part in _PARTS]
    _modules: ClassVar[list[str]] = _PARTS[:1]
    _criteria: ClassVar[list[str]] = _PARTS[1:2]
    _optimizers: ClassVar[list[str]] = _PARTS[2:]
