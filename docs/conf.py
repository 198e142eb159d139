"""Sphinx: `sphinx-build -W -b html docs docs/_build/html`. Needs no network."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs" / "_ext")]

import generate  # noqa: E402

from ltjax import __version__  # noqa: E402

project, author, release = "ltjax", "the ltjax authors", __version__
copyright = "the ltjax authors; Apache-2.0"

extensions = [
    "myst_nb",
    "records",
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx-mathjax-offline",  # formulas without a network
    "links",  # last: it looks at what the others leave
]
exclude_patterns = ["_build", "_static", "**/.ipynb_checkpoints"]
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 4
suppress_warnings = ["myst.header"]

# Tutorials run when the site is built; their programs start from the checkout, without a GPU's
# progress bar or anything of the user's own.
nb_execution_mode = "cache"
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_merge_streams = True

# Several examples train the same tiny network: it is compiled once.
doctest_global_setup = f"""
import jax
jax.config.update("jax_compilation_cache_dir", {str(ROOT / "docs" / "_build" / "compiled")!r})
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.05)
"""

napoleon_use_ivar = True
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
default_role = "code"

html_theme = "pydata_sphinx_theme"
html_title = "ltjax"
html_sidebars = {"**": []}  # one level of pages, all of them in the head
html_static_path = ["_static"]
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": False, "show_toc_level": 2}

generate.write(ROOT)


def setup(app):
    """Docstrings write |v| for a norm and **options for the rest: markup in reStructuredText."""
    app.connect("autodoc-process-docstring", _plain)


def _escaped(found):
    return "".join("\\" + character for character in found[0])


def _plain(app, what, name, obj, options, lines):
    for k, line in enumerate(lines):
        if line.lstrip().startswith((">>> ", "... ")):
            continue
        parts = re.split(r"(`[^`]*`)", line)
        lines[k] = "".join(
            p if p.startswith("`") else re.sub(r"\||\*\*(?=\w+(?!\*))", _escaped, p) for p in parts
        )
