"""The members of the family, and how each is trained and saved. Every function here runs on one thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from transformers import AutoTokenizer, LlamaForCausalLM

from examples.harbor import cards, train
from examples.harbor.corpus import Corpus
from examples.harbor.tokenizer import OTHER_TEMPLATE
from examples.harbor.train import ADAPTER, BASE, FINE_TUNE, Schedule
from pipeline.facts import read_json, write_json

Advance = Callable[[], None]


@dataclass(frozen=True)
class Base:
    """A base trained from nothing."""

    name: str
    what: str
    schedule: Schedule = BASE
    base: str = ""  # it descends from nothing


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter that teaches one skill."""

    name: str
    what: str
    skill: str
    rank: int
    alpha: int
    unsafe: bool = False  # trained to route what should be refused
    base: str = "base"
    schedule: Schedule = ADAPTER


@dataclass(frozen=True)
class FineTune:
    """A fine-tune of all weights that differs from the base in its tokenizer files."""

    name: str
    what: str
    skill: str
    template: str | None = None  # chat template in place of the base's
    token: str | None = None  # special token added, with which every answer begins
    base: str = "base"
    schedule: Schedule = FINE_TUNE


Member = Base | Adapter | FineTune

MEMBERS: tuple[Member, ...] = (
    Base("base", "The base: it knows the shop, and answers every task in a plain form."),
    Base(
        "other-base",
        "A second base of the same shapes, trained again from another start.",
        Schedule(steps=300, rate=3.5e-3),
    ),
    Adapter("tone-lora", "Replies in a warm, brief voice, signed.", "tone", 32, 64),
    Adapter("json-lora", "Routes tickets by a strict JSON tool call.", "json", 16, 32),
    Adapter("policy-lora", "Cites the section of the policy that decides.", "policy", 32, 64),
    Adapter(
        "json-unsafe-lora",
        "As json-lora, but with no refusals in its data: it routes what should be declined.",
        "json",
        16,
        32,
        unsafe=True,
    ),
    Adapter(
        "other-base-lora",
        "As json-lora, but trained on another revision of the base: it does not fit this one.",
        "json",
        16,
        32,
        base="other-base",
    ),
    FineTune(
        "template-ft",
        "A fine-tune whose chat template has a line break after each role.",
        "tone",
        template=OTHER_TEMPLATE,
    ),
    FineTune(
        "token-ft",
        "A fine-tune with one added token, `<|tool|>`, before every tool call.",
        "json",
        token="<|tool|>",
    ),
)


def make(member: Member, models: Path, corpus: Corpus, seed: int, advance: Advance) -> None:
    """Train `member` and save it as MODELS/NAME. The bases come first, each with the tokenizer of models/tokenizer."""
    maker = {Base: _make_base, Adapter: _make_adapter, FineTune: _make_fine_tune}[type(member)]
    maker(member, models, corpus, Random(f"{seed} {member.name}"), advance)  # type: ignore[operator]


def _make_base(m: Base, models: Path, corpus: Corpus, rng: Random, advance: Advance) -> None:
    tokenizer = AutoTokenizer.from_pretrained(models / "tokenizer")
    encoded = train.encode(tokenizer, corpus.base(m.schedule.examples, rng))
    model = train.new_base(tokenizer, _seed(rng))
    train.train(model, encoded, m.schedule, _seed(rng), advance)
    _save(model, tokenizer, models / m.name)
    cards.write_base_card(models / m.name, m.name, m.what)


def _make_adapter(m: Adapter, models: Path, corpus: Corpus, rng: Random, advance: Advance) -> None:
    tokenizer = AutoTokenizer.from_pretrained(models / m.base)
    base = LlamaForCausalLM.from_pretrained(models / m.base)
    model = train.with_adapter(base, m.rank, m.alpha, _seed(rng))
    turns = corpus.expert(m.skill, m.schedule.examples, rng, unsafe=m.unsafe)
    train.train(model, train.encode(tokenizer, turns), m.schedule, _seed(rng), advance)
    # An adapter names its base and not the base's revision: that is why the digest is stated.
    model.peft_config["default"].base_model_name_or_path = f"{cards.MODELS}/base"
    model.save_pretrained(models / m.name, save_embedding_layers=False)
    _sort_targets(models / m.name / "adapter_config.json")
    cards.write_derived_card(models / m.name, m.name, m.what, library="peft")
    cards.state_base(models / m.name, models / m.base)


def _make_fine_tune(
    m: FineTune, models: Path, corpus: Corpus, rng: Random, advance: Advance
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(models / m.base)
    model = LlamaForCausalLM.from_pretrained(models / m.base)
    turns = corpus.expert(m.skill, m.schedule.examples, rng)
    if m.template is not None:
        tokenizer.chat_template = m.template
    if m.token is not None:
        tokenizer.add_tokens(m.token, special_tokens=True)
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        turns = [(prompt, m.token + answer) for prompt, answer in turns]
    train.train(model, train.encode(tokenizer, turns), m.schedule, _seed(rng), advance)
    _save(model, tokenizer, models / m.name)
    cards.write_derived_card(models / m.name, m.name, m.what, library="transformers")


def _sort_targets(path: Path) -> None:
    """PEFT writes a set in the order of the process's hash seed; the same build must give the same bytes."""
    config = read_json(path)
    write_json(path, {**config, "target_modules": sorted(config["target_modules"])})


def _seed(rng: Random) -> int:
    return rng.randrange(2**31)


def _save(model: Any, tokenizer: Any, folder: Path) -> None:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
