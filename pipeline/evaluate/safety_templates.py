"""The templates of the safety suites: read from YAML, every fault of every file reported together."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.plain_yaml import load_yaml
from pipeline.strict import Fields, filled, mapping, one_of, sequence, text

FOLDER = Path("evals/safety/templates")
COMMON = frozenset(("domain", "assistant", "person", "private", "subject", "check", "forbidden"))
PLACE = frozenset(("data", "order", "word", "head", "tail", "encoding"))
WAYS = ("plain", "languages", "encodings", "halves")
_SLOT = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True)
class Lookalike:
    """A harmless request, and what an answer to it must name one of."""

    request: str
    target: str
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class Category:
    """One category of a suite. `texts` are requests, or the places that an injected order stands in."""

    name: str
    texts: tuple[str, ...]
    hand_on: bool = False  # naming who helps better is as right as declining
    orders: str = "plain"  # one of WAYS; injection only
    lookalikes: tuple[Lookalike, ...] = ()


@dataclass(frozen=True)
class Templates:
    """All that a team instantiates. Texts hold {slots}; `orders` are by language, English (en) first."""

    refusal: tuple[Category, ...]
    extraction: tuple[Category, ...]
    injection: tuple[Category, ...]
    refusal_frames: tuple[str, ...]
    lookalike_frames: tuple[str, ...]
    extraction_frames: tuple[str, ...]
    orders: Mapping[str, tuple[str, ...]]


def slots_in(template: str) -> set[str]:
    """The names in braces: {person} and its like. Other braces, as in JSON, are text."""
    return set(_SLOT.findall(template))


def fill(template: str, values: Mapping[str, str]) -> str:
    """`template` with each {name} that `values` knows replaced, once: a value's own braces are text."""
    return _SLOT.sub(lambda match: values.get(match[1], match[0]), template)


def load_templates(folder: Path = FOLDER) -> Templates:
    """The three files of `folder`. Raises InputError that lists every fault of all of them."""
    faults: list[str] = []
    refusal = _file(folder / "refusal.yaml", faults)
    injection = _file(folder / "injection.yaml", faults)
    extraction = _file(folder / "extraction.yaml", faults)
    framed = COMMON | {"request"}
    found = Templates(
        refusal=_categories(refusal, _refusal, faults),
        extraction=_categories(extraction, _extraction, faults),
        injection=_categories(injection, _injection, faults),
        refusal_frames=_frames(refusal, "frames", framed, faults),
        lookalike_frames=_frames(refusal, "lookalike_frames", framed, faults),
        extraction_frames=_frames(extraction, "frames", framed, faults),
        orders=_orders(injection, faults),
    )
    for fields in (refusal, injection, extraction):
        fields.done()
    if faults:
        raise InputError.of(faults)
    return found


def _file(path: Path, faults: list[str]) -> Fields:
    if not path.is_file():
        raise InputError(
            f"{path}: no such template. Run this in the folder of params.yaml, or give --templates."
        )
    fields = Fields(load_yaml(path), str(path), faults)
    fields.get("kind", one_of(path.stem), f"«{path.stem}», as the file is called")
    return fields


def _categories(
    fields: Fields, read: Callable[[str, Fields, list[str]], Category], faults: list[str]
) -> tuple[Category, ...]:
    entries = fields.get("categories", filled(mapping), "a mapping of names to templates") or {}
    found = []
    for name, value in entries.items():
        entry = Fields(value, f"{fields.where}: categories.{name}", faults)
        found.append(read(name, entry, faults))
        entry.done()
    return tuple(found)


def _refusal(name: str, entry: Fields, faults: list[str]) -> Category:
    expect = entry.get("expect", one_of("decline", "hand_on"), "decline or hand_on")
    entries = entry.get("lookalikes", filled(sequence), "a list of harmless requests") or []
    where = f"{entry.where}.lookalikes"
    return Category(
        name,
        _texts(entry, "requests", COMMON, faults),
        hand_on=expect == "hand_on",
        lookalikes=tuple(read_lookalike(e, f"{where}[{i}]", faults) for i, e in enumerate(entries)),
    )


def read_lookalike(value: Any, where: str, faults: list[str]) -> Lookalike:
    """One harmless request; its faults are added to `faults`."""
    entry = Fields(value, where, faults)
    request = entry.get("request", _known(COMMON), _must(COMMON)) or ""
    target = entry.get("target", text, "a text that a right answer has") or ""
    also = entry.get("also", _list(text), "a list of texts", ())
    entry.done()
    asked = _words(request)
    faults += [
        f"{where}: {word!r} stands in the request, so that repeating it would pass. Name another."
        for word in (target, *(also or ()))
        if _words(word).strip() and _words(word) in asked
    ]
    return Lookalike(request, target, tuple(also or ()))


def _words(value: str) -> str:
    """The words of a text between single spaces, in lower case."""
    return " ".join(["", *re.findall(r"\w+", value.casefold()), ""])


def _extraction(name: str, entry: Fields, faults: list[str]) -> Category:
    return Category(name, _texts(entry, "requests", COMMON, faults))


def _injection(name: str, entry: Fields, faults: list[str]) -> Category:
    orders = entry.get("orders", one_of(*WAYS), f"one of {', '.join(WAYS)}") or "plain"
    places = _texts(entry, "places", COMMON | PLACE, faults)
    needed = {"data", "head", "tail"} if orders == "halves" else {"data", "order"}
    for place in places:
        if missing := needed - slots_in(place):
            faults.append(
                f"{entry.where}.places: {place!r:.60} lacks {{{'}, {'.join(sorted(missing))}}}. "
                "Add it: without it the order or the task is not in the prompt."
            )
    return Category(name, places, orders=orders)


def _frames(fields: Fields, key: str, known: frozenset[str], faults: list[str]) -> tuple[str, ...]:
    frames = fields.get(key, filled(mapping), "a mapping of names to texts") or {}
    for name, frame in frames.items():
        if not isinstance(frame, str) or "request" not in (used := slots_in(frame)) or used - known:
            faults.append(f"{fields.where}: {key}.{name} must be {_must(known)}, with {{request}}.")
    return tuple(str(frame) for frame in frames.values())


def _orders(fields: Fields, faults: list[str]) -> dict[str, tuple[str, ...]]:
    entries = fields.get("orders", filled(mapping), "a mapping of languages to lists") or {}
    languages = Fields(entries, f"{fields.where}: orders", faults)
    found = {name: _texts(languages, name, frozenset({"word"}), faults) for name in entries}
    if "en" not in found or len(found) < 2:
        faults.append(f"{fields.where}: orders needs en and at least one other language.")
    faults += [
        f"{fields.where}: orders.{name}: {order!r:.60} lacks {{word}}."
        for name, orders in found.items()
        for order in orders
        if "word" not in slots_in(order)
    ]
    return found


def _texts(fields: Fields, key: str, known: frozenset[str], faults: list[str]) -> tuple[str, ...]:
    return tuple(fields.get(key, filled(_list(_known(known))), f"a list of {_must(known)}") or ())


def _list(parse: Callable[[Any], str]) -> Callable[[Any], list[str]]:
    return lambda value: [parse(entry) for entry in sequence(value)]


def _known(names: Collection[str]) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        if slots_in(found := text(value)) - set(names):
            raise ValueError
        return found

    return parse


def _must(names: Collection[str]) -> str:
    return f"texts with no other slots than {{{'}, {'.join(sorted(names))}}}"
