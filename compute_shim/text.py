# SPDX-License-Identifier: Apache-2.0
"""Which text is safe to store and to show."""

#: What belongs in no line of text, for the brackets of a regular expression: control characters, line and
#: paragraph separators, and halves of surrogate pairs, which no database stores.
UNPRINTABLE = r"\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff"
