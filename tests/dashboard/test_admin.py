# SPDX-License-Identifier: Apache-2.0
"""Admin > Compute > USB Devices: the real views and the real client, against a service that is played."""

from __future__ import annotations

import csv
import html
import io
import re
from typing import Any
from unittest import mock

import requests
from django.conf import settings
from django.http import HttpRequest
from django.test import override_settings
from django.urls import reverse
from openstack_dashboard.api import keystone, nova

from tests.dashboard import played
from tests.dashboard.played import AJAX, HOSTILE, REAL_POLICY, SERVICE, PlayedTest

INDEX = reverse("horizon:admin:usb:index")
PROJECT_PAGE = reverse("horizon:project:api_access:index")
TABLE = "admin_usb_devices"
SHOWN = "0781:5567 (compute1, 1-2)"


def device(name: str, **values: Any) -> dict[str, Any]:
    """A free stick, as the service tells an operator of it."""
    told: dict[str, Any] = {"host": "compute1", "project_id": None, "shared": True, "projects": []}
    return played.device(name, **told) | values


def host(name: str, state: str = "up") -> dict[str, Any]:
    """As the service sends it."""
    return {
        "host": name,
        "state": state,
        "last_seen": "2026-01-01T00:00:00Z",
        "hypervisor": "QEMU 7.2.0",
        "version": "1.2.3",
        "problems": [],
        "devices": {"available": 2, "attached": 1, "waiting": 0},
    }


class AdminTest(PlayedTest):
    """An operator, a catalog with the service, and the service itself."""

    roles_of_user: tuple[str, ...] = ("admin",)

    def setUp(self) -> None:
        super().setUp()
        for module, name in ((nova, "server_list"), (keystone, "tenant_list")):
            patch = mock.patch.object(module, name, return_value=([], False))
            setattr(self, name, patch.start())
            self.addCleanup(patch.stop)
        self.plug()

    def plug(self, *devices: dict[str, Any], hosts: tuple[dict[str, Any], ...] = (host("compute1"),)) -> None:
        """What the service knows of."""
        super().plug(*devices)
        self.service.get(f"{SERVICE}/v1/kinds", json={"kinds": []})
        self.service.get(f"{SERVICE}/v1/hosts", json={"hosts": list(hosts)})
        for one in hosts:
            self.service.get(f"{SERVICE}/v1/hosts/{one['host']}", json={"host": one})

    def act(self, action: str, device_id: str) -> Any:
        """Press the button of a row."""
        return self.client.post(INDEX, {"action": f"{TABLE}__{action}__{device_id}"})

    def actions(self, response: Any, device_id: str) -> set[str]:
        """The buttons of a row."""
        found = re.findall(rf'id="{TABLE}__row_{device_id}__action_(\w+)"', response.content.decode())
        return set(found)


class PanelTest(AdminTest):
    def test_it_is_for_the_operator(self) -> None:
        with REAL_POLICY:
            self.assertContains(self.client.get(INDEX), f'href="{INDEX}"')


class MemberTest(AdminTest):
    roles_of_user = ("member", "reader")

    def test_the_panel_is_not_for_members(self) -> None:
        with REAL_POLICY:
            self.assertNotContains(self.client.get(PROJECT_PAGE), f'href="{INDEX}"')
            self.assertEqual(403, self.client.get(INDEX).status_code)
        self.assertEqual([], self.calls())


