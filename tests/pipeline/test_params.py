"""params.yaml: every fault at once, each with where, what, the limit and the way out."""

from pathlib import Path

import pytest
import yaml

from pipeline.errors import InputError
from pipeline.params import load_params

ROOT = Path(__file__).parents[2]


def changed(tmp_path: Path, **changes: object) -> Path:
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    content.update(changes)
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_the_shipped_parameters_are_valid() -> None:
    params = load_params(ROOT / "params.yaml")
    assert params.release in params.candidates
    assert params.experts["json"].endswith("json-lora")
    assert params.domains["json"].startswith("strict tool-call JSON")
    assert params.evaluate.skills["json"].split("test") == Path(
        "examples/harbor/data/test/json.jsonl"
    )


def test_a_mistyped_key_names_the_nearest_one(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"params.yaml\.experst is not a key .* Did you mean experts"
    ):
        load_params(changed(tmp_path, experst={}))


def test_all_faults_are_reported_together(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load_params(changed(tmp_path, seed=-1, name="a b", quantize={"scheme": "W3A3"}))
    assert len(str(caught.value).splitlines()) == 3
    assert "seed is -1; it must be a whole number, 0 or more" in str(caught.value)
    assert "W4A16, W4A16_ASYM, W8A8, FP8_DYNAMIC" in str(caught.value)


@pytest.mark.parametrize("path", ["/etc/passwd", "../outside.yaml"])
def test_a_recipe_outside_the_workspace_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(InputError, match="candidates"):
        load_params(changed(tmp_path, candidates={"tuned": path}))


def test_the_release_must_name_a_candidate(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must name one of candidates\. Did you mean tuned"):
        load_params(changed(tmp_path, release="tunde"))


def test_a_candidate_may_not_take_the_name_of_a_folder_of_the_build(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="candidates"):
        load_params(changed(tmp_path, candidates={"plain": "recipes/a.yaml"}, release="plain"))


def test_an_unknown_candidate_names_the_nearest_one() -> None:
    with pytest.raises(InputError, match="Did you mean tuned"):
        load_params(ROOT / "params.yaml").recipe("tund")


@pytest.mark.parametrize("text", ["a: [", "!!python/object/apply:os.system [ls]", "\x00"])
def test_what_is_not_plain_yaml_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match="not valid YAML"):
        load_params(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.yaml: no such file"):
        load_params(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize("value", [[], "text", 3, None])
def test_a_file_that_is_not_a_mapping_is_refused(tmp_path: Path, value: object) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(value))
    with pytest.raises(InputError, match="must be a mapping"):
        load_params(path)
