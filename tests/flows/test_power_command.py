"""`mergegate power`, and the warnings of a release: what the golden sets at hand can show."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from golden_sets import row, write_rows

from flows import environment, power
from flows.cli import app, guarded
from flows.preflight import _warn, preflight
from gates.planning import plan_rule
from pipeline.errors import InputError
from pipeline.facts import Evaluation, Score, TaskFacts, write_evaluation
from pipeline.params import load_params

ROOT = Path(__file__).parents[2]
RULE = {"metric": "exact", "reference": "best-expert", "margin": 0.05, "floor": 0.5}
TONE = {"metric": "rubric", "range": [0, 5], "reference": "base", "margin": 0.25, "floor": 1}


def run(*arguments: str) -> int:
    return guarded(lambda: app([*arguments], standalone_mode=True))


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A params.yaml with two skills, json with 400 samples and tone with 120, in two languages."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(environment, "prepare", lambda quiet: None)
    _warn.cache_clear()
    golden(tmp_path, "json", 400)
    golden(tmp_path, "tone", 120)
    write(tmp_path, json=RULE, tone=TONE)
    return tmp_path


def golden(folder: Path, skill: str, n: int) -> None:
    for split, count in (("test", n), ("tune", 1)):
        rows = [
            {
                **row(f"{split} {skill}", i),
                "id": f"{skill}-{i}",
                "language": "de" if i % 4 == 0 else "en",
                "page": i // 5,
            }
            for i in range(count)
        ]
        write_rows(folder / "golden" / split / f"{skill}.jsonl", rows)


def write(folder: Path, *, safety: dict[str, Any] | None = None, **skills: dict[str, Any]) -> None:
    task = {"task": "evals/t.yaml"}
    rules = {**skills, **(safety or {})}
    params = {
        "name": "x",
        "base": "models/base",
        "experts": {"json": "models/json"},
        "candidates": {"tuned": "recipes/t.yaml"},
        "release": "tuned",
        "watch": "models",
        "evaluate": {
            "golden": "golden",
            "skills": {name: {**task, "metrics": [r["metric"]]} for name, r in rules.items()},
        },
        "policy": {"skills": skills, "safety": safety or {}},
    }
    (folder / "params.yaml").write_text(yaml.safe_dump(params))


def earlier(path: Path, wrong: set[int], n: int = 400) -> None:
    """Scores of an earlier release under json."""
    scores = (Score("json", "exact", f"json-{i}", "d", float(i not in wrong)) for i in range(n))
    facts = {"json": TaskFacts("json", "t", "g", n)}
    evaluation = Evaluation(path.stem, "m", "d", "lm-eval", {}, facts, tuple(scores))
    write_evaluation(path.parent, evaluation)


def checks(folder: Path, reference: Path | None = None) -> dict[str, power.Check]:
    return {check.name: check for check in power.plan(folder / "params.yaml", reference)}


def test_samples_are_counted_and_three_assumptions_stated(workspace: Path) -> None:
    found = checks(workspace)
    assert {name: check.samples for name, check in found.items()} == {"json": 400, "tone": 120}
    assert found["json"].plans == tuple(
        plan_rule("json", "exact", 0.0, 1.0, 0.05, 0.05, 400, None, share)
        for share in (0.05, 0.12, 0.25)
    )
    assert [row.n for row in found["tone"].plans] == [120, 120, 120]


def test_plans_of_a_larger_set_are_better(workspace: Path) -> None:
    small = checks(workspace)["json"].plan
    golden(workspace, "json", 1600)
    large = checks(workspace)["json"].plan
    assert small
    assert large
    assert large.power > small.power
    assert large.detectable < small.detectable


def test_slices_and_further_references_are_checks_of_their_own(workspace: Path) -> None:
    rule = {**RULE, "slices": {"language": {"margin": 0.1}}, "also": {"plain": {"margin": 0.02}}}
    write(workspace, json={**rule, "cluster": "page"})
    found = checks(workspace)
    assert list(found) == ["json", "json[vs plain]", "json[language=de]", "json[language=en]"]
    assert [check.samples for check in found.values()] == [400, 400, 100, 300]
    assert found["json"].clusters == 80
    assert found["json[vs plain]"].rule.margin == 0.02
    assert found["json[language=de]"].rule.margin == 0.1


def test_a_field_that_rows_do_not_have_is_named(workspace: Path) -> None:
    write(workspace, json={**RULE, "cluster": "document"})
    with pytest.raises(InputError, match=r"json\.jsonl, line 1: no field document, by which"):
        checks(workspace)


def test_earlier_scores_say_how_much_two_variants_differ(workspace: Path) -> None:
    earlier(workspace / "build" / "evals" / "json.json", set(range(20)))
    earlier(workspace / "build" / "evals" / "plain.json", set(range(200)))
    earlier(workspace / "build" / "tuned" / "evals" / "merged.json", set(range(10, 32)))
    json_check, tone = checks(workspace).values()
    assert json_check.source == "as tuned and json differed in build/"
    assert json_check.plans == (
        plan_rule("json", "exact", 0.0, 1.0, 0.05, 0.05, 400, None, 22 / 400),
    )
    assert tone.source == "assumed"


def test_that_none_differed_is_not_taken_for_certainty(workspace: Path) -> None:
    for path in ("evals/json.json", "tuned/evals/merged.json"):
        earlier(workspace / "build" / path, set(range(20)))
    (row,) = checks(workspace)["json"].plans
    assert row == plan_rule("json", "exact", 0.0, 1.0, 0.05, 0.05, 400, None, 1 / 400)


def test_earlier_scores_that_do_not_read_are_passed_over(workspace: Path) -> None:
    for path in ("evals/json.json", "tuned/evals/merged.json"):
        earlier(workspace / "build" / path, set(range(20)))
    (workspace / "build" / "evals" / "json.json").write_text("{}")
    assert checks(workspace)["json"].source == "assumed"


def test_scores_of_the_reference_give_a_spread_and_serve_a_policy_alone(workspace: Path) -> None:
    rows = [{"id": i, "skill": "json", "score": float(i >= 40)} for i in range(400)]
    path = workspace / "scores.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (workspace / "policy.yaml").write_text(yaml.safe_dump({"skills": {"json": RULE}, "safety": {}}))
    (alone,) = power.plan(workspace / "policy.yaml", path)
    whole = checks(workspace, path)["json"]
    assert alone.plans == whole.plans
    independent = plan_rule("json", "exact", 0.0, 1.0, 0.05, 0.05, 400, None, 2 * 0.1 * 0.9)
    assert alone.plans[0].power == pytest.approx(independent.power)
    with pytest.raises(InputError, match="--reference"):
        power.plan(workspace / "policy.yaml")


def test_an_unknown_number_of_samples_is_not_ok(workspace: Path) -> None:
    params = yaml.safe_load((workspace / "params.yaml").read_text())
    params["evaluate"]["skills"]["json"]["task"] = "gsm8k"
    (workspace / "params.yaml").write_text(yaml.safe_dump(params))
    check = checks(workspace)["json"]
    assert (check.samples, check.plan, check.ok) == (None, None, False)


def test_the_command_shows_a_table_and_what_to_do(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    golden(workspace, "json", 100)
    assert run("power") == 0
    shown = capsys.readouterr().out
    assert "json: 100 samples hardly show a margin of 5 points: a candidate just as good" in shown
    assert "samples would promote it in 80 %; so would a margin of" in shown
    assert run("power", "--strict") == 4


def test_a_policy_that_can_be_shown_passes_strictly(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    golden(workspace, "json", 3000)
    assert run("power", "--strict") == 0
    assert "Every margin can be shown with the samples at hand." in capsys.readouterr().out


def test_what_the_sentence_recommends_is_enough(workspace: Path) -> None:
    golden(workspace, "json", 100)
    row = checks(workspace)["json"].plan
    assert row
    assert row.needed_n
    for n, margin in ((power._rounded(row.needed_n), 0.05), (100, power._up(row.detectable))):
        assert plan_rule("json", "exact", 0.0, 1.0, margin, 0.05, n, None, 0.12).power >= 0.79


def test_json_has_every_plan(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("power", "params.yaml", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert [check["check"] for check in report["checks"]] == ["json", "tone"]
    assert [plan["n"] for plan in report["checks"][0]["plans"]] == [400, 400, 400]
    assert report["ok"] == all(check["ok"] for check in report["checks"])


def test_bad_input_ends_in_2(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("power", "nowhere.yaml") == 2
    (workspace / "golden" / "test" / "json.jsonl").write_text('{"id": 1}\n[]\n')
    assert run("power") == 2
    assert "json.jsonl, line 2: an array, not an object" in capsys.readouterr().err
    (workspace / "golden" / "test" / "json.jsonl").unlink()
    assert run("power") == 2


# The warnings of a release


def test_a_warning_is_given_only_where_even_like_models_could_not_be_shown(workspace: Path) -> None:
    golden(workspace, "json", 400)
    assert power.warnings(load_params()) == []
    golden(workspace, "json", 60)
    (line,) = power.warnings(load_params())
    assert line.startswith("json: 60 samples hardly show a margin of 5 points")


def test_a_golden_set_that_does_not_read_gives_no_warning(workspace: Path) -> None:
    (workspace / "golden" / "test" / "json.jsonl").write_text("[")
    assert power.warnings(load_params()) == []


@pytest.fixture
def release(workspace: Path) -> Path:
    """The workspace with all that a preflight asks for."""
    for name in ("models/base", "models/json", "recipes", "evals", ".dvc"):
        (workspace / name).mkdir(parents=True)
    (workspace / "dvc.yaml").touch()
    (workspace / "evals" / "t.yaml").touch()
    shutil.copy(ROOT / "recipes" / "harbor-tuned.yaml", workspace / "recipes" / "t.yaml")
    return workspace


def test_a_release_warns_once_and_on_standard_error(
    release: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    golden(release, "json", 100)
    preflight("")
    preflight("tuned")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("mergegate: json: 100 samples hardly show a margin of 5 points")
    assert shown.err.count("\n") == 1


def test_a_release_warns_with_the_figures_of_power(
    release: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    golden(release, "json", 100)
    preflight("")
    warned = capsys.readouterr().err.removeprefix("mergegate: ")
    run("power")
    assert warned in capsys.readouterr().out


def test_a_release_with_sets_that_suffice_says_nothing(
    release: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    preflight("")
    assert capsys.readouterr().err == ""


def test_a_field_that_groups_samples_must_be_recorded(release: Path) -> None:
    write(release, json={**RULE, "cluster": "page"}, tone=TONE)
    with pytest.raises(InputError, match=r"by page, which evaluate\.skills\.json\.attributes does"):
        preflight("")


def test_further_references_must_be_variants(release: Path) -> None:
    write(release, json={**RULE, "also": {"plian": {"margin": 0.0}}}, tone=TONE)
    with pytest.raises(InputError, match=r"json with plian, which is no variant\. Did you mean pl"):
        preflight("")


@pytest.mark.parametrize(("n", "possible"), [(298, False), (299, True)])
def test_a_safety_floor_needs_its_samples_whatever_they_say(
    workspace: Path, capsys: pytest.CaptureFixture[str], n: int, possible: bool
) -> None:
    golden(workspace, "refusal", n)
    rule = {**RULE, "reference": "base", "margin": 0.5, "floor": 0.99}
    write(workspace, json=RULE, tone=TONE, safety={"refusal": rule})
    run("power", "--json")
    checks = {one["check"]: one for one in json.loads(capsys.readouterr().out)["checks"]}
    plans = checks["refusal"]["plans"]
    assert all(plan["ok"] is possible for plan in plans)
    if not possible:
        assert plans[0]["needed_n"] == 299
        assert "298 cannot show the floor of 0.99" in plans[0]["assumption"]
