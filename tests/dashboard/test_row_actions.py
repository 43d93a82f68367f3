# SPDX-License-Identifier: Apache-2.0
"""Attach and Detach USB Device on Horizon's own Instances pages."""

from __future__ import annotations

from typing import Any
from unittest import mock

from django.urls import reverse
from openstack_dashboard import api
from openstack_dashboard.dashboards.admin.instances import tables as admin
from openstack_dashboard.dashboards.project.instances import tables as project
from openstack_dashboard.test import helpers

from tests.dashboard.played import REAL_POLICY, PlayedTest
from usb_dashboard.panels.instances import row_actions

INDEX = reverse("horizon:project:instances:index")
ADMIN_INDEX = reverse("horizon:admin:instances:index")


class InstalledTest(helpers.TestCase):
    """They fail when Horizon's tables no longer are as we know them."""

    def names(self, table: Any) -> list[str]:
        return [action.name for action in table._meta.row_actions]

    def test_the_actions_stand_beside_those_for_volumes(self) -> None:
        names = self.names(project.InstancesTable)
        place = names.index("detach_volume")
        assert names[place : place + 3] == ["detach_volume", "attach_usb", "detach_usb"]

    def test_the_actions_stand_beside_edit_for_the_operator(self) -> None:
        names = self.names(admin.AdminInstancesTable)
        place = names.index("edit")
        assert names[place : place + 3] == ["edit", "attach_usb", "detach_usb"]

    def test_each_table_has_its_own(self) -> None:
        for table, kinds in (
            (project.InstancesTable, (row_actions.AttachUSB, row_actions.DetachUSB)),
            (admin.AdminInstancesTable, (row_actions.AttachUSB, row_actions.DetachUSB)),
        ):
            assert tuple(type(table.base_actions[name]) for name in ("attach_usb", "detach_usb")) == kinds

    def test_twice_is_once(self) -> None:
        before = self.names(project.InstancesTable), self.names(admin.AdminInstancesTable)
        row_actions.install()
        assert before == (self.names(project.InstancesTable), self.names(admin.AdminInstancesTable))

    def test_without_the_neighbour_they_are_last(self) -> None:
        class Table(project.InstancesTable):
            class Meta:
                name = "instances"
                row_actions = (project.EditInstance,)

        row_actions._add(Table, row_actions.AttachUSB, after="detach_volume")
        assert self.names(Table) == ["edit", "attach_usb"]
        assert "attach_usb" in Table.base_actions


class InstancesPage(PlayedTest):
    def index(self) -> Any:
        """The page of the project's instances."""
        for module, values in (
            (
                api.nova,
                {
                    "flavor_list": self.flavors.list(),
                    "server_list_paged": (self.servers.list(), False, False),
                    "tenant_absolute_limits": self.limits["absolute"],
                    "is_feature_available": True,
                },
            ),
            (api.glance, {"image_list_detailed": (self.images.list(), False, False)}),
            (
                api.neutron,
                {"floating_ip_simple_associate_supported": True, "floating_ip_supported": True},
            ),
            (api.network, {"servers_update_addresses": None}),
            (api.cinder, {"volume_list": self.cinder_volumes.list()}),
        ):
            for name, value in values.items():
                patch = mock.patch.object(module, name, return_value=value)
                patch.start()
                self.addCleanup(patch.stop)
        return self.client.get(INDEX)

    def offered(self, status: str, task: str | None = None) -> set[str]:
        """The actions for a server in a state."""
        for server in self.servers.list():
            server.status = status
            setattr(server, "OS-EXT-STS:task_state", task)
        text = self.index().content.decode()
        return {name for name in ("attach_usb", "detach_usb") if f"__action_{name}" in text}


class MemberTest(InstancesPage):
    def link(self, action: str) -> str:
        server_id = self.servers.first().id
        return f'href="{reverse(f"horizon:project:usb:{action}", args=(server_id,))}"'

    def test_both_are_offered_and_nobody_is_asked_for_that(self) -> None:
        response = self.index()
        self.assertContains(response, "Attach USB Device")
        self.assertContains(response, self.link("attach"))
        self.assertContains(response, self.link("detach"))
        assert self.calls() == []

    def test_they_open_dialogs(self) -> None:
        text = self.index().content.decode()
        for name in ("attach_usb", "detach_usb"):
            start = text.index(f"instances__row_{self.servers.first().id}__action_{name}")
            tag = text[text.rindex("<", 0, start) : text.index(">", start)]
            assert "ajax-modal" in tag

    def test_the_state_counts(self) -> None:
        both = {"attach_usb", "detach_usb"}
        for status in ("ACTIVE", "PAUSED", "SUSPENDED", "SHUTOFF"):
            assert self.offered(status) == both, status
        for status in ("ERROR", "BUILD", "SHELVED_OFFLOADED", "VERIFY_RESIZE"):
            assert self.offered(status) == {"detach_usb"}, status
        assert self.offered("ACTIVE", "deleting") == set()

    def test_a_member_is_offered_both(self) -> None:
        with REAL_POLICY:
            assert self.offered("ACTIVE") == {"attach_usb", "detach_usb"}


class ReaderTest(InstancesPage):
    roles_of_user = ("reader",)

    def test_who_may_only_read_is_offered_none(self) -> None:
        with REAL_POLICY:
            assert self.offered("ACTIVE") == set()


class WithoutServiceTest(InstancesPage):
    with_service = False

    def test_none_is_offered(self) -> None:
        assert self.offered("ACTIVE") == set()


class AdminInstancesTest(PlayedTest):
    roles_of_user = ("admin", "member", "reader")

    def test_the_operator_stays_in_the_operators_pages(self) -> None:
        server = self.servers.first()
        for module, values in (
            (
                api.nova,
                {
                    "flavor_list": self.flavors.list(),
                    "server_list_paged": ([server], False, False),
                    "is_feature_available": True,
                },
            ),
            (api.glance, {"image_list_detailed": (self.images.list(), False, False)}),
            (api.keystone, {"tenant_list": (self.tenants.list(), False)}),
            (api.network, {"servers_update_addresses": None}),
            (api.cinder, {"volume_list": []}),
        ):
            for name, value in values.items():
                patch = mock.patch.object(module, name, return_value=value)
                patch.start()
                self.addCleanup(patch.stop)
        response = self.client.get(ADMIN_INDEX)
        for action in ("attach", "detach"):
            address = reverse(f"horizon:admin:usb:{action}", args=(server.id,))
            self.assertContains(response, f'href="{address}"')
        assert self.calls() == []
