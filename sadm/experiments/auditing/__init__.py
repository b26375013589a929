"""The audit of a run: draws images, looks for copies of training images, and shows what it found on one page."""

from sadm.experiments.auditing.page import notes, render_audit, verdict_line
from sadm.experiments.auditing.runs import RunAudit, audit_run
from sadm.experiments.auditing.texts import texts

__all__ = ["RunAudit", "audit_run", "notes", "render_audit", "texts", "verdict_line"]
