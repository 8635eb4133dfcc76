"""Long tables, one row per answer: CSV, TSV, Parquet, spreadsheets and tables in memory.

Some published formats keep skills or times in a second file; it is found next to the first.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv

from kt_core.base.errors import KTError
from kt_core.data.formats import limits, parquet, sheet
from kt_core.data.formats.columns import Columns, choose, missing
from kt_core.data.formats.frames import as_texts, check_values
from kt_core.data.formats.layouts import layout_of
from kt_core.data.formats.source import Source
from kt_core.data.formats.text import (
    Watched,
    check_rows,
    delimiter,
    first_line,
    header_of,
    read_delimited,
)
from kt_core.data.reading import Meaning, ReadOptions
from kt_core.data.reading.note import Use
from kt_core.data.reading.values import ALWAYS, each, hidden, plain

BLOCK_BYTES = 8 << 20  # of text read at a time; no row may be longer
BLOCK_ROWS = 500_000  # of a Parquet file read at a time
RIIID, EEDI = "Riiid", "Eedi (NeurIPS 2020)"
OTHER_FILE = {  # format -> (role, key, file next to it, columns of key and value)
    RIIID: (("skill", "item", "questions.csv", ("question_id", "tags")),),
    EEDI: (
        (
            "timestamp",
            "answer",
            "metadata/answer_metadata_{task}.csv",
            ("AnswerId", "DateAnswered"),
        ),
        ("skill", "item", "metadata/question_metadata_{task}.csv", ("QuestionId", "SubjectId")),
    ),
}
TREE = ("metadata/subject_metadata.csv", ("SubjectId", "ParentId"))


def long_source(path: Path, options: ReadOptions, piecewise: bool = False) -> Source:
    """A long table in a file.

    Parameters
    ----------
    piecewise : read it in blocks, however large it is; line numbers in messages are then only right
        where each row is one line.

    Raises
    ------
    KTError
        When it cannot be read, or a column is missing or could be another.
    """
    if parquet.is_parquet(path):
        columns = _columns(parquet.header_of(path), path, options)
        blocks = partial(_parquet_blocks, path, columns, piecewise)
        return _source(path.name, (path,), columns, options, blocks)
    if sheet.is_sheet(path):
        table, remark = sheet.read_sheet(path)
        line = table.pop("\0line").to_numpy()
        try:
            source = frame_source(table, path.name, options, line, path)
        except KTError as error:
            raise KTError(f"{error}; {remark}" if remark else str(error)) from None
        return replace(source, files=(path,), remarks=(remark,) if remark else ())
    columns = _columns(header_of(path, options.encoding), path, options)
    read = _text_blocks if piecewise else _whole_text
    blocks = partial(read, path, columns, options)
    comma = delimiter(first_line(path, options.encoding)) == ";"
    return _source(path.name, (path,), columns, options, blocks, comma)


def frame_source(
    table: pd.DataFrame,
    name: str,
    options: ReadOptions,
    line: np.ndarray | None = None,
    path: Path | None = None,
) -> Source:
    """A long table in memory; rows are counted from 1, or by `line`."""
    columns = _columns([str(c) for c in table.columns], path or Path(name), options)
    table = table.reset_index(drop=True)
    for part, places in columns.places.items():
        check_values(table.iloc[:, places[0]], f"{name}, column {table.columns[places[0]]!r}", part)

    def blocks() -> Iterator[pd.DataFrame]:
        places = _positions(columns)
        found = as_texts(pd.DataFrame({p: table.iloc[:, i] for p, i in places.items()}))
        if _hashed(columns):
            hashes = pd.util.hash_pandas_object(as_texts(_numbered(table)), index=False)
            found["row"] = hashes.to_numpy().view(np.int64)
        found["line"] = np.arange(len(table)) + 1 if line is None else line
        yield _joined(found, columns)

    return _source(name, (), columns, options, blocks)


def _numbered(table: pd.DataFrame) -> pd.DataFrame:
    return table.set_axis(range(table.shape[1]), axis=1)


def _columns(header: list[str], path: Path, options: ReadOptions) -> Columns:
    """The columns of a table, with those that stand in a second file."""
    layout = layout_of(header)
    lookups = {}
    names = set(map(plain, header))
    for role, key, place, pair in OTHER_FILE.get(layout.name, ()):
        usual = layout.names[role].split()[0]
        if usual in names or role in options.columns:
            continue
        file = _next_to(path, place)
        if file is not None:
            lookups[role] = (key, _pairs(file, *pair), f"{pair[1]} in {file.name}")
    show = options.show
    columns = choose(header, options.columns, path, show, options.kc_model, tuple(lookups))
    uses = [u for u in columns.uses if u.role not in lookups]
    uses += [Use(role, label) for role, (_, _, label) in lookups.items()]
    return replace(columns, uses=tuple(uses), lookups=lookups)


def _next_to(path: Path, place: str) -> Path | None:
    task = path.stem.removeprefix("train_").removeprefix("test_")
    place = place.format(task=task)
    folders = (path.parent, path.parent.parent)
    files = (folder / name for folder in folders for name in (place, Path(place).name))
    return next((file for file in files if file.is_file()), None)


def _pairs(path: Path, key: str, value: str) -> dict[str, str]:
    """Two columns of a small file, as key -> value."""

    def wanted(header: list[str]) -> dict[str, int]:
        names = [plain(n) for n in header]
        for name in (key, value):
            if plain(name) not in names:
                raise KTError(missing(path, name, header, repr))
        return {"key": names.index(plain(key)), "value": names.index(plain(value))}

    table = read_delimited(path, wanted)
    return dict(zip(each(table["key"], _key), table["value"].str.strip(), strict=True))


def _key(text: str) -> str:
    """An id as a whole number, also where it was a float."""
    return text.strip().removesuffix(".0")


def _source(
    name: str,
    files: tuple[Path, ...],
    columns: Columns,
    options: ReadOptions,
    blocks: Callable[[], Iterator[pd.DataFrame]],
    comma: bool = False,
) -> Source:
    """What is known of a long table."""
    layout, remarks = columns.layout, ()
    tree: dict[str, str] = {}
    if layout.name == EEDI and files:
        _check_complete(files[0], columns)
        subjects = _next_to(files[0], TREE[0])
        if subjects is not None:
            tree = _pairs(subjects, *TREE[1])
            tree = {child: parent for child, parent in tree.items() if parent not in ("", "NULL")}
    separators = layout.separators or ALWAYS
    if layout.name == RIIID and "skill" in columns.lookups:
        separators = (*ALWAYS, " ")
    if layout.name == RIIID and not {"skill"} <= set(columns.lookups):
        remarks = (
            "skills are the parts of the test; put questions.csv next to the file for its tags",
        )
    titles = {p: columns.header[i[0]] for p, i in columns.places.items()}
    parts = [*columns.places, *columns.lookups]
    named = {part: columns.name(part) or columns.lookups[part][2] for part in parts}
    required = ("user", "skill", "correct")
    meaning = Meaning(
        layout=layout,
        titles={part: titles[part] for part in required if part in titles},
        separators=separators,
        time_named=columns.time_named,
        numbered=columns.numbered,
        comma=comma,
        tree=tree,
        leaves=layout.name == EEDI,
    )
    return Source(name, layout.name, files, meaning, columns.uses, named, blocks, remarks)


def _check_complete(path: Path, columns: Columns) -> None:
    """Raise a KTError for an Eedi file without its times, which stand in a second file."""
    if not any(use.role == "timestamp" for use in columns.uses):
        raise KTError(
            f"{path}: an Eedi file without DateAnswered; put the folder metadata/ with its "
            "answer_metadata file next to it, or say that there is no time: --column timestamp="
        )


def _positions(columns: Columns) -> dict[str, int]:
    """Name in a block -> position: further columns of a part are `part.1`, `part.2`, ..."""
    return {
        f"{part}.{i}" if i else part: place
        for part, places in columns.places.items()
        for i, place in enumerate(places)
    }


def _hashed(columns: Columns) -> bool:
    """Whether equal rows can be known: a time has to tell answers apart."""
    return "timestamp" in columns.places or "timestamp" in columns.lookups


def _joined(block: pd.DataFrame, columns: Columns) -> pd.DataFrame:
    """A block with the columns from a second file."""
    for role, (key, values, label) in columns.lookups.items():
        keys = each(block[key], _key)
        found = keys.map(values)
        if role == "timestamp" and found.isna().any():
            at = found.isna().idxmax()
            raise KTError(
                f"line {block['line'][at]}: answer {keys[at]!r} has no {label}; complete that "
                "file, or say that there is no time: --column timestamp="
            )
        block[role] = found.fillna("")
    return block.drop(columns="answer", errors="ignore")


def _whole_text(path: Path, columns: Columns, options: ReadOptions) -> Iterator[pd.DataFrame]:
    """A text file in one block, each row with its line."""
    places = _positions(columns)
    table = read_delimited(path, lambda _: places, options.encoding, _hashed(columns))
    yield _joined(table, columns)


def _parquet_blocks(path: Path, columns: Columns, piecewise: bool) -> Iterator[pd.DataFrame]:
    """A Parquet file block by block; in memory, within the limits."""
    places, rows, size = _positions(columns), parquet.rows_claimed(path), 0
    if not piecewise and rows > limits.MOST_ROWS:
        raise KTError(
            f"{path}: {rows:,} rows; more than {limits.MOST_ROWS:,} are not read into memory; "
            f"{limits.BY_CONVERT}"
        )
    first = 1
    most = BLOCK_ROWS if piecewise else 100_000
    for block in parquet.read_blocks(path, lambda _: places, most, _hashed(columns)):
        size += sum(int(block[name].str.len().sum()) for name in places)
        if not piecewise and size > limits.TEXT_CHARS:
            raise KTError(
                f"{path}: more than {limits.TEXT_CHARS:,} characters of text are not read into "
                f"memory; {limits.BY_CONVERT}"
            )
        block["line"] = np.arange(first, first + len(block))
        first += len(block)
        yield _joined(block, columns)


def _text_blocks(path: Path, columns: Columns, options: ReadOptions) -> Iterator[pd.DataFrame]:
    """A text file of any size, block by block. The columns go by number, as names may repeat."""
    places, hashed = _positions(columns), _hashed(columns)
    first = first_line(path, options.encoding)
    names = [f"f{i}" for i in range(len(columns.header))]
    wanted = names if hashed else [names[i] for i in sorted(set(places.values()))]
    file = Watched(path, options.encoding)
    try:
        reader = pacsv.open_csv(
            pa.PythonFile(file, "r"),
            read_options=pacsv.ReadOptions(block_size=BLOCK_BYTES, column_names=names),
            parse_options=pacsv.ParseOptions(
                delimiter=delimiter(first),
                newlines_in_values=True,
                invalid_row_handler=lambda row: "error" if row.text.strip() else "skip",
            ),
            convert_options=pacsv.ConvertOptions(  # as text: ids keep their leading zeros
                include_columns=wanted,
                column_types=dict.fromkeys(names, pa.string()),
                strings_can_be_null=False,
            ),
        )
        line, header = 1, True
        for batch in reader:
            batch, header = batch.slice(1) if header else batch, False
            table = batch.select([names[i] for i in places.values()]).to_pandas()
            block = pd.DataFrame(dict(zip(places, table.to_numpy().T, strict=True)), dtype=object)
            if hashed:
                trimmed = [pa.compute.utf8_trim_whitespace(c) for c in batch.columns]
                together = pa.compute.binary_join_element_wise(*trimmed, "\x1f")
                values = together.to_pandas().to_numpy(object)
                block["row"] = pd.util.hash_array(values, categorize=False).view(np.int64)
            block["line"] = np.arange(line + 1, line + 1 + len(block))
            line += len(block)
            yield _joined(block, columns)
    except (pa.ArrowException, OSError, EOFError, zlib.error) as error:
        check_rows(path, options.encoding)
        reason = "" if options.show is hidden else f" ({error})"  # it may hold a row
        raise KTError(
            f"{path}: cannot be read{reason}. It must be complete, in UTF-8 (or the --encoding "
            "that you give), and have as many fields in every row as in the header"
        ) from None
    finally:
        file.close()
    if file.quotes % 2:
        check_rows(path, options.encoding)
