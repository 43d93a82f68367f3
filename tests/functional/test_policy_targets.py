# SPDX-License-Identifier: Apache-2.0
"""Policies that name the project or the user: of the server, of a claim that it left, of a place in line."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from compute_shim.api import deploy
from tests.functional.world import DEMO_PROJECT, OTHER_PROJECT, SERVERS, World

DEMO, OTHER, LOCKED = (SERVERS[name].id for name in ("DEMO", "OTHER", "LOCKED"))
ANY_SERVER = '"usb-passthrough:attachments:any_server": "{}"\n'


class Cloud:
    """Servers DEMO, OTHER and LOCKED have a stick each."""

    def __init__(self, world: World, directory: Path) -> None:
        self.world = world
        self._file = directory / "policy.yaml"
        world.sync(STICK1={}, STICK2={}, STICK3={})
        self.sticks = {
            server: world.device_id(f"STICK{number}")
            for number, server in enumerate((DEMO, OTHER, LOCKED), start=1)
        }
        for server, stick in self.sticks.items():
            assert world.attach("admin", server, stick).status_int == 202

    def policy(self, text: str) -> None:
        self._file.write_text(text)
        world = self.world
        world.conf.set_override("policy_file", str(self._file), group="oslo_policy")
        world.api = deploy.deploy(world.conf, world.db, world.nova, world.keystone, world.nudger)

    def list(self, token: str, server: str) -> int:
        return self.world.request(token, "GET", f"/v1/servers/{server}/attachments").status_int

    def detach(self, token: str, server: str) -> int:
        return self.world.detach(token, server, self.sticks[server]).status_int

    def join(self, token: str, server: str) -> str:
        """The path of the place in line."""
        path = f"/v1/servers/{server}/queue"
        answer = self.world.request(token, "POST", path, {"entry": {"device_id": self.sticks[LOCKED]}})
        return f"{path}/{answer.json['entry']['id']}"

    def leave(self, token: str, place: str) -> int:
        return self.world.request(token, "DELETE", place).status_int

    def made_by(self, server: str, user_id: str) -> None:
        servers = self.world.nova.servers
        servers[server] = dataclasses.replace(servers[server], user_id=user_id)


@pytest.fixture
def cloud(world: World, tmp_path: Path) -> Cloud:
    """With the policy that is the default."""
    return Cloud(world, tmp_path)


def test_the_project_of_any_server_is_that_of_the_server(cloud: Cloud) -> None:
    """Not the caller's own, of which it is always true."""
    cloud.policy(ANY_SERVER.format("role:member and project_id:%(project_id)s"))
    cloud.world.nova.open = True
    assert cloud.list("demo", OTHER) == 404
    assert cloud.detach("demo", OTHER) == 404
    assert cloud.detach("demo", LOCKED) == 202


def test_the_user_is_who_made_the_server(cloud: Cloud) -> None:
    cloud.policy('"usb-passthrough:attachments:delete": "user_id:%(user_id)s"\n')
    assert cloud.detach("demo", DEMO) == 403
    cloud.made_by(DEMO, "user-of-demo")
    assert cloud.detach("demo", DEMO) == 202


@pytest.mark.parametrize(("rule", "path"), [("attachments:create", "attachments"), ("queue:join", "queue")])
def test_what_is_asked_for_a_server_is_asked_by_who_made_it(cloud: Cloud, rule: str, path: str) -> None:
    cloud.policy(f'"usb-passthrough:{rule}": "user_id:%(user_id)s"\n')
    world = cloud.world
    world.sync("compute1", STICK1={}, STICK2={}, STICK3={}, STICK4={})
    noun = {"attachments": "attachment", "queue": "entry"}[path]
    wanted = {noun: {"device_id": world.device_id("STICK4")}}

    def ask() -> int:
        return world.request("demo", "POST", f"/v1/servers/{DEMO}/{path}", wanted).status_int

    assert ask() == 403
    cloud.made_by(DEMO, "user-of-demo")
    assert ask() == 202


@pytest.mark.parametrize(("rule", "path"), [("attachments:list", "attachments"), ("queue:list", "queue")])
def test_what_a_server_has_is_for_who_made_it_to_see(cloud: Cloud, rule: str, path: str) -> None:
    cloud.policy(f'"usb-passthrough:{rule}": "user_id:%(user_id)s"\n')

    def look() -> int:
        return cloud.world.request("demo", "GET", f"/v1/servers/{DEMO}/{path}").status_int

    assert look() == 403
    cloud.made_by(DEMO, "user-of-demo")
    assert look() == 200


def test_an_explanation_asks_the_policy_of_the_server(cloud: Cloud) -> None:
    cloud.policy('"usb-passthrough:attachments:create": "user_id:%(user_id)s"\n')

    def allowed() -> bool:
        path = f"/v1/devices/{cloud.sticks[DEMO]}/explain?server_id={DEMO}"
        conditions = cloud.world.request("demo", "GET", path).json["explanation"]["conditions"]
        return next(it["met"] for it in conditions if it["condition"] == "allowed")

    assert not allowed()
    cloud.made_by(DEMO, "user-of-demo")
    assert allowed()


def test_who_may_use_any_server_need_not_be_allowed_to_attach(cloud: Cloud) -> None:
    cloud.policy(ANY_SERVER.format("role:reader"))
    cloud.world.nova.open = True
    path = f"/v1/devices/{cloud.sticks[OTHER]}/explain?server_id={OTHER}"
    conditions = cloud.world.request("demo-reader", "GET", path).json["explanation"]["conditions"]
    assert [it["met"] for it in conditions if it["condition"] == "allowed"] == [False]


