"""Channels on one scale."""

import numpy as np
from sklearn.preprocessing import StandardScaler

from sk_tune.automl._models import ChannelScaler


def test_channels_get_mean_0_and_variance_1():
    """As scikit-learn's scaler does with all places of a channel in one column."""
    X = np.random.default_rng(0).normal(3, 2, size=(20, 2, 4, 5))
    columns = np.moveaxis(X, 1, -1).reshape(-1, 2)
    expected = StandardScaler().fit_transform(columns).reshape(20, 4, 5, 2)

    scaled = ChannelScaler(1).fit_transform(X)

    np.testing.assert_allclose(np.moveaxis(scaled, 1, -1), expected, atol=1e-5)


def test_missing_steps_count_for_nothing_and_stay_missing():
    """The padding of a short sequence is NaN before and after."""
    X = np.random.default_rng(0).normal(size=(6, 5, 3))
    X[2, 3:] = np.nan

    scaled = ChannelScaler(-1).fit_transform(X)

    assert np.isnan(scaled[2, 3:]).all()
    np.testing.assert_allclose(np.nanmean(scaled, axis=(0, 1)), 0, atol=1e-6)


def test_convolutions_get_channels_first_and_no_gaps():
    """Features become the second axis, and padding the mean."""
    X = np.random.default_rng(0).normal(size=(6, 5, 3))
    X[2, 3:] = np.nan

    scaled = ChannelScaler(-1, channels_first=True).fit_transform(X)

    assert scaled.shape == (6, 3, 5)
    assert (scaled[2, :, 3:] == 0).all()


def test_a_constant_channel_becomes_0():
    """Its scale stays 1."""
    assert (ChannelScaler(1).fit_transform(np.ones((4, 1, 2, 2))) == 0).all()
