# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The command line, ``sk-tune``."""

from sk_tune._cli._main import main
