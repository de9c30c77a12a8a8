"""What two documents of a release both say, compared: records that contradict themselves, whoever signed.

Digests and signature show that nothing was changed since somebody signed. Who holds the key can sign
what was never made; then one file still says what the other no longer does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from flows.verify.found_sources import found_sources
from flows.verify.result import Part, attempt, first
from pipeline.errors import CorruptArtifactError
from pipeline.facts import digest_file, read_json
from pipeline.recipe import load_recipe
from pipeline.release.bundle import RECIPE, RECORD
from pipeline.release.record import SCHEMA, method_of
from pipeline.strict import shown

MERGE, CALIBRATION, QUANTIZE, DIAGNOSIS = (
    "merge.json",
    "calibration.jsonl",
    "quantize.json",
    "diagnosis.json",
)
_ABSENT = object()


def consistent(folder: Path, record: Mapping[str, Any], *, same_code: bool) -> Part:
    """Where merge.json, quantize.json, calibration.jsonl, compat.json, diagnosis.json and evals/ do not
    say what `record` says as well; each fault names the file or release.json, and the field.

    `same_code`: this very version of mergegate made the release, so what follows from its code alone
    can be compared too. Of a schema before 3, whose files said less, only what both say is compared.
    """
    schema = record.get("schema")
    if type(schema) is not int or schema > SCHEMA:  # which is a fault already
        return Part()
    readers: list[Callable[[], Iterator[str]]] = [
        partial(_merge, folder, record),
        partial(_method, folder, record, same_code),
        partial(_diagnosis, folder, record),
    ]
    if schema == SCHEMA:
        readers += [
            partial(_quantization, folder, record),
            partial(_evaluated, folder, record),
            partial(found_sources, folder, record, same_code=same_code),
        ]
    faults: list[str] = []
    for read in readers:
        found: list[str] | str = attempt(folder, partial(list, read()))
        faults += [found] if isinstance(found, str) else first(found)
    said = f"what {MERGE}, {DIAGNOSIS}"
    said += f", {QUANTIZE}, {CALIBRATION}, compat.json and evals/" if schema == SCHEMA else ""
    return Part((f"{said} say as {RECORD} does",), tuple(faults))


def _merge(folder: Path, record: Mapping[str, Any]) -> Iterator[str]:
    """merge.json, which lies among the merged files and was hashed with them."""
    merge, identity = read_json(folder / MERGE), record["identity"]
    both = {
        "seed": identity["seed"],
        "recipe.text": identity["recipe"]["text"],
        "recipe.digest": identity["recipe"]["digest"],
        "recipe.method": record["method"]["name"],
    }
    yield from _both(MERGE, merge, both, record)
    tools = merge.get("tools", {})
    named = {tool: version for tool, version in identity["versions"].items() if tool in tools}
    yield from _told(MERGE, "tools", {tool: tools[tool] for tool in named}, named)
    for source in merge.get("sources", ()):
        reference = source["reference"]
        pin = identity["sources"].get(reference)
        yield from _told(MERGE, f"sources.{reference}", source, pin)
    if (files := record.get("merged_files")) is None:  # schemas before 3 had no list of them
        return
    listed = sorted({MERGE, *merge["files"], *merge["beside"]})
    yield from _told(MERGE, "files, beside", listed, sorted(files))
    weights = {name: digest for name, digest in files.items() if name in merge["files"]}
    yield from _told(MERGE, "files", merge["files"], weights)
    if files.get(MERGE) != digest_file(folder / MERGE):
        yield f"{MERGE}: is not the one that lies among the merged files ({RECORD}: merged_files)"


def _method(folder: Path, record: Mapping[str, Any], same_code: bool) -> Iterator[str]:
    """What is told of the method: the reason follows from the recipe, the rest from the code."""
    expected = method_of(load_recipe(folder / RECIPE))
    fields = [*expected] if same_code else ["name", "rationale"]
    for field in fields:
        if field in record["method"] or record["schema"] == SCHEMA:
            said = record["method"].get(field)
            yield from _told(RECORD, f"method.{field}", said, expected[field])


def _diagnosis(folder: Path, record: Mapping[str, Any]) -> Iterator[str]:
    """The recipe that was diagnosed; the first releases of schema 1 had no diagnosis."""
    if DIAGNOSIS not in record["files"]:
        return
    recipe = read_json(folder / DIAGNOSIS).get("recipe", {})
    both = {"digest": record["identity"]["recipe"]["digest"], "method": record["method"]["name"]}
    for field in both.keys() & recipe.keys():
        yield from _told(DIAGNOSIS, f"recipe.{field}", recipe[field], both[field])


def _quantization(folder: Path, record: Mapping[str, Any]) -> Iterator[str]:
    """quantize.json, of which release.json has a copy, and the prompts that it speaks of."""
    said, made = record["quantization"], record["identity"]["quantized"] is not None
    rows = _rows((folder / CALIBRATION).read_text(encoding="utf-8"))
    if ("skipped" in said) == made:
        what = "nothing was quantized" if made else "an artifact was quantized"
        yield f"{QUANTIZE}: skipped: says that {what}; {RECORD} says otherwise (identity.quantized)"
    if "skipped" in said:
        yield from [f"{CALIBRATION}: has prompts, and nothing was quantized"] if rows else []
        return
    both = {"seed": record["identity"]["seed"]}
    if version := record["identity"]["versions"].get("llmcompressor"):
        both["tool"] = f"llmcompressor {version}"
    yield from _both(QUANTIZE, said, both, record)
    if rows != said.get("calibration_samples"):
        yield (
            f"{CALIBRATION}: has {rows} prompts, and {QUANTIZE} says "
            f"{said.get('calibration_samples')} (calibration_samples)"
        )
    if digest_file(folder / CALIBRATION) != said.get("calibration_prompts"):
        yield f"{CALIBRATION}: has not the SHA-256 that {QUANTIZE} says (calibration_prompts)"


def _evaluated(folder: Path, record: Mapping[str, Any]) -> Iterator[str]:
    """Which model each variant was, and with which seed: the merge has the candidate in its path."""
    candidate, rollback = record["candidate"], record["rollback"]
    models = {name: member["reference"] for name, member in rollback["experts"].items()}
    models |= {"base": rollback["base"]["reference"], "plain": "build/plain/merged"}
    models |= {name: f"build/{candidate}/{name}" for name in ("merged", "quantized")}
    for variant in record["identity"]["samples"]:
        name = f"evals/{variant}.json"
        head = read_json(folder / name)
        if variant in models and head.get("model") != models[variant]:
            yield (
                f"{name}: model: is {head.get('model')}, and {RECORD} says {models[variant]} "
                "(candidate, rollback)"
            )
        seed = head["settings"].get("seed", _ABSENT)
        if seed not in (_ABSENT, record["identity"]["seed"]):
            yield f"{name}: settings.seed: is {seed}, and {RECORD} says {record['identity']['seed']}"


def _both(
    name: str, said: Mapping[str, Any], both: Mapping[str, Any], record: Mapping[str, Any]
) -> Iterator[str]:
    """Fields of a document, by their path, that must be as release.json has them."""
    for path, expected in both.items():
        value: Any = said
        for key in path.split("."):
            value = value.get(key, _ABSENT) if isinstance(value, Mapping) else _ABSENT
        if value is not _ABSENT:
            yield from _told(name, path, value, expected)
        elif record["schema"] == SCHEMA:
            yield f"{name}: {path}: is missing; {RECORD} says {expected!r:.80}"


def _told(name: str, path: str, said: Any, expected: Any) -> Iterator[str]:
    """Where a value of a document differs from that of release.json; each field of a mapping by itself."""
    if isinstance(said, dict) and isinstance(expected, dict):
        for key in sorted({*said, *expected}):
            yield from _told(name, f"{path}.{key}", said.get(key), expected.get(key))
    elif type(said) is not type(expected) or said != expected:
        yield f"{name}: {path}: is {shown(said)}, and {_due(name)} {shown(expected)}"


def _due(name: str) -> str:
    return f"{RECORD} says" if name != RECORD else "the recipe gives"


def _rows(text: str) -> int:
    """How many conversations there are. Raises CorruptArtifactError for what is none."""
    try:
        return len([json.loads(line)["messages"] for line in text.split("\n") if line])
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptArtifactError(
            f"{CALIBRATION}: is no file of calibration prompts, a line of JSON with its messages for "
            f"each ({error!r})."
        ) from None
