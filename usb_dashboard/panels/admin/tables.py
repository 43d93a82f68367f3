# SPDX-License-Identifier: Apache-2.0
"""The tables of Admin > Compute > USB Devices."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext_lazy
from horizon import tables

from novaclient_usb import ReasonCode
from usb_dashboard import api, errors, times
from usb_dashboard import tables as usb_tables
from usb_dashboard.devices import Device, verbatim
from usb_dashboard.history import History
from usb_dashboard.panels.admin import listing
from usb_dashboard.panels.project import tables as project_tables

_UPDATE = (("usb-passthrough", "usb-passthrough:devices:update"),)
_SHARE = (("usb-passthrough", "usb-passthrough:devices:share"),)
_DELETE = (("usb-passthrough", "usb-passthrough:devices:delete"),)


class DevicesFilter(usb_tables.DevicesFilter):
    """By host as well."""

    name = "filter_admin_usb_devices"
    filter_choices = (*usb_tables.DevicesFilter.filter_choices, ("host", _("Host ="), True))


class _HostColumn(usb_tables.SortedColumn):
    """The host, with a link to its page."""

    sort_key = "host"

    def get_data(self, device: Device) -> Any:
        """HTML."""
        return _host(device) if device.host_up else format_html(_("{} (agent down)"), _host(device))


class Edit(tables.LinkAction):
    """Opens the dialog."""

    name = "edit"
    verbose_name = _("Edit Device")
    url = "horizon:admin:usb:edit"
    classes = ("ajax-modal",)
    policy_rules = _UPDATE


class Attach(project_tables.Attach):
    """Opens the dialog in which a server of any project is chosen."""

    url = "horizon:admin:usb:attach_device"

    def allowed(self, request: HttpRequest, device: Device) -> bool:
        """It is free."""
        return device.available


class _Change(tables.BatchAction):
    """Changes one property of each chosen device."""

    changes: dict[str, Any]
    #: With ``%s`` for what the service says.
    problem: Any
    policy_rules = _UPDATE

    def action(self, request: HttpRequest, device_id: str) -> None:
        """Change it."""
        try:
            api.device_update(request, device_id, **self.changes)
        except errors.ERRORS as error:
            errors.tell(request, self.problem, error)


class Enable(_Change):
    """Let devices be attached again."""

    name = "enable"
    changes = {"enabled": True}
    problem = _("Unable to enable the USB device: %s")

    @staticmethod
    def action_present(count: int) -> Any:
        return ngettext_lazy("Enable USB Device", "Enable USB Devices", count)

    @staticmethod
    def action_past(count: int) -> Any:
        return ngettext_lazy("Enabled USB Device", "Enabled USB Devices", count)

    def allowed(self, request: HttpRequest, device: Device | None = None) -> bool:
        return device is None or not device.enabled


class Disable(_Change):
    """Keep devices from being attached anew; a click asks for confirmation."""

    name = "disable"
    action_type = "danger"
    changes = {"enabled": False}
    problem = _("Unable to disable the USB device: %s")
    help_text = _(
        "An instance that has the device keeps it until it is detached."
        " The device cannot be attached again until it is re-enabled."
    )

    @staticmethod
    def action_present(count: int) -> Any:
        return ngettext_lazy("Disable USB Device", "Disable USB Devices", count)

    @staticmethod
    def action_past(count: int) -> Any:
        return ngettext_lazy("Disabled USB Device", "Disabled USB Devices", count)

    def allowed(self, request: HttpRequest, device: Device | None = None) -> bool:
        return device is None or device.enabled


class Share(_Change):
    """Let all projects have devices; a click asks for confirmation."""

    name = "share"
    action_type = "danger"
    changes = {"shared": True}
    policy_rules = _SHARE
    problem = _("Unable to share the USB device: %s")
    help_text = _(
        "All projects of this cloud can then attach the device. The reset between two projects does not erase"
        " stored data or undo a changed firmware. The rule of the device defines what else is done."
    )

    @staticmethod
    def action_present(count: int) -> Any:
        return ngettext_lazy("Share with All Projects", "Share with All Projects", count)

    @staticmethod
    def action_past(count: int) -> Any:
        return ngettext_lazy("Shared USB Device", "Shared USB Devices", count)

    def allowed(self, request: HttpRequest, device: Device | None = None) -> bool:
        return device is None or not device.shared


class Unshare(_Change):
    """Let only those projects have devices that they are shared with by name."""

    name = "unshare"
    action_type = "danger"
    changes = {"shared": False}
    policy_rules = _SHARE
    problem = _("Unable to stop sharing the USB device: %s")
    help_text = _(
        "An instance that has the device keeps it until it is detached. Projects that the device is shared"
        " with by name can attach it."
    )

    @staticmethod
    def action_present(count: int) -> Any:
        return ngettext_lazy("Stop Sharing with All", "Stop Sharing with All", count)

    @staticmethod
    def action_past(count: int) -> Any:
        return ngettext_lazy("Stopped Sharing USB Device", "Stopped Sharing USB Devices", count)

    def allowed(self, request: HttpRequest, device: Device | None = None) -> bool:
        return device is None or device.shared


class ShareWithProjects(tables.LinkAction):
    """Opens the dialog in which projects are chosen."""

    name = "projects"
    verbose_name = _("Share with Projects")
    url = "horizon:admin:usb:projects"
    classes = ("ajax-modal",)
    policy_rules = _SHARE


class Release(tables.BatchAction):
    """Let others have devices that are held, or claimed on a host that is down."""

    name = "release"
    action_type = "danger"
    policy_rules = (("usb-passthrough", "usb-passthrough:devices:release"),)
    help_text = _(
        "Other projects can then attach a device that is held after use. Inspect the device first: a reset"
        " does not erase stored data or undo a changed firmware. If the host of the device is down, the claim"
        " ends, and the instance does not get the device back."
    )

    @staticmethod
    def action_present(count: int) -> Any:
        return ngettext_lazy("Release USB Device", "Release USB Devices", count)

    @staticmethod
    def action_past(count: int) -> Any:
        return ngettext_lazy("Released USB Device", "Released USB Devices", count)

    def allowed(self, request: HttpRequest, device: Device) -> bool:
        is_stranded = device.server_id is not None and not device.host_up
        return device.reason_code == ReasonCode.HELD or is_stranded

    def action(self, request: HttpRequest, device_id: str) -> None:
        try:
            api.device_release(request, device_id)
        except errors.ERRORS as error:
            errors.tell(request, _("Unable to release the USB device: %s"), error)


class Forget(tables.DeleteAction):
    """Remove a device from the list that is unplugged and that no instance has."""

    name = "forget"
    policy_rules = _DELETE
    help_text = _("If plugged in again, the device is added as new: enabled, with no description.")

    @staticmethod
    def action_present(count: int) -> Any:
        return ngettext_lazy("Forget USB Device", "Forget USB Devices", count)

    @staticmethod
    def action_past(count: int) -> Any:
        return ngettext_lazy("Forgot USB Device", "Forgot USB Devices", count)

    def allowed(self, request: HttpRequest, device: Device | None = None) -> bool:
        return device is None or (device.bus is None and device.server_id is None)

    def delete(self, request: HttpRequest, device_id: str) -> None:
        try:
            api.device_forget(request, device_id)
        except errors.ERRORS as error:
            errors.tell(request, _("Unable to forget the USB device: %s"), error)


def _host(of: Device | listing.Host) -> Any:
    return usb_tables.link(reverse("horizon:admin:usb:host", args=(of.host,)), of.host)


def link_to_device(device: Device) -> SafeString:
    """A link to the page of a device, under the name that tells two of one model apart."""
    return usb_tables.link(reverse("horizon:admin:usb:device", args=(device.id,)), device.label)


class EventList(tables.LinkAction):
    """What happened to all devices."""

    name = "events"
    verbose_name = _("Event List")
    url = "horizon:admin:usb:events"
    policy_rules = (("usb-passthrough", "usb-passthrough:events:list_all"),)


class QueueAndLeases(tables.LinkAction):
    """Who waits for which device, and who has one until when."""

    name = "queue"
    verbose_name = _("Queue and Leases")
    url = "horizon:admin:usb:queue_and_leases"
    policy_rules = (("usb-passthrough", "usb-passthrough:queue:list"),)


class DownloadCsv(tables.LinkAction):
    """All devices as a file for a spreadsheet."""

    name = "csv"
    verbose_name = _("Download CSV")
    url = "horizon:admin:usb:csv"


class DeleteHost(tables.LinkAction):
    """Asks whether to delete a host that is down."""

    name = "delete_host"
    verbose_name = _("Delete Host")
    classes = ("ajax-modal",)
    policy_rules = (("usb-passthrough", "usb-passthrough:hosts:delete"),)

    def allowed(self, request: HttpRequest, host: listing.Host) -> bool:
        """The service deletes no other."""
        return host.state == "down"

    def get_link_url(self, host: listing.Host) -> str:
        """Hosts may have any name."""
        return reverse("horizon:admin:usb:delete_host", args=(host.host,))


class _NameColumn(usb_tables.NameColumn):
    """And whether it is disabled: the state of a used one does not show that."""

    def get_data(self, device: Device) -> Any:
        """HTML."""
        shown = super().get_data(device)
        return shown if device.enabled else format_html("{}<div>{}</div>", shown, _("Disabled"))


class DevicesTable(usb_tables.PagedDevicesTable):
    """The devices of all hosts."""

    host = _HostColumn("host", verbose_name=_("Host"), classes=("usb-text",))
    name = _NameColumn()
    location = usb_tables.LocationColumn()
    port = usb_tables.PortColumn()
    serial = usb_tables.SerialColumn()
    state = usb_tables.StateColumn()
    server = usb_tables.ServerColumn()
    project = tables.Column(
        "project_name", verbose_name=_("Project"), filters=(verbatim,), classes=("usb-text",)
    )

    class Meta:
        name = "admin_usb_devices"
        verbose_name = _("USB Devices")
        row_class = usb_tables.DeviceRow
        status_columns = ("state",)
        row_actions_dropdown_template = usb_tables.ROW_ACTIONS
        table_actions = (DevicesFilter, EventList, QueueAndLeases, DownloadCsv)
        table_actions_menu = (Enable, Disable, Share, Unshare, Forget)
        table_actions_template = usb_tables.TABLE_ACTIONS
        template = usb_tables.PAGED
        row_actions = (
            Edit,
            Attach,
            Enable,
            Disable,
            usb_tables.Detach,
            usb_tables.Retry,
            usb_tables.ChangeLease,
            Share,
            Unshare,
            ShareWithProjects,
            Release,
            Forget,
            History,
        )
        multi_select = True

    def get_object_display(self, device: Device) -> str:
        """What messages call it: Horizon's own show no string of a device as it is."""
        return f"{device.usb_id} ({device.host}, {device.port})"


