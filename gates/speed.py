"""The latency check: whether the merge answers quickly enough beside base plus adapter."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from gates import wording
from gates.policy import LATENCY, LatencyRule
from gates.row import Reason


def judge_latency(rule: LatencyRule, report: Mapping[str, Any] | None) -> Reason:
    """The reason for `report`, the report of the latency stage in milliseconds."""
    ratio = _ratio(report, rule.metric)
    if ratio is None:
        way_out = (
            "Run the latency stage; where no expert is an adapter, take latency out of the policy."
        )
        faults = [f"there is no {rule.metric} of the merge and of base plus adapter"]
        text = wording.cannot_judge(LATENCY, faults, way_out)
        return Reason("merged", LATENCY, "cannot judge", text)
    within = ratio <= rule.max_ratio
    text = wording.latency(rule, ratio, within=within)
    return Reason("merged", LATENCY, "promote" if within else "reject", text)


def _ratio(report: Mapping[str, Any] | None, metric: str) -> float | None:
    """The merge's time over base plus adapter's; None unless both are positive and finite."""
    try:
        ours, theirs = (float((report or {})[side][metric]) for side in ("merged", "unmerged"))
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    fit = all(math.isfinite(ms) and ms > 0 for ms in (ours, theirs))
    return ours / theirs if fit else None
