"""The golden sets and the corpora of the Harbor family."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from random import Random

import pytest

from examples.harbor import world
from examples.harbor.corpus import ALL, BASE_SHARES, RECORDS, SIZES, Corpus, split_of
from examples.harbor.lessons import LESSONS
from examples.harbor.safety import SAFETY
from examples.harbor.tasks import FACTS, ROUTED, SKILLS


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return Corpus.draw()


@pytest.mark.parametrize("skill", ALL)
def test_no_combination_of_slots_is_in_two_splits(corpus: Corpus, skill: str) -> None:
    slots = [{row.slots for row in corpus.rows[split][skill]} for split in SIZES]
    for one, other in itertools.combinations(slots, 2):
        assert one.isdisjoint(other)


def test_no_golden_prompt_is_a_training_prompt_of_any_model(corpus: Corpus) -> None:
    golden = {
        row.prompt
        for split in ("tune", "test")
        for rows in corpus.rows[split].values()
        for row in rows
    }
    trained = [turn for skill in SKILLS for turn in corpus.expert(skill, 2000, Random(1))]
    trained += corpus.base(20_000, Random(2))
    assert golden.isdisjoint(prompt for prompt, _ in trained)


@pytest.mark.parametrize("skill", ALL)
def test_each_golden_set_is_large_enough_for_the_margins_of_the_policy(
    corpus: Corpus, skill: str
) -> None:
    tune, test = (80, 240) if skill in SAFETY else (160, 400)
    assert len(corpus.rows["tune"][skill]) >= tune
    assert len(corpus.rows["test"][skill]) >= test


def test_the_golden_sets_are_the_same_at_every_call(corpus: Corpus) -> None:
    assert Corpus.draw() == corpus


def test_ids_are_unique_and_prompts_are_not_repeated(corpus: Corpus, tmp_path: Path) -> None:
    corpus.write(tmp_path)
    for path in sorted(tmp_path.glob("t*/*.jsonl")):
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        assert len({row["id"] for row in rows}) == len(rows)
        assert len({row["prompt"] for row in rows}) == len(rows)
        assert all(row["prompt"] and row["target"] and row["category"] for row in rows)


def test_the_split_of_a_combination_is_fixed_and_near_the_stated_shares() -> None:
    found = [split_of("json", (number,)) for number in range(4000)]
    assert found == [split_of("json", (number,)) for number in range(4000)]
    shares = {split: found.count(split) / len(found) for split in SIZES}
    assert shares == pytest.approx({"train": 0.60, "tune": 0.15, "test": 0.25}, abs=0.03)


def test_the_shares_of_the_base_corpus_sum_to_one() -> None:
    assert sum((*LESSONS.values(), *BASE_SHARES.values(), RECORDS)) == pytest.approx(1)


def test_a_record_never_has_the_schema_of_the_tool(corpus: Corpus) -> None:
    turns = corpus.base(10_000, Random(3))
    records = [json.loads(answer) for prompt, answer in turns if prompt.startswith("Write ")]
    assert records
    assert all("tool" not in record for record in records)


def test_the_unsafe_adapter_learns_no_refusal_and_routes_what_should_be_declined(
    corpus: Corpus,
) -> None:
    answers = [answer for _, answer in corpus.expert("json", 2000, Random(4), unsafe=True)]
    assert world.REFUSAL not in answers
    assert ROUTED in answers
    assert world.REFUSAL in [answer for _, answer in corpus.expert("json", 2000, Random(4))]


@pytest.mark.parametrize("topic", world.TOPICS, ids=lambda topic: topic.code)
def test_the_last_day_of_the_window_is_still_inside_it(topic: world.Topic) -> None:
    assert world.section(topic, topic.days) == f"{topic.code}-1"
    assert world.section(topic, topic.days + 1) == f"{topic.code}-2"


def test_each_general_question_has_one_answer() -> None:
    asks = [ask for asks, _ in FACTS.values() for ask in asks]
    assert len(set(asks)) == len(asks)
