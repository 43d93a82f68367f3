# SPDX-License-Identifier: Apache-2.0
"""Options whose text is not in the syntax of configuration files."""

from __future__ import annotations

import re
from typing import Any

from oslo_config import cfg


class LiteralMultiStrOpt(cfg.MultiStrOpt):
    """An option, given once or more, in whose values in files ``$`` stands for itself.

    oslo.config would take ``A$BC`` for a reference to an option BC. ``$$``, which stands for one ``$`` in
    all other options, does so here as well.
    """

    def _get_from_namespace(self, namespace: Any, group_name: str | None) -> tuple[Any, Any]:
        # Its only way to the values before they are substituted (oslo_config.cfg.ConfigOpts._do_get).
        values, location = super()._get_from_namespace(namespace, group_name)
        return [re.sub(r"\$\$?", "$$", value) for value in values], location
