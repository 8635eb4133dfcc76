"""The times of a source: which kind they are is one decision for the whole of it.

`Kinds` counts what a column holds, block by block, and can be added up; `clock` decides from it, or
refuses; `Clock.numbers` turns text into numbers that sort. Years come first in ISO dates, whatever
other rows look like. Whether 3/4/2011 is in March or in April is decided by another row with a
number above 12, and refused if none has one or if rows disagree.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, time
from decimal import Decimal

import numpy as np
import pandas as pd

from kt_core.base.errors import KTError
from kt_core.data.reading.values import MISSING, Show

MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
CLOCK = r"(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9})\d*)?)?(?:\s*([ap])\.?m\.?)?"
ZONE = r"(?:\s*(z|utc|gmt|[+-]\d{2}:?\d{2}|[+-]\d{2}))?"
REST = rf"(?:(?:t|,?\s+)\s*{CLOCK}{ZONE})?"
DATE = re.compile(rf"^(\d{{1,4}})([-/.])(\d{{1,2}})\2(\d{{1,4}}){REST}$")
NAMED = re.compile(
    rf"^(?:[a-z]{{3,9}},?\s+)?(?:(\d{{1,2}})[-\s]({MONTH})[-,\s]\s*(\d{{2,4}})"
    rf"|({MONTH})\s+(\d{{1,2}}),?\s+(\d{{4}})){REST}$"
)
USUAL = r"\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?$"  # most files; read fast
ONLY_CLOCK = re.compile(rf"^{CLOCK}$")
DAY = 86_400  # seconds
SECONDS = (9e8, 4.2e9)  # of the epoch, from 1998 to 2103
UNITS = {"seconds": 1, "milliseconds": 1e3, "microseconds": 1e6, "nanoseconds": 1e9}
MIDNIGHT = r"\d{4}-\d{2}-\d{2}[ T]00:00:00(?:\.0+)?$"
YEARS = (1700, 2250)  # what nanoseconds in 64 bits can hold
EPOCH = 1e8  # from here on a whole number is taken for a time, not for a duration
EXACT = 2**53  # whole numbers up to this are exact as floats
MOST_WHOLE = 2.0**63 - 2**12  # and up to this as integers
WHOLE = r"\s*[+-]?\d+\s*$"


@dataclass
class Kinds:
    """What a column of times holds: kind -> (number of rows, line and text of the first).

    Attributes
    ----------
    low, high : of the numbers.
    """

    found: dict[str, list] = field(default_factory=dict)
    low: float = np.inf
    high: float = -np.inf

    @classmethod
    def of(cls, text: pd.Series, line: pd.Series, comma: bool = False) -> Kinds:
        """The kinds in one block; `comma` says that a comma is a decimal point."""
        kinds = cls()
        text, line = text.reset_index(drop=True), line.reset_index(drop=True)
        number = _to_numbers(text, comma)
        numeric = number.notna() & np.isfinite(number.astype(float))
        if numeric.any():
            values = number[numeric].astype(float)
            kinds.low, kinds.high = float(values.min()), float(values.max())
            kinds._add("number", text, line, numeric)
            for name, unit in UNITS.items():
                mask = (values / unit).between(*SECONDS)
                kinds._add(name, text, line, numeric & mask.reindex(text.index, fill_value=False))
            if not pd.api.types.is_integer_dtype(number):
                kinds._add("fraction", text, line, numeric & ~text.str.match(WHOLE))
        usual = ~numeric & text.str.match(USUAL)
        for name in ("date", "year-first", "naive"):
            kinds._add(name, text, line, usual)
        kinds._add("timed", text, line, usual & ~text.str.match(MIDNIGHT))
        rest = text[~numeric & ~usual]
        if len(rest):
            kind = rest.map({t: kind_of(t) for t in rest.unique()})
            marks = kind.str.split(" ")
            for name in sorted({n for names in marks for n in names}):
                has = marks.map(lambda names, name=name: name in names)
                kinds._add(name, text, line, has.reindex(text.index, fill_value=False))
        return kinds

    def _add(self, kind: str, text: pd.Series, line: pd.Series, mask: pd.Series) -> None:
        if mask.any():
            at = int(np.argmax(mask.to_numpy()))
            self.merge(Kinds({kind: [int(mask.sum()), int(line.iloc[at]), str(text.iloc[at])]}))

    def merge(self, other: Kinds) -> None:
        """Add the counts of another block; the first of a kind is the one of the lowest line."""
        for kind, (count, line, text) in other.found.items():
            known = self.found.get(kind, [0, line, text])
            first = min((known[1:], [line, text]))
            self.found[kind] = [known[0] + count, *first]
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)

    def __contains__(self, kind: str) -> bool:
        return kind in self.found

    def count(self, kind: str) -> int:
        """Number of rows of a kind."""
        return self.found.get(kind, [0])[0]

    def to_dict(self) -> dict:
        """For JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, raw: dict) -> Kinds:
        """The inverse of `to_dict`."""
        return cls(**raw)


