"""Rows of the arrays of `structs`, and byte positions in stored members and labels."""

AGGREGATE, REACH, DELAY, CURRENT, PAIR = range(5)
"""Rows of ``CompiledWindows.windows``."""
DEFAULT, UNIT, PARAMETER = range(3)
"""Rows of ``CompiledWindows.numbers``."""
VALUE, WHERE, STORED_WHERE, SAME, FILTER = range(5)
"""Rows of ``CompiledWindows.pairs``."""
POSITION, IS_CONDITION = range(2)
"""Rows of ``CompiledWindows.columns``."""

AT_OFFSET, AT_TIME, AT_EVENT_ID = 4, 12, 20
"""Byte positions in a stored member; its partition is at 0."""
AT_LABEL_TIME, AT_FRAUD, LABEL_SIZE = 28, 36, 37
"""Byte positions in a stored label, whose first fields are those of a member, and its size."""

TIME, PARTITION, OFFSET, EVENT_ID, LABEL, SOURCE, KEPT = range(7)
"""Rows of ``History.members`` and ``Events.members``; the kept columns begin at KEPT."""
MEMBER_KEYS = 3
"""Number of rows that identify and order members: TIME, PARTITION and OFFSET."""

ID, LABEL_TIME, LABEL_PARTITION, LABEL_OFFSET, FRAUD, EVENT_TIME = range(6)
"""Rows of the labels of a history."""
LABEL_KEYS = 5
"""Number of rows that order labels."""

ADDED, COMPACTED, LABELS = range(3)
"""Rows of ``Results.lengths``."""
