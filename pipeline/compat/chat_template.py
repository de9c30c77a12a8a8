"""Check `chat-template`: conversations are rendered to the same token ids in every source.

The text of two templates may differ and mean the same, or be equal and give other ids under another
tokenizer. So what is compared is what they render. Templates are untrusted: transformers renders
them in Jinja's immutable sandbox.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.compat.bounded import bounded
from pipeline.compat.registry import CompatFacts, Topic, check
from pipeline.compat.tokenizer import folders
from pipeline.facts import Finding
from pipeline.sources.checkpoint import chat_template as template_of
from pipeline.sources.checkpoint import tokenizer_files
from pipeline.sources.hashes import file_digest

# No honest template comes near any of them.
PROBE_SECONDS, PROBE_BYTES, PROBE_CHARACTERS = 2.0, 1 << 30, 100_000
TOPIC = Topic("chat-template", "Sources render conversations alike")
_REMEDY = (
    "Say in the recipe which template the merge has (chat_template: a name or a Jinja text), "
    "or leave the source out: a model answers badly in a template that it was not trained in."
)


def _turns(*contents: str, system: str = "") -> list[dict[str, str]]:
    """A conversation: the contents said by user and assistant in turn, after a system message."""
    roles = ("user", "assistant")
    said = [{"role": roles[i % 2], "content": text} for i, text in enumerate(contents)]
    return [{"role": "system", "content": system}, *said] if system else said


# (conversation, whether the answer's opening is added): what templates are known to differ in.
PROBES: tuple[tuple[list[dict[str, str]], bool], ...] = (
    (_turns("Where is my order?"), True),
    (_turns("Where is my order?"), False),
    (_turns("Where is my order?", system="Be brief."), True),
    (_turns("Hello", "Hello. How can I help?", "A refund, please."), True),
    (_turns("Hello", "Hello.", system="Be brief."), False),
    (_turns("  spaces and\n\nlines around \n", system="  Be brief.\n"), True),
)


@dataclass(frozen=True)
class Rendering:
    """One probe as rendered: text and ids, or the error that the template raised."""

    text: str
    ids: tuple[int, ...]


@check(TOPIC)
def chat_template(facts: CompatFacts) -> list[Finding]:
    """One finding per source: whether each probe conversation becomes the base's token ids."""
    base = facts.base_model.folder
    return [_compare(facts, name, folder, base) for name, folder in folders(facts)]


def _compare(facts: CompatFacts, name: str, folder: Path, base: Path) -> Finding:
    if _same_files(folder, base):
        return TOPIC.finding("pass", name, f"{name} uses the chat template of {facts.base}.")
    theirs, ours = template_of(folder), template_of(base)
    if theirs is None and ours is None:
        return TOPIC.finding("pass", name, f"Neither {name} nor {facts.base} has a chat template.")
    if theirs is None or ours is None:
        lacking = name if theirs is None else facts.base
        return _differs(
            facts, name, f"{lacking} has no chat template", "a template on one side only"
        )
    return _rendered(facts, name, folder, base, changed=theirs != ours)


def _rendered(facts: CompatFacts, name: str, folder: Path, base: Path, *, changed: bool) -> Finding:
    try:
        theirs, ours = _render(folder), _render(base)
    except Exception as error:  # any: the tokenizer's files are untrusted
        return _unknown(facts, name, f"its tokenizer cannot be loaded ({error!s:.200})")
    for whose, rendered in ((name, theirs), (facts.base, ours)):
        if not any(rendering.ids for rendering in rendered):
            why = f"the template of {whose} renders no probe ({rendered[0].text:.200})"
            return _unknown(facts, name, why)
    pairs = [(i, t, o) for i, (t, o) in enumerate(zip(theirs, ours, strict=True), 1) if t != o]
    if not pairs:
        note = ", though its text differs" if changed else ""
        return TOPIC.finding("pass", name, f"{name} renders as {facts.base} does{note}.")
    if all(t.text == o.text for _, t, o in pairs) and facts.resolves_vocabulary:
        words = f"{name} renders the same text, and its ids differ only as its tokenizer does"
        return TOPIC.resolved(name, words, facts.resolves_vocabulary)
    index, t, o = pairs[0]
    count = f"{len(pairs)} of {len(PROBES)} probe conversations become other tokens"
    shown = f"probe {index} becomes {_excerpt(t, o)}, in the base {_excerpt(o, t)}"
    return _differs(facts, name, f"{count}; {shown}", t.text, o.text)


def _unknown(facts: CompatFacts, name: str, why: str) -> Finding:
    if facts.recipe.chat_template is not None:
        message = f"{name}: {why}; the recipe states the template of the merge (chat_template)."
        return TOPIC.finding("pass", name, message)
    return TOPIC.finding(
        "cannot_judge",
        name,
        f"{name}: its chat template cannot be compared with that of {facts.base}: {why}.",
        required="a template and a tokenizer that render at least one probe conversation",
        remedy="Mend the tokenizer's files, or set chat_template in the recipe.",
    )


def _differs(
    facts: CompatFacts, name: str, words: str, observed: str, required: str = ""
) -> Finding:
    if facts.recipe.chat_template is not None:
        return TOPIC.resolved(name, f"{name}: {words}", "chat_template")
    return TOPIC.finding(
        "fail",
        name,
        f"{name} differs in its chat template from {facts.base}: {words}.",
        observed=observed,
        required=required,
        remedy=_REMEDY,
    )


def _render(folder: Path) -> list[Rendering]:
    """Every probe, rendered by the tokenizer in `folder`."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False
    )
    return [_one(tokenizer, turns, opening) for turns, opening in PROBES]


def _one(tokenizer: Any, turns: list[dict[str, str]], opening: bool) -> Rendering:
    """One probe; what the template raises counts as its rendering (many refuse a system message)."""
    try:
        with bounded(PROBE_SECONDS, PROBE_BYTES):
            text = tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=opening
            )
        if len(text) > PROBE_CHARACTERS:
            raise ValueError(f"it makes {len(text):,} characters of a short conversation")
    except Exception as error:  # any: a template can run into every error that Python has
        return Rendering(f"error: {str(error) or type(error).__name__}", ())
    return Rendering(text, tuple(tokenizer(text, add_special_tokens=False)["input_ids"]))


def _excerpt(one: Rendering, other: Rendering) -> str:
    """The first place where `one` differs from `other`: in its text, else in its ids."""
    if one.text == other.text:
        at = next(
            (i for i, (a, b) in enumerate(zip(one.ids, other.ids, strict=False)) if a != b), 0
        )
        return f"token ids {list(one.ids[at : at + 4])} at place {at}"
    pairs = enumerate(zip(one.text, other.text, strict=False))
    at = next((i for i, (a, b) in pairs if a != b), min(len(one.text), len(other.text)))
    return f"{one.text[max(at - 12, 0) : at + 28]!r}"


def _same_files(one: Path, other: Path) -> bool:
    """Whether two folders have the same tokenizer and template files, byte for byte."""
    files = [{p.name: file_digest(p) for p in tokenizer_files(folder)} for folder in (one, other)]
    return files[0] == files[1]
