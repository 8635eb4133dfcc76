"""Times: what kind a column holds is one decision, and what can be read in two ways is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import read, write

from kt_core.base.errors import KTError
from kt_core.data.reading.times import Kinds, clock, kind_of


def numbers(texts, comma=False, named=True):
    """The texts as times."""
    text = pd.Series(texts, dtype=object)
    kinds = Kinds.of(text, pd.Series(np.arange(len(text)) + 2), comma)
    return clock(kinds, "x.csv", "time", repr, named, comma).numbers(text).tolist()


IN_TURN = [
    ["1600000000", "1600000001", "1600000001.5"],
    ["-3", "0", "12"],
    ["2011-02-01 10:30:00", "2011-02-01 10:30:00.25", "2011-02-01 10:30:01"],
    ["2011-02-01", "2011-02-02", "2011-11-01"],
    ["2011-1-2", "2011-01-13", "2011-02-01 00:00"],
    ["2011/02/01 9:05", "2011/02/01 10:04", "2011/12/01 08:00"],
    ["2011-02-01T10:30Z", "2011-02-01T10:30:30+00:00", "2011-02-01T09:31-01:00"],
    ["2011-02-01T12:30+02:00", "2011-02-01 10:31 UTC", "2011-02-01 11:32 +0100"],
    ["01/02/2011", "13/02/2011", "01/03/2011"],
    ["02/01/2011", "02/13/2011", "03/01/2011"],
    ["1.2.2011 9:00", "1.2.2011 10:00", "31.12.2011 1:00"],
    ["1/13/11 11:59 PM", "1/14/11 12:00 AM", "1/14/11 1:00 am", "1/14/11 12:30 PM"],
    ["31-12-69", "31-12-1999", "01-01-68"],
    ["1 March 2024  10:02 AM", "1 March 2024 10:22 AM", "1 April 2024"],
    ["Feb 28, 2024", "March 1, 2024 01:00", "Mon, 4 Mar 2024 10:00:00"],
    ["Fri, 1 Mar 2024 01:00:00 +0200", "Fri, 1 Mar 2024 00:00:00 +0000"],
    ["9007199254740992", "9007199254740993", "9007199254740994"],
    ["9007199254740993", "9007199254740993.5", "9007199254740994"],
    ["99999999999999999998", "99999999999999999999", "100000000000000000000"],
    ["2011-02-01 10:30:00.000000001", "2011-02-01 10:30:00.000000002"],
]


@pytest.mark.parametrize("texts", IN_TURN)
def test_times_sort_as_they_are(texts):
    value = numbers(texts)
    assert value == sorted(value) and len(set(value)) == len(value)
    assert numbers(texts[::-1]) == value[::-1]


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["2011-02-01", "then"], "line 3: timestamp 'then' cannot be read"),
        (["5", "2011-02-01", "6"], "line 3: timestamp '2011-02-01' .*other lines have numbers"),
        (["2011-02-01", "5", "2011-02-02"], "line 3: timestamp '5' .*other lines have dates"),
        (["1/2/2011", "3/4/2011"], "line 2: .*may have the day first or the month first; write"),
        (
            ["1/2/2011", "13/4/2011", "5/16/2011"],
            "may have the day first or the month first: line 3 has the day first and line 4 the",
        ),
        (["10:30", "11:30"], "line 2: timestamp '10:30' in column time is a duration or a time w"),
        (["00:26", "00:30:01"], "a duration or a time without its day"),
        (["2011-02-01", ""], "line 3: timestamp '' cannot be read: it is empty"),
        (["5", "NA"], "line 3: timestamp 'NA' cannot be read: it is empty"),
        (["1600000000", "1600000000000", "1600000001"], "line 3: .*is in milliseconds, and others"),
        (["1600000000000", "1600000000", "1600000000001"], "line 3: .* is in seconds, and others"),
        (["2011-02-01 10:00", "2011-02-01 10:00Z", "2011-02-01 11:00"], "line 3: .*a time zone"),
        (["2011-02-01 10:00Z", "2011-02-01 10:00", "2011-02-01 11:00Z"], "line 3: .*no time zone"),
        (["1,5", "2,5"], "line 2: timestamp '1,5' cannot be read"),
        (["2011-2"], "cannot be read"),
        (["201-02-01"], "cannot be read"),
        (["inf"], "cannot be read"),
        (["2011-02-01 10:00 EST"], "cannot be read"),
    ],
)
def test_what_is_no_time_or_two_is_refused_with_its_line(texts, words):
    with pytest.raises(KTError, match=f"x.csv, {words}" if words.startswith("line") else words):
        numbers(texts)


@pytest.mark.parametrize(
    "text", ["2011-02-30", "2011-13-01", "31/4/2011", "2011-02-01 25:00", "2/1/11 13:00 PM"]
)
def test_a_time_that_does_not_exist_is_no_number(text):
    assert np.isnan(numbers([text, "13/1/2011"])[0])


def test_a_decimal_comma_is_a_number_where_it_is_said():
    assert numbers(["1,5", "2"], comma=True) == [1.5, 2.0]


moments = st.datetimes(datetime(1971, 1, 1), datetime(2099, 1, 1))
FORMATS = [
    "%Y-%m-%d %H:%M:%S.%f",
    "%Y/%m/%dT%H:%M:%S.%f",
    "%d/%m/%Y %H:%M:%S.%f",
    "%m-%d-%Y %I:%M:%S.%f %p",
    "%d %B %Y %H:%M:%S.%f",
    "%b %d, %Y %I:%M:%S.%f%p",
]


@settings(max_examples=150)
@given(
    times=st.lists(moments, min_size=1, max_size=6),
    form=st.sampled_from(FORMATS),
    east=st.integers(-14 * 60, 14 * 60),
    zoned=st.booleans(),
)
def test_dates_are_those_of_the_standard_library(times, form, east, zoned):
    day = datetime(2000, 1, 31)  # decides between day and month
    zone = timezone(timedelta(minutes=east)) if zoned else UTC
    texts = [t.strftime(form) for t in (*times, day)]
    if zoned:
        sign, minutes = "-" if east < 0 else "+", abs(east)
        texts = [f"{t} {sign}{minutes // 60:02d}:{minutes % 60:02d}" for t in texts]
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    want = [(t.replace(tzinfo=zone) - epoch) // timedelta(microseconds=1) for t in (*times, day)]
    assert [int(v) // 1000 for v in numbers(texts)] == want


@settings(max_examples=60)
@given(
    texts=st.lists(
        st.sampled_from([t for texts in IN_TURN for t in texts] + ["", "x"]), min_size=1
    ),
    cut=st.integers(0, 40),
)
def test_kinds_of_parts_add_up(texts, cut):
    text, line = pd.Series(texts, dtype=object), pd.Series(np.arange(len(texts)))
    whole, parts = Kinds.of(text, line), Kinds.of(text[:cut], line[:cut])
    parts.merge(Kinds.of(text[cut:], line[cut:]))
    assert parts == whole == Kinds.from_dict(whole.to_dict())


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("2011-02-01", "date year-first"),
        ("2011-02-01T10:00Z", "date year-first timed zoned"),
        ("13/2/2011", "date unclear day-first"),
        ("1/13/2011 10:00", "date unclear month-first timed naive"),
        ("1/2/2011", "date unclear"),
        ("1 Mar 2024", "date named"),
        ("10:30 PM", "clock"),
        ("NULL", "missing"),
        ("P3D", "other"),
    ],
)
def test_kinds_of_single_texts(text, kind):
    assert kind_of(text) == kind


HEAD = "user,skill,correct,"


def order(table):
    return table["skill"].tolist()


def test_date_and_time_in_two_columns(tmp_path):
    rows = ["a,x,1,2024-03-02,9:30", "a,y,1,2024-03-01,10:30 PM", "a,z,0,2024-03-01,11:00 AM"]
    table, note = read(write(tmp_path, "x.csv", HEAD + "Date,Time\n" + "\n".join(rows)))
    assert order(table) == ["z", "y", "x"]
    assert note.order == "by Date+Time: dates and times of day"
    named, note = read(
        write(tmp_path, "y.csv", HEAD + "Day,At\n" + "\n".join(rows)),
        columns={"timestamp": "Day+At"},
    )
    assert order(named) == order(table)


def test_durations_are_no_times(tmp_path):
    text = HEAD + "date,time\na,x,1,2024-03-02,9\na,y,1,2024-03-01,12\na,z,0,2024-03-01,3\n"
    table, note = read(write(tmp_path, "x.csv", text))
    assert order(table) == ["y", "z", "x"]
    assert "durations, not used as times" in str(note) and "within a day as in the file" in str(
        note
    )
    alone = write(tmp_path, "y.csv", HEAD + "time\na,x,1,9\na,y,1,12\na,z,0,3\n")
    with pytest.raises(KTError, match="y.csv, line 4: the time '3' is before .*timestamp=NAME"):
        read(alone)
    assert order(read(alone, columns={"timestamp": "time"})[0]) == ["z", "x", "y"]
    table, note = read(write(tmp_path, "z.csv", alone.read_text()), columns={"timestamp": ""})
    assert order(table) == ["x", "y", "z"] and note.order == "as in the file: no column of times"


def test_numbers_that_never_fall_are_read_as_times_and_told(tmp_path):
    table, note = read(write(tmp_path, "x.csv", HEAD + "time\na,x,1,3\na,y,1,9\nb,z,0,1\n"))
    assert order(table) == ["x", "y", "z"] and "time could be durations" in str(note)


def test_whole_times_next_to_a_day(tmp_path):
    text = HEAD + "date,time\na,x,1,1/2/24,2024-02-01 10:00\na,y,1,1/2/24,2024-02-01 09:00\n"
    table, note = read(write(tmp_path, "x.csv", text))
    assert order(table) == ["y", "x"] and "time holds whole times; date is not used" in str(note)


def test_iso_dates_stay_year_month_day_next_to_others(tmp_path):
    days = ["2011-03-04", "13/1/2011", "2011-02-05"]
    rows = "".join(f"a,{s},1,{day}\n" for s, day in zip("xyz", days, strict=True))
    assert order(read(write(tmp_path, "x.csv", HEAD + "timestamp\n" + rows))[0]) == ["y", "z", "x"]


def test_a_day_that_does_not_exist_is_refused_with_its_line(tmp_path):
    text = HEAD + "timestamp\na,x,1,2011-02-01\nb,x,1,2011-02-30\n"
    with pytest.raises(KTError, match="x.csv, line 3: timestamp '2011-02-30' cannot be read"):
        read(write(tmp_path, "x.csv", text))


def test_times_of_rows_that_are_dropped_do_not_matter(tmp_path):
    text = HEAD + "timestamp\na,x,1,2011-02-02\na,,1,\na,y,1,2011-02-01\n"
    assert order(read(write(tmp_path, "x.csv", text))[0]) == ["y", "x"]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ("timestamp,start_time", "timestamp, start_time could each be the time; name one"),
        ("datetime,createdAt", "datetime, createdAt could each be the time"),
    ],
)
def test_two_columns_that_could_be_the_time(tmp_path, columns, words):
    with pytest.raises(KTError, match=words):
        read(write(tmp_path, "x.csv", f"{HEAD}{columns}\na,x,1,1,2\n"))


def test_an_order_id_only_counts_without_a_time(tmp_path):
    text = HEAD + "order_id,start_time\na,x,1,1,9\na,y,1,2,8\n"
    table, note = read(write(tmp_path, "x.csv", text))
    assert order(table) == ["y", "x"] and "time       start_time; not used: order_id" in str(note)
