# SPDX-License-Identifier: Apache-2.0
"""Commands for ``openstack``, one module per noun."""
