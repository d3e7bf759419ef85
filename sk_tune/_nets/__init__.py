# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Torch modules that map samples to unnormalised outputs.  They depend on torch only."""

from sk_tune._nets._cnn import CNN
from sk_tune._nets._dropout import (
    SeededDropout,
    dropout_coefficients,
    dropout_layer_seeds,
    dropout_positions,
    dropout_threshold,
    seed_dropout,
    set_dropout_step,
)
from sk_tune._nets._mlp import (
    ACTIVATIONS,
    MLP,
    SeparateHeads,
    SharedLinear,
    by_member,
    mean_of_members,
)
from sk_tune._nets._module_copies import (
    added_attributes,
    attributes_key,
    independent_copy,
    loose_state,
    tensor_values,
    unchanged_tensors,
    with_parameters_of,
)
from sk_tune._nets._named_inputs import (
    NamedInput,
    pack_inputs,
    reading_one_tensor,
    split_inputs,
)
from sk_tune._nets._rnn import RNN
from sk_tune._nets._table_inputs import (
    NUMBER_EMBEDDINGS,
    CategoryEmbedding,
    PeriodicEmbedding,
    PiecewiseLinearEmbedding,
    TableInputs,
)