class IndexTest(AdminTest):
    def rows(self, response: Any) -> list[dict[str, str]]:
        """The cells of each row, by column."""
        return [
            {name: str(cell.value) for name, cell in row.cells.items()}
            for row in response.context["table"].get_rows()
        ]

    def filtered(self, field: str, text: str) -> list[str]:
        """The names of the devices that a filter leaves over."""
        parameter = f"{TABLE}__filter_admin_usb_devices__q"
        response = self.client.post(INDEX, {f"{parameter}_field": field, parameter: text}, follow=True)
        return [row.datum.name for row in response.context["table"].get_rows()]

    def test_a_device(self) -> None:
        server = self.servers.first()
        self.server_list.return_value = ([server], False)
        taken = {"state": "attached", "server_id": server.id, "project_id": "p1", "available": False}
        self.plug(device("stick", description="licences", **taken))
        (row,) = self.rows(self.client.get(INDEX))
        assert f'href="{reverse("horizon:admin:usb:host", args=("compute1",))}"' in row["host"]
        assert "compute1" in row["host"] and "down" not in row["host"]
        assert "stick" in row["name"]
        assert "<div>0781:5567</div>" in row["name"]
        assert row["location"] == "Bus 001 Device 003"
        assert row["port"] == "1-2"
        assert "4C530001" in row["serial"]
        assert "Attached" in row["state"]
        assert f'href="{reverse("horizon:admin:instances:detail", args=(server.id,))}"' in row["server"]
        assert server.name in row["server"]
        assert row["project"] == "<span ng-non-bindable>p1</span>"
        assert "<div><span ng-non-bindable>licences</span></div>" in row["name"]
        assert "Disabled" not in row["name"]

    def test_one_that_is_used_over_the_network(self) -> None:
        self.server_list.return_value = ([self.servers.first()], False)
        taken = {"state": "attached", "server_id": self.servers.first().id, "available": False}
        used = {"used_over_network": True, "host": "compute1", "server_host": HOSTILE, "project_id": "p1"}
        self.plug(device("stick", **taken, **used))
        (row,) = self.rows(self.client.get(INDEX))
        way = f"Over the network, from compute1 to {html.escape(HOSTILE)}"
        assert row["state"] == f"Attached<div><span ng-non-bindable>{way}</span></div>"
        assert self.filtered("text", "over the NETWORK") == ["stick"]

    def test_a_disabled_device_on_a_host_without_agent(self) -> None:
        why = {"state": "unavailable", "state_reason": "disabled by the operator", "available": False}
        self.plug(device("stick", enabled=False, **why), hosts=(host("compute1", "down"),))
        (row,) = self.rows(self.client.get(INDEX))
        assert "compute1</span></a> (agent down)" in row["host"]
        assert "disabled by the operator" in row["state"]
        assert "<div>Disabled</div>" in row["name"]

    def test_an_absent_device(self) -> None:
        self.plug(device("stick", bus=None, device=None, state="unavailable", state_reason="unplugged"))
        (row,) = self.rows(self.client.get(INDEX))
        assert "unplugged" in row["state"]
        assert "Bus" not in row["location"]

    def test_the_hosts(self) -> None:
        self.plug(hosts=(host("compute1"), host("compute2", "down")))
        up, down = self.client.get(INDEX).context["hosts_table"].get_rows()
        assert [str(cell.value) for cell in up][1:-1] == [
            "Up",
            up.cells["last_seen"].value,
            "QEMU 7.2.0",
            "1.2.3",
            "Available: 2, Attached: 1",
            "-",
        ]
        assert str(down.cells["state"].value) == "Down"

    def test_three_calls_whatever_there_is(self) -> None:
        self.plug(*(device(f"stick{n}", server_id=f"server{n}", state="attached") for n in range(20)))
        self.client.get(INDEX)
        assert sorted(self.calls()) == ["GET /v1/devices", "GET /v1/hosts"]
        assert self.server_list.call_count == 1

    def test_nova_is_not_asked_where_no_server_has_a_device(self) -> None:
        self.plug(device("stick"))
        self.client.get(INDEX)
        self.server_list.assert_not_called()

    def test_the_id_where_nova_tells_no_name(self) -> None:
        self.server_list.side_effect = self.exceptions.nova
        self.plug(device("stick", server_id="the-server", state="attached"))
        response = self.client.get(INDEX)
        assert "the-server" in self.rows(response)[0]["server"]
        assert self.messages(response) == []

    def test_a_hostile_device(self) -> None:
        self.plug(device(HOSTILE, id="hostile", serial=HOSTILE, description=HOSTILE, state_reason=HOSTILE))
        response = self.client.get(INDEX)
        self.assert_shown_as_it_is(response.content.decode())
        row = self.rows(response)[0]
        assert html.escape(HOSTILE) in row["name"] and html.escape(HOSTILE) in row["serial"]

    def test_filter(self) -> None:
        self.plug(
            device("Cruzer", host="compute1", state="available"),
            device("Reader", host="compute10", state="unavailable", description="in the cruiser"),
        )
        assert self.filtered("host", "compute1") == ["Cruzer"]
        assert self.filtered("state", "unavailable") == ["Reader"]
        assert self.filtered("state", "Available") == ["Cruzer"]
        assert self.filtered("text", "CRU") == ["Cruzer", "Reader"]
        assert self.filtered("text", "cruiser") == ["Reader"]
        assert self.filtered("text", "") == ["Cruzer", "Reader"]

    def test_filter_by_the_state_in_the_language_of_the_operator(self) -> None:
        self.plug(device("Cruzer"), device("Reader", state="waiting"))
        self.client.cookies[settings.LANGUAGE_COOKIE_NAME] = "de"
        assert self.filtered("state", "verfügbar") == ["Cruzer"]

    def test_a_filter_that_the_service_knows_is_its_work(self) -> None:
        self.plug(device("Cruzer"), device("Reader", state="waiting"))
        self.filtered("state", "waiting")
        asked = [call.qs for call in self.service.request_history if call.path == "/v1/devices"]
        assert asked[-1] == {
            "state": ["waiting"],
            "limit": ["21"],
            "sort_key": ["created_at"],
            "sort_dir": ["asc"],
        }
        assert self.filtered("host", "nowhere") == []

    def test_the_service_is_down(self) -> None:
        self.service.get(f"{SERVICE}/v1/devices", exc=requests.exceptions.ConnectTimeout)
        response = self.client.get(INDEX)
        assert response.status_code == 200
        told = "The USB service is unavailable. Try again later, or contact your cloud administrator."
        self.assertContains(response, f"The USB devices could not be retrieved: <span ng-non-bindable>{told}")

    def test_a_token_that_is_no_longer_good(self) -> None:
        self.refuse("GET", "devices", 401, "The request you have made requires authentication.")
        self.assertRedirectsNoFollow(self.client.get(INDEX), f"{settings.LOGIN_URL}?next={INDEX}")

    def test_the_service_refuses(self) -> None:
        self.refuse("GET", "devices", 403, "The policy does not allow you this.")
        response = self.client.get(INDEX)
        assert response.status_code == 200
        self.assertContains(response, "The policy does not allow you this.")

    def test_the_table_alone(self) -> None:
        self.plug(device("stick", state="attaching", server_id="the-server"))
        response = self.client.get(INDEX, {"watch": "1"}, headers=AJAX)
        self.assertContains(response, "the-server")
        self.assertNotContains(response, "<html")
        assert sorted(self.calls()) == ["GET /v1/devices", "GET /v1/hosts"]
        assert self.server_list.call_args.args[1] == {"all_tenants": True, "uuid": "the-server"}

    def test_the_hosts_are_kept_true_with_the_devices(self) -> None:
        """The answer for the one table has the other one as well."""
        page = self.client.get(INDEX).content.decode()
        assert 'id="admin_usb_devices_notice"' in page and 'id="admin_usb_hosts_notice"' not in page
        assert re.findall(r'\)\("(\w+)", "([^"]*)"\);', page) == [
            ("admin_usb_devices", "/admin/usb/?watch\\u003D1"),
            ("admin_usb_hosts", ""),
        ]
        self.calls()
        self.plug(hosts=(host("compute1", "down"),))
        text = self.client.get(INDEX, {"watch": "1"}, headers=AJAX).content.decode()
        assert re.findall('<table id="([^"]*)"', text) == ["admin_usb_devices", "admin_usb_hosts"]
        assert re.search(r">\s*Down\s*<", text.partition('id="admin_usb_hosts"')[2])
        assert sorted(self.calls()) == ["GET /v1/devices", "GET /v1/hosts"]

    def test_the_tables_alone_while_the_service_is_away(self) -> None:
        self.refuse("GET", "hosts", 503, "Out to lunch.")
        response = self.client.get(INDEX, {"watch": "1"}, headers=AJAX)
        self.assertContains(response, "Out to lunch.", status_code=503)
        self.assertNotContains(response, "<table", status_code=503)

    def test_the_table_alone_is_filtered_as_the_page(self) -> None:
        self.plug(device("Cruzer"), device("Reader"))
        assert self.filtered("text", "cru") == ["Cruzer"]
        response = self.client.get(INDEX, {"watch": "1"}, headers=AJAX)
        self.assertContains(response, "Cruzer")
        self.assertNotContains(response, "Reader")


