"""params.yaml: every fault at once, each with where, what, the limit and the way out."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from gates import Policy
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
    with pytest.raises(
        InputError, match=r"nowhere\.yaml: no such file here\. Run the command in the folder"
    ):
        load_params(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize("value", [[], "text", 3, None])
def test_a_file_that_is_not_a_mapping_is_refused(tmp_path: Path, value: object) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(value))
    with pytest.raises(InputError, match="must be a mapping"):
        load_params(path)


# Every optional key, as a dotted path. What is not listed here or below `model_args` is required.
OPTIONAL = (
    "seed",
    "watch",
    "evaluate.backend",
    "evaluate.model_args",
    "evaluate.batch_size",
    "evaluate.max_new_tokens",
    "evaluate.jobs",
    "evaluate.system",
    "evaluate.limit",
    "evaluate.skills.json.attributes",
    "experts.json.domain",
    "quantize",
    "quantize.scheme",
    "quantize.algorithm",
    "quantize.group_size",
    "quantize.calibration_samples",
    "registry",
    "registry.uri",
    "registry.journal",
    "policy.alpha",
    "policy.latency",
    "policy.waivers",
    "policy.sealed",
    "policy.skills.json.range",
    "policy.skills.json.direction",
    "policy.skills.json.cluster",
    "policy.skills.json.alpha",
    "policy.skills.json.slices",
    "policy.skills.json.also",
)
REQUIRED = (
    "name",
    "base",
    "experts.json.source",
    "candidates",
    "release",
    "evaluate",
    "evaluate.golden",
    "evaluate.skills",
    "evaluate.skills.json.task",
    "evaluate.skills.json.metrics",
    "policy",
    "policy.skills",
    "policy.safety",
    "policy.skills.json.metric",
    "policy.skills.json.reference",
    "policy.skills.json.margin",
    "policy.skills.json.floor",
    "policy.latency.metric",
    "policy.latency.max_ratio",
)
LEFT_OUT = object()


def at(tmp_path: Path, dotted: str, value: object) -> Path:
    """The shipped params.yaml with another value at a path, or without the key."""
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    *above, last = dotted.split(".")
    place = content
    for key in above:
        place = place.setdefault(key, {})
    if value is LEFT_OUT:
        place.pop(last, None)
    else:
        place[last] = value
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def read(path: Path) -> tuple[object, ...]:
    """All that a release takes from params.yaml, the policy parsed too."""
    params = load_params(path)
    policy = Policy.parse(params.policy, "params.yaml: policy")
    return replace(params, policy={}), policy


@pytest.mark.parametrize("dotted", OPTIONAL)
def test_null_is_the_same_as_an_optional_key_left_out(tmp_path: Path, dotted: str) -> None:
    left_out = read(at(tmp_path, dotted, LEFT_OUT))
    assert read(at(tmp_path, dotted, None)) == left_out


@pytest.mark.parametrize("dotted", REQUIRED)
@pytest.mark.parametrize("value", [None, LEFT_OUT])
def test_a_required_key_is_neither_null_nor_left_out(
    tmp_path: Path, dotted: str, value: object
) -> None:
    key = dotted.rsplit(".", 1)[-1]
    with pytest.raises(InputError, match=rf"{key}\b"):
        read(at(tmp_path, dotted, value))


WRONG: tuple[object, ...] = (True, -3, 1.5, "", "no such value!", ["x", 1], {"x": 1}, [])
# Where one of these is a right value, by the key's last part.
RIGHT: dict[str, tuple[object, ...]] = {
    "seed": (),
    "domain": ("", "no such value!"),
    "source": ("no such value!",),
    "base": ("no such value!",),
    "system": ("", "no such value!"),
    "backend": ("no such value!",),
    "task": ("no such value!",),
    "golden": ("no such value!",),
    "watch": ("no such value!",),
    "uri": ("no such value!",),
    "journal": ("no such value!",),
    "metric": ("no such value!",),
    "reference": ("no such value!",),
    "model_args": ({"x": 1},),
    "waivers": ([],),
    "max_ratio": (1.5,),
}


@pytest.mark.parametrize("dotted", [*OPTIONAL, *REQUIRED])
def test_a_value_of_a_wrong_type_is_refused_and_named(tmp_path: Path, dotted: str) -> None:
    key = dotted.rsplit(".", 1)[-1]
    right = [] if dotted == "policy.latency.metric" else RIGHT.get(key, ())
    for value in WRONG:
        if any(type(value) is type(one) and value == one for one in right):
            continue
        with pytest.raises(InputError, match=rf"{key}\b"):
            read(at(tmp_path, dotted, value))
