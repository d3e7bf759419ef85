# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Time several sides in turn, so that a machine whose speed drifts is fair to all."""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_info

from sk_tune.engine import kernel_status


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


def record(benchmark: str, case: str, **values: Any) -> None:
    """Append a result to the JSON lines file that SK_TUNE_RESULTS names, if it is set."""
    if path := os.environ.get("SK_TUNE_RESULTS"):
        line = {"benchmark": benchmark, "case": case, **values}
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def processor_name() -> str:
    """Return the model name of the processor and the number of its cores in use."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    model = names[0] if names else platform.processor() or platform.machine()
    return f"{model}, {os.cpu_count()} cores"


def describe_machine() -> str:
    """Return one line on the versions, the matrix kernels and sk_tune's kernel in use."""
    kernels = {
        f"{lib['internal_api']} {lib.get('architecture', '')} x{lib['num_threads']}".strip()
        for lib in threadpool_info()
    }
    return (
        f"Python {platform.python_version()}, torch {torch.__version__} "
        f"({torch.get_num_threads()} threads), {', '.join(sorted(kernels))}, "
        f"kernel of sk_tune: {kernel_status()}"
    )