class ActionsTest(AdminTest):
    def offered(self, **values: Any) -> set[str]:
        """The buttons of a device."""
        self.plug(device("stick", **values))
        return self.actions(self.client.get(INDEX), "id-of-stick")

    def test_what_is_offered(self) -> None:
        unavailable = {"state": "unavailable", "available": False}
        absent = {"bus": None, "device": None, **unavailable}
        taken = {"state": "attached", "server_id": "the-server", "available": False}
        always = {"edit", "history", "projects"}
        shared = always | {"unshare"}
        assert self.offered() == shared | {"attach", "disable"}
        assert self.offered(shared=False) == always | {"attach", "disable", "share"}
        assert self.offered(enabled=False, **unavailable) == shared | {"enable"}
        assert self.offered(**absent) == shared | {"disable", "forget"}
        for values in (taken, absent | taken | {"state": "waiting"}):
            assert self.offered(**values) == shared | {"disable", "detach", "lease"}
        assert self.offered(reason_code="held", **unavailable) == shared | {"disable", "release"}
        self.plug(device("stick", **taken), hosts=(host("compute1", "down"),))
        assert "release" in self.actions(self.client.get(INDEX), "id-of-stick")

    def test_each_needs_its_rule(self) -> None:
        def without(*refused: str) -> Any:
            names = {f"usb-passthrough:{rule}" for rule in refused}

            def check(rules: Any, request: HttpRequest, target: Any = None) -> bool:
                return names.isdisjoint(dict(rules).values())

            return override_settings(POLICY_CHECK_FUNCTION=check)

        unavailable = {"state": "unavailable", "available": False}
        absent = {"bus": None, "device": None, **unavailable}
        with without("devices:update"):
            assert self.offered(**absent) == {"forget", "history", "projects", "unshare"}
        with without("devices:delete"):
            assert self.offered(**absent) == {"edit", "disable", "history", "projects", "unshare"}
        with without("devices:share"):
            assert self.offered() == {"edit", "attach", "disable", "history"}
        with without("devices:release"):
            assert "release" not in self.offered(reason_code="held", **unavailable)
        with without("attachments:create"):
            assert "attach" not in self.offered()
        with without("attachments:delete"):
            assert "detach" not in self.offered(state="attached", server_id="s")

    def test_disable_and_enable(self) -> None:
        for enabled, action, said in ((True, "disable", "Disabled"), (False, "enable", "Enabled")):
            self.plug(device("stick", enabled=enabled))
            change = self.service.patch(f"{SERVICE}/v1/devices/id-of-stick", json={"device": device("stick")})
            response = self.act(action, "id-of-stick")
            self.assertRedirectsNoFollow(response, INDEX)
            assert change.last_request.json() == {"device": {"enabled": not enabled}}
            assert self.messages(response)[-1] == f"{said} USB Device: {SHOWN}"

    def test_only_what_takes_something_away_asks_for_confirmation(self) -> None:
        """Horizon asks for the sake of every red button."""
        self.plug(device("stick"), device("off", enabled=False))
        page = self.client.get(INDEX).content.decode()
        (disable,) = re.findall(r"<button[^>]*row_id-of-stick__action_disable[^>]*>", page)
        (enable,) = re.findall(r"<button[^>]*row_id-of-off__action_enable[^>]*>", page)
        assert "btn-danger" in disable and "keeps it until it is detached" in disable
        assert "btn-danger" not in enable

    def test_many_at_once(self) -> None:
        """With one confirmation; what is not so already is changed."""
        self.plug(device("a"), device("b"), device("off", enabled=False))
        for name in ("a", "b", "off"):
            self.service.patch(f"{SERVICE}/v1/devices/id-of-{name}", json={"device": device(name)})
        chosen = ["id-of-a", "id-of-b", "id-of-off"]
        page = self.client.get(INDEX).content.decode()
        for device_id in chosen:
            assert re.search(rf'<input[^>]*name="object_ids"[^>]*value="{device_id}"', page)
        for action in ("enable", "disable", "share", "unshare", "forget"):
            assert f'value="{TABLE}__{action}"' in page
        self.client.post(INDEX, {"action": f"{TABLE}__disable", "object_ids": chosen})
        changed = [call.path for call in self.service.request_history if call.method == "PATCH"]
        assert changed == ["/v1/devices/id-of-a", "/v1/devices/id-of-b"]

    def test_share_and_stop_sharing(self) -> None:
        for shared, action in ((False, "share"), (True, "unshare")):
            self.plug(device("stick", shared=shared))
            change = self.service.patch(f"{SERVICE}/v1/devices/id-of-stick", json={"device": device("stick")})
            self.assertRedirectsNoFollow(self.act(action, "id-of-stick"), INDEX)
            assert change.last_request.json() == {"device": {"shared": not shared}}

    def test_release(self) -> None:
        self.plug(device("stick", reason_code="held", state="unavailable"))
        release = self.service.post(
            f"{SERVICE}/v1/devices/id-of-stick/release", json={"device": device("stick")}
        )
        response = self.act("release", "id-of-stick")
        assert release.called_once
        assert self.messages(response) == [f"Released USB Device: {SHOWN}"]

    def test_forget(self) -> None:
        self.plug(device("stick", bus=None, device=None, state="unavailable"))
        gone = self.service.delete(f"{SERVICE}/v1/devices/id-of-stick", status_code=204)
        response = self.act("forget", "id-of-stick")
        assert gone.called_once
        assert self.messages(response) == [f"Forgot USB Device: {SHOWN}"]

    def test_detach_asks_about_that_device(self) -> None:
        self.plug(device("stick", state="attached", server_id="the-server"))
        dialog = reverse("horizon:admin:usb:detach_device", args=("the-server", "id-of-stick"))
        self.assertContains(self.client.get(INDEX), f'href="{dialog}?place=panel"')

    def test_a_refusal_is_told_in_the_words_of_the_service(self) -> None:
        why = "USB device id-of-stick is plugged in. Only an unplugged device without a claim can be deleted."
        absent = {"bus": None, "device": None, "state": "unavailable"}
        for action, method, path, values in (
            ("enable", "PATCH", "devices/id-of-stick", {"enabled": False}),
            ("disable", "PATCH", "devices/id-of-stick", {}),
            ("forget", "DELETE", "devices/id-of-stick", absent),
        ):
            self.plug(device("stick", **values))
            self.refuse(method, path, 409, why)
            response = self.act(action, "id-of-stick")
            self.assertRedirectsNoFollow(response, INDEX)
            assert why in self.messages(response)[-1], action


