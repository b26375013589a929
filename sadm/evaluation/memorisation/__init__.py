"""Memorisation: are generated images copies of training images, and closer to them than fresh images are?"""

from sadm.evaluation.memorisation.audit import VERDICTS, Audit, Auditor, SpaceFinding, audit, check_sets, verdict_of
from sadm.evaluation.memorisation.comparison import Closeness, closeness
from sadm.evaluation.memorisation.copies import CopySearch, Matches
from sadm.evaluation.memorisation.copy_test import Compared, CopyTest
from sadm.evaluation.memorisation.parts import AuditParts
from sadm.evaluation.memorisation.threshold import CopyThreshold, share_interval

__all__ = [
    "VERDICTS",
    "Audit",
    "AuditParts",
    "Auditor",
    "Closeness",
    "Compared",
    "CopySearch",
    "CopyTest",
    "CopyThreshold",
    "Matches",
    "SpaceFinding",
    "audit",
    "check_sets",
    "closeness",
    "share_interval",
    "verdict_of",
]
