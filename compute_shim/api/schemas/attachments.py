# SPDX-License-Identifier: Apache-2.0
"""Attachments."""

from compute_shim.api.schemas import base

CREATE = base.wrapped("attachment", base.strict({"device_id": base.UUID}, required=["device_id"]))