class EditTest(AdminTest):
    URL = reverse("horizon:admin:usb:edit", args=("id-of-stick",))

    def post(self, description: str, **kind: str) -> Any:
        return self.client.post(self.URL, {"description": description} | kind, headers=AJAX)

    def test_the_dialog(self) -> None:
        self.plug(device("stick", description="the old one"))
        response = self.client.get(self.URL, headers=AJAX)
        self.assertTemplateUsed(response, "usb/admin/_edit.html")
        self.assertContains(response, 'value="the old one"')
        self.assertContains(response, 'maxlength="255"')
        self.assertContains(response, f'action="{self.URL}"')

    def test_as_a_page(self) -> None:
        self.plug(device("stick"))
        self.assertTemplateUsed(self.client.get(self.URL), "usb/admin/edit.html")

    def test_it_names_the_device_and_its_rule(self) -> None:
        self.plug(device("stick", rule='1: {"vendor_id": "0781"}'))
        text = self.client.get(self.URL, headers=AJAX).content.decode()
        assert "Edit <span ng-non-bindable>stick (4C530001)</span>" in text
        assert "1: {&quot;vendor_id&quot;: &quot;0781&quot;}" in text
        for field in ("description", "kind"):
            assert re.search(rf'<label[^>]*for="id_{field}"', text) and f'id="id_{field}"' in text

    def test_the_kinds_that_there_are_are_offered(self) -> None:
        self.plug(device("stick"))
        free: dict[str, Any] = {"free": 1, "servers": []}
        kinds = [{"name": name, **free} for name in ("camera", "hasp-dongle")]
        self.service.get(f"{SERVICE}/v1/kinds", json={"kinds": kinds})
        text = self.client.get(self.URL, headers=AJAX).content.decode()
        assert re.findall('<option value="([^"]*)"></option>', text) == ["camera", "hasp-dongle"]
        (field,) = re.findall('<input[^>]*name="kind"[^>]*>', text)
        assert 'list="usb_kinds"' in field and '<datalist id="usb_kinds">' in text

    def test_the_kind_is_sent_only_if_it_was_changed(self) -> None:
        """Otherwise what the rule says of it would count no more."""
        self.plug(device("stick", kind="camera"))
        text = self.client.get(self.URL, headers=AJAX).content.decode()
        (shown,) = re.findall('<input[^>]*name="initial-kind"[^>]*>', text)
        assert 'value="camera"' in shown
        change = self.service.patch(f"{SERVICE}/v1/devices/id-of-stick", json={"device": device("stick")})
        for now, sent in (("camera", {}), ("hasp-dongle", {"kind": "hasp-dongle"}), ("", {"kind": ""})):
            response = self.post("x", **{"kind": now, "initial-kind": "camera"})
            assert response["X-Horizon-Location"] == INDEX
            assert change.last_request.json() == {"device": {"description": "x"} | sent}

    def test_what_is_no_kind_is_not_sent(self) -> None:
        self.plug(device("stick"))
        change = self.service.patch(f"{SERVICE}/v1/devices/id-of-stick", json={"device": device("stick")})
        for kind in ("1-4", "HASP", "a--b", "x" * 65, HOSTILE):
            response = self.post("x", **{"kind": kind, "initial-kind": "camera"})
            self.assertContains(response, "Enter at most 64 lower-case letters and digits")
            # What was there before is not forgotten.
            self.assertContains(response, '<input type="hidden" name="initial-kind" value="camera"')
        assert not change.called

    def test_a_hostile_description(self) -> None:
        self.plug(device("stick", description=HOSTILE))
        response = self.client.get(self.URL, headers=AJAX)
        self.assertContains(response, f'value="{html.escape(HOSTILE)}"')
        self.assertContains(response, "ng-non-bindable")

    def test_it_is_saved(self) -> None:
        change = self.service.patch(f"{SERVICE}/v1/devices/id-of-stick", json={"device": device("stick")})
        response = self.post("the licences")
        assert change.last_request.json() == {"device": {"description": "the licences"}}
        assert response["X-Horizon-Location"] == INDEX
        assert self.calls() == ["PATCH /v1/devices/id-of-stick"]
        assert self.messages(response) == ["<span ng-non-bindable>stick (4C530001)</span> was changed."]

    def test_it_may_be_empty_but_not_endless(self) -> None:
        self.plug(device("stick"))
        change = self.service.patch(f"{SERVICE}/v1/devices/id-of-stick", json={"device": device("stick")})
        self.assertFormErrors(self.post("x" * 256), 1)
        assert not change.called
        self.post("")
        assert change.last_request.json() == {"device": {"description": ""}}

    def test_an_error_stays_in_the_dialog(self) -> None:
        self.plug(device("stick"))
        self.refuse("PATCH", "devices/id-of-stick", 404, "USB device id-of-stick could not be found.")
        response = self.post("the licences")
        self.assertTemplateUsed(response, "usb/admin/_edit.html")
        self.assertContains(response, "USB device id-of-stick could not be found.")
        self.assertContains(response, 'value="the licences"')

    def test_the_service_is_down(self) -> None:
        self.service.get(f"{SERVICE}/v1/devices/id-of-stick", exc=requests.exceptions.ConnectTimeout)
        self.service.patch(f"{SERVICE}/v1/devices/id-of-stick", exc=requests.exceptions.ConnectTimeout)
        response = self.post("the licences")
        self.assertContains(response, "The USB service is unavailable.")

    def test_the_device_is_gone(self) -> None:
        self.refuse("GET", "devices/id-of-stick", 404, "USB device id-of-stick could not be found.")
        response = self.client.get(self.URL)
        self.assertRedirectsNoFollow(response, INDEX)
        assert "could not be found" in self.messages(response)[0]


