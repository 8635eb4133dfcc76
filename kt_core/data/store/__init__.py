"""Data larger than memory: converted once, then mapped from disk and never loaded whole."""

from kt_core.data.store.read import is_stored, stored_splits

__all__ = ["is_stored", "stored_splits"]
