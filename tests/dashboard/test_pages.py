# SPDX-License-Identifier: Apache-2.0
"""The tab on the page of an instance, and Project > Compute > USB Devices."""

from __future__ import annotations

import re
from typing import Any
from unittest import mock

from django.conf import settings
from django.urls import reverse
from django.utils import timezone
from openstack_dashboard import api as horizon_api

from tests.dashboard.played import AJAX, HOSTILE, REAL_POLICY, SERVICE, PlayedTest, device

INDEX = reverse("horizon:project:usb:index")


class PageTest(PlayedTest):
    def row(self, text: str, device_id: str) -> str:
        """The row of a device, as HTML."""
        (found,) = re.findall(rf'<tr[^>]*data-object-id="{device_id}".*?</tr>', text, re.DOTALL)
        return found

    def is_in_progress(self, row: str) -> bool:
        """As the script of the page decides it; Horizon's own has nothing to do with it."""
        (classes,) = re.findall(r'^<tr[^>]* class="([^"]*)"', row)
        assert "ajax-update" not in classes.split()
        return "warning" in classes.split()

    def watched(self, text: str) -> str:
        """The address that the page asks for its table alone."""
        (address,) = re.findall(r'\}\)\("[^"]*", "([^"]*)"\);', text)
        return address.encode().decode("unicode_escape")

    def link(self, address: str) -> str:
        return f'href="{address}"'.replace("&", "&amp;")


class InstancePageTest(PageTest):
    """The page of an instance."""

    dashboard = "project"

    def setUp(self) -> None:
        super().setUp()
        self.server = self.servers.first()
        flavor = self.flavors.first()
        for module, values in (
            (
                horizon_api.nova,
                {
                    "server_get": self.server,
                    "instance_volumes_list": [],
                    "flavor_get": flavor,
                    "flavor_list": [flavor],
                    "is_feature_available": True,
                },
            ),
            (
                horizon_api.neutron,
                {
                    "server_security_groups": [],
                    "is_extension_supported": True,
                    "floating_ip_simple_associate_supported": True,
                    "floating_ip_supported": True,
                },
            ),
            (horizon_api.network, {"servers_update_addresses": None}),
            (horizon_api.keystone, {"tenant_get": self.tenants.first()}),
        ):
            for name, value in values.items():
                patch = mock.patch.object(module, name, return_value=value)
                patch.start()
                self.addCleanup(patch.stop)

    def page(self, tab: str = "?tab=instance_details__usb", **kwargs: Any) -> Any:
        address = reverse(f"horizon:{self.dashboard}:instances:detail", args=(self.server.id,))
        return self.client.get(f"{address}{tab}", **kwargs)


