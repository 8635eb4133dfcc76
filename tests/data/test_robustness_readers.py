"""Bad input for the readers: one message that says where, and no half-written file.
docs/robustness.md lists all cases."""

from __future__ import annotations

import bz2
import functools
import gzip
import io
import lzma
import tarfile
import zipfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kt_core.base.errors import KTError
from kt_core.data.formats import limits, long
from kt_core.data.formats.readers import read_table
from kt_core.data.reading import ReadOptions
from kt_core.data.store.convert import convert

HEAD = "user,skill,correct\n"
zipped = functools.partial(gzip.compress, mtime=0)  # the same bytes in every worker
GOOD = HEAD + "".join(f"u{i % 9},s{i % 4},{i % 2}\n" for i in range(60))
PYKT = "fold,uid,concepts,responses\n"


def archive(kind):
    """An archive with a member that would be unpacked outside of the folder."""
    out = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(out, "w") as z:
            z.writestr("../../evil.csv", GOOD)
    else:
        with tarfile.open(fileobj=out, mode="w:gz" if kind == "tar.gz" else "w") as t:
            member = tarfile.TarInfo("../../evil.csv")
            member.size = len(GOOD)
            t.addfile(member, io.BytesIO(GOOD.encode()))
    return out.getvalue()


def broken_gzip():
    content = bytearray(zipped(GOOD.encode()))
    content[-8] ^= 1  # of the checksum
    return bytes(content)


def both(path, tmp_path, columns=None, memory=True, disk=True):
    """The messages of reading and of converting, neither of which leaves a file."""
    before = sorted(tmp_path.rglob("*"))
    messages = []
    if memory:
        with pytest.raises(KTError) as caught:
            read_table(path, ReadOptions(columns=columns or {}))
        messages.append(str(caught.value))
    if disk:
        with pytest.raises(KTError) as caught:
            convert(path, tmp_path / "stored", ReadOptions(columns=columns or {}))
        messages.append(str(caught.value))
    assert sorted(tmp_path.rglob("*")) == before
    assert all(path.name in m for m in messages)
    return messages


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(archive("zip"), "zip archive .*unpack it", id="zip-with-traversal"),
        pytest.param(archive("tar"), "a tar archive", id="tar-with-traversal"),
        pytest.param(archive("tar.gz"), "a tar archive", id="tar-in-gzip"),
        pytest.param(bz2.compress(GOOD.encode()), "with bzip2", id="bzip2"),
        pytest.param(lzma.compress(GOOD.encode()), "with xz", id="xz"),
        pytest.param(zipped(GOOD.encode())[:-30], "is cut short or damaged", id="gz-cut"),
        pytest.param(broken_gzip(), "CRC check failed.*fetch or copy it again", id="gz-checksum"),
        pytest.param(zipped(GOOD.encode()) + b"x", "cannot be read", id="gz-with-a-tail"),
        pytest.param(zipped(zipped(GOOD.encode())), "compressed twice", id="gz-twice"),
        pytest.param(zipped(b""), "the file is empty", id="gz-of-nothing"),
        pytest.param(GOOD.encode("utf-16-le"), "NUL byte, .*export it as", id="utf-16-no-mark"),
        pytest.param(
            f"{HEAD}a,é,1\n".encode() + "ü,s,1\n".encode("cp1252"),
            "line 3: not UTF-8 .byte 0xfc.*iconv",
            id="two-encodings",
        ),
        pytest.param(
            (HEAD.replace("user", "skill") + "a,b,1\n").encode(),
            "no column for 'user'|2 columns are called 'skill'",
            id="none",
        ),
        pytest.param(
            b"user,skill,correct,skill\na,b,1,c\n", "2 columns are called 'skill'", id="twice"
        ),
        pytest.param(
            b'user,correct,skill\na,1,s\nb,0,"t\nc,1,s\nd,1,s\n',
            "line 3: a quote that opens in this row is never closed",
            id="open-quote",
        ),
        pytest.param(f"{HEAD}a,b,nan\n".encode(), "line 2: response 'nan'", id="nan"),
        pytest.param(f"{HEAD}a,b,-0.2\n".encode(), "line 2: response '-0.2'", id="below-0"),
        pytest.param(
            b"user,skill,correct,time\na,b,1,inf\n", "line 2: timestamp 'inf' cannot", id="time-inf"
        ),
        pytest.param(
            b"user,skill,correct,time\na,b,1,2011-02-28\na,b,1,2011-02-30\n",
            "line 3: timestamp '2011-02-30' cannot be read",
            id="no-such-day",
        ),
        pytest.param(
            b"user,skill,correct,time\na,b,1,2011-02-28\na,b,1,1300000000\n",
            "line [23]: timestamp '.*' cannot be read; use numbers or dates",
            id="numbers-and-dates",
        ),
        pytest.param(
            b"user,skill,correct,time\na,b,1,3/4/2011\na,b,1,5/6/2011\n",
            "line 2: .*the day first or the month first",
            id="day-or-month",
        ),
        pytest.param(
            b"user,skill,correct,time\na,b,1,13/4/2011\na,b,1,5/16/2011\n",
            "line 2: .*the day first or the month first",
            id="day-and-month",
        ),
        pytest.param(
            b"user,skill,correct,fold\na,b,1,0\na,b,1,-2\n",
            "line 3, column fold: '-2' is not a whole number from -1",
            id="fold-nowhere",
        ),
        pytest.param(
            b"<!DOCTYPE html>\n<html><body>404</body></html>\n",
            "a web page or XML, which is not read",
            id="web",
        ),
        pytest.param(
            b'{"user": "a", "skill": "b", "correct": 1}\n', "JSON, which is not read", id="json"
        ),
        pytest.param(b"PAR1" + bytes(200), "a Parquet file; name it .parquet", id="parquet-as-csv"),
    ],
)
def test_a_bad_long_table(tmp_path, content, words):
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    for message in both(path, tmp_path):
        assert pd.Series(message).str.contains(words).all(), message
    assert not list(tmp_path.parent.rglob("evil.csv"))


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"teacher": "user"}, r"\['teacher'\] unknown; choose from \['user', 'skill'"),
        ({"user": "Name"}, "no column for 'Name'; it has: user, skill, correct"),
    ],
)
def test_columns_that_are_not_there(tmp_path, columns, words):
    path = tmp_path / "good.csv"
    path.write_text(GOOD)
    options = ReadOptions("long", columns)
    for read in (lambda: read_table(path, options), lambda: convert(path, "x", options)):
        with pytest.raises(KTError, match=words):
            read()


