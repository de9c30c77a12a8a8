"""Encoding, batches, schedules and the making of the family's members, on schedules of two steps."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from examples.harbor import build, family
from examples.harbor.corpus import Corpus
from examples.harbor.family import Adapter, Base, FineTune, Member
from examples.harbor.tokenizer import OTHER_TEMPLATE, TEMPLATE, train_tokenizer
from examples.harbor.train import (
    BATCH,
    PROMPT_WEIGHT,
    Schedule,
    batches,
    encode,
    new_base,
    weighted_loss,
)
from examples.harbor.world import SYSTEM
from pipeline.facts import digest_file, read_json
from pipeline.sources.hashes import weights_digest

TWO_STEPS = Schedule(steps=2, rate=1e-3)
MEMBERS: tuple[Member, ...] = (
    Base("base", "The base.", TWO_STEPS),
    Adapter("json-lora", "An adapter.", "json", 4, 8, schedule=TWO_STEPS),
    FineTune("template-ft", "Another template.", "tone", OTHER_TEMPLATE, schedule=TWO_STEPS),
    FineTune("token-ft", "One more token.", "json", token="<|tool|>", schedule=TWO_STEPS),
)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return Corpus.draw()


@pytest.fixture(scope="module")
def tokenizer(corpus: Corpus) -> Any:
    return train_tokenizer(text for turn in corpus.base(2000, Random(1)) for text in turn)


@pytest.fixture(scope="module")
def models(corpus: Corpus, tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_all(corpus, tokenizer, tmp_path_factory.mktemp("models"))


def make_all(corpus: Corpus, tokenizer: Any, models: Path) -> Path:
    tokenizer.save_pretrained(models / "tokenizer")
    for member in MEMBERS:
        family.make(member, models, corpus, 7, lambda: None)
    return models


@pytest.mark.parametrize("prompt", ["Route this ticket: it is «broken»! 🙂", "", "<|end|> a  b\n"])
def test_encoding_agrees_with_the_chat_template(tokenizer: Any, prompt: str) -> None:
    [(ids, message, answer)] = encode(tokenizer, [(prompt, "Yes.")])
    said = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": prompt},
        {"role": "assistant", "content": "Yes."},
    ]
    rendered = tokenizer.apply_chat_template(said, tokenize=True, return_dict=False)
    asked = tokenizer.apply_chat_template(
        said[:2], tokenize=True, add_generation_prompt=True, return_dict=False
    )
    assert ids == rendered
    assert ids[:answer] == asked
    assert tokenizer.decode(ids[message:answer]).startswith(prompt)


def test_batches_hold_each_example_once_and_weigh_nothing_before_the_message(
    tokenizer: Any, corpus: Corpus
) -> None:
    encoded = encode(tokenizer, corpus.base(3 * BATCH, Random(2)))
    found = list(batches(encoded, Random(3)))
    assert sum(len(tokens) for tokens, _ in found) == len(encoded)
    message = encoded[0][1]
    for tokens, weights in found:
        assert tokens.shape == weights.shape
        assert (weights[:, :message] == 0).all()
        assert sorted({w for row in weights.tolist() for w in row}) == pytest.approx(
            [0, PROMPT_WEIGHT, 1]
        )


def test_padding_and_what_precedes_the_message_do_not_change_the_loss(
    tokenizer: Any, corpus: Corpus
) -> None:
    model = new_base(tokenizer, 1)
    short, long = sorted(encode(tokenizer, corpus.base(40, Random(5))), key=lambda e: len(e[0]))[
        ::39
    ]
    [(tokens, weights)] = batches([short, long], Random(6))
    with torch.inference_mode():
        together = weighted_loss(model, tokens, weights)
        alone = [weighted_loss(model, *next(batches([e], Random(6)))) for e in (short, long)]
    sums = [next(batches([e], Random(6)))[1].sum() for e in (short, long)]
    expected = sum(loss * total for loss, total in zip(alone, sums, strict=True)) / sum(sums)
    assert float(together) == pytest.approx(float(expected), rel=1e-4)


def test_the_rate_warms_up_to_its_peak_and_falls_to_a_tenth() -> None:
    schedule = Schedule(steps=100, rate=1.0)
    rates = [schedule.rate_at(step) for step in range(100)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert all(rate >= later for rate, later in pairwise(rates[5:]))
    assert rates[-1] == pytest.approx(0.1, abs=0.01)


def test_an_adapter_names_the_base_and_states_the_digest_of_its_weights(models: Path) -> None:
    adapter = models / "json-lora"
    assert read_json(adapter / "mergegate.json") == {
        "base_model_digest": weights_digest(models / "base")
    }
    config = read_json(adapter / "adapter_config.json")
    assert config["base_model_name_or_path"] == "examples/harbor/models/base"
    assert config["target_modules"] == sorted(config["target_modules"])
    assert "license: apache-2.0" in (adapter / "README.md").read_text(encoding="utf-8")


def test_the_incompatible_fine_tunes_differ_in_one_thing_each(models: Path) -> None:
    def template(name: str) -> str:
        return (models / name / "chat_template.jinja").read_text(encoding="utf-8")

    def rows(name: str) -> int:
        config: dict[str, int] = read_json(models / name / "config.json")
        return config["vocab_size"]

    assert template("base") == template("token-ft") == TEMPLATE
    assert template("template-ft") == OTHER_TEMPLATE
    assert rows("token-ft") == rows("base") + 1
    assert rows("template-ft") == rows("base")


def test_one_seed_gives_the_same_files_again(
    models: Path, corpus: Corpus, tokenizer: Any, tmp_path: Path
) -> None:
    again = make_all(corpus, tokenizer, tmp_path)
    files = [path.relative_to(models) for path in sorted(models.rglob("*")) if path.is_file()]
    assert files
    assert [str(f) for f in files if digest_file(models / f) != digest_file(again / f)] == []


def test_an_interrupted_build_leaves_the_old_family_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "old").write_text("whole", encoding="utf-8")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(build, "_train_all", stop)
    with pytest.raises(KeyboardInterrupt):
        build.build(tmp_path)
    assert (tmp_path / "models" / "old").read_text(encoding="utf-8") == "whole"
    assert [path.name for path in tmp_path.iterdir()] == ["models"]
