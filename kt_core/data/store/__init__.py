"""Data larger than memory: converted once, then mapped from disk instead of loaded."""

from kt_core.data.store.read import is_stored, stored_splits
