"""From rows of text to the canonical table, in three steps that memory and disk share.

1. `prepare` cleans the rows of one block, each by itself, and counts what it did in `Evidence`.
2. `decide` settles from the evidence of all blocks what holds for the whole source: which of two
   columns names the skill, what kind of times there are, what separates several skills.
3. `clean` puts all rows of some learners into the canonical table: in order, one row an answer.
"""

from kt_core.data.reading.answers import clean, repeated_answers
from kt_core.data.reading.decide import decide
from kt_core.data.reading.note import ReadingNote, Use
from kt_core.data.reading.options import Evidence, Layout, Meaning, ReadOptions, Rules
from kt_core.data.reading.rows import prepare
