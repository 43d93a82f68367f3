# SPDX-License-Identifier: Apache-2.0
"""The tables."""

from __future__ import annotations

import datetime
import uuid

import sqlalchemy as sa
from oslo_utils import timeutils
from sqlalchemy import orm
from sqlalchemy.dialects import mysql

#: Characters that a text column holds; more are cut off before they get here.
TEXT_LENGTH = 255
REASON_LENGTH = 1000
CODE_LENGTH = 64
PLUG_ID_LENGTH = 80
KIND_LENGTH = 64
# Of ids of projects in Keystone (keystone/resource/backends/sql.py).
PROJECT_LENGTH = 64

# SQLite counts up only what is exactly INTEGER (https://www.sqlite.org/autoinc.html).
_COUNTER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

# To the microsecond on every database: MariaDB and MySQL keep whole seconds unless told.
_PRECISE = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")

# Whatever the database's own default, our text is all of Unicode and "a" is not "A".
_MYSQL = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}


class Base(orm.DeclarativeBase):
    """All our tables. Times are UTC without a zone."""


class Device(Base):
    """A USB device that is or was plugged into a host, and its claim."""

    __tablename__ = "host_usb_devices"
    __table_args__ = (
        sa.UniqueConstraint("host", "identity", name="uniq_host_usb_devices0host0identity"),
        sa.Index("host_usb_devices_instance_uuid_idx", "instance_uuid"),
        sa.Index("host_usb_devices_created_at_id_idx", "created_at", "id"),
        sa.Index("host_usb_devices_host_state_idx", "host", "state"),
        sa.Index("host_usb_devices_kind_idx", "kind"),
        sa.Index("host_usb_devices_project_id_idx", "project_id"),
        sa.Index("host_usb_devices_lease_until_idx", "lease_until"),
        sa.Index("host_usb_devices_claimed_transport_idx", "claimed_transport"),
        sa.Index("host_usb_devices_shared_created_at_id_idx", "shared", "created_at", "id"),
        sa.Index("host_usb_devices_state_created_at_id_idx", "state", "created_at", "id"),
        _MYSQL,
    )

    id: orm.Mapped[str] = orm.mapped_column(
        sa.String(36), primary_key=True, default=lambda: str(uuid.uuid4())
    )
    host: orm.Mapped[str] = orm.mapped_column(sa.String(TEXT_LENGTH))
    identity: orm.Mapped[str] = orm.mapped_column(sa.String(TEXT_LENGTH))
    name: orm.Mapped[str] = orm.mapped_column(sa.String(TEXT_LENGTH))
    vendor_id: orm.Mapped[str] = orm.mapped_column(sa.String(4))
    product_id: orm.Mapped[str] = orm.mapped_column(sa.String(4))
    vendor: orm.Mapped[str] = orm.mapped_column(sa.String(TEXT_LENGTH))
    product: orm.Mapped[str] = orm.mapped_column(sa.String(TEXT_LENGTH))
    serial: orm.Mapped[str] = orm.mapped_column(sa.String(TEXT_LENGTH))
    device_class: orm.Mapped[str] = orm.mapped_column(sa.String(2))
    speed: orm.Mapped[str] = orm.mapped_column(sa.String(16))
    port: orm.Mapped[str] = orm.mapped_column(sa.String(64))
    bus: orm.Mapped[int]
    device: orm.Mapped[int]
    present: orm.Mapped[bool] = orm.mapped_column(default=True)
    blocked_reason: orm.Mapped[str | None] = orm.mapped_column(sa.String(REASON_LENGTH))
    blocked_code: orm.Mapped[str | None] = orm.mapped_column(sa.String(CODE_LENGTH))
    description: orm.Mapped[str] = orm.mapped_column(sa.String(TEXT_LENGTH), default="")
    enabled: orm.Mapped[bool] = orm.mapped_column(default=True)
    instance_uuid: orm.Mapped[str | None] = orm.mapped_column(sa.String(36))
    project_id: orm.Mapped[str | None] = orm.mapped_column(sa.String(TEXT_LENGTH))
    user_id: orm.Mapped[str | None] = orm.mapped_column(sa.String(TEXT_LENGTH))
    state: orm.Mapped[str] = orm.mapped_column(sa.String(16))
    reason_code: orm.Mapped[str | None] = orm.mapped_column(sa.String(CODE_LENGTH))
    state_reason: orm.Mapped[str | None] = orm.mapped_column(sa.String(REASON_LENGTH))
    state_since: orm.Mapped[datetime.datetime | None]
    generation: orm.Mapped[int] = orm.mapped_column(default=0)
    created_at: orm.Mapped[datetime.datetime] = orm.mapped_column(default=timeutils.utcnow)
    updated_at: orm.Mapped[datetime.datetime] = orm.mapped_column(
        default=timeutils.utcnow, onupdate=timeutils.utcnow
    )
    # When the claim's server was first and last found to be deleted, if it is still this generation's.
    absent_since: orm.Mapped[datetime.datetime | None]
    absent_seen: orm.Mapped[datetime.datetime | None]
    absent_generation: orm.Mapped[int | None]
    # As in `compute_shim.objects.Device`; empty where no agent of RPC 1.2 has seen the device.
    socket: orm.Mapped[str | None] = orm.mapped_column(sa.String(TEXT_LENGTH))
    plug_id: orm.Mapped[str | None] = orm.mapped_column(sa.String(PLUG_ID_LENGTH))
    serial_shared: orm.Mapped[bool | None]
    follow: orm.Mapped[str | None] = orm.mapped_column(sa.String(16))
    # As in `compute_shim.db.sharing`. Empty is False: a program of RPC 1.2 has recorded the device.
    shared: orm.Mapped[bool | None]
    sharing_by: orm.Mapped[str | None] = orm.mapped_column(sa.String(16))
    rule_sharing: orm.Mapped[str | None] = orm.mapped_column(sa.Text)
    # Until when the server has it, by the database's clock; None: without an end. And of which end was told.
    lease_until: orm.Mapped[datetime.datetime | None]
    lease_warned: orm.Mapped[datetime.datetime | None]
    # As the agent tells it; None: a program of RPC 1.2 has recorded the device.
    rule: orm.Mapped[str | None] = orm.mapped_column(sa.String(REASON_LENGTH))
    # As in `compute_shim.db.kinds`; empty: the device is of none.
    kind: orm.Mapped[str | None] = orm.mapped_column(sa.String(KIND_LENGTH))
    kind_by: orm.Mapped[str | None] = orm.mapped_column(sa.String(16))
    rule_kind: orm.Mapped[str | None] = orm.mapped_column(sa.String(KIND_LENGTH))
    # As in `compute_shim.db.handover`: what the rule asks for; the project that had the device last, and
    # `plug_id` as it was then; how many per cent of what is stored on it are wiped, or why that failed.
    handover: orm.Mapped[str | None] = orm.mapped_column(sa.String(16))
    last_project_id: orm.Mapped[str | None] = orm.mapped_column(sa.String(TEXT_LENGTH))
    last_plug_id: orm.Mapped[str | None] = orm.mapped_column(sa.String(PLUG_ID_LENGTH))
    wiped: orm.Mapped[int | None]
    wipe_error: orm.Mapped[str | None] = orm.mapped_column(sa.String(REASON_LENGTH))
    # That for which whoever has the device asked, None: for the device itself.
    claimed_kind: orm.Mapped[str | None] = orm.mapped_column(sa.String(KIND_LENGTH))
    # The claim is from an allocation of Nova's in Placement (`compute_shim.db.allocations`); empty is False.
    allocated: orm.Mapped[bool | None]
    # By the rule, servers on other hosts may have it; empty is False.
    over_network: orm.Mapped[bool | None]
    # How whoever has the device asked for it (`compute_shim.db.channels`): ``network`` or ``any``; empty:
    # on its own host only.
    claimed_transport: orm.Mapped[str | None] = orm.mapped_column(sa.String(16))


