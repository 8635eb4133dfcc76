"""Columns of numbers in one Arrow file, written piece by piece and read by mapping."""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa

from kt_core.base.errors import KTError


class ColumnWriter:
    """An Arrow file of `rows` rows in one record batch, filled from the front.

    The batch is built on disk, next to the file, which appears when the last row has been written.

    Parameters
    ----------
    dtypes : name -> NumPy type of each column.
    """

    def __init__(self, path: Path, rows: int, dtypes: dict[str, str]):
        self.path, self.rows, self.filled = path, rows, 0
        self.folder = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
        self.folder.mkdir()
        try:
            self.columns = {n: _reserved(self.folder / n, t, rows) for n, t in dtypes.items()}
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def append(self, **values: np.ndarray) -> None:
        """Write the next rows of every column."""
        end = self.filled + len(next(iter(values.values())))
        for name, column in self.columns.items():
            column[self.filled : end] = values[name]
        self.filled = end

    def __enter__(self) -> ColumnWriter:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self.columns.clear()
            shutil.rmtree(self.folder, ignore_errors=True)

    def _finish(self) -> None:
        if self.filled != self.rows:
            raise KTError(f"{self.path}: {self.filled:,} rows written, but {self.rows:,} expected")
        arrays = [
            pa.Array.from_buffers(
                pa.from_numpy_dtype(column.dtype), self.rows, [None, pa.py_buffer(column)]
            )
            for column in self.columns.values()
        ]
        batch = pa.RecordBatch.from_arrays(arrays, names=list(self.columns))
        temporary = self.folder / "whole"
        with pa.OSFile(str(temporary), "wb") as file, pa.ipc.new_file(file, batch.schema) as writer:
            writer.write_batch(batch)
        temporary.replace(self.path)


def _reserved(path: Path, dtype: str, rows: int) -> np.memmap:
    """A column on disk, its space reserved: a full disk is an error now, not a bus error later."""
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, rows * np.dtype(dtype).itemsize)
    return np.memmap(path, dtype, "r+", shape=(rows,))


def mapped(path: Path) -> dict[str, np.ndarray]:
    """The columns of an Arrow file as read-only arrays, mapped from disk.

    Raises
    ------
    KTError
        When the file is missing or damaged.
    """
    try:
        batch = pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)
        batch.validate()
    except (pa.ArrowException, OSError, IndexError) as error:
        raise KTError(
            f"{path}: not a readable Arrow file ({error}); convert the data again"
        ) from None
    names = batch.schema.names
    return {n: c.to_numpy(zero_copy_only=True) for n, c in zip(names, batch.columns, strict=True)}
