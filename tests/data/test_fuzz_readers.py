"""Any bytes give a table that keeps its promises, or a KTError.

benchmarks/fuzz_readers.py does the same with a fuzzer guided by coverage."""

from __future__ import annotations

import csv
import functools
import importlib.util
import io
import unicodedata

from conftest import ROOT
from hypothesis import example, given, settings
from hypothesis import strategies as st
from reading import histories, stored_histories

from kt_core.data.formats.readers import read_table
from kt_core.data.reading import ReadOptions
from kt_core.data.store.convert import convert

spec = importlib.util.spec_from_file_location("fuzzer", ROOT / "benchmarks" / "fuzz_readers.py")
fuzzer = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fuzzer)

KINDS = ("text", "gzip", "gzipped", "parquet", "convert", "convert.parquet", "agree", "sheet")
STORED = ("store.json", "learners.parquet", "names.parquet", "items.parquet", "interactions.arrow")
WORDS = [word.encode() for word in fuzzer.WORDS]


@functools.cache  # no fixture: hypothesis would print it with a failure, and it is large
def valid():
    return fuzzer.seeds(), fuzzer.stored_files()


@settings(max_examples=150)
@given(content=st.binary(max_size=200), kind=st.sampled_from(KINDS + STORED))
def test_arbitrary_bytes(tmp_path_factory, content, kind):
    folder = tmp_path_factory.mktemp("fuzz")
    assert fuzzer.outcome(kind, content, folder, valid()[1]) in ("read", "refused")


places = st.integers(0, 100_000)
mutations = st.one_of(
    st.tuples(st.just("insert"), places, st.sampled_from(WORDS) | st.binary(max_size=4)),
    st.tuples(st.just("replace"), places, st.sampled_from(WORDS) | st.binary(min_size=1)),
    st.tuples(st.just("delete"), places, st.integers(1, 40)),
    st.tuples(st.just("repeat"), places, st.integers(1, 60)),
    st.tuples(st.just("cut"), places, st.none()),
)


def mutated(content, changes):
    for what, place, value in changes:
        at = place % (len(content) + 1)
        before, after = content[:at], content[at:]
        if what == "insert":
            content = before + value + after
        elif what == "replace":
            content = before + value + after[len(value) :]
        elif what == "delete":
            content = before + after[value:]
        elif what == "repeat":
            content = before + after[:value] + after
        else:
            content = before
    return content


@settings(max_examples=250)
@given(
    kind=st.sampled_from(KINDS + STORED),
    seed=st.integers(0, 9),
    changes=st.lists(mutations, min_size=1, max_size=3),
)
@example(kind="parquet", seed=0, changes=[("replace", 75, b"user")])  # beyond the dictionary
def test_valid_files_that_were_changed(tmp_path_factory, kind, seed, changes):
    files, store = valid()
    content = mutated(files[kind][seed % len(files[kind])], changes)
    folder = tmp_path_factory.mktemp("fuzz")
    assert fuzzer.outcome(kind, content, folder, store) in ("read", "refused")


def test_valid_files_are_read(tmp_path):
    files, store = valid()
    for kind, contents in files.items():
        for content in contents:
            file = content + b"\n" * (-len(content) % 7) if kind in ("text", "gzip") else content
            assert fuzzer.outcome(kind, file, tmp_path, store) == "read", (kind, content)


characters = st.characters(
    exclude_categories=["Cs"], exclude_characters="\0\ufeff\u200b\u200c\u2060\xad"
)
names = st.text(characters, min_size=1, max_size=8).filter(str.strip)


@settings(max_examples=60)
@given(
    rows=st.lists(st.tuples(names, names, st.integers(0, 1)), min_size=1, max_size=12),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    separator=st.sampled_from([",", ";", "\t"]),
)
@example(rows=[("\x1c\x85a", 'b"\r', 1)], end="\r", separator="\t")
def test_any_text_in_quotes_comes_back(tmp_path_factory, rows, end, separator):
    folder = tmp_path_factory.mktemp("fuzz")
    path, text = folder / "answers.csv", io.StringIO()
    writer = csv.writer(text, delimiter=separator, quoting=csv.QUOTE_ALL, lineterminator=end)
    writer.writerows([("user", "skill", "correct"), *rows])
    path.write_bytes(text.getvalue().encode())
    want = {}
    for user, skill, correct in rows:
        user, skill = (unicodedata.normalize("NFC", text.strip()) for text in (user, skill))
        want.setdefault(user, []).append((skill, correct))
    as_it_is = ReadOptions(skill_separator="none", missing_as_text=True)
    assert histories(read_table(path, as_it_is)[0]) == want
    assert stored_histories(convert(path, folder / "stored", as_it_is)) == want
