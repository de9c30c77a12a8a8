"""Slots and templates with faults: all are reported together, each with its way out."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.errors import InputError
from pipeline.evaluate.safety import main, upper_bound
from pipeline.evaluate.safety_slots import load_slots
from pipeline.evaluate.safety_templates import Templates, fill, load_templates

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "evals" / "safety" / "templates"
HARBOR = ROOT / "examples" / "harbor" / "safety.yaml"


@pytest.fixture(scope="module")
def templates() -> Templates:
    return load_templates(FOLDER)


@pytest.fixture
def changed(tmp_path: Path) -> Any:
    """Harbor's slots with some keys replaced, or removed where the value is None."""

    def change(**keys: Any) -> Path:
        slots = {**yaml.safe_load(HARBOR.read_text(encoding="utf-8")), **keys}
        path = tmp_path / "slots.yaml"
        kept = {key: value for key, value in slots.items() if value is not None}
        path.write_text(yaml.safe_dump(kept), encoding="utf-8")
        return path

    return change


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"domain": None}, "slots.yaml.domain is missing; it must be a text"),
        ({"assistant": " "}, "assistant is ' '; it must be a text"),
        ({"persons": ["Mia", "Tom"]}, "persons is .* it must be a list of 3 or more names"),
        ({"persons": ["Mia", "mia", "Tom"]}, "persons is .* it must be a list of 3 or more"),
        ({"persons": ["Mia", "{person}", "Tom"]}, "persons is .* it must be a list"),
        ({"persons": "Mia, Tom, Ava"}, "persons is 'Mia, Tom, Ava'"),
        ({"private": [1, 2, 3]}, "private is "),
        ({"contacts": []}, "contacts is .* who helps in a crisis"),
        ({"person": ["Mia"]}, "person is not a key of .* Did you mean persons?"),
        ({"injected": "obey"}, "injected is 'obey'; it must be answer or decline"),
        ({"languages": ["xx"]}, "languages is .* it must be a list of en, de, fr, es"),
        ({"size": 99}, "size is 99; it must be rows of a suite, 100 to 10000"),
        ({"size": True}, "size is True"),
        ({"leave_out": {"weapon": "x"}}, "leave_out.weapon is no category. Did you mean weapons?"),
        ({"leave_out": {"weapons": ""}}, "leave_out.weapons must say why"),
        ({"leave_out": ["weapons"]}, "leave_out is "),
        ({"tasks": []}, "tasks is .* 3 or more tasks"),
        ({"tasks": [{"prompt": "x", "data": "y", "answer": "z"}] * 3}, "text with {data} in it"),
        ({"tasks": [{"prompt": "{data} {word}", "data": "y"}] * 3}, r"tasks\[0\].answer is miss"),
        ({"lookalikes": [{"request": "{order}?", "target": "x"}]}, r"lookalikes\[0\].request is "),
        ({"lookalikes": [{"request": "What?"}]}, r"lookalikes\[0\].target is missing"),
        ({"lookalikes": [{"request": "May I cry?", "target": "cry"}]}, "'cry' stands in the req"),
        ({"secrets": ["blue ledger"]}, "'blue ledger' is no part of `system`"),
        ({"secrets": ["..."]}, "'...' is no part of `system`"),
        ({"refusals": ["I am told: You are Harbor Support."]}, "is said by the refusal"),
        ({"words": ["lamp", *"abcd"]}, "'lamp' must be 6 to 20 Latin letters"),
        ({"words": ["returns", "harvest", "pelican", "granite", "velvet"]}, "'returns' stands in"),
    ],
)
def test_a_fault_says_where_what_and_the_limit(
    changed: Any, templates: Templates, keys: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        load_slots(changed(**keys), templates)


def test_all_faults_are_reported_together(changed: Any, templates: Templates) -> None:
    path = changed(domain=None, persons=[], injected="obey", size=1, colour="red")
    with pytest.raises(InputError) as raised:
        load_slots(path, templates)
    lines = str(raised.value).splitlines()
    assert len(lines) == 5
    for word in ("domain", "persons", "injected", "size", "colour"):
        assert any(word in line for line in lines)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return shutil.copytree(FOLDER, tmp_path / "templates")


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("refusal", "kind: refusal", "kind: refusals", "kind is 'refusals'; it must be «refusal»"),
        ("refusal", "expect: hand_on", "expect: hand", "expect is 'hand'; it must be decline or"),
        ("refusal", "{private} of {person}", "{privat} of {person}", "private_data.requests is"),
        (
            "refusal",
            'bare: "{request}"',
            "bare: request",
            r"frames.bare must be .*with \{request\}",
        ),
        ("refusal", "target: privacy", "target: 3", r"lookalikes\[0\].target is 3"),
        ("refusal", "    lookalikes:", "    lookalike:", "lookalikes is missing"),
        ("injection", "orders: halves", "orders: half", "orders is 'half'; it must be one of"),
        ("injection", "{data} Join {head} and", "{data} Join", r"lacks \{head\}"),
        ("injection", "{data} P.S. {order}", "{data} P.S.", r"lacks \{order\}. Add it"),
        ("injection", "  en:\n", "  uk:\n", "orders needs en"),
        ("injection", "dis {word}.", "dis un mot.", r"orders.fr: .* lacks \{word\}"),
        ("extraction", "categories:", "category:", "categories is missing"),
    ],
)
def test_a_template_with_a_fault_is_refused(
    copied: Path, name: str, old: str, new: str, words: str
) -> None:
    path = copied / f"{name}.yaml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(InputError, match=words):
        load_templates(copied)


def test_a_missing_template_says_where_to_look(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such template\. Run this in the folder of params"):
        load_templates(tmp_path)


def test_a_value_is_filled_in_once_and_braces_of_json_are_text() -> None:
    assert fill('{"a": "{x}", {y}}', {"x": "{x}"}) == '{"a": "{x}", {y}}'


def test_the_command_reports_sizes_and_bounds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(HARBOR), str(tmp_path / "out"), "--templates", str(FOLDER)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert "refusal.jsonl: 300 rows of 16 categories" in lines[0]
    assert "0.99%" in lines[0]


def test_the_command_ends_with_2_and_the_faults_on_bad_slots(
    changed: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main([str(changed(domain=None)), str(out), "--templates", str(FOLDER)]) == 2
    assert "domain is missing" in capsys.readouterr().err
    assert not out.exists()


def test_golden_sets_are_not_changed_unasked(
    changed: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = [str(HARBOR), str(out), "--templates", str(FOLDER)]
    assert main(arguments) == 0
    before = {path: path.read_bytes() for path in out.iterdir()}
    assert main(arguments) == 0
    assert main([*arguments, "--seed", "1"]) == 2
    assert "exists and would change" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in out.iterdir()} == before
    assert main([*arguments, "--seed", "1", "--overwrite"]) == 0
    assert {path: path.read_bytes() for path in out.iterdir()} != before


@pytest.mark.parametrize("n", [1, 30, 299, 3000])
def test_the_bound_is_the_exact_one_of_clopper_and_pearson(n: int) -> None:
    from scipy.stats import binomtest

    exact = binomtest(0, n, alternative="less").proportion_ci(0.95, "exact").high
    assert upper_bound(n) == pytest.approx(exact)
