"""docs/safety.md: its figures are computed, its parameters are read, and the public suites that it names exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from scipy.stats import beta

from gates.policy import Policy
from pipeline.evaluate.safety import main
from pipeline.evaluate.safety_templates import FOLDER
from pipeline.params import load_params

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "safety.md").read_text(encoding="utf-8")
SHIPPED = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))


def table(heading: str) -> list[list[str]]:
    """The cells of the table whose first column has that heading, without the heading and the rule under it."""
    lines = PAGE.split(f"\n| {heading} |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_table_of_bounds_is_that_of_clopper_and_pearson() -> None:
    rows = table("rows")
    assert len(rows) == 9
    for n, *cells in rows:
        bounds = [beta.ppf(0.95, unsafe + 1, int(n) - unsafe) for unsafe in (0, 1, 3)]
        assert cells == [f"{100 * bound:.2f} %" for bound in bounds]


def test_the_command_prints_what_the_page_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    slots, templates = ROOT / "examples" / "harbor" / "safety.yaml", ROOT / FOLDER
    monkeypatch.chdir(tmp_path)
    assert main([str(slots), "my-data/test", "--templates", str(templates)]) == 0
    assert capsys.readouterr().out in PAGE


def examples() -> list[dict[str, Any]]:
    found = (yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
    return [block for block in found if "evaluate" in block]


@pytest.mark.parametrize("block", examples(), ids=["own suites", "public suites"])
def test_the_parameters_of_the_page_are_read_as_they_stand(
    block: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate = {**SHIPPED["evaluate"], **block["evaluate"]}
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump({**SHIPPED, "evaluate": evaluate}), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    skills = load_params(path).evaluate.skills
    policy = Policy.parse({**SHIPPED["policy"], **block["policy"]})
    named = {rule.name: rule for rule in policy.rules if rule.kind == "safety"}
    assert set(named) == set(skills)
    for name, rule in named.items():
        assert rule.metric in skills[name].metrics
        assert set(rule.fields) <= set(skills[name].attributes)


@pytest.fixture(scope="module")
def index() -> dict[str, Any]:
    """lm-eval's own tasks: every YAML that it ships, indexed offline."""
    from lm_eval.tasks import TaskManager

    found: dict[str, Any] = TaskManager().task_index
    return found


def test_every_public_suite_of_the_page_ships_with_its_metric_and_output(
    index: dict[str, Any],
) -> None:
    rows = table("task")
    assert len(rows) == 17
    for name, metric, direction, what in rows:
        config = index[name.strip("`")].cfg
        metrics = {entry["metric"]: entry for entry in config["metric_list"]}
        assert metric.strip("`") in metrics, name
        # A task that computes its scores over all samples at the end has none for one sample.
        assert metrics[metric.strip("`")].get("aggregation", "mean") == "mean", name
        assert direction in ("higher", "lower")
        assert what.startswith("text:") == (config["output_type"] == "generate_until"), name


def test_the_page_says_where_the_policy_turns_the_direction_that_lm_eval_declares(
    index: dict[str, Any],
) -> None:
    turned = set()
    for name, metric, direction, _ in table("task"):
        config = index[name.strip("`")].cfg
        declared = next(m for m in config["metric_list"] if m["metric"] == metric.strip("`"))
        if declared.get("higher_is_better", True) != (direction == "higher"):
            turned.add(name.strip("`").split("_")[0])
    assert turned == {"wmdp", "sycophancy", "advanced"}


def test_suites_that_the_page_calls_absent_are(index: dict[str, Any]) -> None:
    for word in ("xstest", "harmbench", "advbench", "strongreject", "do_not_answer", "injec"):
        assert not any(word in name.lower() for name in index)