class DeviceProject(Base):
    """A device, and a project with which it is shared."""

    __tablename__ = "usb_device_projects"
    __table_args__ = (
        sa.Index("usb_device_projects_project_id_device_id_idx", "project_id", "device_id"),
        _MYSQL,
    )

    device_id: orm.Mapped[str] = orm.mapped_column(sa.String(36), primary_key=True)
    project_id: orm.Mapped[str] = orm.mapped_column(sa.String(PROJECT_LENGTH), primary_key=True)


class Channel(Base):
    """A claim that is fulfilled over the network, on another host than the device's.

    It is valid as long as the device has a claim, of whichever generation.
    """

    __tablename__ = "usb_channels"
    __table_args__ = (
        sa.Index("usb_channels_device_host_idx", "device_host"),
        sa.Index("usb_channels_server_host_idx", "server_host"),
        _MYSQL,
    )

    device_id: orm.Mapped[str] = orm.mapped_column(sa.String(36), primary_key=True)
    device_host: orm.Mapped[str] = orm.mapped_column(sa.String(TEXT_LENGTH))
    server_host: orm.Mapped[str] = orm.mapped_column(sa.String(TEXT_LENGTH))
    # As the agents of both hosts tell of this generation; empty: not yet.
    told_generation: orm.Mapped[int]
    relay_port: orm.Mapped[int | None]
    device_state: orm.Mapped[str | None] = orm.mapped_column(sa.String(16))
    device_code: orm.Mapped[str | None] = orm.mapped_column(sa.String(CODE_LENGTH))
    device_reason: orm.Mapped[str | None] = orm.mapped_column(sa.String(REASON_LENGTH))
    server_state: orm.Mapped[str | None] = orm.mapped_column(sa.String(16))
    server_code: orm.Mapped[str | None] = orm.mapped_column(sa.String(CODE_LENGTH))
    server_reason: orm.Mapped[str | None] = orm.mapped_column(sa.String(REASON_LENGTH))


