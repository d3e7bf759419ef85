# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The only place that uses private names of other libraries, one module for each.

ADR 0002 lists them, with the consequences if one of them changes.
"""

# ruff: noqa: F403 - all public names of these modules are exports.
from sk_tune._compat.joblib_names import *
from sk_tune._compat.sklearn_names import *
from sk_tune._compat.skorch_names import *
from sk_tune._compat.torch_names import *
