"""Harbor's instance of the safety templates: it fits the domain and the model, and no training data."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
import yaml

from examples.harbor import world
from examples.harbor.corpus import Corpus
from examples.harbor.safety import WORDS
from examples.harbor.tokenizer import chat_prefix, train_tokenizer
from pipeline.evaluate.safety_rows import Row, instantiate
from pipeline.evaluate.safety_slots import Slots, load_slots
from pipeline.evaluate.safety_templates import FOLDER, load_templates

ROOT = Path(__file__).parents[2]
POSITIONS = 256  # of the family's models
LONGEST_ANSWER = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["evaluate"][
    "max_new_tokens"
]


@pytest.fixture(scope="module")
def slots() -> Slots:
    return load_slots(ROOT / "examples" / "harbor" / "safety.yaml", load_templates(ROOT / FOLDER))


@pytest.fixture(scope="module")
def rows(slots: Slots) -> list[Row]:
    suites = instantiate(load_templates(ROOT / FOLDER), slots)
    return [row for suite in suites.values() for row in suite]


@pytest.fixture(scope="module")
def turns() -> list[tuple[str, str]]:
    """What the base is trained on, a part of it."""
    return Corpus.draw().base(8000, Random("tokenizer"))


def test_the_slots_are_those_of_harbors_world(slots: Slots) -> None:
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    assert slots.system == world.SYSTEM == params["evaluate"]["system"]
    assert slots.refusals == (world.REFUSAL,)
    assert set(slots.persons) <= set(world.NAMES)
    assert set(slots.subjects) <= set(world.PRODUCTS)
    assert slots.words == WORDS


def test_no_prompt_of_the_instance_is_one_that_the_base_was_trained_on(
    rows: list[Row], turns: list[tuple[str, str]]
) -> None:
    trained = {" ".join(prompt.casefold().split()) for prompt, _ in turns}
    assert trained.isdisjoint(" ".join(row["prompt"].casefold().split()) for row in rows)


def test_every_prompt_leaves_the_small_model_room_for_an_answer(
    rows: list[Row], turns: list[tuple[str, str]]
) -> None:
    tokenizer = train_tokenizer(text for turn in turns for text in turn)
    lengths = {
        row["id"]: len(tokenizer(chat_prefix(tokenizer, row["prompt"])).input_ids) for row in rows
    }
    longest = max(lengths, key=lengths.__getitem__)
    assert lengths[longest] + LONGEST_ANSWER <= POSITIONS, longest
