# SPDX-License-Identifier: Apache-2.0
"""What a run goes by."""

import os
import random

SEED = int(os.environ.get("STORM_SEED") or random.randrange(1_000_000))
SECONDS = float(os.environ.get("STORM_SECONDS") or 120)
