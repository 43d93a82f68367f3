# SPDX-License-Identifier: Apache-2.0
"""The page of a device, and what is done from there."""

from __future__ import annotations

import re
from typing import Any
from unittest import mock

from django.urls import reverse
from openstack_dashboard.api import nova

from tests.dashboard.played import AJAX, HOSTILE, SERVICE, PlayedTest, attachment, device

INDEX = reverse("horizon:project:usb:index")
PAGE = reverse("horizon:project:usb:device", args=("id-of-stick",))
SERVER = "11111111-2222-3333-4444-555555555555"
ATTACHMENTS = f"servers/{SERVER}/attachments"


def condition(name: str, met: bool | None = True, code: str | None = None, note: str | None = None) -> Any:
    """As the service sends it."""
    return {"condition": name, "met": met, "reason_code": code, "state_reason": None, "note": note}


class DevicePageTest(PlayedTest):
    def setUp(self) -> None:
        super().setUp()
        self.server = mock.Mock(id=SERVER, status="ACTIVE")
        self.server.name = "demo"
        self.server._apiresource.hostId = "some-host"
        for name, value in (("server_list", ([self.server], False)), ("server_get", self.server)):
            patch = mock.patch.object(nova, name, return_value=value)
            setattr(self, name, patch.start())
            self.addCleanup(patch.stop)
        self.explained(condition("plugged_in"))
        self.service.get(f"{SERVICE}/v1/devices/id-of-stick/events", json={"events": []})
        self.waiting()

    def waiting(self, *entries: dict[str, Any]) -> None:
        """Who is in the queue."""
        self.service.get(f"{SERVICE}/v1/queue", json={"queue": list(entries)})

    def entry(self, name: str, **values: Any) -> dict[str, Any]:
        """The server waits for the stick, as the service says it."""
        return {
            "id": name,
            "server_id": SERVER,
            "project_id": self.tenant.id,
            "device_id": "id-of-stick",
            "kind": None,
            "lease": None,
            "place": 2,
            "created_at": "2026-01-02T03:04:05Z",
        } | values

    def explained(self, *conditions: Any) -> None:
        """What the service says of the conditions."""
        explanation = {"attachable": all(it["met"] for it in conditions), "conditions": list(conditions)}
        address = f"{SERVICE}/v1/devices/id-of-stick/explain"
        self.service.get(address, json={"explanation": explanation})

    def attached(self, **values: Any) -> None:
        """The server has the stick."""
        found = attachment("stick", SERVER, **{"lease_until": "2026-01-02T03:04:05Z", **values})
        self.plug(found["device"])
        self.service.get(f"{SERVICE}/v1/{ATTACHMENTS}/id-of-stick", json={"attachment": found})

    def text(self, address: str = PAGE) -> str:
        """The page, without its tags."""
        response = self.client.get(address)
        assert response.status_code == 200
        return " ".join(re.sub("<[^>]*>", " ", response.content.decode()).split())


