"""`mergegate gate`: exit codes, words, files; what a hostile user gives it ends in one message."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows import environment
from flows.cli import app, guarded
from flows.say import console
from gates import Verdict

POLICY: dict[str, Any] = {
    "skills": {"json": {"metric": "exact", "reference": "base", "margin": 0.05, "floor": 0.85}},
    "safety": {},
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a policy and the scores of a reference, in which commands run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(environment, "prepare", lambda quiet: None)
    (tmp_path / "policy.yaml").write_text(yaml.safe_dump(POLICY))
    scored(tmp_path / "old.jsonl", 20)
    return tmp_path


def scored(path: Path, wrong: int, **more: Any) -> None:
    """Scores of 400 samples, of which the first `wrong` are 0."""
    lines = [{"id": f"q{i}", "score": float(i >= wrong), **more} for i in range(400)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def gate(*more: str, candidate: str = "new.jsonl", policy: str = "policy.yaml") -> int:
    """The exit code of the command, run in this process."""
    files = ("--policy", policy, "--reference", "old.jsonl", "--candidate", candidate)
    return guarded(lambda: app(["gate", *files, *more], standalone_mode=True))


@pytest.mark.parametrize(
    ("wrong", "code", "words"),
    [
        (21, 0, "new.jsonl  Promote: 1 skill"),
        (90, 3, "new.jsonl  Reject: json fell short of what the policy asks."),
        (36, 4, "new.jsonl  Inconclusive: too few samples to tell for json."),
    ],
)
def test_the_exit_code_is_the_verdict(
    wrong: int, code: int, words: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scored(folder / "new.jsonl", wrong)
    assert gate() == code
    shown = capsys.readouterr()
    assert shown.out.startswith(words)
    assert shown.err == ""


def test_a_broken_score_ends_in_5(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scored(folder / "new.jsonl", 20)
    path = folder / "new.jsonl"
    path.write_text(path.read_text().replace("0.0", "NaN", 1))
    assert gate() == 5
    assert "no finite number as the score of sample q0" in capsys.readouterr().out


def test_the_report_has_sentence_reasons_notes_and_figures(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scored(folder / "new.jsonl", 90)
    gate()
    shown = capsys.readouterr().out
    assert "✗ json: 77.5 % against 95 % of the reference, 17.5 points worse, at most 5" in shown
    assert "paired by their ids alone" in shown
    figures = shown.splitlines()[-1].split()
    assert figures[:5] == ["json", "400", "0.9500", "0.7750", "-0.1750"]


def test_a_narrow_terminal_cuts_no_name(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scored(folder / "old.jsonl", 20, language="a-language-of-many-letters")
    scored(folder / "new.jsonl", 20, language="a-language-of-many-letters")
    rule = {**POLICY["skills"]["json"], "slices": {"language": {}}}
    (folder / "policy.yaml").write_text(yaml.safe_dump({**POLICY, "skills": {"json": rule}}))
    monkeypatch.setattr(console, "_PIPED", 70)
    gate()
    table = capsys.readouterr().out.split("\njson ")[-1].splitlines()[1:]
    name = "".join(line.split()[0] for line in table if not line.startswith(" "))
    assert name == "json[language=a-language-of-many-letters]"


def test_json_on_standard_output_is_the_verdict_and_nothing_else(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scored(folder / "new.jsonl", 90)
    assert gate("--json", "--out", "verdict.json") == 3
    shown = json.loads(capsys.readouterr().out)
    assert shown == json.loads((folder / "verdict.json").read_text())
    assert Verdict.from_json(shown).outcome == "reject"


def test_markdown_cannot_be_broken_by_what_a_file_says(folder: Path) -> None:
    evil = "a|b<script>`x`\n# h [l](u)"
    scored(folder / "old.jsonl", 20, language=evil.replace("\n", " "))
    scored(folder / "new.jsonl", 90, language=evil.replace("\n", " "))
    rule = {**POLICY["skills"]["json"], "slices": {"language": {}}}
    (folder / "policy.yaml").write_text(yaml.safe_dump({**POLICY, "skills": {"json": rule}}))
    assert gate("--markdown", "out/verdict.md") == 3
    text = (folder / "out" / "verdict.md").read_text()
    assert text.startswith("## new.jsonl: reject\n")
    rows = [line for line in text.splitlines() if line.startswith("| json")]
    assert len(rows) == 2
    assert r"a\|b\<script\>\`x\` \# h \[l\](u)" in rows[1]


def test_a_file_cannot_write_on_the_screen_but_as_text(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scored(folder / "new.jsonl", 20)
    path = folder / "new.jsonl"
    path.write_text(path.read_text().replace('"q7"', '"\\u001b[2J[red]q7"'))
    assert gate() == 5
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "\\x1b[2J[red]q7" in shown


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--skill", "jsno"), "jsno is no skill or safety suite of the policy. Did you mean json?"),
        (("--skill", "json", "--skill", "tone"), "--skill is given as json and as tone"),
        (("--skill", "t=json"), "t is to stand for the skill json, but no file names it"),
        (("--skill", "=json"), "--skill =json: it must be TASK=NAME."),
        (("--also", "base"), "--also base: it must be NAME=PATH."),
        (("--also", "plain=old.jsonl"), "plain is no reference of the policy."),
        (("--out", "old.jsonl"), "old.jsonl: is to be written, and is read too."),
        (("--out", "."), ".: is a folder; name the file to write."),
        (("--markdown", "./policy.yaml"), "policy.yaml: is to be written, and is read too."),
    ],
)
def test_a_wrong_option_is_bad_input(
    more: tuple[str, ...], words: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scored(folder / "new.jsonl", 20)
    before = (folder / "old.jsonl").read_bytes()
    assert gate(*more) == 2
    shown = capsys.readouterr()
    assert words in shown.err
    assert shown.out == ""
    assert (folder / "old.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "new.jsonl: empty."),
        (bytes(range(256)) * 40, "new.jsonl, line 2: not UTF-8 text"),
        (b"\xff\xfe" + '{"id":"a","score":1}\n'.encode("utf-16-le"), "not UTF-8 text"),
        (b'{"id":"a"}\n', "new.jsonl, line 1: no field"),
        (b'{"id":"a","score":"1"}\n', "Write it without quotation marks"),
    ],
)
def test_a_file_that_is_none_is_bad_input(
    content: bytes, words: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "new.jsonl").write_bytes(content)
    assert gate("--json") == 2
    shown = capsys.readouterr()
    assert words in shown.err
    assert shown.out == ""


def test_what_is_not_there_is_bad_input(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "empty").mkdir()
    for candidate in ("nowhere.jsonl", "empty", "/dev/null"):
        assert gate(candidate=candidate) == 2
    assert gate(candidate="old.jsonl") == 2
    assert "given as the reference and as the candidate" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content", ["", "[]", "policy: []", "skills: {}\nsafety: {}\n", "a: &a [*a]", "\0"]
)
def test_a_policy_that_is_none_is_bad_input(
    content: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scored(folder / "new.jsonl", 20)
    (folder / "policy.yaml").write_text(content)
    assert gate() == 2
    assert "policy.yaml" in capsys.readouterr().err


def test_the_policy_of_a_release_serves_with_the_latency_passed_over(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = {**POLICY, "latency": {"metric": "p95", "max_ratio": 1.5}}
    (folder / "params.yaml").write_text(yaml.safe_dump({"name": "x", "policy": policy}))
    scored(folder / "new.jsonl", 20)
    assert gate(policy="params.yaml") == 5
    assert "scores say nothing of time" in capsys.readouterr().out
    assert gate("--no-latency", policy="params.yaml") == 0
    assert "latency check was passed over" in capsys.readouterr().out


def test_help_leads_to_both_commands(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(lambda: app(["--help"], standalone_mode=True)) == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "gate Judge two files of per-sample scores" in shown
    assert "power Say, before any compute is spent, what the golden sets can show" in shown
    for command in ("gate", "power"):
        assert guarded(lambda name=command: app([name, "--help"], standalone_mode=True)) == 0  # type: ignore[misc]
        assert f"Example: mergegate {command}" in capsys.readouterr().out


def test_the_example_runs_as_documented(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example = Path(__file__).parents[2] / "examples" / "gate"
    shutil.copytree(example, folder / "gate")
    files = [
        f"--{name}={folder}/gate/{name}.{suffix}"
        for name, suffix in (("policy", "yaml"), ("reference", "jsonl"), ("candidate", "jsonl"))
    ]
    assert guarded(lambda: app(["gate", *files], standalone_mode=True)) == 3
    assert "Reject: calls[language=de] fell short" in capsys.readouterr().out


def test_the_files_of_the_example_are_what_its_script_writes(tmp_path: Path) -> None:
    example = Path(__file__).parents[2] / "examples" / "gate"
    shutil.copy(example / "make.py", tmp_path)
    space: dict[str, Any] = {"__name__": "__main__", "__file__": str(tmp_path / "make.py")}
    exec(compile((tmp_path / "make.py").read_text(), "make.py", "exec"), space)
    for name in ("reference.jsonl", "candidate.jsonl"):
        assert (tmp_path / name).read_bytes() == (example / name).read_bytes()
