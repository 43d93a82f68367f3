# SPDX-License-Identifier: Apache-2.0
"""The servers beside `demo`, created behind the back of whoever tries the first one.

python -m lab.cloud.more_servers
"""

from lab.cloud.lifecycle import create_more_servers

if __name__ == "__main__":
    create_more_servers()
