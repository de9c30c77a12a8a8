"""The table of rules: which figures lead to which method, and the sentence with its numbers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pipeline.diagnose.cautions import cautions
from pipeline.diagnose.evidence import Evidence
from pipeline.diagnose.figures import Group, TensorFigures
from pipeline.diagnose.measure import measure
from pipeline.diagnose.suggest import CANCELLED, RULES, Suggestion, suggest
from pipeline.merge.blocks import Held
from pipeline.recipe import METHODS

SIZE = 40_000
NAMES = ("tone", "json", "policy", "code", "law")


def vectors(count: int, cosine: float = 0.0, *, power: int = 1, part: float = 0.0) -> list[Tensor]:
    """Differences of one length, each pair at `cosine`; of the entries each changes all but `part`.

    `power` 2 puts the mass into few large entries.
    """
    generator = torch.Generator().manual_seed(3)
    drawn = (torch.randn(SIZE, generator=generator) for _ in range(count + 1))
    shared, *own = (value.sign() * value.abs() ** power for value in drawn)
    found = []
    for index, vector in enumerate(own):
        value = cosine**0.5 * shared + (1 - cosine) ** 0.5 * vector
        left_alone = (torch.arange(SIZE) < part * SIZE).roll(index * SIZE // count)
        found.append(0.01 * value.masked_fill(left_alone, 0))
    return found


def evidence(
    deltas: list[Tensor], *, alike: float = 0.999, base_known: bool = True, scale: float = 1.0
) -> Evidence:
    count = len(deltas)
    sums = measure(Held(deltas, torch.full((SIZE,), scale)), [None] * count).sums
    none = (None,) * count
    whole = Group.of([TensorFigures("t", (SIZE,), 0, "t", sums, none, none)], count)
    return Evidence(whole, NAMES[:count], [alike] * count, "base", base_known)


def said(deltas: list[Tensor], **facts: float) -> Suggestion:
    return suggest(evidence(deltas, **facts))  # type: ignore[arg-type]


def test_every_suggested_method_is_one_of_the_recipe_table_and_none_stacks_layers() -> None:
    methods = {rule.method for rule in RULES if rule.method}
    assert methods <= set(METHODS)
    assert "passthrough" not in methods


def test_two_orthogonal_differences_are_added() -> None:
    found = said(vectors(2))
    assert found.method == "task_arithmetic"
    assert found.reason == (
        "The two differences have cosine 0.000, 50 % of the entries that a pair changes have "
        "opposite signs, and 29 % of the mass cancels when all are added: they keep out of each "
        "other's way (limits: cosine 0.2, mass 33 %), so a weighted sum keeps each of them."
    )
    assert found.warnings == ()


def test_three_orthogonal_differences_of_the_same_entries_have_their_signs_elected() -> None:
    found = said(vectors(3))
    assert found.method == "ties"
    assert "42 % of the mass cancels" in found.reason
    assert "up to 50 % of the entries that a pair changes have opposite signs" in found.reason


def test_three_differences_of_different_entries_are_added() -> None:
    apart = vectors(3, part=0.67)
    assert evidence(apart).cancelled < CANCELLED
    assert said(apart).method == "task_arithmetic"


def test_differences_that_overlap_have_their_signs_elected() -> None:
    found = said(vectors(2, 0.35))
    assert found.method == "ties"
    assert "cosine 0.349" in found.reason


def test_opposed_differences_have_their_signs_elected() -> None:
    one, two = vectors(2)
    assert said([one, two - 0.5 * one]).method == "ties"


def test_many_that_interfere_are_thinned_out_at_random() -> None:
    found = said(vectors(4))
    assert found.method == "dare_ties"
    assert "the largest 20 % of the entries carry 44 %" in found.reason


def test_many_that_interfere_and_rest_on_large_entries_lose_small_ones_first() -> None:
    found = said(vectors(5, power=2))
    assert found.method == "della"
    assert "5 models interfere" in found.reason


def test_two_near_parallel_differences_are_interpolated_on_the_arc() -> None:
    found = said(vectors(2, 0.7))
    assert found.method == "nuslerp"
    assert "a mean would lose 8 %" in found.reason


@pytest.mark.parametrize(("count", "cosine"), [(2, 0.95), (3, 0.7)])
def test_near_parallel_differences_are_averaged(count: int, cosine: float) -> None:
    assert said(vectors(count, cosine)).method == "linear"


def test_one_difference_needs_no_method_against_interference() -> None:
    found = said(vectors(1))
    assert found.method == "task_arithmetic"
    assert "(0.010 of the base's length)" in found.reason


def test_without_a_base_near_models_are_averaged_and_far_ones_joined_on_the_arc() -> None:
    near = said(vectors(1), base_known=False)
    far = said(vectors(1), base_known=False, scale=0.01)
    assert (near.method, far.method) == ("linear", "slerp")
    assert said(vectors(3), base_known=False).method == "linear"
    assert "Name the origin as base_model" in near.warnings[0]


def test_a_source_of_another_origin_ends_in_no_method() -> None:
    found = said(vectors(2), alike=0.02)
    assert found.method is None
    assert "as it seems of tone and json" in found.reason
    assert len(found.warnings) == 2


def test_a_source_that_changes_nothing_is_named_and_left_out_of_the_count() -> None:
    found = said([*vectors(2, 0.7), torch.zeros(SIZE)])
    assert found.method == "nuslerp"
    assert found.warnings == ("policy differs from base in no tensor; it adds nothing.",)


def test_a_difference_that_occurs_twice_is_named() -> None:
    one, two = vectors(2)
    (warning,) = cautions(evidence([one, two, one * 1.001]))
    assert warning == (
        "tone and policy are one difference twice (cosine 1.0000); a sum counts it double."
    )


def test_uneven_lengths_are_named() -> None:
    one, two = vectors(2)
    (warning,) = cautions(evidence([one, 4 * two]))
    assert warning == (
        "The difference of json is 4.0 times as long as that of tone; at equal weights it decides. "
        "Give it a smaller weight."
    )


def test_a_difference_as_large_as_the_weights_is_named() -> None:
    warnings = cautions(evidence(vectors(2), scale=0.012))
    assert len(warnings) == 2
    assert warnings[0].startswith("tone moves the tensors that it changes by 0.8")
