# SPDX-License-Identifier: Apache-2.0
"""What the project of the token ``other`` can learn of a device, by every way there is."""

from __future__ import annotations

from typing import Any

from compute_shim.api.schemas.devices import FOR_ADMINS, SORT_KEYS
from tests.functional.world import SERVERS, World

DEMO, OTHER = SERVERS["DEMO"].id, SERVERS["OTHER"].id


def all_that_another_gets(world: World, device_id: str) -> list[Any]:
    """Every answer about devices, with its headers, but for the identifier of the request."""
    lists = [f"/v1/devices?sort_key={key}&sort_dir=desc" for key in SORT_KEYS if key not in FOR_ADMINS]
    states = [f"/v1/devices?state={state}" for state in ("attached", "waiting", "detaching", "unavailable")]
    answers = [
        world.request("other", "GET", path)
        for path in (
            f"/v1/devices/{device_id}",
            f"/v1/devices/{device_id}/events",
            f"/v1/devices/{device_id}/explain",
            f"/v1/devices/{device_id}/explain?server_id={OTHER}",
            "/v1/kinds",
            "/v1/queue",
            f"/v1/servers/{OTHER}/queue",
            f"/v1/servers/{DEMO}/queue",
            f"/v1/devices?server_id={OTHER}",
            f"/v1/devices?limit=1&marker={device_id}&sort_key=state",
            f"/v1/servers/{OTHER}/attachments",
            f"/v1/servers/{OTHER}/attachments/{device_id}",
            f"/v1/servers/{DEMO}/attachments",
            f"/v1/servers/{DEMO}/attachments/{device_id}",
            *lists,
            *states,
        )
    ]
    entry = {"entry": {"device_id": device_id}}
    answers.append(world.request("other", "POST", f"/v1/servers/{DEMO}/queue", entry))
    answers.append(world.attach("other", OTHER, device_id))
    answers.append(world.detach("other", OTHER, device_id))
    answers.append(world.detach("other", DEMO, device_id))
    hidden = "x-openstack-request-id"
    return [
        (answer.status_int, answer.text, {k: v for k, v in answer.headers.items() if k.lower() != hidden})
        for answer in answers
    ]
