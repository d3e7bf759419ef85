"""An ensemble as an ONNX model: the collapsed ensemble is the reference."""

import numpy as np
import pytest
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from sk_tune import (
    BaggingClassifier,
    BaggingRegressor,
    BoostingClassifier,
    SeedEnsembleClassifier,
)
from sk_tune.ensemble import collapse


@pytest.fixture
def names(iris):
    """Return flowers with the names of their species."""
    return iris.X, np.array(["setosa", "versicolor", "virginica"])[iris.y]


@pytest.mark.parametrize(
    "case",
    [
        "bagging",
        "columns",
        "regressor",
        "binary",
        "temperature",
        "scalers",
        "labels",
        "images",
    ],
)
def test_an_ensemble_is_one_onnx_model(
    case, make_estimator, names, diabetes, outputs, tmp_path
):
    """Another runtime predicts the same from any number of rows."""
    runtime = pytest.importorskip("onnxruntime")
    data = names
    if case == "binary":
        data = (names[0][:100], names[1][:100])
        fitted = BoostingClassifier(make_estimator("MLPRegressor"), 3, random_state=0).fit(
            *data
        )
    elif case == "regressor":
        data = diabetes
        fitted = BaggingRegressor(make_estimator("MLPRegressor"), 3, random_state=0)
        fitted.fit(*data)
    elif case == "scalers":
        steps = [SimpleImputer(), MinMaxScaler(), StandardScaler()]
        X = names[0] + 1e3
        X[::4, 1] = np.nan
        data = (X, names[1])
        pipe = make_pipeline(*steps, make_estimator("MLPClassifier"))
        fitted = BaggingClassifier(pipe, 3, random_state=0).fit(*data)
    elif case == "labels":
        data = (names[0], (names[0][:, :3] > [5.8, 3, 4]).astype(int))
        net = make_estimator("MLPClassifier", max_epochs=10)
        fitted = SeedEnsembleClassifier(net, 3, random_state=0).fit(*data)
        fitted.temperature_ = 1.5
    elif case == "images":
        data = (np.tile(names[0], 2), names[1])
        pipe = make_pipeline(StandardScaler(), make_estimator("CNNClassifier"))
        fitted = BaggingClassifier(pipe, 2, random_state=0).fit(*data)
    else:
        options = {"max_features": 0.5} if case == "columns" else {}
        fitted = BaggingClassifier(
            make_estimator("MLPClassifier"), 3, random_state=0, **options
        ).fit(*data)
        if case == "temperature":
            fitted.temperature_ = 2.0
    small = collapse(fitted)
    path = tmp_path / "ensemble.onnx"

    small.to_onnx(path)

    session = runtime.InferenceSession(path)
    rows = data[0][:7].astype(np.float32)
    (found,) = session.run(None, {"X": rows})
    expected = outputs(small, rows).reshape(7, -1)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert [p.name for p in tmp_path.iterdir()] == ["ensemble.onnx"]
