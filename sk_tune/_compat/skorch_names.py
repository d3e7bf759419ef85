# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""skorch: declaration of a net's parts before they are set."""

from typing import ClassVar

from skorch import NeuralNet

__all__ = ["NetOfKnownParts"]


class NetOfKnownParts(NeuralNet):  # type: ignore[misc]
    """A skorch net with a fixed list of parts.

    skorch registers a part when its attribute is set, which may never happen for an
    optimizer that is built at its first use.
    """

    prefixes_: ClassVar[list[str]] = [
        *NeuralNet.prefixes_,
        "module",
        "criterion",
        "optimizer",
    ]
    cuda_dependent_attributes_: ClassVar[list[str]] = [
        "module_",
        "criterion_",
        "optimizer_",
    ]
    _modules: ClassVar[list[str]] = ["module"]
    _criteria: ClassVar[list[str]] = ["criterion"]
    _optimizers: ClassVar[list[str]] = ["optimizer"]
