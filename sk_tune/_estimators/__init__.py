# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Networks as scikit-learn estimators, each holding a skorch net."""

from sk_tune._estimators._convolutional_networks import CNNClassifier, CNNRegressor
from sk_tune._estimators._encoded_data import as_sliceable, is_dict, n_bytes, take_rows
from sk_tune._estimators._net_callbacks import (
    NetCallbacks,
    adopt_callbacks,
    callback_memory,
    clip_of,
    recall_callbacks,
    silenced,
)
from sk_tune._estimators._net_state import (
    changed_modules,
    load_net_arrays,
    module_keys,
    net_arrays,
)
from sk_tune._estimators._network_estimator import (
    NetworkEstimator,
    is_unchanged,
    predicts_unchanged,
)
from sk_tune._estimators._onnx_layers import add_network
from sk_tune._estimators._perceptrons import MLPClassifier, MLPRegressor
from sk_tune._estimators._persistence import (
    load_with,
    pack_network,
    read_file,
    unpack_network,
    write_file,
)
from sk_tune._estimators._preparation import (
    Fit,
    FitPreparer,
    adopt_training,
    fit_as_overridden,
    learns_columns,
    shares_samples,
)
from sk_tune._estimators._prepared_fit import PreparedFit
from sk_tune._estimators._recurrent_networks import (
    RNNClassifier,
    RNNRegressor,
    as_sequences,
    warn_of_tokens,
)
from sk_tune._estimators._tasks import ClassProbabilities
from sk_tune._estimators._user_networks import NetClassifier, NetRegressor
from sk_tune._estimators._validation import (
    LastSeen,
    category_columns,
    check_complete,
    check_parameters,
    check_range,
    device_of,
    is_multilabel,
    resolve_device,
    resolve_seed,
)
