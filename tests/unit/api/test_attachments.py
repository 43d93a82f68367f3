# SPDX-License-Identifier: Apache-2.0
"""What a client is told whose server has no free USB port."""

from __future__ import annotations

import pytest

from compute_shim.api.handlers import attachments
from compute_shim.db import usage
from novaclient_usb.reason_codes import XHCI_PORTS
from tests.functional.world import SERVERS


@pytest.mark.parametrize(
    ("ports", "hinted"), [(2, True), (XHCI_PORTS - 1, True), (XHCI_PORTS, False), (XHCI_PORTS + 1, False)]
)
def test_a_controller_with_more_ports_is_advised_where_there_is_one(ports: int, hinted: bool) -> None:
    error = attachments._over_limit(SERVERS["DEMO"], usage.OverLimit(usage.PORTS, ports, ports))
    assert ("controller with more ports" in str(error)) is hinted
