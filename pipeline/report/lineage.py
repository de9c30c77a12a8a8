"""Where the release comes from, drawn: base, experts, merge, quantized artifact; and the same as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from pipeline.report.lenient import part, words
from pipeline.report.visible import clipped, tail
from pipeline.report.wording import brief

_BOX_WIDTH, _BOX_HEIGHT, _GAP = 210, 84, 14
_CHARACTERS = 26  # of 13 px type in a box
_COLUMN = 250  # from one column of boxes to the next
_NARROW, _INDENT = 340, 26


def sources_of(record: Mapping[str, Any]) -> list[dict[str, str]]:
    """The base, the experts in the order of the record, then whatever else the recipe names."""
    rollback, pins = part(record, "rollback"), part(record, "identity", "sources")
    members = {"base": part(rollback, "base"), **part(rollback, "experts")}
    listed = {words(member, "reference"): role for role, member in members.items() if member}
    others = {reference: "source" for reference in sorted(pins) if reference not in listed}
    domains = part(record, "domains")
    return [
        _source(role, reference, part(pins, reference), part(members, role), domains)
        for reference, role in {**listed, **others}.items()
    ]


def lineage(record: Mapping[str, Any]) -> dict[str, Any]:
    """Both drawings for the template: {wide, narrow}, each {width, height, boxes, lines}."""
    columns = [[_box(s) for s in part_] for part_ in _by_role(sources_of(record))]
    columns += [[box] for box in _made(record)]
    return {"wide": _wide(columns), "narrow": _narrow(columns)}


def _source(
    role: str,
    reference: str,
    pin: Mapping[str, Any],
    member: Mapping[str, Any],
    domains: Mapping[str, Any],
) -> dict[str, str]:
    top = part(pin, "adapter") or part(pin, "model")
    return {
        "role": role,
        "reference": reference,
        "kind": "adapter" if part(pin, "adapter") else "model",
        "domain": words(domains, role),
        "licence": words(top, "licence") or "not stated",
        "revision": words(top, "revision") or words(member, "revision"),
        "digest": words(top, "digest") or words(member, "digest"),
        "architecture": words(pin, "model", "architecture_hash"),
    }


def _by_role(sources: Sequence[Mapping[str, str]]) -> list[list[Mapping[str, str]]]:
    """The base, then the others; a column without any source is left out."""
    base = [s for s in sources if s["role"] == "base"]
    return [c for c in (base, [s for s in sources if s["role"] != "base"]) if c]


def _box(source: Mapping[str, str]) -> dict[str, Any]:
    revision = f", {source['revision'][:8]}" if source["revision"] else ""
    return {
        "kind": "base" if source["role"] == "base" else "source",
        "title": clipped(source["role"], 24),
        "lines": [
            tail(source["reference"].rsplit("+", 1)[-1], _CHARACTERS),
            clipped(f"{source['kind']}, {source['licence']}{revision}", _CHARACTERS),
        ],
        "digest": brief(source["digest"]),
    }


def _made(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The merge, and the quantized artifact where there is one."""
    identity, quantization = part(record, "identity"), part(record, "quantization")
    promoted = words(record, "verdict", "outcome") == "promote"
    made = [
        {
            "kind": "made",
            "title": "merge",
            "lines": [
                clipped(words(record, "method", "name") or "method not stated", _CHARACTERS),
                f"recipe {brief(words(identity, 'recipe', 'digest'))}",
            ],
            "digest": brief(words(identity, "merged")),
        }
    ]
    if words(identity, "quantized"):
        how = (words(quantization, key) for key in ("scheme", "algorithm"))
        group = words(quantization, "group_size")
        made.append(
            {
                "kind": "ships" if promoted else "made",
                "title": "quantized: ships" if promoted else "quantized",
                "lines": [
                    clipped(", ".join(filter(None, how)) or "scheme not stated", _CHARACTERS),
                    f"groups of {group}" if group else "",
                ],
                "digest": brief(words(identity, "quantized")),
            }
        )
    else:
        made[0]["title"] = "merge: ships" if promoted else "merge, not quantized"
    return made


def _wide(columns: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Columns from left to right, each in the middle of the height."""
    step = _BOX_HEIGHT + _GAP
    height = max(len(column) for column in columns) * step + _GAP
    placed = [
        [
            _place(box, 4 + n * _COLUMN, round((height - len(column) * step + _GAP) / 2 + i * step))
            for i, box in enumerate(column)
        ]
        for n, column in enumerate(columns)
    ]
    lines = [
        _curve(one, other) for left, right in pairwise(placed) for one in left for other in right
    ]
    boxes = [box for column in placed for box in column]
    return {"name": "wide", "width": max(4, len(columns)) * _COLUMN, "height": height} | {
        "boxes": boxes,
        "lines": lines,
    }


def _narrow(columns: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """One below the other; a rail at the left leads through the sources to what was made of them."""
    step = _BOX_HEIGHT + _GAP
    boxes, lines, y, rail = [], [], 4, 10
    for column in columns:
        for box in column:
            boxes.append(_place(box, _INDENT, y, _NARROW - _INDENT - 4))
            lines.append(f"M{rail} {y + _BOX_HEIGHT // 2}H{_INDENT}")
            y += step
    first, last = boxes[0]["y"] + _BOX_HEIGHT // 2, boxes[-1]["y"] + _BOX_HEIGHT // 2
    lines.append(f"M{rail} {first}V{last}")
    return {"name": "narrow", "width": _NARROW, "height": y} | {"boxes": boxes, "lines": lines}


def _place(box: Mapping[str, Any], x: int, y: int, width: int = _BOX_WIDTH) -> dict[str, Any]:
    return {**box, "x": x, "y": y, "width": width, "height": _BOX_HEIGHT}


def _curve(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """From the middle of one box's right side to the middle of the other's left."""
    x, y = one["x"] + one["width"], one["y"] + one["height"] // 2
    to_x, to_y = other["x"], other["y"] + other["height"] // 2
    middle = (x + to_x) // 2
    return f"M{x} {y}C{middle} {y} {middle} {to_y} {to_x} {to_y}"