def kind_of(text: str) -> str:
    """The kinds of one text that is not a number, in words separated by blanks. A date at midnight
    is not `timed`: spreadsheets write days so."""
    text = text.strip()
    if text in MISSING:
        return "missing"
    text = text.lower()
    if match := DATE.match(text):
        first, _, second, third, *clock_ = match.groups()
        when = _when(clock_)
        if len(first) == 4 and len(third) <= 2:
            return "date year-first" + when
        if len(first) > 2 or len(third) not in (2, 4):
            return "other"
        marks = "date unclear"
        marks += " day-first" if int(first) > 12 else ""
        marks += " month-first" if int(second) > 12 else ""
        return marks + when
    if match := NAMED.match(text):
        return "date named" + _when(match.groups()[6:])
    return "clock" if ONLY_CLOCK.match(text) else "other"


def _when(clock_: Sequence[str | None]) -> str:
    """The kinds of a time of day, and of its zone; nothing where there is none."""
    hour, minute, second, fraction, half, zone = clock_
    if hour is None:
        return ""
    noon = 12 if half else 0
    midnight = int(hour) == noon and half != "p" and not int(minute) and not int(second or 0)
    timed = "" if midnight and not int(fraction or 0) else " timed"
    return timed + (" zoned" if zone else " naive")


@dataclass(frozen=True)
class Clock:
    """How the times of a source are read.

    Attributes
    ----------
    kind : numbers or dates.
    day_first : whether unclear dates have the day first.
    fine : whether a time can tell answers apart: not for days, and for numbers only if they are of
        the epoch; others may count sessions.
    comma : whether numbers have a decimal comma.
    doubtful : whether the numbers may be durations, so that a learner's must not fall.
    coarse : whether numbers never tell answers apart, as they are days or all the same.
    large : whether numbers are too large to be exact.
    unit : of numbers that are times of the epoch, a name in `UNITS`.
    """

    kind: str = "number"
    day_first: bool = False
    fine: bool = True
    comma: bool = False
    doubtful: bool = False
    coarse: bool = False
    large: bool = False
    unit: str = ""

    @property
    def day(self) -> float:
        """How many units of `numbers` a day has; 0 where that is not known."""
        if self.kind != "number":
            return DAY * UNITS["nanoseconds"]
        return DAY * UNITS.get(self.unit, 0.0) * (not self.large)

    def numbers(self, text: pd.Series) -> pd.Series:
        """Numbers that sort as the times do; NaN where a text is no time of this kind."""
        if self.kind != "number":
            return _dates(text, self.day_first)
        if self.large:
            return _ranks(text)
        value = _to_numbers(text, self.comma)
        return value.where(np.isfinite(value.astype(float)))

    def describe(self, kinds: Kinds) -> str:
        """The kind in words."""
        if self.kind != "number":
            clear = "unclear" not in kinds
            order = "" if clear else ", day first" if self.day_first else ", month first"
            return f"dates{'' if self.fine else ' without a time of day'}{order}"
        return f"epoch {unit}" if (unit := unit_of(kinds)) else "numbers"


def unit_of(kinds: Kinds) -> str:
    """The unit in which all numbers are times of the epoch; empty where there is none."""
    return next((u for u in UNITS if kinds.count(u) == kinds.count("number")), "")


