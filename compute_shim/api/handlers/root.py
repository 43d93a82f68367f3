# SPDX-License-Identifier: Apache-2.0
"""Versions."""

from __future__ import annotations

import webob

from compute_shim.api import microversion
from compute_shim.api.call import Call


def versions(call: Call) -> webob.Response:
    """Which versions of the API there are; public."""
    version = {
        "id": "v1.0",
        "status": "CURRENT",
        "min_version": microversion.VERSIONS[0],
        "max_version": microversion.VERSIONS[-1],
        "links": [{"rel": "self", "href": f"{call.request.application_url}/"}],
    }
    return webob.Response(json={"versions": [version]})
