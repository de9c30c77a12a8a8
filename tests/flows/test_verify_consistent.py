"""Records that contradict themselves, signed again with the very key that signed them."""

from __future__ import annotations

import functools
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stored_workspace import load, rescore, write_workspace
from test_verify import run_stages, stored_release

from flows.verify import verify
from flows.verify.found_sources import AGAINST_BASE, OF_ADAPTERS, OF_EACH
from pipeline.code import code_digest
from pipeline.facts import Evaluation, digest_file, digest_of, read_evaluation, write_json
from pipeline.release.bom import render_bom
from pipeline.release.card import render_card
from pipeline.release.keys import SigningKey, load_signing_key
from pipeline.release.provenance import write_provenance
from pipeline.release.record import with_digests
from pipeline.release.signature import sign
from pipeline.report import failed_examples, render_report
from pipeline.waivers import COMPATIBILITY

GOLDEN = {"json": {f"json-{n}": {"prompt": f"<b>{n}</b>", "target": ")</h3>"} for n in range(120)}}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a release whose report quotes examples."""
    folder = tmp_path_factory.mktemp("consistent")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MERGEGATE_SIGNING_KEY", raising=False)
        patch.setattr("pipeline.stages.card.examples_of", lambda *_: quoted(folder))
        write_workspace(folder)
        rescore(folder, "quantized", 0.95)  # a few answers that its reference has right
        run_stages(folder)
    return folder


def quoted(workspace: Path) -> dict[str, Any]:
    """The examples with their texts, as the workspace knows them."""
    build = workspace / "build"
    return examples(build / "evals", build / "tuned" / "evals", build / "tuned" / "verdict.json")


def examples(references: Path, ours: Path, verdict: Path) -> dict[str, Any]:
    folders = dict.fromkeys(("merged", "quantized"), ours)
    scored: dict[str, Evaluation] = {
        name: read_evaluation(folders.get(name, references) / f"{name}.json")
        for name in ("base", "tone", "json", "plain", "merged", "quantized")
    }
    answers = {"quantized": {("json", f"json-{n}"): "a\u202eb <i>\n" * 900 for n in range(120)}}
    return failed_examples(scored, answers, GOLDEN, load(verdict))


@pytest.fixture
def release(workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the release folder, where the signer's key is trusted."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MERGEGATE_SIGNING_KEY", str(workspace / ".mergegate/signing/key.pem"))
    monkeypatch.setattr("flows.verify.judged.code_digest", functools.cache(code_digest))
    return Path(shutil.copytree(workspace / "build" / "tuned" / "release", tmp_path / "release"))


def signed_again(
    folder: Path,
    change: Callable[[dict[str, Any]], Any] = lambda record: None,
    *,
    page: bool = True,
) -> tuple[str, ...]:
    """Change the record, make all that follows from it anew, and sign it with the true key; the faults.

    `page`: card and report are rendered again too.
    """
    key: SigningKey = load_signing_key()
    record = load(folder / "release.json")
    change(record)
    record["release_digest"] = digest_of(record["identity"])
    if page:
        (folder / "README.md").write_text(render_card(record), encoding="utf-8")
        told = examples(folder / "evals", folder / "evals", folder / "verdict.json")
        (folder / "report.html").write_text(render_report(record, folder, told), encoding="utf-8")
    write_json(folder / "bom.cdx.json", render_bom(record))
    record["files"] = {name: digest_file(folder / name) for name in record["files"]}
    record = with_digests(record)
    write_json(folder / "release.json", record)
    write_provenance(folder, record, key)
    sign(folder, key, name=record["name"], known=record["files"])
    found = verify(folder)
    assert found.signed_by == key.fingerprint  # so no fault is the signature's
    return found.faults


def edited(folder: Path, name: str, change: Callable[[Any], Any]) -> None:
    """Change a JSON file of the folder."""
    value = load(folder / name)
    change(value)
    write_json(folder / name, value)


def put(*path: str | int, to: Any) -> Callable[[Any], None]:
    """A change that sets what lies at `path`."""

    def change(value: Any) -> None:
        for key in path[:-1]:
            value = value[key]
        value[path[-1]] = to

    return change


def test_a_release_that_was_signed_again_unchanged_is_sound(release: Path) -> None:
    assert signed_again(release) == ()
    assert "rendered again" in "\n".join(verify(release).checked)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (put("identity", "seed", to=8), "merge.json: seed: is 0, and release.json says 8"),
        (put("identity", "seed", to=8), "quantize.json: seed: is 0, and release.json says 8"),
        (put("identity", "versions", "torch", to="1.0"), "merge.json: tools.torch: "),
        (put("identity", "versions", "llmcompressor", to="1.0"), "quantize.json: tool: "),
        (put("method", "name", to="ties"), "merge.json: recipe.method: "),
        (put("method", "rationale", to="better"), "release.json: method.rationale: "),
        (put("method", "summary", to="better"), "release.json: method.summary: "),
        (put("method", "citation", to="Nobody, 2001"), "release.json: method.citation: "),
        (put("identity", "recipe", "digest", to="0" * 64), "merge.json: recipe.digest: "),
        (put("identity", "recipe", "digest", to="0" * 64), "compat.json: recipe_digest: "),
        (put("candidate", to="other"), "evals/merged.json: model: is build/tuned/merged, and "),
        (put("candidate", to="other"), "evals/quantized.json: model: is build/tuned/quantized, "),
        (
            put("rollback", "experts", "tone", "reference", to="models/base+models/json"),
            "evals/tone.json: model: is models/base+models/tone, and release.json says ",
        ),
    ],
)  # fmt: skip
def test_a_field_that_another_file_says_too_is_named_whoever_signed(
    release: Path, change: Callable[[Any], None], told: str
) -> None:
    faults = signed_again(release, change)
    assert any(fault.startswith(told) for fault in faults), faults


@pytest.mark.parametrize("field", ["name", "candidate"])
@pytest.mark.parametrize("code", ["same code", "another's code"])
def test_a_new_name_is_not_the_one_of_card_and_report(
    release: Path, field: str, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if code != "same code":
        monkeypatch.setattr("flows.verify.judged.code_digest", lambda: "0" * 64)
    faults = signed_again(release, put(field, to="impostor"), page=False)
    for file in ("README.md", "report.html"):
        assert any(f.startswith(f"{file}: ") and "impostor" in f for f in faults), faults


def test_a_card_of_an_earlier_version_named_every_source_as_base_model(
    release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.verify.judged.code_digest", lambda: "0" * 64)
    sources = load(release / "release.json")["identity"]["sources"]
    names = dict.fromkeys(part for text in sources for part in text.split("+"))
    text = (release / "README.md").read_text(encoding="utf-8")
    earlier = text.replace("- acme/base\n", "".join(f"- {name}\n" for name in names))
    (release / "README.md").write_text(earlier, encoding="utf-8")
    assert signed_again(release, page=False) == ()


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("merge.json", put("seed", to=8), "merge.json: is not the one that lies among the merged"),
        ("merge.json", put("sources", 0, "digest", to="0"), "merge.json: sources.models/base.digest: "),
        ("merge.json", put("files", "model.safetensors", to="0"), "merge.json: files.model.safe"),
        ("merge.json", put("beside", to=["config.json"]), "merge.json: files, beside: is ["),
        ("merge.json", lambda value: value.pop("seed"), "merge.json: seed: is missing"),
        ("diagnosis.json", put("recipe", to={"digest": "0"}), "diagnosis.json: recipe.digest: "),
        ("compat.json", put("findings", to=[]), "compat.json: findings: has none of adapters, archi"),
        ("compat.json", put("findings", to={}), "compat.json: findings: is no list"),
        ("compat.json", put("pins", to={}), "compat.json: pins: has none of models/base, which"),
        ("compat.json", put("pins", "x", to={}), "compat.json: pins.x: is no source of release.json"),
        ("compat.json", put("findings", 3, "status", to="fail"), "compat.json: findings[3].status: is"),
        ("compat.json", put("findings", 3, "status", to="waived"), "compat.json: findings[3].status: "),
        ("compat.json", put("findings", 0, "message", to=7), "compat.json: findings[0].message: is no"),
        ("compat.json", put("findings", 0, to={"code": "x"}), "compat.json: findings[0]: is no finding"),
        ("compat.json", lambda value: value["findings"].pop(0), "compat.json: findings: has none of va"),
        ("compat.json", lambda value: value["findings"].pop(), "compat.json: findings: has none of pl"),
    ],
)  # fmt: skip
def test_evidence_that_was_altered_is_named_whoever_signed(
    release: Path, name: str, change: Callable[[Any], Any], told: str
) -> None:
    edited(release, name, change)
    faults = signed_again(release)
    assert any(fault.startswith(told) for fault in faults), faults


def test_of_another_version_s_checks_each_source_needs_a_finding(
    release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.verify.judged.code_digest", lambda: "0" * 64)
    edited(release, "compat.json", lambda value: value["findings"].pop())  # that of the plan
    assert signed_again(release) == ()
    edited(release, "compat.json", put("findings", to=[]))
    assert "compat.json: findings: has none on models/base" in signed_again(release)


def test_each_compatibility_check_is_asked_for_and_no_other() -> None:
    assert {*OF_EACH, *OF_ADAPTERS, *AGAINST_BASE} == COMPATIBILITY


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ("has 0 prompts, and quantize.json says 2 (calibration_samples)", "has not the SHA-256")),
        ('{"messages":[]}\n' * 2, ("has not the SHA-256 that quantize.json says",)),
        ("no JSON\n", ("is no file of calibration prompts",)),
    ],
    ids=["emptied", "others", "no prompts"],
)  # fmt: skip
def test_calibration_prompts_that_are_not_those_of_the_quantization_are_named(
    release: Path, text: str, told: tuple[str, ...]
) -> None:
    (release / "calibration.jsonl").write_text(text, encoding="utf-8")
    faults = signed_again(release)
    for words in told:
        assert any(f.startswith(f"calibration.jsonl: {words}") for f in faults), faults


def test_a_quantization_that_is_said_to_be_left_out_contradicts_its_artifact(release: Path) -> None:
    said = {"skipped": "no need"}
    write_json(release / "quantize.json", said)
    faults = signed_again(release, put("quantization", to=said))
    assert any(fault.startswith("quantize.json: skipped: ") for fault in faults), faults
    assert "calibration.jsonl: has prompts, and nothing was quantized" in faults


# What people read


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("README.md", "- merge\n", "- best\n"),
        ("README.md", "value: 0.95", "value: 0.99"),
        ("README.md", "license: apache-2.0", "license: mit"),
        ("README.md", "- acme/base", "- acme/other"),
        ("README.md", "## Limits", "## No limits"),
        ("README.md", "", "\nTrust me.\n"),
        ("report.html", "<strong>Promote:</strong>", "<strong>Perfect:</strong>"),
        ("report.html", "newly failed", "never failed"),
        ("report.html", '<p class="said-text" dir="auto">', '<p class="said-text" dir="auto"><b>x</b>'),
        ("report.html", "</section>\n\n<section aria-labelledby=\"refused\">", "<p>Trust me.</p></section>"
         "\n\n<section aria-labelledby=\"refused\">"),
        ("bom.cdx.json", "Candidate tuned: ", "Candidate tuned, the best: "),
    ],
)  # fmt: skip
def test_other_words_in_what_people_read_are_found_whoever_signed(
    release: Path, name: str, old: str, new: str
) -> None:
    text = (release / name).read_text(encoding="utf-8")
    assert old in text
    assert signed_again(release) == ()
    changed = text.replace(old, new, 1) if old else text + new
    with pytest.MonkeyPatch.context() as patch:
        if name == "bom.cdx.json":
            patch.setattr("test_verify_consistent.render_bom", lambda _: json.loads(changed))
        (release / name).write_text(changed, encoding="utf-8")
        faults = signed_again(release, page=False)
    assert any(fault.startswith(f"{name}: ") for fault in faults), faults


def test_the_texts_of_examples_are_any_text_and_no_markup(release: Path) -> None:
    page = (release / "report.html").read_text(encoding="utf-8")
    assert "⟨U+202E⟩" in page  # what the examples quote is there, and verifies
    assert "Cut at 2000 characters." in page
    other, count = re.subn(r'(dir="auto">)[^<>]*<', r"\1other words<", page)
    assert count > 1
    (release / "report.html").write_text(other, encoding="utf-8")
    assert signed_again(release, page=False) == ()


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("README.md", ("value: 0.95", "value: 0.99"), "README.md: model-index[0].results"),
        ("README.md", ("- acme/base", "- acme/other"), "README.md: base_model[0]: "),
        ("README.md", ("- acme/base", "- models/base\n- models/other"), "README.md: base_model[1]: "),
        ("README.md", ("- mergegate", "- other"), "README.md: tags: has no mergegate"),
        ("README.md", ("---\n", ""), "README.md: has no metadata at its head"),
        ("README.md", ("---\n", "---\na: [\n"), "README.md, line "),
        ("report.html", ("tuned", "tuned2"), "report.html: does not say 'tuned', as release.json"),
    ],
)  # fmt: skip
def test_of_another_version_s_card_and_report_names_and_figures_are_compared(
    release: Path,
    name: str,
    change: tuple[str, str],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("flows.verify.judged.code_digest", lambda: "0" * 64)
    assert signed_again(release) == ()
    assert any("not every word" in note for note in verify(release).notes)
    text = (release / name).read_text(encoding="utf-8").replace(*change)
    (release / name).write_text(text, encoding="utf-8")
    faults = signed_again(release, page=False)
    assert any(fault.startswith(told) for fault in faults), faults


def test_another_library_that_lays_out_texts_is_no_fault(
    release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.verify.rendered.version", lambda name: "0.0.1")
    found = verify(release)
    assert found.faults == ()
    assert any("not every word" in note for note in found.notes)


def test_a_release_without_a_report_lacks_it(release: Path) -> None:
    (release / "report.html").unlink()
    faults = signed_again(release, lambda record: record["files"].pop("report.html"), page=False)
    assert faults == ("release.json: files: has no report.html",)


# A record that is no JSON


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_value_that_json_has_not_is_told_in_one_sentence_with_its_place(
    release: Path, literal: str
) -> None:
    text = (release / "release.json").read_text(encoding="utf-8")
    changed = re.sub(r'"seed": 0,', f'"seed": {literal},', text, count=1)
    assert changed != text
    (release / "release.json").write_text(changed, encoding="utf-8")
    (fault,) = verify(release).faults
    assert re.match(r"release\.json: identity\.seed: is -?(nan|inf), and JSON has no such", fault)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_record_that_was_cut_off_is_to_be_got_again_and_not_edited(
    release: Path, share: float
) -> None:
    text = (release / "release.json").read_text(encoding="utf-8")
    (release / "release.json").write_text(text[: int(len(text) * share)], encoding="utf-8")
    (fault,) = verify(release).faults
    assert fault.startswith("release.json: is cut off or no JSON (")
    assert "models:/NAME/VERSION" in fault
    assert "dvc pull" in fault
    assert "Delete" not in fault


@pytest.mark.parametrize("schema", [1, 2])
def test_of_an_earlier_release_the_card_is_compared_too(schema: int, tmp_path: Path) -> None:
    folder = stored_release(schema, tmp_path)
    assert verify(folder, unsigned=True).faults == ()
    text = (folder / "README.md").read_text(encoding="utf-8")
    (folder / "README.md").write_text(text.replace("name: harbor", "name: other", 1))
    record = load(folder / "release.json")
    record["files"]["README.md"] = digest_file(folder / "README.md")
    write_json(folder / "release.json", with_digests(record) if schema == 2 else record)
    (fault,) = verify(folder, unsigned=True).faults
    assert fault.startswith("README.md: model-index[0].name: stored 'other', computed 'harbor'")
