# SPDX-License-Identifier: Apache-2.0
"""Every call, by everybody: roles, scopes, the own project and another, with tokens of the real Keystone.

The calls name things that do not exist wherever they would change something: who is allowed is told so, and
everybody else is refused before that.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import requests

from compute_shim.api import application
from novaclient_usb.reason_codes import ReasonCode
from tests.cloud import roles
from tests.cloud.conftest import Cloud
from tests.cloud.roles import Caller

_NOWHERE = "00000000-0000-4000-8000-000000000000"

PUBLIC, READER, MEMBER, ADMIN = None, "reader", "member", "admin"

#: What somebody meets: status and reason code of an error, None of a success.
Answer = tuple[int, str | None]


@dataclasses.dataclass(frozen=True)
class Call:
    """A call and whom the default policy allows it.

    :param role: at least this one in a project.
    :param allowed: what they meet.
    :param own: only of the server's project, but for administrators.
    """

    role: str | None
    allowed: Answer
    own: bool = False
    query: str = ""
    body: dict[str, Any] | None = None


_NO_DEVICE: Answer = (404, ReasonCode.DEVICE_NOT_FOUND)
_NO_HOST: Answer = (404, ReasonCode.HOST_NOT_FOUND)
_VERSIONS = Call(PUBLIC, (200, None))

CALLS = {
    ("GET", "/"): _VERSIONS,
    ("GET", "/v1"): _VERSIONS,
    ("GET", "/v1/devices"): Call(READER, (200, None)),
    ("GET", "/v1/devices/{device_id}"): Call(READER, _NO_DEVICE),
    ("PATCH", "/v1/devices/{device_id}"): Call(ADMIN, _NO_DEVICE, body={"device": {"enabled": True}}),
    ("DELETE", "/v1/devices/{device_id}"): Call(ADMIN, _NO_DEVICE),
    ("GET", "/v1/devices/{device_id}/events"): Call(READER, _NO_DEVICE),
    ("GET", "/v1/devices/{device_id}/explain"): Call(READER, _NO_DEVICE),
    ("PUT", "/v1/devices/{device_id}/projects/{project_id}"): Call(ADMIN, _NO_DEVICE),
    ("DELETE", "/v1/devices/{device_id}/projects/{project_id}"): Call(ADMIN, _NO_DEVICE),
    ("GET", "/v1/events"): Call(READER, (200, None)),
    ("GET", "/v1/kinds"): Call(READER, (200, None)),
    ("GET", "/v1/queue"): Call(READER, (200, None)),
    ("GET", "/v1/servers/{server_id}/queue"): Call(READER, (200, None), own=True),
    ("POST", "/v1/servers/{server_id}/queue"): Call(
        MEMBER, _NO_DEVICE, own=True, body={"entry": {"device_id": _NOWHERE}}
    ),
    ("DELETE", "/v1/servers/{server_id}/queue/{entry_id}"): Call(
        MEMBER, (404, ReasonCode.QUEUE_ENTRY_NOT_FOUND)
    ),
    ("GET", "/v1/servers/{server_id}/attachments"): Call(READER, (200, None), own=True),
    ("POST", "/v1/servers/{server_id}/attachments"): Call(
        MEMBER, _NO_DEVICE, own=True, body={"attachment": {"device_id": _NOWHERE}}
    ),
    ("DELETE", "/v1/servers/{server_id}/attachments/{device_id}"): Call(
        MEMBER, (404, ReasonCode.ATTACHMENT_NOT_FOUND), own=True
    ),
    ("PATCH", "/v1/servers/{server_id}/attachments/{device_id}"): Call(
        MEMBER, (404, ReasonCode.ATTACHMENT_NOT_FOUND), own=True, body={"attachment": {"lease": 60}}
    ),
    ("GET", "/v1/servers/{server_id}/attachments/{device_id}"): Call(
        READER, (404, ReasonCode.ATTACHMENT_NOT_FOUND), own=True
    ),
    ("POST", "/v1/devices/{device_id}/release"): Call(ADMIN, _NO_DEVICE),
    ("DELETE", "/v1/hosts/{host}"): Call(ADMIN, _NO_HOST),
    ("GET", "/v1/hosts"): Call(ADMIN, (200, None)),
    ("GET", "/v1/hosts/{host}"): Call(ADMIN, _NO_HOST),
}


def expected(call: Call, caller: Caller) -> Answer:
    """What the default policy and Nova make of it."""
    if call.role is PUBLIC:
        return call.allowed
    if caller.scope in ("nobody", "stranger"):
        return 401, ReasonCode.UNAUTHENTICATED
    if call.role not in caller.project_roles:
        return 403, ReasonCode.FORBIDDEN
    if call.own and caller.scope == "other" and "admin" not in caller.project_roles:
        return 404, ReasonCode.SERVER_NOT_FOUND
    return call.allowed


def test_no_call_is_missing() -> None:
    assert set(CALLS) == {
        (method, path) for path, methods in application.ROUTES.items() for method in methods
    }


@pytest.fixture(scope="module")
def callers(cloud: Cloud) -> list[Caller]:
    return list(roles.callers(cloud.site))


def test_who_may_do_what(cloud: Cloud, callers: list[Caller]) -> None:
    server_id = cloud.server_id("demo", "demo")
    assert {caller.scope for caller in callers} == {*roles.SCOPES, "unscoped", "nobody", "stranger"}
    wrong = [
        f"{method} {path} by {caller}: {met}, not {wanted}"
        for (method, path), call in CALLS.items()
        for caller in callers
        if (met := _meet(cloud, method, path, call, caller, server_id)) != (wanted := expected(call, caller))
    ]
    assert wrong == []


def _meet(cloud: Cloud, method: str, path: str, call: Call, caller: Caller, server_id: str) -> Answer:
    address = path.format(
        server_id=server_id, device_id=_NOWHERE, host="nowhere", project_id=_NOWHERE, entry_id=_NOWHERE
    )
    answer = requests.request(
        method,
        cloud.site.url("usb-shim-api", address) + call.query,
        headers={} if caller.token is None else {"X-Auth-Token": caller.token},
        json=call.body,
        timeout=60,
    )
    assert answer.status_code < 500, answer.text
    return answer.status_code, _reason_code(answer) if answer.status_code >= 400 else None


def _reason_code(answer: requests.Response) -> str:
    return str(answer.json()["error"]["reason_code"])