class ProjectsTest(AdminTest):
    """With which projects a device is shared."""

    URL = reverse("horizon:admin:usb:projects", args=("id-of-stick",))

    def setUp(self) -> None:
        super().setUp()
        self.known(p1="blue", p2="Amber", p3="cyan")

    def known(self, **names: str) -> None:
        """The projects that Keystone tells of."""
        projects = []
        for project_id, name in names.items():
            projects.append(mock.Mock(id=project_id))
            projects[-1].name = name
        self.tenant_list.return_value = (projects, False)

    def open(self) -> str:
        return self.client.get(self.URL, headers=AJAX).content.decode()

    def boxes(self, text: str) -> dict[str, set[str]]:
        """Project id -> what its check box says."""
        boxes = re.findall(r'<input type="checkbox"[^>]*value="([^"]*)"([^>]*)>', text)
        return {value: set(rest.split()) for value, rest in boxes}

    def before(self, text: str) -> list[str]:
        return re.findall(r'<input type="hidden" name="before" value="([^"]*)">', text)

    def save(self, choice: list[str], before: list[str], **more: str) -> Any:
        """Press Save; afterwards `changes` says what was sent."""
        for method, status in (("PUT", 204), ("DELETE", 204)):
            address = re.compile(f"{SERVICE}/v1/devices/id-of-stick/projects/.*")
            self.service.request(method, address, status_code=status)
        return self.client.post(self.URL, {"choice": choice, "before": before} | more, headers=AJAX)

    def changes(self) -> list[str]:
        start = "/v1/devices/id-of-stick/projects/"
        made = [call for call in self.service.request_history if call.method in ("PUT", "DELETE")]
        return [f"{call.method} {call.path.removeprefix(start)}" for call in made]

    def test_the_row_leads_there(self) -> None:
        self.plug(device("stick"))
        self.assertContains(self.client.get(INDEX), f'href="{self.URL}"')

    def test_names_those_first_that_have_it(self) -> None:
        self.plug(device("stick", shared=False, projects=["p3"]))
        text = self.open()
        assert "Share <span ng-non-bindable>stick (4C530001)</span> with Projects" in text
        assert self.boxes(text) == {"p3": {"data-shared", "checked"}, "p2": set(), "p1": set()}
        assert list(self.boxes(text)) == ["p3", "p2", "p1"]
        assert self.before(text) == ["p3"]
        for project_id, name in (("p1", "blue"), ("p2", "Amber"), ("p3", "cyan")):
            assert f'<label for="choice_{project_id}"><span ng-non-bindable>{name}</span></label>' in text
        assert "shared with all projects" not in text
        assert 'name="another"' not in text

    def test_it_says_what_becomes_of_a_claim(self) -> None:
        self.plug(device("stick", shared=True))
        text = " ".join(self.open().split())
        for told in (
            "Sharing with fewer projects does not detach the device.",
            "A project that the device is no longer shared with sees it until it is detached.",
            "The device is shared with all projects.",
            "Your selection takes precedence over the rule of the device.",
        ):
            assert told in text, told

    def test_only_what_was_changed_is_sent(self) -> None:
        self.plug(device("stick", projects=["p1", "p2"]))
        response = self.save(choice=["p2", "p3"], before=["p1", "p2"])
        assert self.changes() == ["PUT p3", "DELETE p1"]
        assert response["X-Horizon-Location"] == INDEX
        told = "<span ng-non-bindable>stick (4C530001)</span> is shared with these projects: "
        assert self.messages(response) == [f"{told}<span ng-non-bindable>Amber, cyan</span>"]

    def test_what_another_operator_shared_meanwhile_stays(self) -> None:
        self.plug(device("stick", projects=["p1", "p2", "p3"]))
        self.save(choice=[], before=["p1"])
        assert self.changes() == ["DELETE p1"]

    def test_nothing_was_changed(self) -> None:
        self.plug(device("stick", projects=["p1"]))
        assert self.save(choice=["p1"], before=["p1"])["X-Horizon-Location"] == INDEX
        response = self.save(choice=[], before=[])
        assert self.changes() == []
        told = "<span ng-non-bindable>stick (4C530001)</span> is not shared with single projects."
        assert self.messages(response)[-1] == told

    def test_a_project_that_nobody_knows_is_not_sent(self) -> None:
        self.plug(device("stick"))
        for choice, more in (
            (["p1", "gone"], {}),
            (["p1", "../../x"], {}),
            (["p1"], {"another": "gone"}),
        ):
            response = self.save(choice=choice, before=[], **more)
            assert "X-Horizon-Location" not in response
            self.assertContains(response, "Choose projects from the list.")
        self.tenant_list.side_effect = self.exceptions.keystone
        self.assertContains(self.save(choice=["p1"], before=[]), "Choose projects from the list.")
        assert self.changes() == []

    def test_one_that_only_the_rule_knows_stays(self) -> None:
        self.plug(device("stick", projects=["gone"]))
        text = self.open()
        assert self.boxes(text)["gone"] == {"data-shared", "checked"}
        self.save(choice=["gone", "p1"], before=["gone"])
        assert self.changes() == ["PUT p1"]

    def test_where_keystone_refuses(self) -> None:
        self.tenant_list.side_effect = self.exceptions.keystone
        self.plug(device("stick", projects=["p1"]))
        text = self.open()
        assert "The names of the projects could not be retrieved." in text
        assert '<label for="choice_p1"><span ng-non-bindable>p1</span></label>' in text
        assert re.search('<label[^>]*for="id_another"', text) and 'id="id_another"' in text
        self.save(choice=["p1"], before=["p1"], another="p9")
        assert self.changes() == ["PUT p9"]
        response = self.save(choice=["p1"], before=["p1"], another="p9, p10")
        self.assertContains(response, "Enter the ID of one project.")
        self.assertContains(response, 'value="p9, p10"')
        assert self.changes() == ["PUT p9"]

    def test_a_refusal_stays_in_the_dialog_and_the_choice_with_it(self) -> None:
        self.plug(device("stick", projects=["p1"]))
        address = re.compile(f"{SERVICE}/v1/devices/id-of-stick/projects/.*")
        self.service.delete(address, status_code=204)
        self.refuse("PUT", "devices/id-of-stick/projects/p2", 400, "project p2 could not be found.")
        response = self.client.post(self.URL, {"choice": ["p2"], "before": ["p1"]}, headers=AJAX)
        text = response.content.decode()
        assert "project p2 could not be found." in text
        assert self.boxes(text) == {"p1": {"data-shared"}, "p2": {"checked"}, "p3": set()}

    def test_many_can_be_filtered(self) -> None:
        self.plug(device("stick"))
        assert "table_search client" not in self.open()
        self.known(**{f"p{number}": f"n{number}" for number in range(9)})
        text = self.open()
        assert "table_search client" in text and 'aria-label="Filter"' in text

    def test_a_hostile_device_and_project(self) -> None:
        self.known(p1=HOSTILE)
        self.plug(device(HOSTILE, id="id-of-stick", serial=HOSTILE))
        self.assert_shown_as_it_is(self.open())

    def test_the_device_is_gone(self) -> None:
        self.refuse("GET", "devices/id-of-stick", 404, "no", "device_not_found")
        text = self.open()
        assert "The USB device could not be found." in text
        assert 'type="submit"' not in text

    def test_as_a_page(self) -> None:
        self.plug(device("stick"))
        self.assertTemplateUsed(self.client.get(self.URL), "usb/admin/projects.html")


