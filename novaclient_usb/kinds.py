# SPDX-License-Identifier: Apache-2.0
"""Names of kinds.

Kinds are used beside ids, vendor:product, ports and BUS:DEV in command lines, beside ``usb_devices`` in quota
names, and in the names of Placement resource classes; a name has only characters that are valid in all.
"""

#: Of the whole name: the regular expression, and what it means. A name has a letter, because ports and serial
#: numbers such as ``1-4`` have none.
PATTERN = r"(?=.{1,64}$)[a-z][a-z0-9]*([-_][a-z0-9]+)*"
WHAT = (
    "at most 64 lower-case letters and digits that begin with a letter, with single dashes or underscores"
    " between them"
)
