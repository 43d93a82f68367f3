# SPDX-License-Identifier: Apache-2.0
"""A lab host in which everything goes wrong at random, and what has to be true after all that.

Import it first: it gives the run a lab of its own.
"""

import os
import random

SEED = int(os.environ.get("CHAOS_SEED") or random.randrange(1_000_000))
SECONDS = float(os.environ.get("CHAOS_SECONDS") or 600)

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120
os.environ["LAB_RUN"] = f"{_ROOT}/lab/run/chaos-{SEED}"
