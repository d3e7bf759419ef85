# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Products of the matrices of many networks, by whichever library of torch's is faster.

Notation: k networks; B samples, D inputs and H outputs of a layer.
"""

import os
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sk_tune._compat.torch_names import pointwise_linear

# From so many multiplications on, a call for each network gains more than it costs.
_LEAST_PRODUCT = 2**21
_AMD = "AuthenticAMD"


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor) -> Tensor:
    """Write x W^T + b into `out`, (k, B, H), for (k, B, D), (k, H, D) and (k, H)."""
    if _goes_one_by_one(x, weight.shape[1]):
        for network in range(len(x)):
            out[network] = _product(
                x[network], weight[network], None if bias is None else bias[network]
            )
        return out
    if bias is None:
        return torch.bmm(x, weight.mT, out=out)
    return torch.baddbmm(bias.unsqueeze(1), x, weight.mT, out=out)


def weight_gradient(dy: Tensor, x: Tensor, out: Tensor) -> Tensor:
    """Write the derivatives by the weights, dy^T x, into `out`, (k, H, D); return it."""
    if _goes_one_by_one(x, dy.shape[2]):
        for network in range(len(x)):
            out[network] = _product(dy[network].T, x[network].T)
        return out
    return torch.bmm(dy.mT, x, out=out)


def input_gradient(dy: Tensor, weight: Tensor, out: Tensor) -> Tensor:
    """Write the derivatives by the inputs, dy W, into `out`, (k, B, D), and return it."""
    if _goes_one_by_one(dy, weight.shape[2]):
        for network in range(len(dy)):
            out[network] = _product(dy[network], weight[network].T)
        return out
    return torch.bmm(dy, weight, out=out)


def _goes_one_by_one(x: Tensor, n_columns: int) -> bool:
    """Return whether oneDNN multiplies each of (k, n, m) by a matrix of `n_columns`."""
    return (
        x.shape[1] * x.shape[2] * n_columns >= _LEAST_PRODUCT
        and x.dtype == torch.float32
        and x.device.type == "cpu"
        and bool(torch.backends.mkldnn.enabled)
        and _pointwise_linear() is not None
    )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    found: Tensor = _pointwise_linear()(x, weight, bias, "none", [], "")
    return found


@cache
def _pointwise_linear() -> Any:
    """Return oneDNN's linear layer; None where it is missing, or MKL does as well."""
    is_wide = torch.backends.cpu.get_cpu_capability() == "AVX512"
    has_mkl = torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
    if not (is_wide and has_mkl and _is_of_amd()):
        return None
    return pointwise_linear


def _is_of_amd() -> bool:
    try:
        # Linux; Windows has the maker's name in the environment.
        return _AMD in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return _AMD in os.environ.get("PROCESSOR_IDENTIFIER", "")
