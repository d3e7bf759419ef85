"""Typical code of users, which mypy checks and no test runs."""

from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline
from skorch.callbacks import GradientNormClipping
from torch import Tensor, nn

from sk_tune import (
    CategoryCodes,
    CNNClassifier,
    MLPClassifier,
    MLPRegressor,
    NetClassifier,
    NetRegressor,
    Periodic,
    PiecewiseLinear,
    RNNClassifier,
    SmoothClipScaler,
    TablePreparer,
    load,
    parameters,
    save,
    table_pipeline,
    train_valid_test_split,
)
from sk_tune.augment import Shift


class Wide(nn.Module):
    """A module with an argument of its own."""

    def __init__(self, n_features: int, n_outputs: int, units: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(n_features, units), nn.ReLU(), nn.Linear(units, n_outputs)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs."""
        outputs: Tensor = self.layers(x)
        return outputs


@parameters
class WideClassifier(NetClassifier):
    """An estimator with a name and a parameter of its own."""

    module: Any = Wide
    units: int = 64


def estimators() -> list[Any]:
    """Return estimators with parameters of all kinds."""
    return [
        MLPClassifier((64, 64), dropout=0.1, random_state=np.random.RandomState(0)),
        MLPClassifier(hidden_layer_sizes=np.array([32]), class_weight={0: 1.0, 1: 2.0}),
        MLPClassifier(class_weight="balanced", callbacks=[GradientNormClipping(1.0)]),
        MLPRegressor(numerical_embedding=PiecewiseLinear(n_bins=8), embedding_size="auto"),
        MLPRegressor(numerical_embedding=Periodic(), categorical_features=[True, False]),
        MLPRegressor(numerical_embedding="periodic", categorical_features=["town"]),
        CNNClassifier(input_shape=(8, 8), augmentation=["flip", Shift(1)]),
        RNNClassifier(cell="lstm", n_tokens=100, gradient_clip=None),
        NetClassifier(Wide, module__units=64, learning_rate=1e-2, max_epochs=5),
        NetRegressor(nn.LazyLinear(1), early_stopping=True),
        WideClassifier(units=16),
    ]


def a_table(X: pd.DataFrame, y: "pd.Series[Any]") -> Any:
    """Fit a pipeline, save it and load it."""
    parts = train_valid_test_split(X, y, test_size=0.3, shuffle=False)
    pipe: Pipeline = table_pipeline("classifier", random_state=0)
    pipe.set_params(prepare=TablePreparer(max_categories=10, impute_strategy=None))
    save(pipe.fit(parts[0], parts[3]), "model.safetensors", overwrite=True)
    numbers = SmoothClipScaler().fit_transform(np.eye(3))
    return load("model.safetensors").predict(parts[2]), numbers, CategoryCodes(5, 100)
