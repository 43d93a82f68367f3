# SPDX-License-Identifier: Apache-2.0
"""Native threads. A program imports this before anything that imports oslo.messaging.

oslo.messaging imports oslo.service, whose default backend is still eventlet, and futurist, which imports
eventlet wherever it is installed. We need none of it: half of the memory and of the start-up time.
"""

import sys

# A module that is None here is not found (Python reference, "The module cache").
sys.modules["eventlet"] = None  # type: ignore[assignment]

from oslo_service import backend  # noqa: E402

backend.init_backend(backend.BackendType.THREADING)
