"""How the documentation site is built: `python -m sphinx -W --keep-going docs site`.

Everything is local: no fonts, scripts or inventories are fetched, so it builds offline.
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
    "mathml",
    "docstrings",
    "system_facts",
    "generated_pages",
]
exclude_patterns = ["_ext", "images"]
html_math_renderer = "mathml"
html_theme = "furo"
html_title = f"pympnode {version}"
html_static_path: list[str] = []
html_copy_source = False

myst_enable_extensions = ["deflist", "dollarmath"]
myst_heading_anchors = 3
suppress_warnings = ["myst.header"]  # notebooks may start below the first level

# `name` in a docstring links where there is something of that name, and is code where there is not.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True}
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80