@pytest.mark.parametrize(
    ("text", "format", "words"),
    [
        ("fold,uid,concepts,responses,uid\n0,a,1,1,b\n", "auto", "2 columns are called 'uid'"),
        ("fold,concepts,responses\n0,1,1\n", "auto", "no column for 'uid'; it has: fold"),
        (PYKT + '0,7,"-1,-1","-1,-1"\n', "auto", "it has no interactions"),
        (PYKT + '0,7,"",""\n', "auto", "line 2: response '' is not 0 or 1"),
        (PYKT + '0,7,"1,2","1,0\n', "auto", "line 2: a quote that opens"),
        (PYKT + '1.5,7,"1,2","1,0"\n', "auto", "line 2, column fold: '1.5'"),
        ("0,\n1,2\n1,0\n1,\n1,2\n1,0\n", "akt", "line 1: 1 fields at the start of a block"),
        ("0,9\n1,2\n1,0\n", "triple", "line 1: 0 steps announced, but 2 found"),
        ("2\n1,2\n1,0\n3\n1,2\n1,0\n", "auto", "line 4: 3 steps announced, but 2 found"),
        ("2\n1,2\n1,0\n2\n1,2\n", "auto", "line 5: 5 lines do not make whole blocks of 3"),
        ("0,9\n1,\N{SNOWMAN}\n1,0\n1,8\n1,2\nx,0\n", "auto", "line 6: response 'x'"),
    ],
)
def test_bad_sequences(tmp_path, text, format, words):
    path = tmp_path / "bad.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(KTError, match=words) as caught:
        read_table(path, ReadOptions(format))
    assert "bad.txt" in str(caught.value)


def test_what_is_no_file(tmp_path):
    assert all("this is a folder; name one" in m for m in both(tmp_path, tmp_path))
    assert all("no such file" in m for m in both(tmp_path / "nowhere.csv", tmp_path))


# --- limits ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "value", "text", "words", "disk"),
    [
        ("LINE_CHARS", 40, HEAD + "a" * 200 + ",s,1\n", "line 2: longer than 40", True),
        ("LINE_CHARS", 40, HEAD + 'a,"s\n' + "s\n" * 90 + '",1\n', "line 2: a field of .*40", True),
        ("TEXT_CHARS", 500, GOOD * 3, "more than 500 characters.*kt_core convert", False),
        ("MOST_ROWS", 30, GOOD, "line 32: .*or 30 lines are not read.*kt_core convert", False),
        (
            "MOST_ROWS",
            30,
            PYKT + '0,7,"' + "1," * 40 + '1","' + "1," * 40 + '1"\n',
            "30 int",
            False,
        ),
        ("MOST_ROWS", 30, "0,7\n" + ("1," * 60 + "1\n") * 2, "30 interactions.*split", False),
        ("MOST_COLUMNS", 50, HEAD.strip() + ",x" * 60 + "\n", "63 columns; at most", True),
    ],
)
def test_text_beyond_the_limits(tmp_path, monkeypatch, limit, value, text, words, disk):
    monkeypatch.setattr(limits, limit, value)
    monkeypatch.setattr(long, "BLOCK_BYTES", 60)
    path = tmp_path / "large.csv"
    path.write_text(text)
    for message in both(path, tmp_path, disk=disk):
        assert pd.Series(message).str.contains(words).all(), message