def clock(kinds: Kinds, where: str, column: str, show: Show, named: bool, comma: bool) -> Clock:
    """Decide how a column of times is read.

    Parameters
    ----------
    where : the file, for messages.
    column : the column or columns, for messages.
    named : whether its name says that it is a time, or the user did; `time` alone may be a
    duration.

    Raises
    ------
    KTError
        For values that are no times, or that can be read in two ways.
    """

    def refused(kind: str, why: str) -> KTError:
        _, line, text = kinds.found[kind]
        return KTError(
            f"{where}, line {line}: timestamp {show(text)} {why}. Correct it, name another column, "
            "or say that there is none: --column timestamp="
        )

    unreadable = "cannot be read; use numbers or dates such as 2011-02-01 10:30:00 throughout"
    if "other" in kinds:
        raise refused("other", unreadable)
    if "missing" in kinds:
        raise refused("missing", "cannot be read: it is empty")
    if "clock" in kinds:
        raise refused("clock", f"in column {column} is a duration or a time without its day")
    if "number" in kinds and "date" in kinds:
        rarer = min(("number", "date"), key=kinds.count)
        raise refused(rarer, f"{unreadable}: other lines have {_other(rarer)}")
    if "date" in kinds:
        if "zoned" in kinds and "naive" in kinds:
            rarer = min(("zoned", "naive"), key=kinds.count)
            with_zone, without = ("a", "no") if rarer == "zoned" else ("no", "a")
            raise refused(rarer, f"has {with_zone} time zone, and others have {without} time zone")
        if "unclear" in kinds and ("day-first" in kinds) == ("month-first" in kinds):
            both = "day-first" in kinds
            why = "may have the day first or the month first"
            if both:
                why += f": line {kinds.found['day-first'][1]} has the day first and line "
                why += f"{kinds.found['month-first'][1]} the month"
            raise refused("unclear", f"{why}; write dates as 2011-02-01")
        return Clock("date", "day-first" in kinds, "timed" in kinds)
    units = [unit for unit in UNITS if unit in kinds]
    if len(units) > 1 and 2 * sum(map(kinds.count, units)) > kinds.count("number"):
        rarer = min(units, key=kinds.count)
        raise refused(rarer, f"is in {rarer}, and others are not; use one unit throughout")
    doubtful = not named and kinds.low < EPOCH
    most = max(abs(kinds.low), abs(kinds.high))
    large = most > (EXACT if "fraction" in kinds else MOST_WHOLE)
    unit = unit_of(kinds)
    return Clock("number", False, bool(unit), comma, doubtful, large=large, unit=unit)


def _other(kind: str) -> str:
    return "dates" if kind == "number" else "numbers"


def _to_numbers(text: pd.Series, comma: bool) -> pd.Series:
    if comma:
        text = text.str.replace(",", ".", regex=False)
    return pd.to_numeric(text, errors="coerce")


def _ranks(text: pd.Series) -> pd.Series:
    """Ranks of numbers, some of which are not exact as floats."""
    values = [Decimal(t.strip().replace(",", ".")) for t in text]
    rank = {value: i for i, value in enumerate(sorted(set(values)))}
    return pd.Series([rank[value] for value in values], text.index, dtype="int64")


def _dates(text: pd.Series, day_first: bool) -> pd.Series:
    """Nanoseconds since 1970; NaN for a day that does not exist. Without a zone: as in UTC."""
    usual = text.str.match(USUAL)
    stamps = pd.to_datetime(text.where(usual), format="ISO8601", errors="coerce")
    stamps = stamps.where(stamps.dt.year.between(*YEARS))
    value = stamps.astype("datetime64[ns]").astype("int64").astype(object).where(stamps.notna())
    rest = text[~usual]
    if len(rest):
        value[~usual] = rest.map({t: _date(t.strip().lower(), day_first) for t in rest.unique()})
    return value.astype(float) if value.isna().any() else value.astype("int64")


def _date(text: str, day_first: bool) -> int | None:
    if match := DATE.match(text):
        first, _, second, third, *rest = match.groups()
        if len(first) == 4:
            year, month, day = first, second, third
        else:
            year, (day, month) = third, (first, second) if day_first else (second, first)
    elif match := NAMED.match(text):
        groups = match.groups()
        day, name, year = (
            a or b for a, b in zip(groups[:3], (groups[4], groups[3], groups[5]), strict=True)
        )
        month, rest = MONTHS.index(name[:3]) + 1, groups[6:]
    else:
        return None
    return _nanoseconds(_year(year), int(month), int(day), *rest)


def _year(text: str) -> int:
    """A year; of two digits, from 1969 to 2068, as POSIX has it."""
    year = int(text)
    return year if len(text) > 2 else year + (1900 if year > 68 else 2000)


def _nanoseconds(
    year: int,
    month: int,
    day: int,
    hour: str | None,
    minute: str | None,
    second: str | None,
    fraction: str | None,
    half: str | None,
    zone: str | None,
) -> int | None:
    h = int(hour or 0)
    if half:
        if not 1 <= h <= 12:
            return None
        h = h % 12 + (12 if half == "p" else 0)
    if not YEARS[0] <= year <= YEARS[1]:
        return None
    try:
        days = date(year, month, day).toordinal() - date(1970, 1, 1).toordinal()
        clock = time(h, int(minute or 0), int(second or 0))
    except ValueError:
        return None
    seconds = days * DAY + clock.hour * 3600 + clock.minute * 60 + clock.second - _offset(zone)
    return seconds * 10**9 + int((fraction or "0").ljust(9, "0"))


def _offset(zone: str | None) -> int:
    """Seconds east of UTC."""
    if not zone or zone[0] not in "+-":
        return 0
    digits = zone[1:].replace(":", "").ljust(4, "0")
    seconds = int(digits[:2]) * 3600 + int(digits[2:]) * 60
    return -seconds if zone[0] == "-" else seconds