def test_what_a_deleted_server_left_is_its_project_s_whatever_the_policy(cloud: Cloud) -> None:
    cloud.policy(
        "".join(f'"usb-passthrough:attachments:{act}": "role:member"\n' for act in ("list", "delete"))
    )
    del cloud.world.nova.servers[DEMO]
    assert cloud.list("other", DEMO) == 404
    assert cloud.detach("other", DEMO) == 404
    assert cloud.detach("demo", DEMO) == 202


def test_the_user_may_have_been_the_one_to_attach(cloud: Cloud) -> None:
    """Of a server that is deleted, the claim alone tells."""
    cloud.policy('"usb-passthrough:attachments:delete": "user_id:%(user_id)s"\n')
    del cloud.world.nova.servers[DEMO]
    assert cloud.detach("demo", DEMO) == 404
    cloud.world.sync("compute2", STICK4={})
    stick = cloud.world.device_id("STICK4")
    far = SERVERS["FAR"].id
    assert cloud.world.attach("demo", far, stick).status_int == 202
    del cloud.world.nova.servers[far]
    assert cloud.world.detach("demo", far, stick).status_int == 202


def test_whom_nova_shows_nothing_takes_nothing_from_others(cloud: Cloud) -> None:
    """A role with any_server that is no administrator in Nova: to it, all servers of others look deleted."""
    cloud.policy(ANY_SERVER.format("role:member"))
    for act in (cloud.list, cloud.detach):
        assert act("demo", OTHER) == 404
    cloud.world.nova.open = True
    for act, status in ((cloud.list, 200), (cloud.detach, 202)):
        assert act("demo", OTHER) == status


def test_what_a_deleted_server_left_is_for_those_who_see_all(cloud: Cloud) -> None:
    del cloud.world.nova.servers[OTHER]
    assert cloud.detach("demo", OTHER) == 404
    assert cloud.list("admin", OTHER) == 200
    assert cloud.detach("admin", OTHER) == 202


@pytest.mark.parametrize("token", ["demo", "admin"])
@pytest.mark.parametrize("server", [DEMO, LOCKED], ids=["demo", "locked"])
def test_a_server_that_nova_refuses_to_show_is_not_deleted(cloud: Cloud, server: str, token: str) -> None:
    cloud.world.nova.hidden.add(server)
    assert cloud.list(token, server) == 404
    assert cloud.detach(token, server) == 404


def test_the_own_project_gives_back_what_a_deleted_server_left(cloud: Cloud) -> None:
    del cloud.world.nova.servers[DEMO]
    assert cloud.list("demo-reader", DEMO) == 200
    assert cloud.detach("demo-reader", DEMO) == 403
    assert cloud.detach("demo", DEMO) == 202


def test_of_what_a_deleted_server_left_each_claim_is_judged_by_itself(cloud: Cloud) -> None:
    cloud.policy('"usb-passthrough:attachments:delete": "user_id:%(user_id)s"\n')
    stick = cloud.sticks[OTHER]
    assert cloud.detach("admin", OTHER) == 202
    cloud.world.report(stick, "available")
    assert cloud.world.attach("demo", DEMO, stick).status_int == 202
    del cloud.world.nova.servers[DEMO]
    assert cloud.world.detach("demo", DEMO, cloud.sticks[DEMO]).status_int == 404
    assert cloud.world.detach("demo", DEMO, stick).status_int == 202


def test_a_place_in_line_is_given_up_by_the_user_who_took_it(cloud: Cloud) -> None:
    cloud.policy('"usb-passthrough:queue:leave": "user_id:%(user_id)s"\n')
    place = cloud.join("admin", DEMO)
    assert cloud.leave("demo", place) == 403
    assert cloud.leave("admin", place) == 204
    assert cloud.leave("demo", cloud.join("demo", DEMO)) == 204


def test_the_project_of_any_place_in_line_is_that_of_its_server(cloud: Cloud) -> None:
    cloud.policy(ANY_SERVER.format("role:member and project_id:%(project_id)s"))
    place = cloud.join("other", OTHER)
    assert cloud.leave("demo", place) == 404
    assert cloud.leave("other", place) == 204


def test_a_device_of_one_project_is_not_given_to_a_server_of_another(cloud: Cloud) -> None:
    """Not by those who may use servers of all projects, but see the devices of their own only."""
    cloud.policy(ANY_SERVER.format("role:member"))
    world = cloud.world
    world.nova.open = True
    plugged: dict[str, Any] = {"STICK1": {}, "STICK2": {}, "STICK3": {}}
    world.sync(**plugged, STICK4={"shared": False, "projects": [DEMO_PROJECT]})
    stick = world.device_id("STICK4")

    def refused() -> str:
        code: str = world.attach("demo", OTHER, stick).json["error"]["reason_code"]
        return code

    def shared() -> bool:
        path = f"/v1/devices/{stick}/explain?server_id={OTHER}"
        conditions = world.request("demo", "GET", path).json["explanation"]["conditions"]
        return next(it["met"] for it in conditions if it["condition"] == "shared")

    assert (refused(), shared()) == ("device_not_shared", False)
    world.sync(**plugged)
    assert refused() == "device_unavailable"
    assert world.request("admin", "PUT", f"/v1/devices/{stick}/projects/{OTHER_PROJECT}").status_int == 204
    assert shared()
