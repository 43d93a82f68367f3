# SPDX-License-Identifier: Apache-2.0
"""Sphinx: ``make docs`` builds the documentation with it, from a checkout or from an archive without git."""

import logging
import re
import sys
import tempfile
from importlib import metadata
from pathlib import Path

import yaml
from reno import loader
from sphinx.application import Sphinx
from sphinx.util import logging as sphinx_logging

from compute_shim.cmd import native_threads  # noqa: F401  before all that imports oslo.messaging

_HERE = Path(__file__).resolve().parent
_ROOT = _HERE.parents[1]
sys.path.insert(0, str(_HERE / "_extensions"))

project = "USB passthrough for OpenStack"
author = copyright = f"{project} contributors"
release = version = metadata.version("openstack-usb-passthrough")

extensions = [
    "cliff.sphinxext",
    "openapi_reference",
    "openstackdocstheme",
    "oslo_config.sphinxconfiggen",
    "oslo_config.sphinxext",
    "oslo_policy.sphinxext",
    "oslo_policy.sphinxpolicygen",
    "reason_codes",
    "reno.sphinxext",
    "sphinx.ext.autodoc",
]
nitpicky = True
exclude_patterns = ["_static"]
templates_path = ["_templates"]

html_theme = "openstackdocs"
html_theme_options = {"analytics_tracking_code": "", "display_badge": False, "root_title": "USB passthrough"}
html_copy_source = False
html_static_path = ["_css"]
html_css_files = ["pages.css"]
openstackdocs_auto_name = False
openstackdocs_auto_version = False

# Written below _static, for the pages that show them.
config_generator_config_file = [(str(_ROOT / "etc/usb-shim/config-generator.conf"), "_static/usb-shim")]
policy_generator_config_file = [(str(_ROOT / "etc/usb-shim/policy-generator.conf"), "_static/usb-shim")]

autoprogram_cliff_application = "openstack"
autodoc_member_order = "bysource"
# Names of other libraries: their documentation is not linked, as the build works offline.
nitpick_ignore_regex = [("py:.*", r"(?!novaclient_usb|compute_shim).*")]


def _notes_without_git() -> None:
    """reno asks git which release has which note. In an archive all are of the release that is built."""
    files = sorted((_ROOT / "releasenotes/notes").glob("*.yaml"))
    names = {str(file.relative_to(_ROOT)): yaml.safe_load(file.read_text()) for file in files}
    cache = {
        "file-contents": names,
        "notes": [{"version": release, "files": [[name, ""] for name in names]}],
        "dates": [],
    }
    path = Path(tempfile.mkdtemp()) / "reno.cache"
    path.write_text(yaml.safe_dump(cache))
    loader.get_cache_filename = lambda _: str(path)


if not (_ROOT / ".git").exists():
    _notes_without_git()
    # The theme would link the commit, if there were one.
    logging.getLogger("sphinx.openstackdocstheme.ext").addFilter(
        lambda record: "gitsha" not in record.getMessage()
    )


def _check_links(_: Sphinx) -> None:
    """Sphinx does not read README.rst, and takes the links of what it includes for links of the page."""
    for name in ("README.rst", "CONTRIBUTING.rst"):
        for link in re.findall(r"<([^>:\s]+)>`_", (_ROOT / name).read_text()):
            if not (_ROOT / link).exists():
                sphinx_logging.getLogger(__name__).warning("%s links %s, which does not exist", name, link)


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("builder-inited", _check_links)