class HostsTable(usb_tables.TellingTable):
    """Hosts and their agents."""

    problem = _("The hosts could not be retrieved: {}")

    host = tables.Column(_host, verbose_name=_("Host"), classes=("usb-text",))
    state = tables.Column(
        "state",
        verbose_name=_("Agent"),
        status=True,
        status_choices=(("up", True), ("down", False)),
        display_choices=(("up", _("Up")), ("down", _("Down"))),
    )
    last_seen = tables.Column("last_seen", verbose_name=_("Time since last seen"), filters=(times.elapsed,))
    hypervisor = tables.Column("hypervisor", verbose_name=_("Hypervisor"), classes=("usb-text",))
    version = tables.Column("version", verbose_name=_("Version"))
    devices = tables.Column(
        lambda host: _counts(host.devices), verbose_name=_("USB Devices"), classes=("usb-words",)
    )
    problems = tables.Column(
        lambda host: _problems(host.problems), verbose_name=_("Problems"), classes=("usb-words",)
    )

    class Meta:
        name = "admin_usb_hosts"
        verbose_name = _("Hosts")
        row_actions = (DeleteHost,)
        row_actions_dropdown_template = usb_tables.ROW_ACTIONS
        multi_select = False

    def get_object_id(self, host: listing.Host) -> str:
        return host.host


def _problems(problems: list[str]) -> SafeString | None:
    return mark_safe("<br>".join(filter(None, map(verbatim, problems)))) or None  # noqa: S308  they are escaped


def _counts(devices: dict[str, int]) -> str:
    return ", ".join(f"{usb_tables.STATES[state]}: {count}" for state, count in devices.items() if count)
