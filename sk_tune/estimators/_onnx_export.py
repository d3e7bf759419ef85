# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""A fitted estimator as an ONNX model, which other runtimes execute without Python."""

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import torch
from sklearn.base import is_classifier
from torch import Tensor, nn


class NetworkPredictor(nn.Module):
    """The network of a fitted estimator and what turns its outputs into predictions."""

    target_mean: Tensor
    target_scale: Tensor

    def __init__(self, estimator: Any) -> None:
        super().__init__()
        self.module: nn.Module = estimator.net_.module_
        self.is_classifier = is_classifier(estimator)
        self.multilabel = estimator._is_multilabel
        if not self.is_classifier:
            dtype = getattr(torch, estimator.net_.options.dtype)
            for name in ("target_mean_", "target_scale_"):
                values = torch.as_tensor(getattr(estimator, name), dtype=dtype)
                self.register_buffer(name.strip("_"), values)

    def forward(self, x: Tensor) -> Tensor:
        """Return probabilities, or targets in their units, (n_samples, n_outputs)."""
        outputs: Tensor = self.module(x)
        if self.multilabel:
            return outputs.sigmoid()
        if self.is_classifier:
            return outputs.softmax(dim=1)
        return outputs * self.target_scale + self.target_mean


def export_onnx(estimator: Any, path: str | os.PathLike[str]) -> None:
    """Write a fitted estimator as an ONNX file; ImportError without onnx or onnxscript."""
    predictor = NetworkPredictor(estimator)
    # The network's type, which a parameter that was set after the fit does not change.
    dtype = getattr(torch, estimator.net_.options.dtype)
    example = torch.zeros(2, *estimator.input_shape_, dtype=dtype)
    is_classifier = predictor.is_classifier
    export_module(predictor, [estimator], example, path, is_classifier=is_classifier)


def export_module(
    module: nn.Module,
    estimators: Sequence[Any],
    example: Tensor,
    path: str | os.PathLike[str],
    *,
    is_classifier: bool,
) -> None:
    """Write a module that makes predictions as an ONNX file.

    It holds the modules of `estimators`, which go back to their devices; `example` has two
    samples, because torch would take a single one for a constant. Raises ImportError if
    onnx or onnxscript is not installed.
    """
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        raise ImportError(
            f"Exporting to ONNX needs {' and '.join(missing)}. Install them with: pip "
            "install 'sk-tune[export]'"
        )
    with warnings.catch_warnings(), _without_torch_log():
        # The exporter warns of code in torch itself.
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                module.eval().cpu(),
                (example,),
                os.fspath(path),
                dynamo=True,
                external_data=False,
                verbose=False,
                input_names=["X"],
                output_names=["probabilities" if is_classifier else "prediction"],
                dynamic_shapes={"x": {0: torch.export.Dim("n_samples")}},
            )
        finally:
            for estimator in estimators:
                estimator.net_.module_.to(estimator.net_.device)


@contextmanager
def _without_torch_log() -> Iterator[None]:
    """Keep torch from logging which packages it could export as well if they were there."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
