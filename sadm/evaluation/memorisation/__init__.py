"""Memorisation: are generated images copies of training images, and closer to them than fresh images are?"""

from sadm.evaluation.memorisation.audit import Audit, SpaceFinding, audit
from sadm.evaluation.memorisation.comparison import Closeness, closeness
from sadm.evaluation.memorisation.copies import CopySearch, Matches
from sadm.evaluation.memorisation.parts import AuditParts
from sadm.evaluation.memorisation.threshold import CopyThreshold, share_interval

__all__ = [
    "Audit",
    "AuditParts",
    "Closeness",
    "CopySearch",
    "CopyThreshold",
    "Matches",
    "SpaceFinding",
    "audit",
    "closeness",
    "share_interval",
]
