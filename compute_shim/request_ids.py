# SPDX-License-Identifier: Apache-2.0
"""One request, followed by its id: from the client through the API, Nova, the message bus and all logs.

A request has an id of its own (``X-OpenStack-Request-ID`` of the answer) and may have a global one, which the
client sends (``X-OpenStack-Request-ID`` of the request). Nova is sent the global one, or else the request's
own, as the global one (oslo.context: ``RequestContext.global_id``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from oslo_context import context as oslo_context

# As oslo.middleware takes it from a client (oslo_middleware/request_id.py: ID_FORMAT).
_FORMAT = re.compile(r"req-[a-f0-9]{8}(-[a-f0-9]{4}){3}-[a-f0-9]{12}")


def carried(context: oslo_context.RequestContext) -> dict[str, str | None]:
    """The context of an RPC message that is sent on behalf of a request."""
    return {"request_id": context.request_id, "global_request_id": context.global_request_id}


def adopt(carried: Mapping[str, Any]) -> None:
    """Log what this thread does from now on with the ids of a request; without such, with a new one.

    :param carried: context of an RPC message; anybody on the bus may have written it.
    """
    oslo_context.RequestContext(
        request_id=valid(carried.get("request_id")),
        global_request_id=valid(carried.get("global_request_id")),
    )


def current() -> str | None:
    """The id for those who are asked on behalf of what this thread does; None if that is no request."""
    context = oslo_context.get_current()
    return context and context.global_id


def valid(value: Any) -> str | None:
    """The id of a request that somebody sent, None if it is none: it goes to the log."""
    return value if isinstance(value, str) and _FORMAT.fullmatch(value) else None
