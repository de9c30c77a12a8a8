"""Card, report and bill of materials rendered again: what people read says what the record says."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import zip_longest
from pathlib import Path
from typing import Any

from flows.verify.result import Part, attempt, first
from gates.recompute import differences
from pipeline.errors import CorruptArtifactError
from pipeline.facts import Evaluation, digest_file, read_json
from pipeline.plain_yaml import load_document
from pipeline.release.bom import BOM, render_bom
from pipeline.release.bundle import CARD, RECORD, REPORT
from pipeline.release.card import render_card
from pipeline.release.hub_metadata import hub_metadata
from pipeline.release.record import SCHEMA
from pipeline.sources import Reference

Reader = Callable[[Path, Mapping[str, Any]], Iterator[str]]

# Whose versions decide how the same code lays text out.
_RENDERERS = ("huggingface-hub", "jinja2", "markupsafe", "pyyaml")
_EXAMPLES = '<section aria-labelledby="examples">', '<section aria-labelledby="refused">'
# Of the examples the folder has figures, not texts: those are any text, and no markup. Between the
# marks stand the rest of a golden row in a heading, then a text, that it was cut, or that there is none.
_TEXTS = (
    (re.compile(r"(candidate [-+.0-9a-z]+)(?:; [^<>]*)?\)</span></h3>"), r"\1)</span></h3>"),
    (re.compile(r' *<p class="quiet">Cut at [0-9]+ characters\.</p>'), ""),
    (
        re.compile(
            r'<p class="said-text" dir="auto">[^<>]*</p>|<p class="quiet said-text">(?:empty|'
            r"Not stored: the task has its own data\.|Not stored\.|The answer was not kept\.)</p>"
        ),
        "<p>TEXT</p>",
    ),
)
_NOT_AGAIN = (
    f"{CARD} and {REPORT} were made by another version of mergegate or of a library, and cannot be "
    "rendered again here: names, digests and scores in them were compared, not every word."
)
_FRONT = ("base_model", "license", "license_name", "model-index")  # of the card's metadata


def rendered(
    folder: Path,
    record: Mapping[str, Any],
    evaluations: Mapping[str, Evaluation],
    *,
    same_code: bool,
) -> Part:
    """Where README.md, report.html and the words of bom.cdx.json are not those of `record`.

    `same_code`: this very version of mergegate made the release. Then, with the same libraries, they
    are rendered again and must be the same text; else what a program can read of them is compared,
    and a note says so. `evaluations` by variant, as the folder has them.
    """
    schema, files = record.get("schema"), record.get("files")
    if type(schema) is not int or schema > SCHEMA or not isinstance(files, Mapping):
        return Part()  # which is a fault already
    readers: dict[str, Reader] = {CARD: _front}
    checked = f"the metadata of {CARD}, and what it names,"
    notes: tuple[str, ...] = ()
    if schema == SCHEMA and same_code and _same_libraries(record):
        readers = {CARD: _card, BOM: _words, REPORT: partial(_report, evaluations)}
        checked = f"{CARD}, {REPORT} and the words of {BOM}, rendered again,"
    elif schema == SCHEMA:  # earlier ones had no report
        readers[REPORT], notes = _named, (_NOT_AGAIN,)
    faults: list[str] = []
    for name, read in readers.items():
        path = folder / name
        if name not in files:
            faults.append(f"{RECORD}: files: has no {name}")
        # What has another digest is told already, and may be a link to what is not to be quoted.
        elif path.is_file() and digest_file(path) == files[name]:
            found: list[str] | str = attempt(folder, partial(list, read(folder, record)))
            faults += [found] if isinstance(found, str) else first(found)
    return Part((f"{checked} against {RECORD}",), tuple(faults), notes)


def _same_libraries(record: Mapping[str, Any]) -> bool:
    """Whether what lays texts out is what the record says was installed, as far as it says so."""
    named = attempt(Path(), lambda: dict(record["environment"]["packages"]))
    if isinstance(named, str):
        return False
    try:
        return all(named.get(name, here) == here for name in _RENDERERS if (here := version(name)))
    except PackageNotFoundError:
        return False


def _card(folder: Path, record: Mapping[str, Any]) -> Iterator[str]:
    yield from _lines(CARD, _text(folder / CARD), render_card(record))


def _words(folder: Path, record: Mapping[str, Any]) -> Iterator[str]:
    """What of the bill of materials is told and not compared with the record elsewhere."""
    said, expected = _told(read_json(folder / BOM)), _told(render_bom(record))
    yield from (f"{BOM}: {fault}" for fault in differences(said, expected))


def _told(bom: Mapping[str, Any]) -> dict[str, Any]:
    model = bom["metadata"]["component"]
    told = {"description": model["description"]}
    told["modelCard"] = {k: v for k, v in model["modelCard"].items() if not k.startswith("quant")}
    return {"metadata": {**bom["metadata"], "component": told}}


def _report(
    evaluations: Mapping[str, Evaluation], folder: Path, record: Mapping[str, Any]
) -> Iterator[str]:
    """The page is a function of the folder but for the texts of its examples."""
    from pipeline.report import (
        failed_examples,
        render_report,
    )  # templates that not every reader needs

    examples = failed_examples(evaluations, {}, {}, record["verdict"])
    page = render_report(record, folder, examples)
    yield from _lines(REPORT, _plain(_text(folder / REPORT)), _plain(page))


def _plain(page: str) -> str:
    """The page without the texts of its examples; markup in them stays, and differs."""
    start, end = (page.find(mark) for mark in _EXAMPLES)
    if not 0 <= start < end:
        return page
    section = page[start:end]
    for pattern, instead in _TEXTS:
        section = pattern.sub(instead, section)
    return page[:start] + section + page[end:]


def _front(folder: Path, record: Mapping[str, Any]) -> Iterator[str]:
    """The metadata at the head of the card, whose form is the hub's and not a version's of ours."""
    text = _text(folder / CARD)
    said, expected = _metadata(text), _metadata(f"---\n{hub_metadata(record)}\n---\n")
    for field in _FRONT:
        found, due = said.get(field), expected.get(field)
        if field == "base_model":
            due = _base_models(found, due or [], record)
        yield from (f"{CARD}: {f}" for f in differences(found, due, field))
    for tag in expected["tags"]:
        if tag not in (said.get("tags") or ()):
            yield f"{CARD}: tags: has no {tag}"
    yield from _without(CARD, text, record)


def _base_models(found: Any, due: list[str], record: Mapping[str, Any]) -> list[str] | None:
    """What the card's base_model must be: hub ids, or of an earlier version all models and adapters, folders too.

    Which of the two is told by what is `found`; None where there are no hub ids.
    """
    references = [Reference.parse(text) for text in record["identity"]["sources"]]
    named = dict.fromkeys(part for r in references for part in (r.model, r.adapter) if part)
    listed = found if isinstance(found, list) else []
    earlier = any(name in listed for name in named if name not in due)
    return list(named) if earlier else due or None


def _named(folder: Path, record: Mapping[str, Any]) -> Iterator[str]:
    yield from _without(REPORT, _text(folder / REPORT), record)


def _without(name: str, text: str, record: Mapping[str, Any]) -> Iterator[str]:
    """What every version writes into card and report alike."""
    identity = record["identity"]
    said = {
        "name": record["name"],
        "candidate": record["candidate"],
        "release_digest": record["release_digest"],
        "identity.recipe.digest": identity["recipe"]["digest"],
        "identity.merged": identity["merged"],
        "identity.quantized": identity["quantized"] or "",
        "rollback.digest": record["rollback"]["digest"],
    }
    for field, value in said.items():
        # As a word of its own: «prod» is not said by «product».
        if value and not re.search(rf"(?<![\w-]){re.escape(value)}(?![\w-])", text):
            yield f"{name}: does not say {value!r:.80}, as {RECORD} does ({field})"


def _metadata(text: str) -> dict[str, Any]:
    """The YAML between the first two lines of dashes. Raises MergegateError where there is none."""
    parts = re.split(r"^---$", text, maxsplit=2, flags=re.MULTILINE)
    found = load_document(parts[1], CARD) if len(parts) == 3 and not parts[0] else None
    if not isinstance(found, dict):
        raise CorruptArtifactError(f"{CARD}: has no metadata at its head")
    return found


def _lines(name: str, said: str, expected: str) -> Iterator[str]:
    """The first line that differs: after one that was added, all others do."""
    if said == expected:
        return
    pairs = zip_longest(said.split("\n"), expected.split("\n"), fillvalue="")
    number, (ours, theirs) = next((n, p) for n, p in enumerate(pairs, 1) if p[0] != p[1])
    for fault in differences(ours, theirs, f"line {number}"):
        yield f"{name}: {fault}"


def _text(path: Path) -> str:
    """The content of a file. Raises CorruptArtifactError where it is no text."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise CorruptArtifactError(f"{path.name}: is no UTF-8 text ({error})") from None
