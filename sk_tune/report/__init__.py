# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What a search found, as pictures and as one page."""

__all__: list[str] = []