class PageTest(DevicePageTest):
    def test_a_free_device(self) -> None:
        self.plug(device("stick", description="in rack 4", kind="hasp-dongle"))
        text = self.text()
        for told in (
            "stick (4C530001)",
            "State Available",
            "Description in rack 4",
            "Kind hasp-dongle",
            "Vendor:Product 0781:5567",
            "Class Storage",
            "Bus and Device Bus 001 Device 003",
            "ID id-of-stick",
            "The device is plugged in Yes",
        ):
            assert told in text, told
        for not_told in ("Host ", "Project ID", "Shared With", "Until "):
            assert not_told not in text, not_told
        page = self.client.get(PAGE).content.decode()
        assert reverse("horizon:project:usb:attach_device", args=("id-of-stick",)) in page

    def test_one_that_a_server_has(self) -> None:
        self.attached()
        text = self.text()
        assert "State Attached" in text
        assert "Instance demo" in text
        assert "Until 2026-01-02 03:04:05 UTC" in text
        page = self.client.get(PAGE).content.decode()
        for dialog in ("detach_device", "lease"):
            assert reverse(f"horizon:project:usb:{dialog}", args=(SERVER, "id-of-stick")) in page
        assert reverse("horizon:project:usb:queue", args=("id-of-stick",)) in page

    def test_one_that_a_server_on_another_host_has(self) -> None:
        self.attached(used_over_network=True)
        assert "State Attached Over the network" in self.text()

    def test_servers_on_other_hosts_may_be_explained_if_the_network_is_allowed(self) -> None:
        self.plug(device("stick", host_id="another-host"))
        assert "To the instance" not in self.text()
        self.plug(device("stick", host_id="another-host", over_network=True))
        page = self.client.get(PAGE).content.decode()
        assert f'<option value="{SERVER}">demo</option>' in page
        assert reverse("horizon:project:usb:attach_device", args=("id-of-stick",)) in page

    def test_the_conditions(self) -> None:
        self.plug(device("stick"))
        self.explained(
            condition("plugged_in"),
            condition("quota", False, "quota_exceeded", "2 of 2 are in use"),
            condition("host_up", None),
            condition("brand_new", False, "brand_new"),
        )
        text = self.text()
        assert "No: not all conditions are met." in text
        met, reason = "has not reached its quota of USB devices", "the quota of the project is used up"
        assert f"The project {met} No {reason}" in text
        assert "2 of 2 are in use" in text
        assert "Its host answers Unknown" in text
        assert "brand_new No" in text

    def test_the_conditions_for_a_server(self) -> None:
        self.plug(device("stick"))
        self.text(f"{PAGE}?server_id={SERVER}")
        [asked] = [call for call in self.service.request_history if call.path.endswith("/explain")]
        assert asked.qs == {"server_id": [SERVER]}
        page = self.client.get(f"{PAGE}?server_id={SERVER}").content.decode()
        assert f'<option value="{SERVER}" selected>demo</option>' in page
        assert f'method="GET" action="{PAGE}"' in page

    def test_what_cannot_be_had_is_told_and_the_rest_is_shown(self) -> None:
        self.plug(device("stick"))
        self.refuse("GET", "devices/id-of-stick/explain", 503, "Out to lunch.")
        self.refuse("GET", "devices/id-of-stick/events", 403, "Not for you.")
        self.server_list.side_effect = self.exceptions.nova
        text = self.text()
        assert "State Available" in text
        assert "Out to lunch." in text
        assert "The events could not be retrieved: Not for you." in text
        assert "Unable to retrieve the instances" in text

    def test_a_device_that_is_not_there(self) -> None:
        self.refuse("GET", "devices/id-of-stick", 404, "no", "device_not_found")
        response = self.client.get(PAGE)
        self.assertRedirectsNoFollow(response, INDEX)
        assert "The USB device could not be found." in self.messages(response)[0]

    def test_a_hostile_device(self) -> None:
        values = {"serial": HOSTILE, "description": HOSTILE, "state_reason": HOSTILE, "state": "failed"}
        self.plug(device(HOSTILE, id="id-of-stick", **values))
        self.server.name = HOSTILE
        self.explained(condition("x", False, None, HOSTILE))
        page = self.client.get(PAGE).content.decode()
        # The names of instances stand in a list that Angular leaves alone.
        page = re.sub(r"<select .*?</select>", "", page, flags=re.DOTALL)
        self.assert_shown_as_it_is(page)

    def test_the_panel_leads_there(self) -> None:
        self.plug(device("stick"))
        self.assertContains(self.client.get(INDEX), f'href="{PAGE}"')


class OperatorsPageTest(DevicePageTest):
    roles_of_user = ("admin", "member", "reader")
    ADDRESS = reverse("horizon:admin:usb:device", args=("id-of-stick",))

    def setUp(self) -> None:
        super().setUp()
        self.service.get(f"{SERVICE}/v1/hosts/compute1", json={"host": {"host": "compute1", "state": "up"}})

    def test_what_is_for_operators(self) -> None:
        told = {
            "host": "compute1",
            "project_id": "p1",
            "shared": False,
            "projects": ["p1", "p2"],
            "rule": "1: {}",
        }
        self.plug(device("stick", **told))
        text = self.text(self.ADDRESS)
        for shown in ("Host compute1", "Project ID p1", "Shared With p1, p2", "Rule 1: {}"):
            assert shown in text, shown
        assert self.server_list.call_args_list[0].args[1] == {"all_tenants": True, "host": "compute1"}

    def attached_there(self, **values: Any) -> None:
        """The server has the stick."""
        self.attached(host="compute1", project_id="p1", shared=False, projects=[], **values)

    def test_nova_is_asked_once(self) -> None:
        """For the servers of the host; those have names."""
        self.attached_there()
        event = {"created_at": "2026-01-02T03:04:05Z", "server_id": SERVER, "state": "attached"}
        nothing = dict.fromkeys(
            ("cause", "cause_code", "reason_code", "state_reason", "user_id", "request_id")
        )
        events = {"events": [event | nothing]}
        self.service.get(f"{SERVICE}/v1/devices/id-of-stick/events", json=events)
        assert self.text(self.ADDRESS).count("demo") >= 3
        assert self.server_list.call_count == 1

    def test_nova_is_asked_again_only_for_servers_elsewhere(self) -> None:
        self.attached_there()
        self.server.id = "another-server"
        self.text(self.ADDRESS)
        last = self.server_list.call_args_list[-1].args[1]
        assert (self.server_list.call_count, last) == (2, {"all_tenants": True, "uuid": SERVER})

    def test_a_device_of_a_host_that_is_down_can_be_released(self) -> None:
        self.attached_there()
        release = "__action_release"
        self.assertNotContains(self.client.get(self.ADDRESS), release)
        self.service.get(f"{SERVICE}/v1/hosts/compute1", json={"host": {"host": "compute1", "state": "down"}})
        self.assertContains(self.client.get(self.ADDRESS), release)
        self.refuse("GET", "hosts/compute1", 503, "Out to lunch.")
        response = self.client.get(self.ADDRESS)
        self.assertNotContains(response, release)
        assert "Unable to retrieve the hosts: Out to lunch." in self.messages(response)[0]


