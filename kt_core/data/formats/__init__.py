"""Readers: files as people have them in, rows of the canonical table out."""

from kt_core.data.formats.readers import read_table

__all__ = ["read_table"]