class ListsTest(AdminTest):
    def test_the_events_of_all_devices(self) -> None:
        event = {
            "id": "e1",
            "device_id": "gone",
            "device_name": "Cruzer",
            "created_at": "2026-01-02T03:04:05Z",
            "cause": "forgotten",
            "cause_code": "forgotten",
            "state": None,
            "state_reason": None,
            "reason_code": None,
            "server_id": None,
            "project_id": "p1",
            "user_id": "u1",
            "request_id": "req-1",
            "host": "compute1",
        }
        self.service.get(f"{SERVICE}/v1/events", json={"events": [event, event | {"device_name": HOSTILE}]})
        response = self.client.get(reverse("horizon:admin:usb:events"))
        for told in ("Cruzer", "compute1", "p1", "u1", "req-1", "forgotten", "2026-01-02 03:04:05 UTC"):
            self.assertContains(response, told)
        self.assert_shown_as_it_is(response.content.decode())
        assert self.calls() == ["GET /v1/events"]
        self.refuse("GET", "events", 503, "Out to lunch.")
        response = self.client.get(reverse("horizon:admin:usb:events"))
        told = "The events could not be retrieved: <span ng-non-bindable>Out to lunch.</span>"
        self.assertContains(response, told)
        self.assertNotContains(response, "No events are recorded.")

    def test_a_file_for_spreadsheets(self) -> None:
        """No string of a device is a formula there."""
        self.plug(device("stick"), device('=HYPERLINK("http://evil")', id="h", serial="@SUM(1)", bus=None))
        response = self.client.get(reverse("horizon:admin:usb:csv"))
        assert response["Content-Type"] == "text/csv; charset=utf-8"
        rows = {row["id"]: row for row in csv.DictReader(io.StringIO(response.content.decode()))}
        stick, hostile = rows["id-of-stick"], rows["h"]
        assert (stick["host"], stick["serial"], stick["bus"], stick["shared"]) == (
            "compute1",
            "4C530001",
            "1",
            "True",
        )
        assert (hostile["name"], hostile["serial"]) == ('\'=HYPERLINK("http://evil")', "'@SUM(1)")
        assert hostile["bus"] == ""

    def test_the_file_cannot_be_had(self) -> None:
        self.refuse("GET", "devices", 503, "Out to lunch.")
        self.assertRedirectsNoFollow(self.client.get(reverse("horizon:admin:usb:csv")), INDEX)


