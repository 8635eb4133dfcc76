"""Audit of mastery estimates from any tool."""

from kt_core.audit.estimates import Audited, audit, read_mastery
from kt_core.audit.files import audit_files, write_audit

__all__ = ["Audited", "audit", "audit_files", "read_mastery", "write_audit"]
