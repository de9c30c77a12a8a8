"""Which algorithm fits which scheme, and which group size fits which shapes."""

from __future__ import annotations

import pytest

from pipeline.errors import InputError
from pipeline.quantize.scheme import ALGORITHMS, check_scheme, fit_group_size


@pytest.mark.parametrize(
    ("scheme", "algorithm"), [(s, a) for s, fitting in ALGORITHMS.items() for a in fitting]
)
def test_fitting_pairs_pass(scheme: str, algorithm: str) -> None:
    check_scheme(scheme, algorithm, "auto")


@pytest.mark.parametrize(
    ("scheme", "algorithm", "group_size", "words"),
    [
        ("W4A61", "gptq", "auto", "quantize.scheme is 'W4A61'. Did you mean W4A16?"),
        ("FP8_DYNAMIC", "gptq", "auto", "for FP8_DYNAMIC it must be rtn"),
        ("W8A8", "awq", "auto", "for W8A8 it must be gptq or rtn"),
        ("W4A16", "magic", "auto", "it must be gptq, awq or rtn"),
        ("W8A8", "gptq", 32, "quantize.group_size is 32; W8A8 has no groups"),
    ],
)
def test_what_does_not_fit_is_refused(
    scheme: str, algorithm: str, group_size: int | str, words: str
) -> None:
    with pytest.raises(InputError) as raised:
        check_scheme(scheme, algorithm, group_size)
    assert words in str(raised.value)


def test_all_faults_are_reported_together() -> None:
    with pytest.raises(InputError) as raised:
        check_scheme("W8A8", "magic", 32)
    assert len(str(raised.value).splitlines()) == 3


@pytest.mark.parametrize(
    ("columns", "size"), [((256, 128), 128), ((256, 192), 64), ((160, 448), 32), ((), 128)]
)
def test_auto_is_the_largest_size_that_divides_every_layer(
    columns: tuple[int, ...], size: int
) -> None:
    assert fit_group_size("auto", {str(i): c for i, c in enumerate(columns)}) == size


def test_a_stated_size_is_used_where_it_divides() -> None:
    assert fit_group_size(16, {"q_proj": 160, "down_proj": 448}) == 16


@pytest.mark.parametrize("group_size", ["auto", 64])
def test_layers_that_do_not_fit_are_named_with_their_columns(group_size: int | str) -> None:
    with pytest.raises(InputError, match=r"up_proj has 100.* use W8A8"):
        fit_group_size(group_size, {"q_proj": 128, "up_proj": 100})


def test_a_long_list_of_misfits_is_cut() -> None:
    with pytest.raises(InputError, match=r"2 has 50 and 37 more layers do not fit"):
        fit_group_size(32, {str(i): 50 for i in range(40)})
