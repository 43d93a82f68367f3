# SPDX-License-Identifier: Apache-2.0
"""Lists: whoever walks their pages sees each item once, in the order that was asked for."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
import webob

from compute_shim import liveness, wire
from compute_shim.api.application import ROUTES, methods
from compute_shim.api.schemas.devices import FOR_ADMINS, SORT_KEYS
from compute_shim.db import device_list, history, host_list, models
from compute_shim.objects import Device
from tests.functional.world import DEMO_PROJECT, SERVERS, STICKS, World

# Of most values there are two, and one that sorts oddly.
_NAMES = ["b", "a", "B", "a", "é", "Z z", "b", "", "a ", "漢"]


@pytest.fixture
def full_world(every_world: World) -> World:
    """Ten devices, of which three have been taken, two by each project, and one host is down."""
    world = every_world
    with world.db.writer() as session:
        for number, name in enumerate(_NAMES):
            stick = STICKS["STICK1"]
            session.add(
                models.Device(
                    id=f"00000000-0000-0000-0001-{(number * 7) % 10:012}",
                    host=f"compute{1 + number % 2}",
                    identity=f"device{number}",
                    name=name,
                    vendor_id=f"{number % 3:04}",
                    product_id=f"{number % 4:04}",
                    vendor=stick.vendor,
                    product=stick.product,
                    serial=str(number),
                    device_class="08",
                    speed="480",
                    port=f"1-{number % 5}",
                    bus=1,
                    device=number + 1,
                    state="available",
                    enabled=True,
                    shared=True,
                )
            )
        session.flush()
        # Several in one second, which is all that MariaDB tells apart.
        session.execute(sa.update(models.Device).values(updated_at=models.Device.created_at))
    world.conductor.sync({}, "compute1", "QEMU", "1.1", _plugged(world, "compute1"))
    world.conductor.sync({}, "compute2", "QEMU", "1.1", _plugged(world, "compute2"))
    for number, (token, server) in {0: ("demo", "DEMO"), 2: ("other", "OTHER"), 4: ("demo", "DEMO")}.items():
        device_id = f"00000000-0000-0000-0001-{(number * 7) % 10:012}"
        assert world.attach(token, SERVERS[server].id, device_id).status_int == 202
    world.silence("compute2")
    return world


def _plugged(world: World, host: str) -> list[dict[str, Any]]:
    names = {field.name for field in wire.sent_fields(Device)} - {"device_id", "guessed", "projects"}
    with world.db.reader() as session:
        rows = session.scalars(sa.select(models.Device).where(models.Device.host == host)).all()
        return [{name: getattr(row, name) for name in names} | {"device_id": row.id} for row in rows]


def _walk(world: World, token: str, path: str, nouns: str) -> Iterator[list[dict[str, Any]]]:
    """The pages of a list."""
    url = path
    for _ in range(20):
        body = world.request(token, "GET", url).json
        yield body[nouns]
        if f"{nouns}_links" not in body:
            return
        (link,) = body[f"{nouns}_links"]
        url = link["href"]
    raise AssertionError("it has no end")


@pytest.mark.parametrize("token", ["admin", "demo"])
def test_walking_pages_shows_everything_once(full_world: World, token: str) -> None:
    keys = [key for key in SORT_KEYS if token == "admin" or key not in FOR_ADMINS]
    for key, way in itertools.product(keys, ["asc", "desc"]):
        path = f"/v1/devices?sort_key={key}&sort_dir={way}&limit=3"
        pages = list(_walk(full_world, token, path, "devices"))
        assert [len(page) for page in pages] == [3, 3, 3, 1]
        whole = full_world.request(token, "GET", f"/v1/devices?sort_key={key}&sort_dir={way}").json["devices"]
        assert list(itertools.chain(*pages)) == whole, path
        assert len({device["id"] for device in whole}) == len(_NAMES)


@pytest.mark.parametrize("token", ["admin", "demo", "other"])
def test_the_order(full_world: World, token: str) -> None:
    """Of what the caller sees, ids where that is the same; names in whatever way the database sorts them."""
    keys = [key for key in SORT_KEYS if token == "admin" or key not in FOR_ADMINS]
    for key in set(keys) - {"name"}:
        rising = full_world.request(token, "GET", f"/v1/devices?sort_key={key}").json["devices"]
        falling = full_world.request(token, "GET", f"/v1/devices?sort_key={key}&sort_dir=desc").json[
            "devices"
        ]
        assert falling == rising[::-1]
        if not key.endswith("_at"):  # in JSON they are seconds
            found = [(device[key], device["id"]) for device in rising]
            assert found == sorted(found), key


def test_pages_of_attachments(full_world: World) -> None:
    path = f"/v1/servers/{SERVERS['DEMO'].id}/attachments"
    for key, way in itertools.product(SORT_KEYS, ["asc", "desc"]):
        pages = list(
            _walk(full_world, "admin", f"{path}?sort_key={key}&sort_dir={way}&limit=1", "attachments")
        )
        whole = full_world.request("admin", "GET", f"{path}?sort_key={key}&sort_dir={way}").json[
            "attachments"
        ]
        assert [page[0] for page in pages] == whole
        assert len(whole) == 2


def test_of_a_long_list_a_page_is_read(full_world: World) -> None:
    db = full_world.db
    assert len(host_list.page(db, host_list.Order(), limit=1)) == 1
    assert len(history.page(db, history.Filter(), limit=2)) == 2
    for project_id in (None, DEMO_PROJECT):
        wanted = device_list.Filter(project_id, liveness.Window.now(full_world.conf))
        assert len(device_list.page(db, wanted, device_list.Order(), limit=3)) == 3


def test_state_filters_and_states_agree(full_world: World) -> None:
    for token in ("admin", "demo", "other"):
        whole = full_world.request(token, "GET", "/v1/devices").json["devices"]
        for state in ("available", "attaching", "unavailable"):
            found = full_world.request(token, "GET", f"/v1/devices?state={state}").json["devices"]
            assert found == [device for device in whole if device["state"] == state]


CALLS = [
    (method, path)
    for path, handlers in ROUTES.items()
    for method in methods(handlers)
    if method not in ("HEAD", "OPTIONS")
]


def _filled(world: World, path: str) -> str:
    return path.format(
        server_id=SERVERS["DEMO"].id,
        device_id=world.device_id("STICK1"),
        project_id=DEMO_PROJECT,
        host="compute1",
        entry_id=SERVERS["DEMO"].id,
    )


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_every_call_refuses_parameters_that_it_does_not_know(world: World, method: str, path: str) -> None:
    world.sync(STICK1={})
    answer = world.request("admin", method, f"{_filled(world, path)}?colour=red")
    assert answer.status_int == 400
    assert "colour" in answer.json["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "token"),
    [
        (method, path, token)
        for method, path in CALLS
        for token in ("demo-nobody", "unscoped", "demo-reader")
        if path not in ("/", "/v1") and (token, method) != ("demo-reader", "GET")
    ],
)
def test_a_caller_without_the_role_learns_nothing(world: World, method: str, path: str, token: str) -> None:
    """Not even that the request is wrong."""
    world.sync(STICK1={})
    assert world.attach("demo", SERVERS["DEMO"].id, world.device_id("STICK1")).status_int == 202
    answer = world.request(token, method, f"{_filled(world, path)}?colour=red", {"colour": "red"})
    assert (answer.status_int, answer.json["error"]["reason_code"]) == (403, "forbidden")


@pytest.mark.parametrize("token", ["admin", "demo", "demo-nobody", "forged"])
@pytest.mark.parametrize("path", [path for path, handlers in ROUTES.items() if "GET" in handlers])
def test_head_has_the_headers_of_get(world: World, path: str, token: str) -> None:
    world.sync(STICK1={})
    got = world.request(token, "GET", _filled(world, path))
    head = world.request(token, "HEAD", _filled(world, path))
    assert head.status_int == got.status_int
    assert head.body == b""
    assert _lasting(head) == _lasting(got)
    assert head.headers["Content-Length"] == str(len(got.body))


def _lasting(answer: webob.Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name != "x-openstack-request-id"}


@pytest.mark.parametrize("path", ROUTES)
def test_a_slash_at_the_end_changes_nothing(world: World, path: str) -> None:
    world.sync(STICK1={})
    whole = _filled(world, path.removesuffix("/"))
    for method in ROUTES[path]:
        assert world.request("demo-nobody", method, whole or "/").json == (
            world.request("demo-nobody", method, f"{whole}/").json
        )
