"""Files that are written completely or not at all.

A file is first written under a hidden name in the same folder (``.<random>.tmp``), forced to the
disk, and then renamed in one step. After an error the old file is as it was, and nothing else is
left. Only a kill or a power cut can leave the hidden file behind: nothing reads it, and it may be
removed.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from safetensors import SafetensorError

from kt_core.base.errors import KTError, reason
from kt_core.base.values import path_of

MOST_JSON = 256 << 20  # bytes; a million skills need a tenth of it


@contextlib.contextmanager
def renamed(path: Path) -> Iterator[Path]:
    """A hidden name to write to, which becomes `path` when the block ends without an error.

    Raises
    ------
    OSError
        The system's error, after the hidden file has been removed.
    """
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        temporary.touch()
        mode = temporary.stat().st_mode  # as the user's umask has it; some libraries choose 0600
        yield temporary
        temporary.chmod(mode)
        _sync(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync(path.parent)  # otherwise a power cut could undo the renaming


@contextlib.contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """`renamed`, for files that a user asked for.

    Raises
    ------
    KTError
        When the file cannot be written, with its name and the reason.
    """
    path = Path(path)
    try:
        with renamed(path) as temporary:
            yield temporary
    except (OSError, SafetensorError) as error:
        raise KTError(f"{path}: cannot be written ({_reason(error)})") from None


def write_text(path: str | Path, text: str) -> None:
    """Write a text file, as UTF-8, completely or not at all.

    Raises
    ------
    KTError
        When it cannot be written.
    """
    with whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises
    ------
    KTError
        When the file is missing, larger than 256 MiB, or anything else.
    """
    is_there(path)
    try:
        if path.stat().st_size > MOST_JSON:
            raise KTError(f"{path}: larger than any file of its name; is it from another program?")
        content = json.loads(path.read_text(encoding="utf-8"))
    except KTError:
        raise
    except (OSError, ValueError, RecursionError) as error:  # JSON's and Unicode's are ValueErrors
        raise KTError(f"{path}: cannot be read as JSON ({reason(error)})") from None
    if not isinstance(content, dict):
        raise KTError(f"{path}: expected a JSON object, not {type(content).__name__}")
    return content


def write_json(path: str | Path, content: Any) -> None:
    """Write a JSON file, completely or not at all.

    Raises
    ------
    KTError
        When it cannot be written.
    """
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def copy(source: str | Path, target: str | Path) -> None:
    """Copy the content of a file, completely or not at all.

    Raises
    ------
    KTError
        When the copy cannot be written.
    """
    with whole(target) as temporary:
        shutil.copyfile(source, temporary)


def is_there(path: Path) -> bool:
    """Whether a file is there to be read.

    Raises
    ------
    KTError
        When something else has its name: a folder, a pipe or a device, from which reading would
        never end, or a link to nothing.
    """
    if path.is_file():
        return True
    if os.path.lexists(path):
        raise KTError(
            f"{path}: not a file but a folder, pipe, device or broken link; remove it, or restore "
            "the file"
        )
    return False


def make_folder(path: str | Path) -> Path:
    """Make a folder and those above it, where they do not exist.

    Raises
    ------
    KTError
        When a file has that name, or nothing can be written there.
    """
    path = path_of("folder", path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise KTError(f"{path}: cannot be written ({_reason(error)})") from None
    return path


@contextlib.contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """A hidden folder to fill, which becomes `path` if the block ends without an error.

    Raises
    ------
    KTError
        When it cannot be written, or `path` has come to exist meanwhile.
    """
    path = Path(path).absolute()
    partial = path.with_name(f".partial-{path.name[:100]}-{secrets.token_hex(8)}")
    try:
        partial.mkdir(parents=True)
        yield partial
        partial.rename(path)
    except OSError as error:
        raise KTError(f"{path}: cannot be written ({_reason(error)})") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _reason(error: Exception) -> str:
    return reason(getattr(error, "strerror", None) or error)


def _sync(path: Path) -> None:
    """Wait until the file, or the names in the folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def plain(value: Any) -> Any:
    """Nested tables and numbers as plain JSON; non-finite values become null, draws are dropped."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items() if k != "draws"}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value


FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how names begin that a spreadsheet computes


def formulas(table: pd.DataFrame) -> set[str]:
    """The names of learners and skills that a spreadsheet would compute as formulas."""
    names = {*table["learner"].astype(str), *table["skill"].astype(str)}
    return {name for name in names if name.startswith(FORMULA)}


def check_target(path: str | Path) -> Path:
    """The path of a table to write. Raise a KTError if nothing could be written there."""
    path = Path(path)
    if path.suffix not in (".parquet", ".csv"):
        raise KTError(f"{path}: name it .parquet or .csv")
    if not path.absolute().parent.is_dir():
        raise KTError(f"{path}: cannot be written, there is no folder {path.absolute().parent}")
    return path


def write_table(table: pd.DataFrame, path: str | Path) -> Path:
    """Write Parquet or CSV, by the file's name, completely or not at all.

    Raises
    ------
    KTError
        For another kind of file, or a path that cannot be written.
    """
    return write_tables([table], path)


def write_tables(tables: Iterable[pd.DataFrame], path: str | Path) -> Path:
    """Write tables with the same columns, at least one, as one: piece by piece.

    Raises
    ------
    KTError
        As of `write_table`.
    """
    from pyarrow.parquet import ParquetWriter  # only where a table is written

    path = check_target(path)
    with whole(path) as temporary, contextlib.ExitStack() as stack:
        writer = None
        for number, table in enumerate(tables):
            if path.suffix == ".csv":
                mode = "a" if number else "w"
                table.to_csv(temporary, index=False, header=not number, mode=mode)
                continue
            columns = pa.Table.from_pandas(table, preserve_index=False)
            if writer is None:
                writer = stack.enter_context(ParquetWriter(temporary, columns.schema))
            writer.write_table(columns)
    return path
