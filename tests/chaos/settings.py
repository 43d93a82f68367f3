# SPDX-License-Identifier: Apache-2.0
"""What a run goes by. Import it first: it gives the run a lab of its own."""

import os
import random
from pathlib import Path

SEED = int(os.environ.get("CHAOS_SEED") or random.randrange(1_000_000))
SECONDS = float(os.environ.get("CHAOS_SECONDS") or 600)
HOSTS = int(os.environ.get("CHAOS_HOSTS") or 1)

os.environ["LAB_RUN"] = str(Path(__file__).resolve().parents[2] / f"lab/run/chaos-{SEED}")
