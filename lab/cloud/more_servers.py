# SPDX-License-Identifier: Apache-2.0
"""The servers beside `demo`, created in the background.

python -m lab.cloud.more_servers
"""

import sys

from lab.cloud.lifecycle import create_more_servers
from lab.cloud.timeline import LabError

if __name__ == "__main__":
    try:
        create_more_servers()
    except LabError as error:
        sys.exit(error.explain())
