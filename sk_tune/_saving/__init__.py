# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Fitted pipelines and ensembles as one file of numbers and text, without pickle."""

from sk_tune._saving._save import is_savable, load, load_object, save, save_object
