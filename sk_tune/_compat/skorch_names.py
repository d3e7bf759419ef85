# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""skorch: what a net has to be told that it finds out too late."""

from typing import ClassVar

from skorch import NeuralNet

__all__ = ["NetOfKnownParts"]


class NetOfKnownParts(NeuralNet):  # type: ignore[misc]
    """A skorch net that knows from the start which parts it will have.

    skorch finds them out when they are set, which an optimizer that is built at its first
    use may never be.
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