class TabTest(InstancePageTest):
    """What the page of an instance says of its devices."""

    def dialog(self, name: str, query: str) -> str:
        return self.link(f"{reverse(f'horizon:{self.dashboard}:usb:{name}', args=(self.server.id,))}?{query}")

    def detach(self, device_id: str) -> str:
        address = reverse(f"horizon:{self.dashboard}:usb:detach_device", args=(self.server.id, device_id))
        return self.link(f"{address}?place=tab")

    def test_it_asks_only_when_it_is_looked_at(self) -> None:
        self.assertContains(self.page(tab=""), "USB Devices")
        assert self.calls() == []

    def overview(self) -> Any:
        address = reverse(f"horizon:{self.dashboard}:usb:overview", args=(self.server.id,))
        self.assertContains(self.page(tab=""), address.replace("-", r"\u002D"))
        assert self.calls() == []
        return self.client.get(address, headers=AJAX)

    def test_the_overview_asks_for_them_afterwards(self) -> None:
        mine = {"server_id": self.server.id, "available": False}
        self.plug(device("stick", state="attached", **mine), device("free"))
        text = self.overview().content.decode()
        assert "Attached" in text
        assert self.link(reverse(f"horizon:{self.dashboard}:usb:device", args=("id-of-stick",))) in text
        assert "stick (4C530001)" in text
        assert "free" not in text
        self.calls()
        self.plug(device("free"))
        self.assertContains(self.overview(), "No USB devices are attached or pending.")

    def test_a_hostile_device_in_the_overview(self) -> None:
        values = {"serial": HOSTILE, "state_reason": HOSTILE, "state": "failed", "server_id": self.server.id}
        self.plug(device(HOSTILE, id="h", **values))
        text = self.overview().content.decode()
        self.assert_shown_as_it_is(text)

    def test_the_overview_without_the_service(self) -> None:
        self.refuse("GET", "devices", 503, "Out to lunch.")
        response = self.overview()
        assert (response.status_code, response.content.decode()) == (503, "Out to lunch.")

    def test_what_the_server_has(self) -> None:
        since = (timezone.now() - timezone.timedelta(minutes=5)).strftime("%Y-%m-%dT%H:%M:%SZ")
        mine = {"server_id": self.server.id, "available": False}
        self.plug(
            device("stick", state="attached", state_since=since, **mine),
            device("reader", state="waiting", reason_code="unplugged", bus=None, device=None, **mine),
            device("free"),
        )
        text = self.page().content.decode()
        row = self.row(text, "id-of-stick")
        for told in ("stick", "0781:5567", "Bus 001 Device 003", "4C530001", "Attached", "5\xa0minutes"):
            assert told in row, told
        row = self.row(text, "id-of-reader")
        assert "Waiting: unplugged. Attached again when plugged in." in row
        assert "Bus" not in row
        assert "id-of-free" not in text
        assert self.calls() == ["GET /v1/devices"]

    def test_actions(self) -> None:
        mine = {"server_id": self.server.id, "available": False}
        self.plug(device("a", state="attached", **mine), device("b", state="detaching", **mine))
        text = self.page().content.decode()
        assert self.dialog("attach", "place=tab") in text
        assert self.detach("id-of-a") in self.row(text, "id-of-a")
        assert "place=tab" not in self.row(text, "id-of-b")

    def test_one_that_it_has_over_the_network(self) -> None:
        used = {"server_id": self.server.id, "state": "attached", "available": False}
        self.plug(device("stick", used_over_network=True, other_host=True, **used))
        told = "Attached<div><span ng-non-bindable>Over the network</span></div>"
        assert told in self.row(self.page().content.decode(), "id-of-stick")
        address = reverse(f"horizon:{self.dashboard}:usb:overview", args=(self.server.id,))
        assert told in self.client.get(address, headers=AJAX).content.decode()

    def test_a_server_that_cannot_be_given_any(self) -> None:
        self.server.status = "ERROR"
        self.plug()
        text = self.page().content.decode()
        assert self.dialog("attach", "place=tab") not in text
        assert "No USB devices are attached or pending." in text

    def test_the_table_alone(self) -> None:
        """One call, whatever there is; what is in progress is asked for more often."""
        mine = {"server_id": self.server.id, "available": False}
        states = {
            "attaching": True,
            "detaching": True,
            "attached": False,
            "waiting": False,
            "failed": False,
        }
        self.plug(*(device(state, state=state, **mine) for state in states))
        text = self.page().content.decode()
        for state, going_on in states.items():
            assert self.is_in_progress(self.row(text, f"id-of-{state}")) is going_on, state
        address = self.watched(text)
        assert address == reverse(f"horizon:{self.dashboard}:usb:server_devices", args=(self.server.id,))
        self.calls()
        self.plug(device("attaching", state="attached", **mine), device("elsewhere"))
        updated = self.client.get(address, headers=AJAX).content.decode()
        assert not self.is_in_progress(self.row(updated, "id-of-attaching"))
        assert self.detach("id-of-attaching") in updated
        assert "elsewhere" not in updated
        assert "<html" not in updated
        assert self.calls() == ["GET /v1/devices"]

    def test_the_table_cannot_be_had(self) -> None:
        address = reverse(f"horizon:{self.dashboard}:usb:server_devices", args=(self.server.id,))
        self.refuse("GET", "devices", 503, "Out to lunch.")
        response = self.client.get(address, headers=AJAX)
        assert (response.status_code, response.content.decode()) == (503, "Out to lunch.")
        self.refuse("GET", "devices", 401, "no")
        self.assert_leads_to_login(self.client.get(address, headers=AJAX))

    def test_a_hostile_device(self) -> None:
        values = {"serial": HOSTILE, "state_reason": HOSTILE, "state": "failed", "server_id": self.server.id}
        self.plug(device(HOSTILE, id="h", **values))
        self.assert_shown_as_it_is(self.page(headers=AJAX).content.decode())

    def test_the_service_is_away(self) -> None:
        self.refuse("GET", "devices", 503, "Out to lunch.")
        response = self.page()
        told = "The USB devices could not be retrieved: <span ng-non-bindable>Out to lunch.</span>"
        self.assertContains(response, told)
        self.assertNotContains(response, "No USB devices are attached")


