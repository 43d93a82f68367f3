# SPDX-License-Identifier: Apache-2.0
"""Reason codes in the documentation.

``.. reason-code:: CODE`` describes a code, with its cause and remedy as the content; the text for users
beside it is that of the enumeration (`novaclient_usb.reason_codes`). ``:reason:`CODE``` links to it.
``.. reason-code-list:: PAGE`` lists the whole enumeration, with links to the codes that the page describes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective

from novaclient_usb.reason_codes import DESCRIPTIONS, ReasonCode


def _signature(_: BuildEnvironment, code: str, signature: addnodes.desc_signature) -> str:
    """The code, and its text for users.

    :raises ValueError: there is no such code
    """
    text = DESCRIPTIONS.get(ReasonCode(code))
    signature += addnodes.desc_name(code, code)
    if text is not None:
        signature += nodes.inline("", f": {text}", classes=["reason-text"])
    return code


class ReasonCodeList(SphinxDirective):
    """All codes, in the enumeration's order."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """A table."""
        _, page = self.env.relfn2path(self.arguments[0])
        self.env.note_dependency(page)
        described = set(re.findall(r"^\.\. reason-code:: (\w+)$", Path(page).read_text(), re.MULTILINE))
        parent = nodes.Element()
        self.state.nested_parse(StringList(list(_table(described)), source=page), 0, parent)
        return parent.children


def _table(described: set[str]) -> Iterator[str]:
    yield from (
        ".. list-table::",
        "   :header-rows: 1",
        "   :widths: 30 70",
        "",
        "   * - Code",
        "     - Text",
    )
    for code in ReasonCode:
        yield f"   * - :reason:`{code}`" if code in described else f"   * - ``{code}``"
        yield f"     - {DESCRIPTIONS.get(code, '(the message of the error)')}"


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_object_type("reason-code", "reason", "%s (reason code)", _signature)
    app.add_directive("reason-code-list", ReasonCodeList)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
