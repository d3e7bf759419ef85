# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""A fitted estimator as an ONNX model, which other runtimes execute without Python."""

import os
import warnings
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["export_onnx"]


class _Predictor(nn.Module):
    """The network and what turns its outputs into predictions."""

    target_mean: Tensor
    target_scale: Tensor

    def __init__(self, estimator: Any) -> None:
        super().__init__()
        self.module: nn.Module = estimator.net_.module_
        self.is_classifier = hasattr(estimator, "classes_")
        self.multilabel = self.is_classifier and estimator._is_multilabel
        if not self.is_classifier:
            dtype = getattr(torch, estimator.dtype)
            for name in ("target_mean_", "target_scale_"):
                values = torch.as_tensor(getattr(estimator, name), dtype=dtype)
                self.register_buffer(name.strip("_"), values)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.module(x)
        if self.multilabel:
            return outputs.sigmoid()
        if self.is_classifier:
            return outputs.softmax(dim=1)
        return outputs * self.target_scale + self.target_mean


def export_onnx(estimator: Any, path: str | os.PathLike[str]) -> None:
    """Write a fitted estimator as an ONNX file.

    Parameters
    ----------
    estimator : estimator
        Fitted.
    path : str or path-like
        File to write.

    Raises
    ------
    ImportError
        If onnx or onnxscript is not installed.
    """
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        raise ImportError(
            f"Exporting to ONNX needs {' and '.join(missing)}. Install them with: pip "
            "install 'sk-tune[export]'"
        )
    predictor = _Predictor(estimator).eval().cpu()
    dtype = getattr(torch, estimator.dtype)
    # Two rows, because torch would take a single one for a constant.
    example = torch.zeros(2, *estimator.input_shape_, dtype=dtype)
    try:
        with warnings.catch_warnings():
            # Torch's exporter warns of its own code.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                predictor,
                (example,),
                os.fspath(path),
                dynamo=True,
                external_data=False,
                verbose=False,
                input_names=["X"],
                output_names=["probabilities" if predictor.is_classifier else "prediction"],
                dynamic_shapes={"x": {0: torch.export.Dim("n_samples")}},
            )
    finally:
        predictor.module.to(estimator.net_.device)
