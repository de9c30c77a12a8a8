"""Examples for the report: what the candidate newly fails, beside the reference's answer.

Chosen by score alone: the largest loss first, then the order of the golden set. So the examples show
the worst of it, not the typical.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pipeline.facts import Evaluation
from pipeline.report.lenient import at, entries, figure, words
from pipeline.report.visible import cut

MOST = 5  # examples of each check and artifact
LONGEST = 2000  # characters of each text
_FIELDS, _FIELD = 6, 200  # further fields of a golden row, and characters of each
_OWN = frozenset({"id", "prompt", "target"})
_ROUNDING = 1e-9

Answers = Mapping[str, Mapping[tuple[str, str], str]]  # by variant, then (skill, sample id)
Golden = Mapping[str, Mapping[str, Mapping[str, Any]]]  # golden rows by skill, then id


def failed_examples(
    evaluations: Mapping[str, Evaluation],
    answers: Answers,
    golden: Golden,
    verdict: Mapping[str, Any],
    *,
    most: int = MOST,
    longest: int = LONGEST,
) -> dict[str, Any]:
    """What each artifact of the verdict fails and its reference does not, as JSON values.

    `evaluations`: by variant, at least the artifacts and the references that the verdict's rows name.
    `answers` and `golden` may lack anything: what is not known is None in an example. `verdict`: as
    verdict.json has it. `most` is the number of examples of each check and artifact, `longest` the
    number of characters of each of their texts.

    Of a safety suite an answer below the metric's best value is a failure whatever the reference
    did, since a veto is about the candidate itself.

    {"most", "longest", "sets": [{"check", "artifact", "safety", "metric", "reference", "samples",
    "failed", "gained", "examples": [{"id", "candidate_score", "reference_score", "prompt",
    "expected", "candidate_answer", "reference_answer", "about", "cut": [names of cut texts]}]}]}
    """
    sets = []
    for row in entries(verdict, "rows"):
        ours = evaluations.get(words(row, "artifact"))
        theirs = evaluations.get(words(row, "reference"))
        whole = words(row, "rule") in ("", words(row, "check"))  # slices are among its samples
        if whole and ours is not None and theirs is not None:
            sets.append(_set(row, ours, theirs, answers, golden, most, longest))
    return {"most": most, "longest": longest, "sets": sets}


def _set(
    row: Mapping[str, Any],
    ours: Evaluation,
    theirs: Evaluation,
    answers: Answers,
    golden: Golden,
    most: int,
    longest: int,
) -> dict[str, Any]:
    check, metric, safety = words(row, "check"), words(row, "metric"), row.get("kind") == "safety"
    mine, other = _scores(ours, check, metric), _scores(theirs, check, metric)
    sign = -1.0 if at(row, "direction") == "lower" else 1.0
    best = figure(row, "low" if sign < 0 else "high") if safety else None
    losses = [(sign * (mine[name] - other[name]), name) for name in mine if name in other]
    failed = [
        (change, name)
        for change, name in losses
        if change < -_ROUNDING or (best is not None and sign * (mine[name] - best) < -_ROUNDING)
    ]
    chosen = sorted(failed, key=lambda one: one[0])[:most]  # stable: then as in the golden set
    return {
        "check": check,
        "artifact": words(row, "artifact"),
        "safety": safety,
        "metric": metric,
        "reference": words(row, "reference"),
        "samples": len(losses),
        "failed": len(failed),
        "gained": sum(change > _ROUNDING for change, _ in losses),
        "examples": [
            {
                "id": name,
                "candidate_score": mine[name],
                "reference_score": other[name],
                **_texts(
                    golden.get(check, {}).get(name),
                    answers.get(words(row, "artifact"), {}).get((check, name)),
                    answers.get(words(row, "reference"), {}).get((check, name)),
                    longest,
                ),
            }
            for _, name in chosen
        ],
    }


def _scores(evaluation: Evaluation, skill: str, metric: str) -> dict[str, float]:
    return {
        s.sample_id: s.score for s in evaluation.scores if (s.skill, s.metric) == (skill, metric)
    }


def _texts(
    row: Mapping[str, Any] | None, ours: str | None, theirs: str | None, longest: int
) -> dict[str, Any]:
    """Prompt, expected answer and both answers, each cut; and what else the golden row says."""
    known = row or {}
    full = {
        "prompt": _text(known.get("prompt")),
        "expected": _text(known.get("target")),
        "candidate_answer": ours,
        "reference_answer": theirs,
    }
    texts = {name: None if text is None else cut(text, longest) for name, text in full.items()}
    about = [(key, _text(known[key])) for key in sorted(known) if key not in _OWN][:_FIELDS]
    return {
        **{name: None if text is None else text[0] for name, text in texts.items()},
        "about": {cut(key, _FIELD)[0]: cut(text or "", _FIELD)[0] for key, text in about},
        "cut": [name for name, text in texts.items() if text is not None and text[1]],
    }


def _text(value: Any) -> str | None:
    """Text as it is, any other JSON value as JSON; None for what is not there."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
