# SPDX-License-Identifier: Apache-2.0
"""Requests that no proper client sends."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import webob

from compute_shim.db import intent, models, queue
from tests.functional.world import SERVERS, World

_ATTACHMENTS = f"/v1/servers/{SERVERS['DEMO'].id}/attachments"


def _send(world: World, method: str, path: str, body: bytes = b"", **environ: object) -> webob.Response:
    request = webob.Request.blank(path, method=method, headers={"X-Auth-Token": "demo"})
    request.body = body
    request.environ.update(environ)
    return request.get_response(world.api)


@pytest.mark.parametrize(
    "path",
    ["/v1/devices/%ff", "/v1/devices?state=%ff", "/%ff", "/v1/devices?%ff=1", "/v1/devices?marker=%ed%a0%80"],
)
def test_an_address_that_is_not_utf_8(path: str, world: World) -> None:
    answer = _send(world, "GET", path)
    assert answer.status_int == 400
    assert "UTF-8" in answer.json["error"]["message"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"null",
        b"[" * 50000,
        b'{"attachment":' * 5000,
        b'{"attachment": {"device_id": ' + b"9" * 5000 + b"}}",
        b'{"attachment": {"device_id": NaN}}',
        b'{"attachment": {"device_id": "\\u0000"}}',
        b'{"attachment": {"device_id": "\\ud800"}}',
        b'{"attachment": {"' + b"x" * 50000 + b'": 1}}',
        '{"attachment": {"device_id": "١٢٣٤٥٦٧٨-1234-1234-1234-123456789012"}}'.encode(),
    ],
    ids=range(11),
)
def test_a_body_that_makes_no_sense(body: bytes, world: World) -> None:
    answer = _send(world, "POST", _ATTACHMENTS, body)
    assert answer.status_int == 400
    assert len(answer.body) < 1000
    assert set(answer.json["error"]) == {"code", "title", "reason_code", "message"}


def test_a_body_that_is_too_large(world: World) -> None:
    answer = _send(world, "POST", _ATTACHMENTS, b" " * 200000)
    assert answer.status_int == 413
    assert "114688" in answer.json["error"]["message"]


def test_a_body_of_no_declared_length_that_is_too_large(world: World) -> None:
    body = io.BytesIO(b" " * 200000)
    environ: dict[str, Any] = {"wsgi.input": body, "wsgi.input_terminated": True, "CONTENT_LENGTH": None}
    answer = _send(world, "POST", _ATTACHMENTS, **environ)
    assert answer.status_int == 413


def test_methods_that_nobody_knows(world: World) -> None:
    answer = _send(world, "BREW", "/v1/devices")
    assert answer.status_int == 405
    assert answer.headers["Allow"] == "GET, HEAD, OPTIONS"


def test_a_fault_of_ours_is_no_fault_of_the_database(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(auth: object, server_id: str) -> None:
        raise KeyError("secret")

    monkeypatch.setattr(world.nova, "server", fail)
    answer = world.request("demo", "GET", _ATTACHMENTS)
    assert (answer.status_int, answer.json["error"]["reason_code"]) == (500, "internal_error")
    assert "secret" not in answer.text


def test_a_policy_file_is_obeyed(world: World, tmp_path: Path) -> None:
    """The operator opens to members what is for administrators."""
    assert world.request("demo", "GET", "/v1/hosts").status_int == 403
    (tmp_path / "policy.yaml").write_text('"usb-passthrough:hosts:list": "role:member"\n')
    assert world.request("demo", "GET", "/v1/hosts").status_int == 200
    assert world.request("demo-reader", "GET", "/v1/hosts").status_int == 403


@pytest.mark.parametrize(
    ("rule", "allowed", "refused"),
    [
        ("devices:update", {"enabled": False}, {"shared": True}),
        ("devices:share", {"shared": True}, {"enabled": False}),
    ],
)
def test_who_may_update_a_device_need_not_be_allowed_to_share_it(
    rule: str, allowed: dict[str, bool], refused: dict[str, bool], world: World, tmp_path: Path
) -> None:
    world.sync(STICK1={})
    (tmp_path / "policy.yaml").write_text(f'"usb-passthrough:{rule}": "role:member"\n')

    def change(**changes: bool) -> int:
        path = f"/v1/devices/{world.device_id('STICK1')}"
        return world.request("demo", "PATCH", path, {"device": changes}).status_int

    assert change(**refused) == 403
    assert change(**allowed, **refused) == 403
    assert change(**allowed) == 200
    assert change() == 400


def _given_back(world: World, device_id: str) -> None:
    intent.release(world.db, device_id, SERVERS["DEMO"].id)
    world.report(device_id, "available")


def _forgotten(world: World, device_id: str) -> None:
    with world.db.writer() as session:
        session.execute(sa.delete(models.Device).where(models.Device.id == device_id))


@pytest.mark.parametrize("happens", [_given_back, _forgotten])
def test_what_is_lost_before_the_answer_is_not_attached(
    happens: Callable[[World, str], None], world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the agent is told."""
    world.sync(STICK1={})
    monkeypatch.setattr(world.nudger, "nudge", lambda device_id, context: happens(world, device_id))
    answer = world.attach("demo", SERVERS["DEMO"].id, world.device_id("STICK1"))
    assert (answer.status_int, answer.json["error"]["reason_code"]) == (409, "device_released")


def test_a_project_has_only_so_many_queue_entries(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "LONGEST", 1)
    world.sync(STICK1={}, STICK2={})
    path = f"/v1/servers/{SERVERS['DEMO'].id}/queue"
    answers = [
        world.request("demo", "POST", path, {"entry": {"device_id": world.device_id(stick)}})
        for stick in ("STICK1", "STICK2")
    ]
    assert [answer.status_int for answer in answers] == [202, 409]
    assert answers[1].json["error"]["reason_code"] == "queue_full"
    assert "has 1 queue entries. Delete one first." in answers[1].json["error"]["message"]


def test_an_id_may_be_in_capital_letters(world: World) -> None:
    server = dataclasses.replace(SERVERS["DEMO"], id="abcdefab-cdef-abcd-efab-cdefabcdefab")
    world.nova.servers[server.id] = server
    world.sync(STICK1={}, STICK2={})
    path = f"/v1/servers/{server.id.upper()}"
    assert world.attach("demo", server.id.upper(), world.device_id("STICK1")).status_int == 202
    entry = {"entry": {"device_id": world.device_id("STICK2")}}
    assert world.request("demo", "POST", f"{path}/queue", entry).status_int == 202
    for listed, noun in (
        (f"{path}/attachments", "attachments"),
        (f"/v1/events?server_id={server.id.upper()}", "events"),
        (f"{path}/queue", "queue"),
        (f"/v1/queue?server_id={server.id.upper()}", "queue"),
    ):
        found = world.request("demo", "GET", listed).json[noun]
        assert {item["server_id"] for item in found} == {server.id}, listed
