"""Errors, files, locks, values, devices, processes, log: nothing specific to knowledge tracing."""

from kt_core.base.errors import KTError
