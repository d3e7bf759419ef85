# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Steps of a fleet as CUDA graphs: recorded once, then repeated by one call each.

A step of small networks is some hundred calls, which take the processor longer than the
device.  A graph repeats them on the same memory, so that whatever changes from step to step
has to lie in memory that stays.  What makes the processor wait for the device cannot be
recorded.  A graph is compared with a step that is made by its calls before it is used;
where anything is against it, calls make all steps, and a log at level DEBUG says why.
"""

import logging
import os
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sk_tune._compat.torch_names import TorchDispatchMode

# "0" for none.
VARIABLE = "SK_TUNE_CUDA_GRAPHS"
_LOGGER = logging.getLogger(__name__)
# What was done so often is likely to be done as often again, which pays for recording it.
_STEPS_BEFORE = 32
# Operators whose result, or its shape, the processor has to know before it goes on.
_WAITING = frozenset({
    *("aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::is_nonzero"),
    *("aten::masked_select", "aten::_unique2", "aten::unique_dim"),
})
# Share of the largest number by which a graph may differ from calls.
_TOLERANCES = {torch.float32: 1e-3, torch.float64: 1e-9}

Step = Callable[[], Sequence[Tensor]]
# Returns what repeats a step, and the tensors that the step returned.
Capture = Callable[[Step], tuple[Callable[[], object], Sequence[Tensor]]]


def step_graphs(changing: Sequence[Tensor]) -> "StepGraphs | None":
    """Return graphs of steps that change some tensors; None where there are none."""
    device = changing[0].device
    if device.type != "cuda" or os.environ.get(VARIABLE) == "0":
        return None

    def capture(step: Step) -> tuple[Callable[[], object], Sequence[Tensor]]:
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        # What other threads do on the device meanwhile is no error of theirs.
        recording = torch.cuda.graph(
            graph, stream=stream, capture_error_mode="thread_local"
        )
        with torch.cuda.device(device), recording:
            found = step()
        return graph.replay, found

    return StepGraphs(changing, capture)


class Watch(TorchDispatchMode):  # type: ignore[misc,no-untyped-call]
    """Notes what operators take that none of them made, and which wait for a device."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.taken: list[Tensor] = []
        self.waits: list[str] = []
        self._made: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        tensors = [t for t in _flat((args, kwargs)) if isinstance(t, Tensor)]
        made = [t for t in _flat(found) if isinstance(t, Tensor)]
        self.taken += [t for t in tensors if _address(t) not in self._made]
        self._made.update(map(_address, made))
        name = func.name().partition(".")[0]
        # Numbers of no dimension are handed over with the call.
        devices = {t.device.type for t in tensors + made if t.ndim}
        is_by_mask = name.startswith("aten::index") and any(
            t.dtype == torch.bool for t in tensors[1:]
        )
        if name in _WAITING or is_by_mask or len(devices) > 1:
            self.waits.append(name)
        return found


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _flat(values: Any) -> list[Any]:
    if isinstance(values, dict):
        values = list(values.values())
    if isinstance(values, list | tuple):
        return [part for value in values for part in _flat(value)]
    return [values]


class StepGraphs:
    """Graphs of the steps of some networks, which `changing` tensors belong to."""

    def __init__(self, changing: Sequence[Tensor], capture: Capture) -> None:
        self._changing = changing
        self._capture = capture
        self._n_made: Counter[Any] = Counter()
        # What repeats a step, what it returns, and the tensors that it needs.
        self._recorded: dict[Any, Any] = {}
        self._compared: set[Any] = set()
        self._refused: set[Any] = set()

    def step(self, key: Any, step: Step) -> Sequence[Tensor]:
        """Make a step, equal in all but numbers to the others of its `key`.

        The result is overwritten by the next step of the key.
        """
        if key in self._compared:
            repeat, outputs, _ = self._recorded[key]
            repeat()
            return outputs  # type: ignore[no-any-return]
        self._n_made[key] += 1
        if key in self._refused or self._n_made[key] <= _STEPS_BEFORE:
            return step()
        return (
            self._compare(key, step) if key in self._recorded else self._record(key, step)
        )

    def _record(self, key: Any, step: Step) -> Sequence[Tensor]:
        """Make a step, and record another one."""
        with Watch() as watch:
            outputs = [t.clone() for t in step()]
        if watch.waits:
            self._refuse(key, f"{watch.waits[0]} waits for the device")
            return outputs
        after = [t.clone() for t in self._changing]
        try:
            # What a graph reads has to stay, whoever else lets go of it.
            with Watch() as watch:
                repeat, found = self._capture(step)
            self._recorded[key] = repeat, found, watch.taken
        except RuntimeError as error:
            self._refuse(key, str(error))
        self._restore(after)
        return outputs

    def _compare(self, key: Any, step: Step) -> Sequence[Tensor]:
        """Make a step twice, and let the graph make the next ones if both are alike."""
        before = [t.clone() for t in self._changing]
        expected = [t.clone() for t in step()]
        after = [t.clone() for t in self._changing]
        self._restore(before)
        repeat, outputs, _ = self._recorded[key]
        repeat()
        # Adam makes steps of the rounding of derivatives that are 0.
        if all(map(_are_alike, outputs, expected)) and all(
            map(partial(_are_alike, share=0.99), self._changing, after)
        ):
            self._compared.add(key)
            return outputs  # type: ignore[no-any-return]
        self._restore(after)
        self._refuse(key, "it gives other numbers")
        return expected

    def _restore(self, values: Sequence[Tensor]) -> None:
        for tensor, value in zip(self._changing, values, strict=True):
            tensor.copy_(value)

    def _refuse(self, key: Any, reason: str) -> None:
        self._refused.add(key)
        self._recorded.pop(key, None)
        _LOGGER.debug("A step is not repeated by a CUDA graph, because %s.", reason)


def _are_alike(ours: Tensor, theirs: Tensor, share: float = 1.0) -> bool:
    """Return whether a share of the numbers differ by rounding only."""
    if ours.dtype not in _TOLERANCES or not ours.numel():
        return torch.equal(ours, theirs)
    size = float(theirs.abs().nan_to_num(posinf=0.0).max())
    options = {"rtol": 0.0, "atol": _TOLERANCES[ours.dtype] * size}
    found = torch.isclose(ours, theirs, **options, equal_nan=True)  # type: ignore[arg-type]
    return float(found.double().mean()) >= share
