"""The release: record, model card, registration in MLflow, and the way back.

Promises: one digest names a release and covers all that decided it; registering twice changes
nothing; a refused merge never becomes a version; the champion is moved last, and back only to a
target that was loaded and checked. Importing this package imports neither MLflow nor torch; each is
imported by the function that needs it. Must not know: how a verdict is reached, or who runs the
release.
"""

from pipeline.release.bundle import read_bundle, write_bundle
from pipeline.release.card import render_card
from pipeline.release.history import status
from pipeline.release.record import build_record, unmerged_set
from pipeline.release.registry import Registered, log_refusal, register_merge, register_unmerged
from pipeline.release.rehearsal import Rehearsal, rehearse_version
from pipeline.release.rollback import Rollback, rehearse, rollback
from pipeline.release.unmerged import Answer, Probe

__all__ = [
    "Answer",
    "Probe",
    "Registered",
    "Rehearsal",
    "Rollback",
    "build_record",
    "log_refusal",
    "read_bundle",
    "register_merge",
    "register_unmerged",
    "rehearse",
    "rehearse_version",
    "render_card",
    "rollback",
    "status",
    "unmerged_set",
    "write_bundle",
]
