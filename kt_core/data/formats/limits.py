"""How much of a file is read before it is refused, so that no file fills the memory."""

from __future__ import annotations

LINE_CHARS = 8 << 20  # characters of a line or a quoted field: a million steps of one learner
TEXT_CHARS = 1 << 30  # characters of decompressed text that are read into memory
MOST_ROWS = 20_000_000  # interactions, and lines, in memory
MOST_COLUMNS = 10_000
MOST_RATIO, RATIO_FROM = 200, 64 << 20  # text per byte of a .gz file, once there is this much text
ROWS_PER_BYTE = 1000  # the most that a Parquet file may claim to have

BY_CONVERT = "store a table with one row per interaction on disk first: python -m kt_core convert"
