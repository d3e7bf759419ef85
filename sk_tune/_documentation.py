# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Where the documentation is, for what leads to it."""

import sk_tune

__all__ = ["Documented", "page"]

_SITE = "https://sk-tune.readthedocs.io/en/stable/"


def page(name: str) -> str:
    """Return the address of a page of the site, for example "how-to/leaks"."""
    name, _, part = name.partition("#")
    return f"{_SITE}{name}.html" + (f"#{part}" if part else "")


class Documented:
    """An estimator whose "?" in a notebook opens its page."""

    _doc_link_module = "sk_tune"
    _doc_link_template = page("api/generated/{public_name}")

    def _doc_link_url_param_generator(self) -> dict[str, str]:
        cls = type(self)
        is_at_top = cls.__name__ in sk_tune.__all__
        package = "sk_tune" if is_at_top else ".".join(cls.__module__.split(".")[:2])
        return {"public_name": f"{package}.{cls.__name__}"}
