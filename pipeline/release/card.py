"""The model card: what a reader of a release must know; its head is in `hub_metadata`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.release.hub_metadata import base_models, hub_metadata
from pipeline.release.record import shipped, table_of
from pipeline.sources import Reference

_NAMES = {"promote": "promoted", "reject": "rejected"}


_NO_BASE = (
    "\nThe metadata above names no `base_model`: no source is a model of the hub, "
    "or declares one that it comes from.\n"
)
_HEATMAP = "![Differences of the sources by layer and kind of module](heatmap.png)"


def render_card(record: Mapping[str, Any]) -> str:
    """README.md of a release, from its record alone; `huggingface_hub.ModelCard` loads it."""
    sections = (
        ("Verdict", _verdict(record)),
        ("Comparison", _comparison(record)),
        ("Recipe", _recipe(record)),
        ("Why this method", _method(record["method"])),
        ("Sources", _sources(record)),
        ("What was refused, and why", _refused(record["refused"])),
        ("Limits", _bullets(limits(record))),
        ("The way back", _way_back(record)),
        ("Provenance", _provenance(record)),
    )
    body = "".join(f"\n## {title}\n\n{text.strip()}\n" for title, text in sections)
    return f"---\n{hub_metadata(record)}\n---\n\n# {record['name']}\n\n{_summary(record)}\n{body}"


def comparison_markdown(record: Mapping[str, Any]) -> str:
    """The table of variants by skills, in Markdown."""
    return table_of(record).to_markdown()


def _summary(record: Mapping[str, Any]) -> str:
    outcome = record["verdict"]["outcome"]
    said = _NAMES.get(outcome, f"held back ({outcome})")
    experts = ", ".join(record["rollback"]["experts"])
    return (
        f"A merge of {experts} over {record['rollback']['base']['reference']}, "
        f"candidate `{record['candidate']}`: **{said}** by the gate of mergegate. "
        "The folder loads with `AutoModelForCausalLM.from_pretrained`."
    )


def _verdict(record: Mapping[str, Any]) -> str:
    verdict = record["verdict"]
    text = verdict["sentence"] + "\n"
    for artifact in dict.fromkeys(reason["artifact"] for reason in verdict["reasons"]):
        of_it = (r["text"] for r in verdict["reasons"] if r["artifact"] == artifact)
        text += f"\nThe {artifact} weights:\n\n{_bullets(of_it)}"
    if verdict["waivers"]:
        waived = (
            f"{w['check']}, by {w['name']} until {w['expires']}: {w['reason']}"
            for w in verdict["waivers"]
        )
        text += f"\nWaived:\n\n{_bullets(waived)}"
    # Verdicts of schema 1 have neither.
    if better := [one["text"] for one in verdict.get("improvements", ())]:
        text += f"\nShown to be better:\n\n{_bullets(better)}"
    if verdict.get("notes"):
        text += f"\nTo know beside it:\n\n{_bullets(verdict['notes'])}"
    return text


def _comparison(record: Mapping[str, Any]) -> str:
    text = f"Means over the golden sets. `{shipped(record)}` is what this card speaks for.\n\n"
    return text + comparison_markdown(record) + _latency(record["latency"])


def _latency(latency: Mapping[str, Any] | None) -> str:
    if not latency:
        return ""
    times = "; ".join(
        f"{key.upper()} {latency['merged'][key]:.1f} ms merged, "
        f"{latency['unmerged'][key]:.1f} ms unmerged"
        for key in ("p50", "p95")
    )
    where = f"merged weights against base plus adapter, on {latency['device']}"
    return f"\nGeneration, {where}: {times}.\n"


def _recipe(record: Mapping[str, Any]) -> str:
    text = record["identity"]["recipe"]["text"].rstrip("\n")
    # A fence longer than any run of backticks inside, so that no recipe can end it.
    fence = "`" * max(3, 1 + max(map(len, re.findall(r"`+", text)), default=0))
    return (
        f"Complete, as merged (seed {record['identity']['seed']}):\n\n{fence}yaml\n{text}\n{fence}"
    )


def _method(method: Mapping[str, str]) -> str:
    told = f"{method['rationale']}\n\n" if method["rationale"] else ""
    measured = f"\n\n{method['measured']}\n\n{_HEATMAP}" if method["measured"] else ""
    return f"{told}`{method['name']}`: {method['summary']}. {method['citation']}.{measured}"


def _sources(record: Mapping[str, Any]) -> str:
    """Every source with its role, base, domain, licence, architecture hash and SHA-256."""
    rollback, pins = record["rollback"], record["identity"]["sources"]
    roles = {member["reference"]: name for name, member in rollback["experts"].items()}
    roles[rollback["base"]["reference"]] = "base"
    rows = [_source(roles.get(r, "source"), pins[r], record["domains"]) for r in sorted(pins)]
    header = (
        "role",
        "reference",
        "base",
        "domain",
        "licence",
        "architecture",
        "SHA-256",
    )
    known = base_models(pins)
    return _markdown(header, rows) + ("" if known else _NO_BASE)


def _source(role: str, pin: Mapping[str, Any], domains: Mapping[str, str]) -> tuple[str, ...]:
    reference = Reference.parse(pin["reference"])
    top = pin["adapter"] or pin["model"]
    return (
        role,
        f"`{reference}`",
        f"`{reference.base}`" if reference.adapter else "itself",
        domains.get(role, "–"),
        top["licence"] or "not stated",
        f"`{pin['model']['architecture_hash'][:12]}`",
        f"`{top['digest']}`",
    )


def _refused(refused: Mapping[str, Mapping[str, Any]]) -> str:
    if not refused:
        return "No other candidate was refused for this release."
    return "\n".join(
        f"`{name}`: {verdict['sentence']}\n\n{_bullets(_against(verdict))}"
        for name, verdict in sorted(refused.items())
    )


def _against(verdict: Mapping[str, Any]) -> list[str]:
    """The reasons that speak against promotion."""
    return [reason["text"] for reason in verdict["reasons"] if reason["outcome"] != "promote"]


def limits(record: Mapping[str, Any]) -> list[str]:
    """What the verdict of a release does not show, a sentence each."""
    rows = record["verdict"]["rows"]
    tested = (
        f"{row['check']} ({row['artifact']}): "
        f"{row['n']} samples, margin {row['margin']:g}, error level {row['alpha']:g}"
        for row in rows
    )
    return [
        "Nothing is known of skills, languages and attacks outside the golden sets. "
        "A safety suite finds what it asks about and no more.",
        "A difference smaller than the margin may have passed; these were the samples: "
        + "; ".join(tested),
        "Scores hold for the decoding settings, "
        "chat template and library versions of this release.",
        _quantization(record),
    ]


def _quantization(record: Mapping[str, Any]) -> str:
    how = ", ".join(
        f"{key} {record['quantization'][key]}"
        for key in ("scheme", "algorithm", "group_size")
        if key in record["quantization"]
    )
    if shipped(record) == "merged":
        return "The merge was not quantized."
    how = how or "see release.json"
    return f"The weights are quantized ({how}); these bytes were judged by themselves."


def _way_back(record: Mapping[str, Any]) -> str:
    rollback = record["rollback"]
    members = [
        f"{name}: `{m['reference']}` (`{m['digest']}`)"
        for name, m in {"base": rollback["base"], **rollback["experts"]}.items()
    ]
    return (
        f"```\nmergegate rollback {record['name']}\n```\n\n"
        f"returns to the unmerged set `{rollback['digest']}`:\n\n{_bullets(members)}"
    )


def _provenance(record: Mapping[str, Any]) -> str:
    identity = record["identity"]
    digests = {
        "release": record["release_digest"],
        "recipe": identity["recipe"]["digest"],
        "merged weights": identity["merged"],
        "quantized artifact": identity["quantized"] or "not made",
        "policy": identity["policy"],
        **{f"golden set {skill}": digest for skill, digest in sorted(identity["golden"].items())},
    }
    table = _markdown(("what", "SHA-256"), [(name, f"`{d}`") for name, d in digests.items()])
    versions = ", ".join(f"{name} {v}" for name, v in sorted(identity["versions"].items()))
    return f"{table}\nMade with {versions}. All of it is in `release.json`."


def _bullets(lines: Iterable[str]) -> str:
    return "".join(f"- {line}\n" for line in lines)


def _markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(map(_cell, line))} |\n" for line in lines)


def _cell(text: str) -> str:
    """Text as one table cell: a bar or a line break in it would end the cell."""
    return " ".join(text.split()).replace("|", "\\|")
