# SPDX-License-Identifier: Apache-2.0
"""Which version of the distribution this is."""

from importlib import metadata

_DISTRIBUTION = "openstack-usb-passthrough"


def version() -> str:
    """The version that is installed."""
    try:
        return metadata.version(_DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "of a source tree"


class VersionReport:
    """The version, for a Guru Meditation Report (`oslo_reports.generators.version`)."""

    def vendor_string(self) -> str:
        """Who made it."""
        return "OpenStack"

    def product_string(self) -> str:
        """What it is."""
        return _DISTRIBUTION

    def version_string_with_package(self) -> str:
        """Which one it is."""
        return version()
