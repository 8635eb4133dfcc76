"""Readers: from the field's file formats to rows of the canonical table."""

from kt_core.data.formats.readers import read_table
