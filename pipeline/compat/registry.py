"""The registry of checks, and the facts that every check is given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.facts import Finding, Status
from pipeline.recipe import Recipe
from pipeline.sources import Checkpoint, Source


@dataclass(frozen=True)
class CompatFacts:
    """A recipe and its opened sources by name.

    `base` names the source that all others are held against; `cache` remembers files' digests.
    """

    recipe: Recipe
    sources: Mapping[str, Source]
    base: str
    cache: Path | None = None

    @property
    def base_model(self) -> Checkpoint:
        """The base's checkpoint; for a recipe without a base, that of its first model."""
        return self.sources[self.base].model

    def others(self) -> Iterator[tuple[str, Source]]:
        """Every source but the base, in the order of the recipe."""
        return ((name, source) for name, source in self.sources.items() if name != self.base)

    @property
    def resolves_vocabulary(self) -> str:
        """What in the recipe says how vocabularies are joined; empty where nothing does."""
        if self.recipe.tokenizer_source is not None:
            return f"tokenizer_source: {self.recipe.tokenizer_source}"
        return "tokenizer" if self.recipe.tokenizer is not None else ""

    def is_base(self, model: Checkpoint) -> bool:
        """Whether `model` is the base's very folder, as it is under an adapter of the base."""
        return model.folder.resolve() == self.base_model.folder.resolve()


@dataclass(frozen=True)
class Topic:
    """What a check is about: its stable code, for waivers and search, and its title."""

    code: str
    title: str

    def finding(
        self,
        status: Status,
        subject: str,
        message: str,
        *,
        observed: str = "",
        required: str = "",
        remedy: str = "",
    ) -> Finding:
        """A finding of this check."""
        return Finding(self.code, self.title, status, subject, observed, required, message, remedy)

    def resolved(self, subject: str, words: str, by: str) -> Finding:
        """A pass: the difference that `words` tell is one that the key `by` of the recipe settles."""
        return self.finding("pass", subject, f"{words}; the recipe resolves it ({by}).")


CheckFunction = Callable[[CompatFacts], list[Finding]]


@dataclass(frozen=True)
class Check:
    """A registered check."""

    topic: Topic
    function: CheckFunction


CHECKS: dict[str, Check] = {}


def check(topic: Topic) -> Callable[[CheckFunction], CheckFunction]:
    """Register a function as the check of `topic`; it is returned unchanged. Codes are unique."""

    def register(function: CheckFunction) -> CheckFunction:
        if topic.code in CHECKS:
            raise ValueError(f"two checks have the code {topic.code!r}")
        CHECKS[topic.code] = Check(topic, function)
        return function

    return register


def listed(items: list[str], limit: int = 5) -> str:
    """The first items, joined, and how many more there are."""
    more = f" and {len(items) - limit:,} more" if len(items) > limit else ""
    return "; ".join(items[:limit]) + more