class OverviewWithoutServiceTest(InstancePageTest):
    with_service = False

    def test_it_is_as_it_was(self) -> None:
        response = self.page(tab="")
        self.assertContains(response, self.server.name)
        self.assertNotContains(response, "usb_overview")


class AdminTabTest(TabTest):
    roles_of_user = ("admin", "member", "reader")
    dashboard = "admin"


class ProjectPageTest(PageTest):
    """A project with servers."""

    def setUp(self) -> None:
        super().setUp()
        own = [horizon_api.nova.Server(it, self.request) for it in self.servers.list()]
        servers = mock.patch.object(horizon_api.nova, "server_list", return_value=(own, False))
        self.server_list = servers.start()
        self.addCleanup(servers.stop)


class PanelTest(ProjectPageTest):
    def text(self) -> str:
        response = self.client.get(INDEX)
        assert response.status_code == 200
        return response.content.decode()

    def on_host(self, status: str = "ACTIVE") -> Any:
        """The project's first server, on the host of the devices."""
        first, *others = [horizon_api.nova.Server(it, self.request) for it in self.servers.list()]
        first._apiresource.hostId = "some-host"
        first._apiresource.status = status
        for other in others:
            other._apiresource.hostId = "another-host"
        self.server_list.return_value = ([first, *others], False)
        return first

    def test_a_free_device(self) -> None:
        server = self.on_host()
        self.plug(device("stick"))
        row = self.row(self.text(), "id-of-stick")
        for told in (
            "stick",
            "0781:5567",
            "Bus 001 Device 003",
            "1-2",
            "480 Mbit/s",
            "4C530001",
            "Available",
            f"Can be attached to: <span ng-non-bindable>{server.name}</span>",
        ):
            assert told in row, told
        assert self.link(reverse("horizon:project:usb:attach_device", args=("id-of-stick",))) in row
        assert "Detach" not in row
        assert self.calls() == ["GET /v1/devices"]
        self.server_list.assert_called_once()

    def test_a_free_device_that_no_instance_can_take(self) -> None:
        self.plug(device("stick"))
        for servers_of_host in (self.on_host("ERROR"), None):
            if servers_of_host is None:
                self.server_list.return_value = ([], False)
            row = self.row(self.text(), "id-of-stick")
            assert "attach_device" not in row
            assert "Can be attached to" not in row

    def test_one_that_a_server_has(self) -> None:
        server = self.servers.first()
        self.plug(device("stick", server_id=server.id, state="attached", available=False))
        row = self.row(self.text(), "id-of-stick")
        page = reverse("horizon:project:instances:detail", args=(server.id,))
        assert self.link(page) in row
        assert f"<span ng-non-bindable>{server.name}</span></a>" in row
        detach = reverse("horizon:project:usb:detach_device", args=(server.id, "id-of-stick"))
        assert self.link(f"{detach}?place=panel") in row
        assert "attach_device" not in row
        self.server_list.assert_called_once()

    def test_a_free_device_that_others_can_have_over_the_network(self) -> None:
        near = self.on_host()
        self.plug(device("stick", over_network=True))
        row = self.row(self.text(), "id-of-stick")
        assert f"Can be attached to: <span ng-non-bindable>{near.name}</span>" in row
        assert "<div>Can be attached over the network</div>" in row
        self.on_host("ERROR")
        row = self.row(self.text(), "id-of-stick")
        assert "Can be attached over the network" in row
        assert self.link(reverse("horizon:project:usb:attach_device", args=("id-of-stick",))) in row

    def test_one_that_is_used_over_the_network(self) -> None:
        used = {"server_id": self.servers.first().id, "state": "attached", "available": False}
        self.plug(device("stick", used_over_network=True, **used), device("other", **used))
        text = self.text()
        shown = "Attached<div><span ng-non-bindable>Over the network</span></div>"
        assert shown in self.row(text, "id-of-stick")
        assert "etwork" not in self.row(text, "id-of-other")

    def test_one_of_a_server_that_is_gone(self) -> None:
        self.plug(device("stick", server_id="gone", state="waiting", available=False))
        assert "<span ng-non-bindable>gone</span></a>" in self.row(self.text(), "id-of-stick")

    def test_nova_is_away(self) -> None:
        self.server_list.side_effect = self.exceptions.nova
        self.plug(device("stick", server_id="some", state="attached", available=False))
        assert "<span ng-non-bindable>some</span></a>" in self.row(self.text(), "id-of-stick")

    def test_one_that_nobody_can_have(self) -> None:
        self.plug(device("stick", available=False, state="unavailable", state_reason="in use"))
        row = self.row(self.text(), "id-of-stick")
        assert "Unavailable: <span ng-non-bindable>in use</span>" in row
        assert "attach" not in row

    def test_there_is_none(self) -> None:
        self.plug()
        assert "No USB devices are available to this project." in self.text()

    def test_the_table_alone(self) -> None:
        server = self.servers.first()
        self.plug(device("stick", server_id=server.id, state="attaching", available=False))
        text = self.text()
        assert self.is_in_progress(self.row(text, "id-of-stick"))
        self.calls()
        self.plug(device("stick", server_id=server.id, state="attached", available=False))
        updated = self.client.get(self.watched(text), headers=AJAX).content.decode()
        assert not self.is_in_progress(self.row(updated, "id-of-stick"))
        assert server.name in updated
        assert "<html" not in updated
        assert self.calls() == ["GET /v1/devices"]
        self.refuse("GET", "devices", 503, "Out to lunch.")
        assert self.client.get(self.watched(text), headers=AJAX).status_code == 503

    def test_an_administrator_sees_the_devices_of_the_project(self) -> None:
        """The service tells administrators of all (H8)."""
        admin: dict[str, Any] = {"host": "compute1", "project_id": None, "shared": False, "projects": []}
        taken = {"server_id": "s", "state": "attached", "available": False}
        self.plug(
            device("of-other", **admin | taken | {"project_id": "other"}),
            device("own", **admin | taken | {"project_id": self.tenant.id}),
            device("hidden", **admin),
            device("shared", **admin | {"shared": True}),
            device("shared-with-us", **admin | {"projects": [self.tenant.id]}),
        )
        found = re.findall(r'data-object-id="id-of-([^"]*)"', self.text())
        assert sorted(found) == ["own", "shared", "shared-with-us"]

    def test_a_hostile_device(self) -> None:
        server = self.servers.first()
        server.name = HOSTILE
        values = {"serial": HOSTILE, "state_reason": HOSTILE, "state": "failed", "available": False}
        self.plug(device(HOSTILE, id="h", server_id=server.id, **values))
        text = self.text()
        self.assert_shown_as_it_is(text)
        # The name is in an attribute of the row as well.
        assert " ng-non-bindable" in self.row(text, "h").partition(">")[0]

    def test_the_service_is_away(self) -> None:
        self.refuse("GET", "devices", 503, "Out to lunch.")
        text = self.text()
        assert "The USB devices could not be retrieved: <span ng-non-bindable>Out to lunch.</span>" in text
        assert "No USB devices are available" not in text

    def test_the_token_is_no_longer_good(self) -> None:
        self.refuse("GET", "devices", 401, "no")
        self.assertRedirectsNoFollow(self.client.get(INDEX), f"{settings.LOGIN_URL}?next={INDEX}")

    def test_it_is_in_the_menu(self) -> None:
        self.plug()
        with REAL_POLICY:
            assert f'href="{INDEX}"' in self.text()


