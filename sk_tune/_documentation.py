# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Where the documentation is, for what leads to it."""

import sk_tune

_SITE = "https://sk-tune.readthedocs.io/en/stable/"


def page(name: str) -> str:
    """Return the address of a page of the site, for example "how-to/leaks"."""
    name, _, part = name.partition("#")
    return f"{_SITE}{name}.html" + (f"#{part}" if part else "")


class Documented:
    """An estimator whose "?" in a notebook opens its page."""

    _doc_link_module = "sk_tune"

    @property
    def _doc_link_template(self) -> str:
        cls = type(self)
        is_at_top = cls.__name__ in sk_tune.__all__
        package = "sk_tune" if is_at_top else ".".join(cls.__module__.split(".")[:2])
        return page(f"api/generated/{package}.{cls.__name__}")
