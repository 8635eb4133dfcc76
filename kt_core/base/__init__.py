"""Errors, files, places, locks, values, devices, processes, log: nothing of knowledge tracing."""

from kt_core.base.errors import KTError
