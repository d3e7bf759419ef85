# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The site: ``python -m sphinx -n -W --keep-going docs docs/_build/html``.

Needs the dependency group ``docs``.  The build does not access the network.
"""

import os
import re
import warnings
from pathlib import Path
from typing import Any

# Read when a library of OpenMP is loaded.  On a busy machine threads that wait by spinning
# make the boosting of the examples 15 times as slow.
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"

import sk_tune

project = "sk_tune"
author = "sk_tune contributors"
copyright = "sk_tune contributors, BSD-3-Clause"
version = release = sk_tune.__version__
html_baseurl = "https://sk-tune.readthedocs.io/en/stable/"

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = [
    "_build",
    "_templates",
    "gallery",
    "figures",
    "**/GALLERY_HEADER.rst",
]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
root_doc = "index"

html_theme = "pydata_sphinx_theme"
html_title = "sk_tune"
html_static_path = ["_static"]
html_extra_path = ["llms.txt"]
html_css_files = ["site.css"]
html_js_files = [("site.js", {"defer": "defer"})]
html_search_scorer = str(Path(__file__).parent / "_static" / "search_scorer.js")
html_show_sourcelink = False
html_theme_options = {
    "show_nav_level": 2,
    "navigation_with_keys": False,
    "header_links_before_dropdown": 6,
    "secondary_sidebar_items": ["page-toc"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
# Pages without others below them.
html_sidebars = {
    name: []
    for name in ("index", "install", "getting-started", "benchmarks-page", "changelog")
}

toc_object_entries_show_parents = "hide"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4
# Examples are copied without their prompts and results.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

autosummary_generate = True
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
numpydoc_xref_param_type = False

# Names of other libraries are not looked up: no inventory is fetched.
_OTHERS = "sklearn|numpy|torch|skorch|skopt|scipy|pandas|polars|joblib|optuna|matplotlib"
nitpick_ignore_regex = [
    (r"py:.*", rf"({_OTHERS}|nn|safetensors|dask|ray)(\..*)?"),
]

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "auto_gallery",
    "filename_pattern": r"/plot_",
    "ignore_pattern": r"/_[^/]*\.py",
    "within_subsection_order": "FileNameSortKey",
    "thumbnail_size": (600, 260),
    "backreferences_dir": "api/backreferences",
    "doc_module": ("sk_tune",),
    "reference_url": {"sk_tune": None},
    "remove_config_comments": True,
    "show_memory": False,
    # Its pages would fetch scripts of others.
    "write_computation_times": False,
    "min_reported_time": 0,
    "matplotlib_animations": False,
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_signature": False,
    "plot_gallery": "True",
}
warnings.filterwarnings("ignore", message="FigureCanvasAgg is non-interactive")


def _page_of_file(app: object, docname: str, source: list[str]) -> None:
    """Let links from pages into the repository lead to its files; end code with a line."""
    source[0] = _END_OF_CODE.sub(r"\1", source[0])
    up = "../" * (docname.count("/") + 1)
    for name in ("benchmarks", "README.md", ".ci", "sk_tune"):
        source[0] = source[0].replace(f"]({up}{name}", f"]({_REPOSITORY}/{name}")


# Doctest needs the empty line, a reader does not.
_END_OF_CODE = re.compile(r"(?m)(^```python\n(?:(?!```).*\n)*?)\n(?=```$)")
_REPOSITORY = "https://github.com/sk-tune/sk_tune/blob/main"
_LEARNT = re.compile(r"(?<![\w`.*])(n_features_in|n_outputs|n_estimators)_(?![\w`*])")
_ROLE = re.compile(r":(?:term|ref):`(?:([^`<]*?)\s*<[^`>]*>|([^`]*))`")


def _without_labels(*arguments: Any) -> None:
    """Make text of an inherited docstring's references into scikit-learn's guide."""
    lines = arguments[-1]
    text = _ROLE.sub(lambda m: f"``{m[2]}``" if m[2] else m[1], "\n".join(lines))
    # A name that ends in "_" is a reference elsewhere than in scikit-learn.
    lines[:] = _LEARNT.sub(r"\1\_", text).split("\n")


def _plain_citations(*arguments: Any) -> None:
    """Take roles off lists of references that no reader of screens can take."""
    context = arguments[3]
    if "body" in context:
        context["body"] = context["body"].replace(' role="doc-biblioentry"', "")
        context["body"] = context["body"].replace(' role="list" class="cit', ' class="cit')


def _back_to_docs(*arguments: Any) -> None:
    """Let listings of code lead to the page of a class, whatever package it is named by."""
    name, context = arguments[1], arguments[3]
    if name.startswith("_modules/"):
        context["body"] = _DOCS.sub(r"\g<page>#\g<name>\g<member>", context["body"])


_DOCS = re.compile(
    r"(?P<page>api/generated/(?P<name>(?:\w+\.)+(?P<last>\w+))\.html)"
    r"#(?:\w+\.)+?(?P=last)(?P<member>(?:\.\w+)*)"
)


def setup(app: object) -> None:
    """Register the changes of pages before they are read."""
    app.connect("source-read", _page_of_file)  # type: ignore[attr-defined]
    app.connect("autodoc-process-docstring", _without_labels)  # type: ignore[attr-defined]
    app.connect("html-page-context", _plain_citations)  # type: ignore[attr-defined]
    app.connect("html-page-context", _back_to_docs)  # type: ignore[attr-defined]