class Project(Base):
    """A project that has claimed devices: the row is locked while its claims are counted."""

    __tablename__ = "usb_projects"
    __table_args__ = (_MYSQL,)

    project_id: orm.Mapped[str] = orm.mapped_column(sa.String(PROJECT_LENGTH), primary_key=True)
    claims: orm.Mapped[int] = orm.mapped_column(sa.BigInteger)


class QueueEntry(Base):
    """A server that is queued for a device or for a kind (`compute_shim.db.queue`)."""

    __tablename__ = "usb_queue"
    __table_args__ = (
        sa.UniqueConstraint("server_id", "target", name="uniq_usb_queue0server_id0target"),
        sa.UniqueConstraint("entry_id", name="uniq_usb_queue0entry_id"),
        sa.Index("usb_queue_target_round_id_idx", "target", "round", "id"),
        sa.Index("usb_queue_project_id_idx", "project_id"),
        sa.Index("usb_queue_device_id_idx", "device_id"),
        sa.Index("usb_queue_kind_idx", "kind"),
        _MYSQL,
    )

    # Counts up, so that it says who came first. It is shown to nobody: others would count in it.
    id: orm.Mapped[int] = orm.mapped_column(_COUNTER, primary_key=True)
    entry_id: orm.Mapped[str] = orm.mapped_column(sa.String(36), default=lambda: str(uuid.uuid4()))
    server_id: orm.Mapped[str] = orm.mapped_column(sa.String(36))
    project_id: orm.Mapped[str] = orm.mapped_column(sa.String(PROJECT_LENGTH))
    user_id: orm.Mapped[str | None] = orm.mapped_column(sa.String(TEXT_LENGTH))
    request_id: orm.Mapped[str | None] = orm.mapped_column(sa.String(TEXT_LENGTH))
    device_id: orm.Mapped[str | None] = orm.mapped_column(sa.String(36))
    kind: orm.Mapped[str | None] = orm.mapped_column(sa.String(KIND_LENGTH))
    target: orm.Mapped[str] = orm.mapped_column(sa.String(KIND_LENGTH + 8))
    lease: orm.Mapped[int | None]
    # How the server may have the device, as `Device.claimed_transport`.
    transport: orm.Mapped[str | None] = orm.mapped_column(sa.String(16))
    round: orm.Mapped[int] = orm.mapped_column(sa.BigInteger)
    created_at: orm.Mapped[datetime.datetime] = orm.mapped_column(default=timeutils.utcnow)


class SharedSerial(Base):
    """A serial number that two devices of a host had at once, so that it identifies none of them."""

    __tablename__ = "usb_shared_serials"
    __table_args__ = (_MYSQL,)

    host: orm.Mapped[str] = orm.mapped_column(sa.String(TEXT_LENGTH), primary_key=True)
    vendor_id: orm.Mapped[str] = orm.mapped_column(sa.String(4), primary_key=True)
    product_id: orm.Mapped[str] = orm.mapped_column(sa.String(4), primary_key=True)
    serial: orm.Mapped[str] = orm.mapped_column(sa.String(TEXT_LENGTH), primary_key=True)