class DeleteHostTest(AdminTest):
    URL = reverse("horizon:admin:usb:delete_host", args=("compute1",))

    def test_only_one_that_is_down_is_offered(self) -> None:
        self.plug(hosts=(host("compute1"),))
        self.assertNotContains(self.client.get(INDEX), self.URL)
        self.plug(hosts=(host("compute1", "down"),))
        self.assertContains(self.client.get(INDEX), f'href="{self.URL}"')

    def test_what_it_means_is_spelled_out(self) -> None:
        self.plug(hosts=(host("compute1", "down"),))
        text = self.client.get(self.URL, headers=AJAX).content.decode()
        assert "Delete host <span ng-non-bindable>compute1</span>?" in text
        assert "Its 3 USB devices are forgotten, and 1 claims of" in text

    def test_delete(self) -> None:
        gone = self.service.delete(f"{SERVICE}/v1/hosts/compute1", status_code=204)
        response = self.client.post(self.URL, headers=AJAX)
        assert gone.called_once
        assert response["X-Horizon-Location"] == INDEX
        assert self.messages(response) == ["Host <span ng-non-bindable>compute1</span> was deleted."]

    def test_the_service_refuses(self) -> None:
        self.refuse("DELETE", "hosts/compute1", 409, "The USB agent on host compute1 is up.", "host_up")
        text = self.client.post(self.URL, headers=AJAX).content.decode()
        assert "The USB agent on host compute1 is up." in text


