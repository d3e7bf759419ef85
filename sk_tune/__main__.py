# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""``python -m sk_tune`` runs ``sk-tune``."""

import sys

from sk_tune._cli import main

if __name__ == "__main__":
    sys.exit(main())