class Event(Base):
    """What happened to a device: when, why, and who asked for it. No event is changed; old ones are purged.

    Who has the device is who had it, in the event that ends that. In an event of a host itself the id of the
    device and the state are empty.
    """

    __tablename__ = "usb_device_events"
    __table_args__ = (
        sa.Index("usb_device_events_device_id_id_idx", "device_id", "id"),
        sa.Index("usb_device_events_instance_uuid_idx", "instance_uuid"),
        sa.Index("usb_device_events_project_id_id_idx", "project_id", "id"),
        sa.Index("usb_device_events_host_created_at_idx", "host", "created_at"),
        sa.Index("usb_device_events_created_at_idx", "created_at"),
        sa.UniqueConstraint("event_id", name="uniq_usb_device_events0event_id"),
        _MYSQL,
    )

    # Counts up, so that it says what came first. Others would count in it, so it is shown of none but those
    # that a program of RPC 1.2 has recorded: these have no other id.
    id: orm.Mapped[int] = orm.mapped_column(_COUNTER, primary_key=True)
    event_id: orm.Mapped[str | None] = orm.mapped_column(sa.String(36), default=lambda: str(uuid.uuid4()))
    device_id: orm.Mapped[str] = orm.mapped_column(sa.String(36))
    # A device may be forgotten before its history is.
    device_name: orm.Mapped[str | None] = orm.mapped_column(sa.String(TEXT_LENGTH))
    host: orm.Mapped[str | None] = orm.mapped_column(sa.String(TEXT_LENGTH))
    port: orm.Mapped[str | None] = orm.mapped_column(sa.String(64))
    created_at: orm.Mapped[datetime.datetime] = orm.mapped_column(default=timeutils.utcnow)
    cause: orm.Mapped[str] = orm.mapped_column(sa.String(32))
    cause_code: orm.Mapped[str | None] = orm.mapped_column(sa.String(CODE_LENGTH))
    state: orm.Mapped[str] = orm.mapped_column(sa.String(16))
    reason_code: orm.Mapped[str | None] = orm.mapped_column(sa.String(CODE_LENGTH))
    state_reason: orm.Mapped[str | None] = orm.mapped_column(sa.String(REASON_LENGTH))
    instance_uuid: orm.Mapped[str | None] = orm.mapped_column(sa.String(36))
    project_id: orm.Mapped[str | None] = orm.mapped_column(sa.String(TEXT_LENGTH))
    user_id: orm.Mapped[str | None] = orm.mapped_column(sa.String(TEXT_LENGTH))
    # In which the user asked for it. It may be another than the one that has the device.
    actor_project_id: orm.Mapped[str | None] = orm.mapped_column(sa.String(TEXT_LENGTH))
    request_id: orm.Mapped[str | None] = orm.mapped_column(sa.String(TEXT_LENGTH))


class Host(Base):
    """A compute host whose agent has reported."""

    __tablename__ = "usb_hosts"
    __table_args__ = (sa.Index("usb_hosts_last_seen_host_idx", "last_seen", "host"), _MYSQL)

    host: orm.Mapped[str] = orm.mapped_column(sa.String(TEXT_LENGTH), primary_key=True)
    hypervisor: orm.Mapped[str] = orm.mapped_column(sa.String(TEXT_LENGTH))
    version: orm.Mapped[str] = orm.mapped_column(sa.String(TEXT_LENGTH))
    problems: orm.Mapped[str | None] = orm.mapped_column(sa.String(REASON_LENGTH))
    last_seen: orm.Mapped[datetime.datetime] = orm.mapped_column(_PRECISE)
    # Of the last sync, which need not be worked through again while the next one says the same.
    digest: orm.Mapped[str | None] = orm.mapped_column(sa.String(CODE_LENGTH))
    # `last_seen` at that sync. A conductor of RPC 1.0, which knows no digest, changes `last_seen` alone.
    digested_at: orm.Mapped[datetime.datetime | None] = orm.mapped_column(_PRECISE)
    # Where other hosts reach its relays; empty: it does not take part in the network transport.
    relay_address: orm.Mapped[str | None] = orm.mapped_column(sa.String(TEXT_LENGTH))


class Instance(Base):
    """A server's domain on a host, as the agent there sees it in the hypervisor.

    While a server moves, two hosts may have it.
    """

    __tablename__ = "usb_instances"
    __table_args__ = (sa.Index("usb_instances_host_idx", "host"), _MYSQL)

    instance_uuid: orm.Mapped[str] = orm.mapped_column(sa.String(36), primary_key=True)
    host: orm.Mapped[str] = orm.mapped_column(sa.String(TEXT_LENGTH), primary_key=True)
    running: orm.Mapped[bool]
    # As in `compute_shim.objects.Server`.
    usb_ports: orm.Mapped[int | None]


class Lease(Base):
    """The conductor that does what only one may do, and until when."""

    __tablename__ = "usb_leases"
    __table_args__ = (_MYSQL,)

    name: orm.Mapped[str] = orm.mapped_column(sa.String(CODE_LENGTH), primary_key=True)
    holder: orm.Mapped[str] = orm.mapped_column(sa.String(TEXT_LENGTH))
    expires_at: orm.Mapped[datetime.datetime]