class HostTest(AdminTest):
    URL = reverse("horizon:admin:usb:host", args=("compute1",))

    def test_the_ports(self) -> None:
        self.plug(device("stick", port="1-2"), device("reader", port="1-7.1"))
        response = self.client.get(self.URL)
        text = html.unescape(re.sub(r"<[^>]*>|\s+", " ", response.content.decode()))
        text = re.sub(r"\s+", " ", text)
        assert re.search("Bus 1 1-2 stick .* 1-7 Hub 1-7.1 reader", text)
        queries = {f"{call.method} {call.path}": call.qs for call in self.service.request_history}
        assert queries == {"GET /v1/devices": {"host": ["compute1"]}, "GET /v1/hosts/compute1": {}}

    def test_its_agent(self) -> None:
        self.plug(hosts=(host("compute1", "down"),))
        self.assertContains(self.client.get(self.URL), "Down")

    def test_what_the_operator_has_to_mend_there(self) -> None:
        self.plug(hosts=(host("compute1") | {"problems": ["libvirt's hook is missing."]},))
        self.assertContains(self.client.get(self.URL), "libvirt&#x27;s hook is missing.")

    def test_a_hostile_device(self) -> None:
        self.plug(device(HOSTILE, id="hostile", serial=HOSTILE, state_reason=HOSTILE))
        self.assert_shown_as_it_is(self.client.get(self.URL).content.decode())

    def test_what_is_told_of_a_device_there(self) -> None:
        taken = {"state": "attached", "server_id": "the-server", "available": False, "enabled": False}
        self.plug(device("stick", **taken))
        text = self.client.get(self.URL).content.decode()
        for told in ("0781:5567", "Bus 001 Device 003", "4C530001", "Attached", "the-server", "Disabled"):
            assert told in text, told

    def test_each_has_the_actions_of_the_panel(self) -> None:
        self.plug(
            device("stick", state="attached", server_id="the-server"),
            device("gone", bus=None, device=None, state="unavailable", port="1-7.1", shared=False),
        )
        panel, page = self.client.get(INDEX), self.client.get(self.URL)
        for device_id in ("id-of-stick", "id-of-gone"):
            assert self.actions(page, device_id) == self.actions(panel, device_id)
        assert {"edit", "detach", "projects"} <= self.actions(page, "id-of-stick")
        assert {"forget", "share"} <= self.actions(page, "id-of-gone")

    def test_the_filter_of_the_panel_hides_nothing_here(self) -> None:
        self.plug(device("stick"), device("reader", port="1-7.1"))
        parameter = f"{TABLE}__filter_admin_usb_devices__q"
        self.client.post(INDEX, {f"{parameter}_field": "text", parameter: "reader"})
        self.assertContains(self.client.get(self.URL), "row_id-of-stick__action_disable")

    def test_disable_there(self) -> None:
        self.plug(device("stick"))
        text = self.client.get(self.URL).content.decode()
        assert re.search(rf'<form action="{self.URL}" method="POST">\s*<input[^>]*csrfmiddlewaretoken', text)
        # By this Horizon's script asks for confirmation.
        assert re.search('<tr[^>]*data-display="stick \\(4C530001\\)"', text)
        change = self.service.patch(f"{SERVICE}/v1/devices/id-of-stick", json={"device": device("stick")})
        response = self.client.post(self.URL, {"action": f"{TABLE}__disable__id-of-stick"})
        self.assertRedirectsNoFollow(response, self.URL)
        assert change.last_request.json() == {"device": {"enabled": False}}
        assert self.messages(response) == [f"Disabled USB Device: {SHOWN}"]

    def test_nothing_is_done_that_is_not_offered(self) -> None:
        self.plug(device("stick"))
        for action in ("forget__id-of-stick", "enable__id-of-stick", "nonsense"):
            response = self.client.post(self.URL, {"action": f"{TABLE}__{action}"})
            self.assertRedirectsNoFollow(response, self.URL)
        assert not [call for call in self.calls() if not call.startswith("GET")]

    def test_a_host_that_there_is_not(self) -> None:
        self.refuse("GET", "hosts/compute1", 404, "No USB agent has ever shown up on a host named compute1.")
        response = self.client.get(self.URL)
        self.assertRedirectsNoFollow(response, INDEX)
        assert "has ever shown up" in self.messages(response)[0]

    def test_a_host_of_any_name(self) -> None:
        address = reverse("horizon:admin:usb:host", args=("a/b <c>",))
        self.plug()
        self.service.get(f"{SERVICE}/v1/hosts/a%2Fb%20%3Cc%3E", json={"host": host("a/b <c>")})
        self.assertContains(self.client.get(address), "a/b &lt;c&gt;")
