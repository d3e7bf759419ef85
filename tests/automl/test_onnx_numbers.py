"""Places of dates and quantiles as modules."""

import numpy as np
import torch
from scipy.stats import norm
from sklearn.preprocessing import FunctionTransformer, QuantileTransformer

from sk_tune.automl._onnx_columns import Circles, Quantiles, _normal_quantile
from sk_tune.prepare import TablePreparer


def test_normal_quantiles_are_those_of_scipy():
    """To all digits, from one end that is clipped to the other."""
    p = np.concatenate([np.linspace(1e-7, 1 - 1e-7, 9999), np.geomspace(1e-7, 0.1, 99)])

    found = _normal_quantile(torch.from_numpy(p)).numpy()

    np.testing.assert_allclose(found, norm.ppf(p), atol=1e-14)


def test_places_of_dates_are_those_of_the_preparer():
    """Each day of six centuries, leap years and hours too."""
    days = np.concatenate([np.arange(-135_000, 85_000), np.linspace(0, 9e4, 999), [np.nan]])
    own = TablePreparer()._circle_steps()[0][0]
    assert isinstance(own, FunctionTransformer)

    found = Circles()(torch.from_numpy(days[:, None])).numpy()

    np.testing.assert_allclose(found, own.transform(days[:, None]), atol=2e-9)


def test_quantiles_are_those_of_scikit_learn():
    """Between values, at values that recur, beyond all of them, and missing."""
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(size=500), rng.integers(0, 5, 500)])
    scaler = QuantileTransformer(n_quantiles=300, output_distribution="normal").fit(X)
    new = np.concatenate([X, X + 1e-3, 3 * X, X - 5, [[np.nan, np.nan]]])

    found = Quantiles(scaler)(torch.from_numpy(new)).numpy()

    np.testing.assert_allclose(found, scaler.transform(new), atol=1e-8)
