# SPDX-License-Identifier: Apache-2.0
"""Admin > Compute > USB Devices > Queue and Leases."""

from __future__ import annotations

import html
import re
from typing import Any
from unittest import mock

from django.conf import settings
from django.http import HttpRequest
from django.test import override_settings
from django.urls import reverse
from openstack_dashboard.api import nova

from tests.dashboard.played import AJAX, HOSTILE, REAL_POLICY, SERVICE, attachment
from tests.dashboard.test_admin import INDEX, AdminTest, device, host

PAGE = reverse("horizon:admin:usb:queue_and_leases")
SERVER = "11111111-2222-3333-4444-555555555555"


def named(of_id: str, name: str) -> mock.Mock:
    """A server of Nova's, or a project of Keystone's."""
    found = mock.Mock(id=of_id)
    found.name = name
    return found


def entry(name: str, **values: Any) -> dict[str, Any]:
    """A server that waits, as the service sends it."""
    return {
        "id": f"entry-{name}",
        "server_id": SERVER,
        "project_id": "p1",
        "device_id": None,
        "kind": None,
        "lease": None,
        "place": 1,
        "created_at": "2026-01-02T03:04:05Z",
    } | values


class QueueTest(AdminTest):
    def setUp(self) -> None:
        super().setUp()
        self.server_list.return_value = ([named(SERVER, "demo")], False)
        self.tenant_list.return_value = ([named("p1", "blue")], False)
        server_get = mock.patch.object(nova, "server_get", return_value=named(SERVER, "demo"))
        server_get.start()
        self.addCleanup(server_get.stop)
        self.waiting()

    def waiting(self, *entries: dict[str, Any]) -> None:
        """Who is in the queue."""
        self.service.get(f"{SERVICE}/v1/queue", json={"queue": list(entries)})

    def rows(self, table: str) -> list[dict[str, str]]:
        """The cells of each row, by column, without tags."""
        rows = self.client.get(PAGE).context[f"{table}_table"].get_rows()
        return [
            {name: html.unescape(re.sub("<[^>]*>", "", str(cell.value))) for name, cell in row.cells.items()}
            for row in rows
        ]

    def leave(self, *entry_ids: str) -> Any:
        """Remove from Queue, and what was sent."""
        return self.client.post(PAGE, {"action": "admin_usb_queue__leave", "object_ids": entry_ids})

    def removed(self) -> list[str]:
        return [call.path for call in self.service.request_history if call.method == "DELETE"]


