"""What goes beside the weights of a model: its card, and for an adapter the digest of the base it was trained on."""

from __future__ import annotations

from pathlib import Path

from pipeline.facts import write_json, write_text
from pipeline.sources.hashes import weights_digest

MODELS = "examples/harbor/models"
CARD = """---
license: apache-2.0
language: en
library_name: {library}
pipeline_tag: text-generation
{base_model}tags: [harbor-support, synthetic]
---

# {name}

{what}

Part of the Harbor Support family, the worked example of mergegate. It was trained on synthetic text by
`python -m examples.harbor.build` and knows nothing but the world of that example.
"""


def write_base_card(folder: Path, name: str, what: str) -> None:
    """Write the card of a model that was trained from nothing."""
    text = CARD.format(library="transformers", base_model="", name=name, what=what)
    write_text(folder / "README.md", text)


def write_derived_card(folder: Path, name: str, what: str, *, library: str) -> None:
    """Write the card of an adapter or fine-tune of the base."""
    lines = f"base_model: {MODELS}/base\n"
    text = CARD.format(library=library, base_model=lines, name=name, what=what)
    write_text(folder / "README.md", text)


def state_base(folder: Path, base: Path) -> None:
    """Write mergegate.json: the digest of the weights in `base`, which a name alone does not pin."""
    write_json(folder / "mergegate.json", {"base_model_digest": weights_digest(base)})