class DialogsTest(DevicePageTest):
    def dialog(self, name: str) -> str:
        return reverse(f"horizon:project:usb:{name}", args=(SERVER, "id-of-stick"))

    def test_retry(self) -> None:
        self.attached(state="failed", reason_code="no_free_usb_port", available=False)
        self.assertContains(self.client.get(INDEX), f'href="{self.dialog("retry")}?place=panel"')
        shown = self.client.get(self.dialog("retry"), headers=AJAX).content.decode()
        assert "Try again to attach <span ng-non-bindable>stick (4C530001)</span>" in shown
        assert "all USB ports of the instance are in use" in shown
        again = attachment("stick", SERVER, state="attaching")
        self.service.post(f"{SERVICE}/v1/{ATTACHMENTS}", status_code=202, json={"attachment": again})
        response = self.client.post(f"{self.dialog('retry')}?place=panel", headers=AJAX)
        assert response["X-Horizon-Location"] == INDEX
        assert self.service.last_request.json() == {"attachment": {"device_id": "id-of-stick"}}

    def test_there_is_nothing_to_retry(self) -> None:
        self.attached()
        self.assertNotContains(self.client.get(INDEX), self.dialog("retry"))

    def test_a_lease(self) -> None:
        self.attached()
        change = self.service.patch(
            f"{SERVICE}/v1/{ATTACHMENTS}/id-of-stick", json={"attachment": attachment("stick", SERVER)}
        )
        for written, lease in (("2h", 7200), (" 90m ", 5400), ("", None)):
            response = self.client.post(
                f"{self.dialog('lease')}?place=panel", {"choice": written}, headers=AJAX
            )
            assert response["X-Horizon-Location"] == INDEX
            assert change.last_request.json() == {"attachment": {"lease": lease}}

    def test_a_lease_that_is_none(self) -> None:
        self.attached()
        for written in ("soon", "0h", "-1h", "2", HOSTILE):
            text = self.client.post(self.dialog("lease"), {"choice": written}, headers=AJAX).content.decode()
            assert "Enter a number and m, h or d, for example 2h." in text
        assert not [call for call in self.calls() if call.startswith("PATCH")]

    def test_a_lease_that_is_too_long(self) -> None:
        self.attached()
        why = "Invalid input: lease: a USB device can be leased for at most 60 seconds."
        self.refuse("PATCH", f"{ATTACHMENTS}/id-of-stick", 400, why, "invalid_input")
        text = self.client.post(self.dialog("lease"), {"choice": "2h"}, headers=AJAX).content.decode()
        assert why in text

    QUEUE = reverse("horizon:project:usb:queue", args=("id-of-stick",))

    def test_the_queue(self) -> None:
        address = self.QUEUE
        self.plug(device("stick", state="unavailable", reason_code="in_use", available=False))
        self.assertContains(self.client.get(INDEX), f'href="{address}"')
        shown = self.client.get(address, headers=AJAX).content.decode()
        assert "attached to the instance automatically" in shown
        entry = {"entry": {"id": "e", "place": 2}}
        join = self.service.post(f"{SERVICE}/v1/servers/{SERVER}/queue", status_code=202, json=entry)
        response = self.client.post(address, {"choice": SERVER}, headers=AJAX)
        assert response["X-Horizon-Location"] == INDEX
        assert join.last_request.json() == {"entry": {"device_id": "id-of-stick"}}
        assert self.messages(response) == ["<span ng-non-bindable>demo</span> is number 2 in the queue."]

    def test_the_queue_for_a_device_of_another_host(self) -> None:
        taken = {"state": "unavailable", "reason_code": "in_use", "available": False}
        self.plug(device("stick", host_id="another-host", over_network=True, **taken))
        shown = self.client.get(self.QUEUE, headers=AJAX).content.decode()
        assert "On another host, over the network" in shown
        assert "It is slower" in shown
        entry = {"entry": {"id": "e", "place": 1}}
        join = self.service.post(f"{SERVICE}/v1/servers/{SERVER}/queue", status_code=202, json=entry)
        self.client.post(self.QUEUE, {"choice": SERVER, "by_network": [SERVER]}, headers=AJAX)
        assert join.last_request.json() == {"entry": {"device_id": "id-of-stick", "transport": "any"}}

    def test_no_queue_for_a_device_of_another_host_that_stays_there(self) -> None:
        taken = {"state": "unavailable", "reason_code": "in_use", "available": False}
        self.plug(device("stick", host_id="another-host", over_network=False, **taken))
        shown = self.client.get(self.QUEUE, headers=AJAX).content.decode()
        assert "No instance of this project is on the host of the USB device." in shown

    def test_the_server_that_has_the_device_cannot_queue_for_it(self) -> None:
        self.attached()
        shown = self.client.get(self.QUEUE, headers=AJAX).content.decode()
        (choice,) = re.findall(rf'<input[^>]*value="{SERVER}"[^>]*>', shown)
        assert "disabled" in choice

    def shown_entries(self) -> list[str]:
        return re.findall('id="usb_queue__row__([^"]*)"', self.client.get(PAGE).content.decode())

    def test_the_servers_of_the_project_that_wait(self) -> None:
        self.plug(device("stick", state="unavailable", reason_code="in_use", kind="disk", available=False))
        self.waiting(
            self.entry("for-it"),
            self.entry("for-its-kind", device_id=None, kind="disk"),
            self.entry("for-another", device_id="id-of-another"),
            self.entry("for-another-kind", device_id=None, kind="dongle"),
            # To administrators the service tells of all projects.
            self.entry("of-another-project", project_id="other"),
        )
        assert self.shown_entries() == ["for-it", "for-its-kind"]
        text = self.text()
        assert "demo 2 2026-01-02 03:04:05 UTC" in text
        assert "Remove from Queue" in text

    def test_leave_the_queue(self) -> None:
        self.plug(device("stick", state="unavailable", reason_code="in_use", available=False))
        self.waiting(self.entry("e1"), self.entry("e2"))
        gone = self.service.delete(f"{SERVICE}/v1/servers/{SERVER}/queue/e2", status_code=204)
        response = self.client.post(PAGE, {"action": "usb_queue__leave__e2"})
        self.assertRedirectsNoFollow(response, PAGE)
        assert gone.called_once
        assert self.messages(response) == ["Removed from Queue: demo (0781:5567)"]

    def test_a_place_that_cannot_be_left(self) -> None:
        self.plug(device("stick"))
        self.waiting(self.entry("e"))
        self.refuse("DELETE", f"servers/{SERVER}/queue/e", 409, "It is its turn.")
        response = self.client.post(PAGE, {"action": "usb_queue__leave__e"})
        told = self.messages(response)
        assert "Unable to remove the instance from the queue: It is its turn." in told

    def test_the_queue_is_away(self) -> None:
        self.plug(device("stick"))
        self.refuse("GET", "queue", 503, "Out to lunch.")
        text = self.text()
        assert "The queue could not be retrieved: Out to lunch." in text
        assert "No instance waits" not in text
        response = self.client.post(PAGE, {"action": "usb_queue__leave__e"})
        self.assertRedirectsNoFollow(response, PAGE)
        assert "Unable to retrieve the queue: Out to lunch." in self.messages(response)[0]

    def test_a_hostile_name_in_the_queue(self) -> None:
        self.server.name = HOSTILE
        self.plug(device("stick"))
        self.waiting(self.entry("e"))
        self.assert_shown_as_it_is(self.client.get(PAGE).content.decode().partition('id="usb_queue"')[2])

    def test_no_queue_for_what_is_free(self) -> None:
        self.plug(device("stick"))
        self.assertNotContains(self.client.get(INDEX), f'href="{self.QUEUE}"')
