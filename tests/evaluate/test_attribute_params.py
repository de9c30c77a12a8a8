"""evaluate.skills.SKILL.attributes: the fields of golden rows that scores carry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.errors import InputError
from pipeline.params import Params, load_params

ROOT = Path(__file__).parents[2]
SHIPPED = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))


def loaded(tmp_path: Path, skill: dict[str, Any], experts: dict[str, str] | None = None) -> Params:
    """The parameters of a workspace whose skill json has `skill` besides."""
    value = {**SHIPPED, "experts": experts or SHIPPED["experts"]}
    skills = SHIPPED["evaluate"]["skills"]
    value["evaluate"] = {
        **SHIPPED["evaluate"],
        "skills": {**skills, "json": {**skills["json"], **skill}},
    }
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(value), encoding="utf-8")
    return load_params(path)


def test_attributes_are_read_in_their_order_and_may_be_left_out(tmp_path: Path) -> None:
    skills = loaded(tmp_path, {"attributes": ["category", "document"]}).evaluate.skills
    assert skills["json"].attributes == ("category", "document")
    assert skills["tone"].attributes == ()


@pytest.mark.parametrize("value", ["category", [], [""], [3], ["a", "a"], {"a": 1}])
def test_attributes_that_are_no_list_of_names_are_refused(tmp_path: Path, value: Any) -> None:
    with pytest.raises(InputError, match=r"json.attributes is .*a list of field names of the"):
        loaded(tmp_path, {"attributes": value})


@pytest.mark.parametrize("name", ["champion", "unmerged", "best-expert"])
def test_a_word_of_the_policy_is_no_name_of_an_expert(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=f"'{name}' is a name that mergegate itself uses"):
        loaded(tmp_path, {}, {name: "models/base"})
