"""The same fits on a CUDA device: fleets there equal the reference engine on the CPU.

In float64, because the device sums in another order.
"""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from sk_tune import CNNClassifier, MLPClassifier, RNNClassifier
from sk_tune.engine import Fit, train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

X, Y = load_digits(return_X_y=True)
X, Y = X[:300] / 16, Y[:300]
COMMON = {"dtype": "float64", "max_epochs": 3, "learning_rate": 5e-3}
ESTIMATORS = {
    "mlp": MLPClassifier(width=16, dropout=0.2, normalization="batch", **COMMON),
    "mlp sgd": MLPClassifier(width=16, optimizer="sgd", l1=1e-4, **COMMON),
    "mlp rmsprop": MLPClassifier(
        width=16, optimizer="rmsprop", gradient_clip=1.0, **COMMON
    ),
    "cnn": CNNClassifier(
        input_shape=(1, 8, 8), n_layers=1, n_channels=4, width=8, **COMMON
    ),
    "gru": RNNClassifier(input_shape=(8, 8), hidden_size=8, dropout=0.1, **COMMON),
    "augmented images": CNNClassifier(
        input_shape=(1, 8, 8),
        n_layers=1,
        n_channels=4,
        width=8,
        augmentation=["flip", "shift", "rotate", "cutout", "cutmix"],
        **COMMON,
    ),
    "augmented sequences": RNNClassifier(
        input_shape=(8, 8),
        hidden_size=8,
        augmentation=["noise", "scale", "time_mask", "time_shift", "mixup"],
        **COMMON,
    ),
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_rows_on_cuda_equal_fits_on_the_cpu(name):
    """Losses and predictions agree within 1e-6."""
    params = ESTIMATORS[name].get_params()

    def fits(device):
        return [
            Fit(
                estimator=type(ESTIMATORS[name])(**{
                    **params,
                    "device": device,
                    "learning_rate": params["learning_rate"] * (1 - 0.2 * i),
                }),
                X=X,
                y=Y,
                rows=np.arange(i, 240),
                monitor=np.arange(240, 300),
                seed=i,
            )
            for i in range(3)
        ]

    on_cuda, on_cpu = train(fits("cuda")), train(fits("cpu"), engine="alone")

    for a, b in zip(on_cuda, on_cpu, strict=True):
        assert a.engine == "fleet"
        np.testing.assert_allclose(a.train_loss, b.train_loss, atol=1e-6)
        np.testing.assert_allclose(a.predictions, b.predictions, atol=1e-6)
