"""Multi-layer perceptrons: architectures and training."""

import numpy as np
import pytest
from sklearn.exceptions import FitFailedWarning

from sk_tune import GridSearchCV, MLPClassifier, MLPRegressor

MEMBERS = {
    "hidden_layer_sizes": (8,),
    "members": 3,
    "lr_schedule": "constant",
    "max_epochs": 3,
    "random_state": 0,
}


@pytest.mark.parametrize("cls", [MLPClassifier, MLPRegressor])
def test_members_are_saved_loaded_and_continued(cls, iris, tmp_path):
    """As for any network: files, warm starts, several targets and weights of rows."""
    X, y = iris
    target = np.column_stack([y > 0, X[:, 0] > 5.5]).astype(int)
    net = cls(**MEMBERS).fit(X, target, sample_weight=np.arange(len(X)) % 3)

    net.save(tmp_path / "net.safetensors")
    loaded = cls.load(tmp_path / "net.safetensors")

    np.testing.assert_array_equal(loaded.predict(X), net.predict(X))
    assert loaded.predict(X).shape == (150, 2)
    assert loaded.partial_fit(X, target).n_epochs_ == 4


def test_layers_too_large_for_any_machine_are_refused_before_building(iris):
    """By their bytes: 8e12 weights of 4 bytes, derivatives and two moments."""
    with pytest.raises(ValueError, match=r"8,000,000,000,003 weights.* 128,000 GB"):
        MLPClassifier(hidden_layer_sizes=10**12).fit(*iris)

    grid = {"hidden_layer_sizes": [2, 10**12]}
    search = GridSearchCV(MLPClassifier(max_epochs=1, random_state=0), grid, cv=2)
    with pytest.warns(FitFailedWarning), pytest.warns(UserWarning, match="non-finite"):
        search.fit(*iris)

    assert np.isnan(search.cv_results_["mean_test_score"]).tolist() == [False, True]
    assert "must fit into memory" in search.cv_results_["failure_reason"][1]