class WaitingTest(QueueTest):
    def test_the_index_leads_there(self) -> None:
        with REAL_POLICY:
            self.assertContains(self.client.get(INDEX), f'href="{PAGE}"')

    def test_who_waits_for_which_device(self) -> None:
        self.plug(device("stick"))
        self.waiting(entry("a", device_id="id-of-stick", place=2))
        (row,) = self.rows("admin_usb_queue")
        shown = {name: row[name] for name in ("wanted", "server", "project", "place", "since")}
        assert shown == {
            "wanted": "stick (4C530001)",
            "server": "demo",
            "project": "blue",
            "place": "2",
            "since": "2026-01-02 03:04:05 UTC",
        }
        page = self.client.get(PAGE)
        self.assertContains(page, f'href="{reverse("horizon:admin:usb:device", args=("id-of-stick",))}"')
        self.assertContains(page, f'href="{reverse("horizon:admin:instances:detail", args=(SERVER,))}"')

    def test_for_one_of_a_kind_and_for_one_that_is_forgotten(self) -> None:
        self.waiting(entry("a", kind="hasp-dongle"), entry("b", device_id="gone"))
        assert [row["wanted"] for row in self.rows("admin_usb_queue")] == [
            "Any of the kind hasp-dongle",
            "gone",
        ]

    def test_times_are_those_of_the_operator(self) -> None:
        self.waiting(entry("a", kind="hasp-dongle"))
        self.client.cookies["django_timezone"] = "Europe/Berlin"
        assert self.rows("admin_usb_queue")[0]["since"] == "2026-01-02 04:04:05 CET"

    def test_ids_where_nobody_tells_names(self) -> None:
        self.server_list.side_effect = self.exceptions.nova
        self.tenant_list.side_effect = self.exceptions.keystone
        self.waiting(entry("a", kind="hasp-dongle"))
        (row,) = self.rows("admin_usb_queue")
        assert (row["server"], row["project"]) == (SERVER, "p1")

    def test_as_many_calls_whatever_there_is(self) -> None:
        leased = {"server_id": SERVER, "state": "attached", "lease_until": "2026-01-01T00:00:00Z"}
        self.plug(*(device(f"stick{n}", **leased) for n in range(20)))
        self.waiting(*(entry(f"e{n}", device_id=f"id-of-stick{n}") for n in range(20)))
        self.client.get(PAGE)
        assert sorted(self.calls()) == ["GET /v1/devices", "GET /v1/queue"]
        assert (self.server_list.call_count, self.tenant_list.call_count) == (1, 1)

    def test_hostile_names(self) -> None:
        self.server_list.return_value = ([named(SERVER, HOSTILE)], False)
        self.tenant_list.return_value = ([named("p1", HOSTILE)], False)
        leased = {"server_id": SERVER, "state": "attached", "lease_until": "2026-01-01T00:00:00Z"}
        self.plug(device(HOSTILE, id="h", serial=HOSTILE, **leased))
        self.waiting(entry("a", device_id="h"))
        self.assert_shown_as_it_is(self.client.get(PAGE).content.decode())

    def test_the_service_is_away(self) -> None:
        self.refuse("GET", "queue", 503, "Out to lunch.")
        response = self.client.get(PAGE)
        for what in ("queue", "USB devices"):
            told = f"The {what} could not be retrieved: <span ng-non-bindable>Out to lunch.</span>"
            self.assertContains(response, told, count=1)
        self.assertNotContains(response, "No instance")

    def test_an_older_service_tells_of_no_lease(self) -> None:
        old = device("stick", server_id=SERVER)
        del old["lease_until"]
        self.plug(old)
        assert self.rows("admin_usb_leases") == []
        self.service.get(f"{SERVICE}/v1/hosts/compute1", json={"host": host("compute1")})
        self.service.get(f"{SERVICE}/v1/devices/id-of-stick/events", json={"events": []})
        explanation = {"attachable": False, "conditions": []}
        self.service.get(f"{SERVICE}/v1/devices/id-of-stick/explain", json={"explanation": explanation})
        address = reverse("horizon:admin:usb:device", args=("id-of-stick",))
        self.assertContains(self.client.get(address), "4C530001")

    def test_nobody_waits(self) -> None:
        response = self.client.get(PAGE)
        self.assertContains(response, "No instance waits for a USB device.")
        self.assertContains(response, "No instance has a USB device for a limited time.")

    def test_the_token_is_no_longer_good(self) -> None:
        self.refuse("GET", "queue", 401, "no")
        self.assertRedirectsNoFollow(self.client.get(PAGE), f"{settings.LOGIN_URL}?next={PAGE}")


