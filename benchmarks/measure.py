# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Time several sides in turn, so that a machine whose speed drifts is fair to all."""

import platform
import statistics
import time
from collections.abc import Callable, Mapping

import torch
from threadpoolctl import threadpool_info


def medians(
    sides: Mapping[str, Callable[[], object]], n_runs: int, *, warm_up: bool = True
) -> dict[str, float]:
    """Return the median seconds of each side over `n_runs` rounds, after one warm-up."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for round_ in range(n_runs + warm_up):
        for name, run in sides.items():
            start = time.perf_counter()
            run()
            if round_ >= warm_up:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def describe_machine() -> str:
    """Return one line on the versions and the matrix kernels in use."""
    kernels = {
        f"{lib['internal_api']} {lib.get('architecture', '')} x{lib['num_threads']}".strip()
        for lib in threadpool_info()
    }
    return (
        f"Python {platform.python_version()}, torch {torch.__version__} "
        f"({torch.get_num_threads()} threads), {', '.join(sorted(kernels))}"
    )
