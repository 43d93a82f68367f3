# SPDX-License-Identifier: Apache-2.0
"""What a kind of devices may be called.

Kinds stand beside ids, vendor:product, ports, and BUS:DEV in command lines, beside ``usb_devices`` in names
of quotas, and in names of Placement's resource classes, so that a name has nothing but what fits in all.
"""

#: Of the whole name: the regular expression, and what it means. A name has a letter, because ports and serial
#: numbers such as ``1-4`` have none.
PATTERN = r"(?=.{1,64}$)[a-z][a-z0-9]*([-_][a-z0-9]+)*"
WHAT = (
    "at most 64 lower-case letters and digits that begin with a letter, with single dashes or underscores"
    " between them"
)