class ManyDevicesTest(ProjectPageTest):
    """More than a page: 20 devices, unless the user has set another number."""

    def setUp(self) -> None:
        super().setUp()
        self.plug(
            *(device(f"d{n:03}", created_at=f"2026-01-01T00:{n // 60:02}:{n % 60:02}Z") for n in range(1000))
        )

    def shown(self, address: str = "") -> list[str]:
        """The names of the devices on a page, from top to bottom."""
        self.page = self.client.get(INDEX + address).content.decode()
        return re.findall(r'data-object-id="id-of-([^"]*)"', self.page)

    def links(self) -> dict[str, str]:
        """Where the page leads to: Prev and Next, and the headers that sort."""
        found = re.findall(r'<a href="(\?[^"]*)"[^>]*>(.*?)</a>', self.page, re.DOTALL)
        return {
            re.sub(r"<[^>]*>|&\w+;", "", text).strip(): address.replace("&amp;", "&")
            for address, text in found
        }

    def filter(self, field: str, text: str) -> list[str]:
        """The devices that a filter leaves over, on the first page."""
        parameter = "usb_devices__filter_usb_devices__q"
        self.client.post(INDEX, {f"{parameter}_field": field, parameter: text})
        return self.shown()

    def names(self, first: int, last: int) -> list[str]:
        return [f"d{n:03}" for n in range(first, last + 1)]

    def asked(self) -> list[dict[str, list[str]]]:
        """The queries for devices since the last time."""
        made = [call.qs for call in self.service.request_history]
        self.service.reset_mock()
        return made

    @REAL_POLICY
    def test_only_what_is_shown_is_asked_for(self) -> None:
        assert self.shown() == self.names(0, 19)
        (query,) = self.asked()
        assert query["limit"] == ["21"]
        self.server_list.assert_called_once()

    @REAL_POLICY
    def test_from_page_to_page_and_back(self) -> None:
        self.shown()
        assert "Prev" not in self.links()
        assert self.shown(self.links()["Next"]) == self.names(20, 39)
        assert self.shown(self.links()["Next"]) == self.names(40, 59)
        assert self.shown(self.links()["Prev"]) == self.names(20, 39)
        assert self.shown(self.links()["Prev"]) == self.names(0, 19)
        assert "Prev" not in self.links()
        assert self.shown("?marker=id-of-d989") == self.names(990, 999)
        assert "Next" not in self.links()

    @REAL_POLICY
    def test_the_page_that_is_watched_is_the_one_that_is_shown(self) -> None:
        self.shown("?marker=id-of-d019&sort_key=name")
        watched = self.client.get(self.watched(self.page), headers=AJAX).content.decode()
        assert re.findall(r'data-object-id="id-of-([^"]*)"', watched) == self.names(20, 39)
        assert "marker=id-of-d039" in watched

    @REAL_POLICY
    def test_sorted_by_the_service(self) -> None:
        self.shown()
        assert set(self.links()) == {"Name", "Port", "State", "Next"}
        assert self.shown(self.links()["Name"]) == self.names(0, 19)
        assert 'aria-sort="ascending"' in self.page
        assert self.shown(self.links()["Name"]) == self.names(980, 999)[::-1]
        assert 'aria-sort="descending"' in self.page
        assert self.shown(self.links()["Next"]) == self.names(960, 979)[::-1]
        assert self.shown(self.links()["Prev"]) == self.names(980, 999)[::-1]
        # The script of Horizon would sort the rows of this page among themselves.
        assert not re.search(r'<th[^>]*class="[^"]*\bsortable\b', self.page)
        assert self.shown("?sort_key=host&sort_dir=desc") == self.names(0, 19)

    @REAL_POLICY
    def test_a_text_is_looked_for_in_all_devices(self) -> None:
        assert self.filter("text", "D99") == self.names(990, 999)
        assert self.filter("text", "d") == self.names(0, 19)
        assert self.shown(self.links()["Next"]) == self.names(20, 39)

    @REAL_POLICY
    def test_a_state_is_looked_for_by_the_service(self) -> None:
        self.filter("state", "Available")
        assert [query.get("state") for query in self.asked()][-1] == ["available"]
        assert self.filter("state", "attached") == []
        self.refuse("GET", "devices", 400, "state: 'red' is not one of 'available', 'attached'")
        self.filter("state", "red")
        assert "is not one of" in self.page

    @REAL_POLICY
    def test_the_first_page_where_there_is_no_such_page_any_more(self) -> None:
        self.shown("?marker=id-of-d999")
        assert self.shown("?marker=id-of-d999") == self.names(0, 19)

        def refuse_marker(request: Any, context: Any) -> dict[str, Any]:
            if "marker" not in request.qs:
                return {"devices": [device("left")]}
            context.status_code = 400
            context.headers["Content-Type"] = "application/json"
            return {
                "error": {
                    "code": 400,
                    "title": "Bad Request",
                    "message": "marker: device gone could not be found.",
                }
            }

        self.service.get(f"{SERVICE}/v1/devices", json=refuse_marker)
        assert self.shown("?marker=gone") == ["left"]
        assert self.shown("?prev_marker=gone") == ["left"]

    def test_pages_of_an_administrator_are_of_the_project(self) -> None:
        """The service tells of all projects' devices, so the pages are made of all of them."""
        admin: dict[str, Any] = {"host": "compute1", "project_id": None, "projects": []}
        self.plug(*(device(f"d{n:03}", **admin, shared=n % 2 == 0) for n in range(100)))
        even = [f"d{n:03}" for n in range(0, 100, 2)]
        assert self.shown() == even[:20]
        assert self.shown(self.links()["Next"]) == even[20:40]
        assert self.shown(self.links()["Prev"]) == even[:20]


class WithoutServiceTest(PageTest):
    with_service = False

    def test_there_is_no_panel(self) -> None:
        assert self.client.get(INDEX).status_code == 403
        self.assertNotContains(self.client.get(reverse("horizon:project:api_access:index")), INDEX)
