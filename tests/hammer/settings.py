# SPDX-License-Identifier: Apache-2.0
"""What a run goes by."""

import os
import random

SEED = int(os.environ.get("HAMMER_SEED") or random.randrange(1_000_000))
SECONDS = float(os.environ.get("HAMMER_SECONDS") or 300)
DATABASES = (os.environ.get("HAMMER_DATABASES") or "sqlite mariadb postgresql").split()
