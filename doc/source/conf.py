# SPDX-License-Identifier: Apache-2.0
"""Sphinx: ``make docs`` builds the documentation with it, from a checkout or from an archive without git."""

import logging
from importlib import metadata
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_ROOT = _HERE.parents[1]

project = "USB passthrough for OpenStack"
author = copyright = f"{project} contributors"
release = version = metadata.version("openstack-usb-passthrough")

extensions = ["openstackdocstheme"]
nitpicky = True
exclude_patterns = ["_static"]
templates_path = ["_templates"]

html_theme = "openstackdocs"
html_theme_options = {"analytics_tracking_code": "", "display_badge": False, "root_title": "USB passthrough"}
html_copy_source = False
openstackdocs_auto_name = False
openstackdocs_auto_version = False

if not (_ROOT / ".git").exists():
    # The theme would link the commit, if there were one.
    logging.getLogger("sphinx.openstackdocstheme.ext").addFilter(
        lambda record: "gitsha" not in record.getMessage()
    )
