# SPDX-License-Identifier: Apache-2.0
# Executed inside Horizon's settings: the names come from there.
import os as _os

import usb_dashboard as _usb_dashboard

_conf = _os.path.join(_os.path.dirname(_usb_dashboard.__file__), "conf")  # noqa: PTH118, PTH120

POLICY_FILES["usb-passthrough"] = "usb_policy.yaml"  # noqa: F821
DEFAULT_POLICY_FILES["usb-passthrough"] = _os.path.join(_conf, "default_policies", "usb.yaml")  # noqa: F821, PTH118
