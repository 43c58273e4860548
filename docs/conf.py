"""Configuration of the site, built offline by `make docs` with warnings as errors."""

import sys
import tomllib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # extensions and pictures

_about = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
project, version = _about["name"], _about["version"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "extensions.mathml", "extensions.generated"]
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
suppress_warnings = ["myst.header"]  # outputs of notebooks, and documents that start with another heading level
exclude_patterns = ["pictures", "extensions"]
default_role = "code"  # `names` in docstrings

autodoc_member_order = "bysource"
toc_object_entries = False  # avoids hundreds of names next to each page
maximum_signature_line_length = 90
autodoc_inherit_docstrings = False  # torch's docstrings refer to its pages

html_theme = "furo"
html_title = f"{project} {version}"
html_math_renderer = "mathml"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
