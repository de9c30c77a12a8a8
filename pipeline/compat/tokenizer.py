"""Check `tokenizer`: the same text becomes the same token ids in every source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from pipeline.compat.registry import CompatFacts, Topic, check, listed
from pipeline.facts import Finding
from pipeline.sources.tokenizer import TokenizerFacts, tokenizer_facts

TOPIC = Topic("tokenizer", "Sources share one tokenizer")


@check(TOPIC)
def tokenizer(facts: CompatFacts) -> list[Finding]:
    """One finding per source: its vocabulary, merges, special and added tokens against the base's.

    An adapter saved with a tokenizer of its own was trained with that one, so that one is compared.
    """
    ours = tokenizer_facts(facts.base_model.folder)
    return [_compare(facts, name, folder, ours) for name, folder in folders(facts)]


def folders(facts: CompatFacts) -> Iterator[tuple[str, Path]]:
    """Each source but the base, with the folder of the tokenizer that it was trained with."""
    for name, source in facts.others():
        adapter = source.adapter
        own = adapter is not None and tokenizer_facts(adapter.folder) is not None
        yield name, adapter.folder if adapter and own else source.model.folder


def _compare(facts: CompatFacts, name: str, folder: Path, ours: TokenizerFacts | None) -> Finding:
    if folder.resolve() == facts.base_model.folder.resolve():
        return TOPIC.finding("pass", name, f"{name} uses the tokenizer of {facts.base}.")
    theirs = tokenizer_facts(folder)
    if theirs is None or ours is None:
        return _missing(facts, name, lacking=name if theirs is None else facts.base)
    differences = list(_differences(theirs, ours))
    if not differences:
        return TOPIC.finding("pass", name, f"{name} has the tokenizer of {facts.base}.")
    if facts.resolves_vocabulary:
        return TOPIC.resolved(name, f"{name}: {listed(differences)}", facts.resolves_vocabulary)
    return TOPIC.finding(
        "fail",
        name,
        f"{name} differs in its tokenizer from {facts.base}: {listed(differences)}.",
        observed=_size(theirs),
        required=_size(ours),
        remedy=(
            "Say in the recipe whose tokens the merge has: tokenizer_source: "
            "union, base, or a model."
        ),
    )


def _size(facts: TokenizerFacts) -> str:
    return f"{len({*facts.vocabulary, *facts.added}):,} tokens, {len(facts.merges):,} merges"


def _missing(facts: CompatFacts, name: str, lacking: str) -> Finding:
    if facts.resolves_vocabulary:
        return TOPIC.resolved(name, f"{lacking} has no tokenizer", facts.resolves_vocabulary)
    return TOPIC.finding(
        "cannot_judge",
        name,
        f"{lacking} has no tokenizer files, so that of {name} cannot be compared with the base's.",
        observed="no tokenizer files",
        required="tokenizer.json, or the files of a SentencePiece or BPE tokenizer",
        remedy="Put its tokenizer files into its folder, or set tokenizer_source in the recipe.",
    )


def _differences(theirs: TokenizerFacts, ours: TokenizerFacts) -> Iterator[str]:
    """What differs, in words: theirs against ours (the base's)."""
    yield from _mapping("vocabulary", theirs.vocabulary, ours.vocabulary)
    if theirs.merges != ours.merges:
        yield f"merges: {len(theirs.merges):,} against {len(ours.merges):,}, or in another order"
    yield from _mapping("special tokens", theirs.special, ours.special)
    yield from _mapping("added tokens", theirs.added, ours.added)
    for step in sorted({*theirs.steps, *ours.steps}):
        if theirs.steps.get(step) != ours.steps.get(step):
            yield f"its {step} differs"
    yield from _mapping("files", theirs.files, ours.files)


def _mapping(
    what: str,
    theirs: Mapping[str, int] | Mapping[str, str],
    ours: Mapping[str, int] | Mapping[str, str],
) -> Iterator[str]:
    """Keys that one side lacks, and those with two values."""
    added = [repr(key) for key in sorted(theirs.keys() - ours.keys())]
    lacking = [repr(key) for key in sorted(ours.keys() - theirs.keys())]
    both = sorted(theirs.keys() & ours.keys())
    moved = [
        f"{k!r} is {theirs[k]!r:.40} not {ours[k]!r:.40}" for k in both if theirs[k] != ours[k]
    ]
    for verb, items in (("adds", added), ("lacks", lacking), ("changes", moved)):
        if items:
            shown = ", ".join(items[:4]) + (f" and {len(items) - 4:,} more" if items[4:] else "")
            yield f"{what}: {verb} {shown}"