def test_a_learner_who_is_too_large_for_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "MOST_ROWS", 50)
    path = tmp_path / "large.csv"
    path.write_text(GOOD)
    (message,) = both(path, tmp_path, memory=False)
    assert "60 rows of one learner, or of a few" in message and "--column user=NAME" in message


@pytest.mark.parametrize("content", [b"\n" * 300_000, ("a,s,1\n" * 50_000).encode()])
def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch, content):
    monkeypatch.setattr(limits, "RATIO_FROM", 100_000)
    monkeypatch.setattr(limits, "TEXT_CHARS", 100_000)
    monkeypatch.setattr(long, "BLOCK_BYTES", 10_000)
    path = tmp_path / "bomb.csv.gz"
    path.write_bytes(zipped(HEAD.encode() + content))
    memory, disk = both(path, tmp_path)
    assert "more than 100,000 characters" in memory
    assert "more than 200 times as large when decompressed" in disk


# --- Parquet ---------------------------------------------------------------------------------


def parquet(folder, **columns):
    path = folder / "bad.parquet"
    table = {"user": ["a", "b"], "skill": ["s", "t"], "correct": [1, 0]} | columns
    pq.write_table(pa.table(table), path)
    return path


def not_utf8():
    offsets, text = pa.array([0, 1, 2], pa.int32()), pa.py_buffer(b"s\xff")
    return pa.Array.from_buffers(pa.string(), 2, [None, offsets.buffers()[1], text])


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"item": [["s"], ["t", "u"]]}, "column 'item': holds list<.*>, not single values"),
        ({"user": [{"id": 1}, {"id": 2}]}, "column 'user': holds struct<id: int64>"),
        ({"skill": not_utf8()}, "cannot be read .*UTF"),
        ({"correct": [1.0, np.inf]}, "line 2: response 'inf'"),
        ({"timestamp": [True, False]}, "line 1: timestamp 'True' cannot be read"),
    ],
)
def test_a_bad_parquet_table(tmp_path, columns, words):
    for message in both(parquet(tmp_path, **columns), tmp_path):
        assert pd.Series(message).str.contains(words).all(), message


def lying(path, rows, claimed):
    """The number of rows in the footer replaced by another of as many bytes."""

    def varint(number):
        out = bytearray()
        number *= 2  # zigzag
        while number > 127:
            out.append(number & 127 | 128)
            number >>= 7
        return bytes([*out, number])

    content = path.read_bytes()
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    at = content.index(varint(rows), footer)
    assert len(varint(rows)) == len(varint(claimed))
    path.write_bytes(content[:at] + varint(claimed) + content[at + len(varint(rows)) :])


@pytest.mark.parametrize(
    ("claimed", "words"),
    [(100_001, "100,000 rows, but its header says 100,001"), (1_000_000, "header says 1,000,000")],
)
def test_a_parquet_file_with_a_lying_header(tmp_path, monkeypatch, claimed, words):
    path = tmp_path / "lies.parquet"
    n = np.arange(100_000)
    columns = {"user": n // 10, "skill": n % 7, "correct": n % 2}
    pq.write_table(pa.table(columns), path, compression="zstd")
    lying(path, len(n), claimed)
    monkeypatch.setattr(limits, "ROWS_PER_BYTE", 900_000 / path.stat().st_size)
    for message in both(path, tmp_path):
        assert words in message


@pytest.mark.parametrize(
    ("limit", "value", "words", "disk"),
    [
        ("MOST_COLUMNS", 2, "3 columns; at most 2", True),
        ("MOST_ROWS", 1, "2 rows; more than 1 are not read into memory.*kt_core convert", False),
        ("TEXT_CHARS", 100, "column 'skill': more than 100 characters in 2 rows", True),
    ],
)
def test_parquet_beyond_the_limits(tmp_path, monkeypatch, limit, value, words, disk):
    monkeypatch.setattr(limits, limit, value)
    for message in both(parquet(tmp_path, skill=["s" * 80, "s" * 70]), tmp_path, disk=disk):
        assert pd.Series(message).str.contains(words).all(), message


def test_a_parquet_file_that_is_cut_short(tmp_path):
    path = parquet(tmp_path)
    path.write_bytes(path.read_bytes()[:-30] + path.read_bytes()[-8:])
    assert all("not a readable Parquet file" in m for m in both(path, tmp_path))
