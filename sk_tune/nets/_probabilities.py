# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Classifiers' modules that return probabilities instead of unnormalised scores."""

import torch
from torch import Tensor, nn


def sum_to_one(outputs: Tensor) -> bool:
    """Return whether outputs, (B, C), are at least 0 and sum to 1 for each sample."""
    sums = outputs.sum(dim=1)
    # Half precision rounds at 1e-3.
    return bool((outputs >= 0).all()) and torch.allclose(
        sums, torch.ones_like(sums), atol=1e-2 if outputs.element_size() < 4 else 1e-4
    )


class LogProbabilities(nn.Module):
    """A module that returns probabilities, as one that returns unnormalised scores.

    Their logarithms are such scores: softmax makes the same probabilities of them, and
    cross-entropy is the negative log-likelihood. Unless a sample has `one_class`, each
    column is a label by itself, whose score is its log-odds. `while_training` says whether
    the module returns probabilities in training mode too.
    """

    def __init__(self, module: nn.Module, *, one_class: bool, while_training: bool) -> None:
        super().__init__()
        self.module = module
        self.one_class = one_class
        self.while_training = while_training

    def forward(self, x: Tensor) -> Tensor:
        """Return unnormalised scores, (B, C), of a batch (B, ...)."""
        outputs: Tensor = self.module(x)
        if self.training and not self.while_training:
            return outputs
        numbers = torch.finfo(outputs.dtype)
        if self.one_class:
            return outputs.clamp_min(numbers.tiny).log()
        return outputs.logit(eps=numbers.eps)
