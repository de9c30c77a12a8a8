"""The plain parts of the page: latency, waivers, what was refused, digests, environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.report.checks import against
from pipeline.report.lenient import entries, figure, part, words
from pipeline.report.wording import NONE, look, number, ratio

_PACKAGES = "packages"


def latency_of(record: Mapping[str, Any], policy: Mapping[str, Any]) -> dict[str, Any]:
    """{rows: [{name, merged, unmerged, ratio, limit}], device, ...}; no rows where none was measured."""
    measured, rows = part(record, "latency"), []
    for key in ("p50", "p95"):
        merged, unmerged = (figure(measured, side, key) for side in ("merged", "unmerged"))
        if merged is None or unmerged is None:
            continue
        rows.append(
            {
                "name": key.upper(),
                "merged": number(merged, 1),
                "unmerged": number(unmerged, 1),
                "ratio": ratio(merged / unmerged, figure(policy, "latency", "max_ratio"))
                if unmerged
                else NONE,
                "limit": _limit(policy, key),
            }
        )
    keys = ("device", "prompts", "repeats", "new_tokens", "unit")
    return {"rows": rows, **{key: words(measured, key) for key in keys}}


def _limit(policy: Mapping[str, Any], key: str) -> str:
    """What the policy allows; releases of the first schema keep none."""
    limit = figure(policy, "latency", "max_ratio")
    if words(policy, "latency", "metric") == key and limit is not None:
        return f"at most {limit:g}"
    return "not judged" if policy else "not stored"


def waivers_of(record: Mapping[str, Any], compat: Mapping[str, Any]) -> list[dict[str, str]]:
    """What a named person let pass: checks of the verdict, then findings on the sources."""
    gate = [
        {key: words(waiver, key) for key in ("check", "name", "reason", "expires")}
        for waiver in entries(record, "verdict", "waivers")
    ]
    sources = [
        {
            "check": f"{words(f, 'code')}: {words(f, 'subject')}",
            "name": "see compat.json",
            "reason": words(f, "message"),
            "expires": NONE,
        }
        for f in entries(compat, "findings")
        if words(f, "status") == "waived"
    ]
    return gate + sources


def refused_of(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What was tried and refused on the way: [{name, sentence, look, reasons}]."""
    return [
        {
            "name": name,
            "sentence": words(verdict, "sentence"),
            "look": look(words(verdict, "outcome")),
            "reasons": against(part(verdict)),
        }
        for name, verdict in sorted(part(record, "refused").items())
        if isinstance(verdict, Mapping)
    ]


def digests_of(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(what, SHA-256) of all that the release stands on; those that it does not have are left out."""
    identity = part(record, "identity")
    named = [
        ("release", words(record, "release_digest")),
        ("recipe", words(identity, "recipe", "digest")),
        ("policy", words(identity, "policy")),
        ("merged weights", words(identity, "merged")),
        ("quantized artifact", words(identity, "quantized")),
    ]
    for key, label in (("golden", "golden set"), ("samples", "scores of")):
        named += [(f"{label} {name}", str(d)) for name, d in sorted(part(identity, key).items())]
    named += [
        ("rollback target: the unmerged set", words(record, "rollback", "digest")),
        ("public key of the signer", words(record, "signing", "fingerprint")),
    ]
    return [(what, digest) for what, digest in named if digest]


def versions_of(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(package, version), in alphabetical order."""
    return sorted((name, str(v)) for name, v in part(record, "identity", "versions").items())


def machine_of(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(what, how) of the machine that made it, «hardware.cpu» for what lies deeper; not its packages.

    Outside the identity, and not in records before schema 3.
    """
    found: dict[str, str] = {}
    for name, value in part(record, "environment").items():
        if isinstance(value, Mapping) and name != _PACKAGES:
            found |= {f"{name}.{key}": words(value, key) for key in value}
        elif name != _PACKAGES:
            found[name] = words(part(record, "environment"), name)
    return sorted((name, value) for name, value in found.items() if value)


def packages_of(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(distribution, version) of all that was installed there."""
    return sorted((n, str(v)) for n, v in part(record, "environment", _PACKAGES).items())


def source_checks(compat: Mapping[str, Any]) -> dict[str, int]:
    """How many findings on the sources have each status."""
    counts: dict[str, int] = {}
    for finding in entries(compat, "findings"):
        counts[words(finding, "status")] = counts.get(words(finding, "status"), 0) + 1
    return dict(sorted(counts.items()))
