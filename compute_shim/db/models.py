# SPDX-License-Identifier: Apache-2.0
"""The tables."""

from __future__ import annotations

import datetime
import uuid

import sqlalchemy as sa
from oslo_utils import timeutils
from sqlalchemy import orm

#: Characters that a text column holds; more are cut off before they get here.
TEXT_LENGTH = 255
REASON_LENGTH = 1000

# Whatever the database's own default, our text is all of Unicode and "a" is not "A".
_MYSQL = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}


class Base(orm.DeclarativeBase):
    """All our tables. Times are UTC without a zone."""


class Device(Base):
    """A USB device that is, or was, plugged into a host, and who has it."""

    __tablename__ = "host_usb_devices"
    __table_args__ = (
        sa.UniqueConstraint("host", "identity", name="uniq_host_usb_devices0host0identity"),
        sa.Index("host_usb_devices_instance_uuid_idx", "instance_uuid"),
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
    description: orm.Mapped[str] = orm.mapped_column(sa.String(TEXT_LENGTH), default="")
    enabled: orm.Mapped[bool] = orm.mapped_column(default=True)
    instance_uuid: orm.Mapped[str | None] = orm.mapped_column(sa.String(36))
    project_id: orm.Mapped[str | None] = orm.mapped_column(sa.String(TEXT_LENGTH))
    state: orm.Mapped[str] = orm.mapped_column(sa.String(16))
    state_reason: orm.Mapped[str | None] = orm.mapped_column(sa.String(REASON_LENGTH))
    generation: orm.Mapped[int] = orm.mapped_column(default=0)
    created_at: orm.Mapped[datetime.datetime] = orm.mapped_column(default=timeutils.utcnow)
    updated_at: orm.Mapped[datetime.datetime] = orm.mapped_column(
        default=timeutils.utcnow, onupdate=timeutils.utcnow
    )


class Event(Base):
    """A change of a device's state: when, why, and who asked for it.

    Who has the device is who had it, in the event that ends that.
    """

    __tablename__ = "usb_device_events"
    __table_args__ = (sa.Index("usb_device_events_device_id_idx", "device_id"), _MYSQL)

    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    device_id: orm.Mapped[str] = orm.mapped_column(sa.String(36))
    created_at: orm.Mapped[datetime.datetime] = orm.mapped_column(default=timeutils.utcnow)
    cause: orm.Mapped[str] = orm.mapped_column(sa.String(32))
    state: orm.Mapped[str] = orm.mapped_column(sa.String(16))
    state_reason: orm.Mapped[str | None] = orm.mapped_column(sa.String(REASON_LENGTH))
    instance_uuid: orm.Mapped[str | None] = orm.mapped_column(sa.String(36))
    project_id: orm.Mapped[str | None] = orm.mapped_column(sa.String(TEXT_LENGTH))
    user_id: orm.Mapped[str | None] = orm.mapped_column(sa.String(TEXT_LENGTH))
    request_id: orm.Mapped[str | None] = orm.mapped_column(sa.String(TEXT_LENGTH))


class Host(Base):
    """A compute host whose agent has shown up."""

    __tablename__ = "usb_hosts"
    __table_args__ = (_MYSQL,)

    host: orm.Mapped[str] = orm.mapped_column(sa.String(TEXT_LENGTH), primary_key=True)
    hypervisor: orm.Mapped[str] = orm.mapped_column(sa.String(TEXT_LENGTH))
    version: orm.Mapped[str] = orm.mapped_column(sa.String(TEXT_LENGTH))
    problems: orm.Mapped[str | None] = orm.mapped_column(sa.String(REASON_LENGTH))
    last_seen: orm.Mapped[datetime.datetime]