class LeaveTest(QueueTest):
    PATH = f"servers/{SERVER}/queue"

    def test_one(self) -> None:
        self.plug(device("stick"))
        self.waiting(entry("a", device_id="id-of-stick"))
        gone = self.service.delete(f"{SERVICE}/v1/{self.PATH}/entry-a", status_code=204)
        response = self.client.post(PAGE, {"action": "admin_usb_queue__leave__entry-a"})
        self.assertRedirectsNoFollow(response, PAGE)
        assert gone.called_once
        assert self.messages(response) == ["Removed from Queue: demo (0781:5567)"]

    def test_a_server_of_a_hostile_name(self) -> None:
        self.server_list.return_value = ([named(SERVER, HOSTILE)], False)
        self.waiting(entry("a", kind="hasp-dongle"))
        self.service.delete(f"{SERVICE}/v1/{self.PATH}/entry-a", status_code=204)
        self.leave("entry-a")
        self.waiting()
        page = self.client.get(PAGE).content.decode()
        told = page[page.index("Removed from Queue") :].partition("</div>")[0]
        assert "AT&amp;" in told
        assert "<b>" not in told and "{$x" not in told

    def test_many_at_once(self) -> None:
        self.waiting(*(entry(name, kind="hasp-dongle") for name in "abc"))
        for name in "ac":
            self.service.delete(f"{SERVICE}/v1/{self.PATH}/entry-{name}", status_code=204)
        self.leave("entry-a", "entry-c")
        assert self.removed() == [f"/v1/{self.PATH}/entry-a", f"/v1/{self.PATH}/entry-c"]

    def test_it_asks_for_confirmation_and_names_whom_it_is_about(self) -> None:
        self.waiting(entry("a", kind="hasp-dongle"))
        page = self.client.get(PAGE).content.decode()
        (button,) = re.findall(r"<button[^>]*row_entry-a__action_leave[^>]*>", page)
        assert "btn-danger" in button and "loses its place" in button
        assert 'data-display="demo, hasp-dongle"' in page
        assert re.search('<button[^>]*value="admin_usb_queue__leave"', page)

    def test_it_is_gone_already(self) -> None:
        self.waiting(entry("a", kind="hasp-dongle"))
        self.refuse("DELETE", f"{self.PATH}/entry-a", 404, "Server x has no place in line.")
        response = self.leave("entry-a")
        self.assertRedirectsNoFollow(response, PAGE)
        told = "Unable to remove the instance from the queue: Server x has no place in line."
        assert self.messages(response) == [told]

    def test_only_where_the_policy_allows_it(self) -> None:
        self.waiting(entry("a", kind="hasp-dongle"))

        def refuse_leaving(rules: Any, request: HttpRequest, target: Any = None) -> bool:
            return "usb-passthrough:queue:leave" not in dict(rules).values()

        with override_settings(POLICY_CHECK_FUNCTION=refuse_leaving):
            self.assertNotContains(self.client.get(PAGE), "Remove from Queue")
            self.leave("entry-a")
        assert self.removed() == []


class LeasesTest(QueueTest):
    def leased(self, name: str, until: str | None) -> dict[str, Any]:
        taken = {"server_id": SERVER, "project_id": "p1", "state": "attached", "available": False}
        return device(name, lease_until=until, **taken)

    def test_those_first_that_end_first(self) -> None:
        self.plug(
            self.leased("late", "2026-01-02T00:00:00Z"),
            self.leased("endless", None),
            self.leased("early", "2026-01-01T12:00:00Z"),
            device("free"),
        )
        rows = self.rows("admin_usb_leases")
        assert [(row["device"], row["server"], row["project"], row["until"]) for row in rows] == [
            ("early (4C530001)", "demo", "blue", "2026-01-01 12:00:00 UTC"),
            ("late (4C530001)", "demo", "blue", "2026-01-02 00:00:00 UTC"),
        ]

    def test_change_lease_comes_back_here(self) -> None:
        self.plug(self.leased("stick", "2026-01-02T00:00:00Z"))
        dialog = reverse("horizon:admin:usb:lease", args=(SERVER, "id-of-stick")) + "?place=queue"
        self.assertContains(self.client.get(PAGE), f'href="{dialog}"')
        found = attachment("stick", SERVER)
        self.service.get(f"{SERVICE}/v1/servers/{SERVER}/attachments/id-of-stick", json={"attachment": found})
        change = self.service.patch(
            f"{SERVICE}/v1/servers/{SERVER}/attachments/id-of-stick", json={"attachment": found}
        )
        self.assertContains(self.client.get(dialog, headers=AJAX), f'<a href="{PAGE}" class="btn')
        response = self.client.post(dialog, {"choice": "2h"}, headers=AJAX)
        assert response["X-Horizon-Location"] == PAGE
        assert change.last_request.json() == {"attachment": {"lease": 7200}}

    def test_a_member_has_no_such_page_to_come_back_to(self) -> None:
        address = reverse("horizon:project:usb:lease", args=(SERVER, "id-of-stick")) + "?place=queue"
        self.service.patch(
            f"{SERVICE}/v1/servers/{SERVER}/attachments/id-of-stick",
            json={"attachment": attachment("stick", SERVER)},
        )
        response = self.client.post(address, {"choice": ""}, headers=AJAX)
        tab = reverse("horizon:project:instances:detail", args=(SERVER,))
        assert response["X-Horizon-Location"] == f"{tab}?tab=instance_details__usb"
