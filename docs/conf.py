"""How the documentation site is built: `python -m sphinx -W --keep-going docs site`.

Everything is local: no fonts, scripts or inventories are fetched, so it builds offline. With the variable
PYMPNODE_DOCS_INTERSPHINX the inventories of other projects are fetched, and their names become links.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_ext")]
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pympnode  # noqa: E402

project = "pympnode"
author = "The pympnode developers"
copyright = f"2026, {author}"
version = release = pympnode.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "mathml",
    "navigation",
    "docstrings",
    "system_facts",
    "generated_pages",
    "source_links",
]
if os.environ.get("PYMPNODE_DOCS_INTERSPHINX"):
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "numpy": ("https://numpy.org/doc/stable", None),
        "scipy": ("https://docs.scipy.org/doc/scipy", None),
        "xarray": ("https://docs.xarray.dev/en/stable", None),
        "torch": ("https://docs.pytorch.org/docs/stable", None),
        "networkx": ("https://networkx.org/documentation/stable", None),
        "pandas": ("https://pandas.pydata.org/docs", None),
    }
exclude_patterns = ["_ext", "_static", "images"]
html_math_renderer = "mathml"
html_theme = "furo"
html_title = f"pympnode {version}"
html_static_path = ["_static"]
html_favicon = "_static/favicon.svg"
html_css_files = ["pympnode.css"]
html_copy_source = False

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
# A copy button leaves prompts and outputs out.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
autosummary_generate = False  # the tables alone; pages are written by hand
myst_heading_anchors = 3
suppress_warnings = ["myst.header"]  # notebooks may start below the first level

# `name` in a docstring links where there is something of that name, and is code where there is not.
default_role = "py:obj"
autodoc_member_order = "bysource"
# Types stand beside the names of arguments (`docstrings`); signatures of up to 60 keywords had a line each.
autodoc_typehints = "none"
autodoc_default_options = {"members": True}
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 4000
