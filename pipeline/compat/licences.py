"""Check `licences`: the sources' licences allow a derivative, and do not exclude each other.

This finds what is plainly stated; it is not legal advice. A licence that is not stated passes with
a
note: most models in daily use are a company's own and state none, and a check that blocked all of
them would be waived by habit. The note reaches the findings, and so the reader of a release.
"""

from __future__ import annotations

import re
from itertools import combinations

from pipeline.compat.registry import CompatFacts, Topic, check
from pipeline.facts import Finding
from pipeline.sources import licence as licence_of

TOPIC = Topic("licences", "Licences allow the merge")
_NO_DERIVATIVES = re.compile(r"cc-by(-nc)?-nd(-.*)?")
_NON_COMMERCIAL = re.compile(r"cc-by-nc.*")
# A derivative must carry the same licence, so two different ones exclude each other.
_SAME_LICENCE = re.compile(r"(a|l)?gpl.*|cc-by(-nc)?-sa.*|osl.*|ms-rl")
_GPL = re.compile(r"(a|l)?gpl.*")
# Terms of use that pass on to derivatives, which the GPL family forbids to add.
_OWN_TERMS = re.compile(r"(llama|gemma|.*openrail|creativeml|bigscience).*")


@check(TOPIC)
def licences(facts: CompatFacts) -> list[Finding]:
    """One finding per source on its own licences, then one per pair that exclude each other."""
    stated = {
        name: [
            (licence_of(part.folder) or "", what)
            for part, what in ((source.model, "model"), (source.adapter, "adapter"))
            if part
        ]
        for name, source in facts.sources.items()
    }
    own = [_own(name, found) for name, found in stated.items()]
    return own + _conflicts({n: {text for text, _ in found if text} for n, found in stated.items()})


def _own(name: str, found: list[tuple[str, str]]) -> Finding:
    for text, what in found:
        if _NO_DERIVATIVES.fullmatch(text):
            return TOPIC.finding(
                "fail",
                name,
                f"{name}: the licence of its {what}, {text}, "
                "allows no derivatives; a merge is one.",
                observed=text,
                required="a licence that allows derivatives",
                remedy="Ask the author for leave and record it as a waiver, or leave the source out.",
            )
    words = ", ".join(f"{what} {text or 'states no licence'}" for text, what in found)
    unknown = any(text in ("", "other", "unknown") for text, _ in found)
    note = " Make sure that you may merge it and pass it on." if unknown else ""
    return TOPIC.finding("pass", name, f"{name}: {words}.{note}", observed=words)


def _conflicts(stated: dict[str, set[str]]) -> list[Finding]:
    """One finding for each pair of licences that exclude each other, with all who have them."""
    holders: dict[str, list[str]] = {}
    for name, texts in stated.items():
        for text in texts:
            holders.setdefault(text, []).append(name)
    return [
        TOPIC.finding(
            "fail",
            f"{holders[a][0]} and {holders[b][0]}",
            f"{a} ({', '.join(holders[a])}) and {b} ({', '.join(holders[b])}) "
            f"exclude each other: {why}.",
            observed=f"{a}, {b}",
            required="licences that one derivative can carry together",
            remedy="Leave one of the sources out, or record a written permission as a waiver.",
        )
        for a, b in combinations(sorted(holders), 2)
        if (why := _exclude(a, b))
    ]


def _exclude(a: str, b: str) -> str:
    """Why no derivative can carry both licences; empty where nothing plain speaks against it."""
    if _SAME_LICENCE.fullmatch(a) and _SAME_LICENCE.fullmatch(b):
        return "each wants the derivative under itself"
    for one, other in ((a, b), (b, a)):
        free = _SAME_LICENCE.fullmatch(one) and not _NON_COMMERCIAL.fullmatch(one)
        if free and _NON_COMMERCIAL.fullmatch(other):
            return f"{one} allows commercial use to everyone, {other} to no one"
        if _GPL.fullmatch(one) and _OWN_TERMS.fullmatch(other):
            return f"{one} allows no further restrictions, {other} adds some"
        if one.startswith("gpl-2") and other == "apache-2.0":
            return "the patent terms of apache-2.0 are a further restriction to gpl-2.0"
    return ""
