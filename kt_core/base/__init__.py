"""Errors, files, locks, values, devices, processes, log: knows nothing of knowledge tracing."""

from kt_core.base.errors import KTError

__all__ = ["KTError"]
