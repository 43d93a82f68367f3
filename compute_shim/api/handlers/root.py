# SPDX-License-Identifier: Apache-2.0
"""Version discovery. Public."""

from __future__ import annotations

from typing import Any

import webob

from compute_shim.api import microversion
from compute_shim.api.call import Call
from compute_shim.api.schemas import base


def versions(call: Call) -> webob.Response:
    """All versions of the API."""
    call.query(base.NOTHING)
    return webob.Response(json={"versions": [_version(call)]})


def version(call: Call) -> webob.Response:
    """Version 1."""
    call.query(base.NOTHING)
    return webob.Response(json={"version": _version(call)})


def _version(call: Call) -> dict[str, Any]:
    """Version 1, as keystoneauth looks for it (``keystoneauth1.discover``)."""
    return {
        "id": "v1.0",
        "status": "CURRENT",
        "min_version": microversion.VERSIONS[0],
        "max_version": microversion.VERSIONS[-1],
        "links": [{"rel": "self", "href": f"{call.request.application_url}/v1/"}],
    }
