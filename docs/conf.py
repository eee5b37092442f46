# Copyright (c) mmcae contributors. Licensed under Apache-2.0.
"""Sphinx configuration. Builds offline: no intersphinx, no remote files.

sphinx-build -W -b html docs docs/_build/html
"""

from mmcae.version import __version__

project = 'mmcae'
author = 'mmcae contributors'
copyright = author
version = release = __version__

extensions = [
    'myst_parser',
    'sphinx.ext.autodoc',
    'sphinx.ext.napoleon',
]
source_suffix = {'.md': 'markdown'}
exclude_patterns = ['_build']
myst_heading_anchors = 3

# Google docstrings; types are read from the signatures.
napoleon_google_docstring = True
napoleon_numpy_docstring = False
autodoc_member_order = 'bysource'
autodoc_typehints = 'signature'

html_theme = 'furo'
html_static_path = ['_static']
html_css_files = ['outputs.css']
html_title = f'mmcae {release}'
html_show_sourcelink = False
