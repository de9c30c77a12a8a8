"""The rows of the safety suites: templates, filled with a team's slots, drawn evenly and the same every time."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from pipeline.errors import InputError
from pipeline.evaluate.safety_encodings import ENCODINGS
from pipeline.evaluate.safety_slots import MINIMUM, Slots
from pipeline.evaluate.safety_templates import Category, Templates, fill, slots_in
from pipeline.facts import canonical_json

Row = dict[str, Any]
TRIES = 4  # draws of one cell in a row that gave nothing new, until it counts as used up


@dataclass(frozen=True)
class Cell:
    """One wording in one frame: what a row is drawn from, with what all its rows share."""

    category: str
    wording: str
    text: str
    shared: Mapping[str, Any] = field(default_factory=dict)
    tasks: bool = False  # whether a task and a word are drawn besides the slots
    form: str = ""  # of the injected order: a language, an encoding, or halves
    order: str = ""


def instantiate(templates: Templates, slots: Slots, seed: int = 0) -> dict[str, list[Row]]:
    """The rows of each suite, at most `slots.size`, spread evenly over categories, wordings and frames.

    Ids are of the content, and rows are ordered by id. Raises InputError where a suite would be too small to judge by.
    """
    cells = {
        "refusal": _framed(_kept(templates.refusal, slots), templates.refusal_frames, slots),
        "over_refusal": _lookalikes(templates, slots),
        "injection": _injections(templates, slots),
        "extraction": _framed(
            _kept(templates.extraction, slots), templates.extraction_frames, slots
        ),
    }
    suites = {kind: _rows(kind, found, slots, seed) for kind, found in cells.items()}
    small = [
        f"{kind}: the templates give {len(rows)} rows; a golden set needs {MINIMUM}. "
        "Leave fewer categories out, or give more persons and subjects."
        for kind, rows in suites.items()
        if len(rows) < MINIMUM
    ]
    if small:
        raise InputError.of(small)
    return suites


def _kept(categories: Sequence[Category], slots: Slots) -> list[Category]:
    return [category for category in categories if category.name not in slots.leave_out]


def _framed(categories: Sequence[Category], frames: Sequence[str], slots: Slots) -> list[Cell]:
    """Requests to decline: every wording in every frame."""
    cells = []
    for category in categories:
        shared: Row = {"target": slots.refusals[0], **_judged(slots)}
        if category.hand_on:
            shared["redirects"] = list(slots.contacts)
        for (number, request), frame in itertools.product(enumerate(category.texts), frames):
            wording = f"{category.name}/{number}"
            cells.append(Cell(category.name, wording, fill(frame, {"request": request}), shared))
    return cells


def _lookalikes(templates: Templates, slots: Slots) -> list[Cell]:
    """Requests to answer: the templates' own, and the domain's as a category `domain`."""
    named = [(c.name, c.lookalikes) for c in _kept(templates.refusal, slots)]
    cells = []
    for category, found in (*named, ("domain", slots.lookalikes)):
        for (number, one), frame in itertools.product(enumerate(found), templates.lookalike_frames):
            shared = {"target": one.target, **({"also": list(one.also)} if one.also else {})}
            text = fill(frame, {"request": one.request})
            cells.append(Cell(category, f"{category}/{number}", text, shared))
    return cells


def _injections(templates: Templates, slots: Slots) -> list[Cell]:
    """Tasks that carry an order: every place with every order that its category takes."""
    shared = _judged(slots)
    english = templates.orders["en"]
    ways: dict[str, list[tuple[str, str]]] = {
        "plain": [("en", order) for order in english],
        "languages": [
            (n, o) for n, orders in templates.orders.items() if n != "en" for o in orders
        ],
        "encodings": [(name, order) for name in ENCODINGS for order in english[:3]],
        "halves": [("halves", "")],
    }
    return [
        Cell(category.name, f"{category.name}/{number}", place, shared, True, form, order)
        for category in _kept(templates.injection, slots)
        for number, place in enumerate(category.texts)
        for form, order in ways[category.orders]
    ]


def _judged(slots: Slots) -> Row:
    return {"judge": {"model": slots.judge}} if slots.judge else {}


def _rows(kind: str, cells: Sequence[Cell], slots: Slots, seed: int) -> list[Row]:
    """Rows drawn from one category after the other, and there from one cell after the other."""
    names = sorted({cell.category for cell in cells})
    sources = [
        _draws(kind, [c for c in cells if c.category == n], slots, Random(f"{seed} {kind} {n}"))
        for n in names
    ]
    found: dict[str, Row] = {}
    while sources and len(found) < slots.size:
        for source in list(sources):
            row = next((row for row in source if _key(row) not in found), None)
            if row is None:
                sources.remove(source)
            elif len(found) < slots.size:
                found[_key(row)] = row
    return sorted(found.values(), key=lambda row: str(row["id"]))


def _key(row: Row) -> str:
    """What the check of golden sets takes for the same prompt."""
    return " ".join(row["prompt"].casefold().split())


def _draws(kind: str, cells: Sequence[Cell], slots: Slots, rng: Random) -> Iterator[Row]:
    """Rows of one category in rounds over its cells, until TRIES rounds gave no new prompt."""
    seen: set[str] = set()
    idle = 0
    while idle < TRIES:
        idle += 1
        for cell in rng.sample(cells, len(cells)):
            row = _row(kind, cell, slots, rng)
            if row["prompt"] not in seen:
                seen.add(row["prompt"])
                idle = 0
                yield row


def _row(kind: str, cell: Cell, slots: Slots, rng: Random) -> Row:
    values = {
        name: rng.choice(choices)
        for name, choices in slots.values().items()
        if name in slots_in(cell.text)
    }
    extra: Row = {}
    if cell.tasks:
        prompt, extra = _injected(cell, slots, values, rng)
    else:
        prompt = fill(cell.text, values)
    if kind == "extraction":
        extra["secrets"] = list(slots.secrets)
    if kind == "over_refusal":
        extra["target"] = fill(cell.shared["target"], values)
    row = {
        "prompt": prompt,
        "kind": kind,
        "category": cell.category,
        "wording": cell.wording,
        **cell.shared,
        **extra,
        **({"languages": list(slots.languages)} if slots.languages != ("en",) else {}),
        "refusals": list(slots.refusals),
    }
    digest = hashlib.sha256(canonical_json(row).encode()).hexdigest()[:12]
    return {"id": f"{kind}-{cell.category}-{digest}", **row}


def _injected(cell: Cell, slots: Slots, values: Mapping[str, str], rng: Random) -> tuple[str, Row]:
    """The prompt of a task whose data carries the order of `cell`, and what its row has besides."""
    task, word = rng.choice(slots.tasks), rng.choice(slots.words)
    order = fill(cell.order, {"word": word})
    half = len(word) // 2
    data = fill(
        cell.text,
        {
            **values,
            "data": task.data,
            "order": ENCODINGS[cell.form](order) if cell.form in ENCODINGS else order,
            "word": word,
            "head": word[:half],
            "tail": word[half:],
            "encoding": cell.form,
        },
    )
    decline = slots.injected == "decline"
    extra: Row = {"payload": word, "form": cell.form}
    extra |= (
        {"target": slots.refusals[0]} if decline else {"target": task.answer, "may_answer": True}
    )
    return fill(task.prompt, {"data": data}), extra
