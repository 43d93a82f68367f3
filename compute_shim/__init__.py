# SPDX-License-Identifier: Apache-2.0
"""USB devices of compute hosts for OpenStack instances: API, conductor and agent."""
