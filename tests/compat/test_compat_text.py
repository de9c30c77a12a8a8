"""Checks on text and origin: tokenizer, chat template, lineage, licences."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from compat_family import (
    TEMPLATE,
    blocking,
    edit_config,
    findings,
    finetuned,
    found,
    save_model,
    save_tokenizer,
    state_licence,
)

from pipeline.compat import run_checks
from pipeline.errors import CorruptArtifactError
from pipeline.recipe import parse_recipe
from pipeline.sources import Adapter, Checkpoint, Source, weights_digest


def test_an_added_token_is_named(base: Path) -> None:
    other = finetuned(base, "token")
    save_tokenizer(other, ["<tool>"])
    finding = blocking(base, other)["tokenizer"]
    assert "added tokens: adds '<tool>'" in finding.message
    assert "tokenizer_source: union, base, or a model" in finding.remedy


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"vocab": {"a": 0, "b": 1}}, "vocabulary: lacks"),
        ({"merges": [["a", "b"]]}, "merges: 1 against 0"),
    ],
)
def test_a_changed_vocabulary_or_merge_is_named(
    base: Path, part: dict[str, object], words: str
) -> None:
    other = finetuned(base, "vocab")
    content = json.loads((other / "tokenizer.json").read_text())
    content["model"].update(part)
    (other / "tokenizer.json").write_text(json.dumps(content))
    assert words in blocking(base, other)["tokenizer"].message


def test_a_moved_id_is_named_with_both_values(base: Path) -> None:
    other = finetuned(base, "moved")
    content = json.loads((other / "tokenizer.json").read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    (other / "tokenizer.json").write_text(json.dumps(content))
    message = blocking(base, other)["tokenizer"].message
    assert f"vocabulary: changes 'a' is {vocabulary['a']} not {vocabulary['b']}" in message


def test_another_special_token_is_named(base: Path) -> None:
    other = edit_config(finetuned(base, "eos"), "tokenizer_config.json", eos_token="<|pad|>")
    message = blocking(base, other)["tokenizer"].message
    assert "special tokens: changes 'eos_token' is '<|pad|>' not '<|end|>'" in message


@pytest.mark.parametrize(
    "setting", [{"tokenizer_source": "base"}, {"tokenizer": {"source": "union"}}]
)
def test_a_tokenizer_that_the_recipe_settles_passes_and_says_so(
    base: Path, setting: dict[str, object]
) -> None:
    other = finetuned(base, "token")
    save_tokenizer(other, ["<tool>"])
    finding = found("tokenizer", base, other, **setting)
    assert finding.status == "pass"
    assert "adds '<tool>'" in finding.message
    assert "the recipe resolves it" in finding.message


def test_a_source_without_a_tokenizer_cannot_be_judged(base: Path) -> None:
    other = finetuned(base, "bare")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (other / name).unlink(missing_ok=True)
    finding = found("tokenizer", base, other)
    assert (finding.status, finding.blocks) == ("cannot_judge", True)
    assert found("tokenizer", base, other, tokenizer_source="base").status == "pass"


def test_an_adapter_saved_with_its_own_tokenizer_is_judged_by_it(base: Path) -> None:
    tone = base.parent / "tone"
    save_tokenizer(tone)
    assert found("tokenizer", base, f"{base}+{tone}").status == "pass"
    save_tokenizer(tone, ["<tool>"])
    assert "adds '<tool>'" in blocking(base, f"{base}+{tone}")["tokenizer"].message


def test_templates_that_render_alike_pass_though_their_text_differs(base: Path) -> None:
    other = finetuned(base, "same")
    save_tokenizer(other, template="{# a note #}" + TEMPLATE.replace("m.role", "m['role']"))
    finding = found("chat-template", base, other)
    assert finding.status == "pass"
    assert finding.message.endswith("does, though its text differs.")


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (
            TEMPLATE.replace("<|end|>", "<|end|>\n"),
            "6 of 6 probe conversations become other tokens",
        ),
        (TEMPLATE.replace("m.content", "m.content | trim"), "1 of 6 probe conversations"),
        (TEMPLATE.split("{% if")[0], "4 of 6 probe conversations"),
        ("{{ raise_exception('no') }}", "renders no probe (error: no)"),
        ("{% if %}", "renders no probe (error: Expected"),
        ("{{ 1 + 'a' }}", "renders no probe (error: unsupported operand"),
        ("{{ ''.__class__.__mro__ }}", "renders no probe (error: access to attribute"),
    ],
)
def test_a_template_that_renders_otherwise_is_shown_where_it_differs(
    base: Path, template: str, words: str
) -> None:
    other = finetuned(base, "template")
    save_tokenizer(other, template=template)
    finding = blocking(base, other)["chat-template"]
    assert words in finding.message
    assert found("chat-template", base, other, chat_template="chatml").status == "pass"


def test_the_differing_tokens_are_shown_from_both_sides(base: Path) -> None:
    other = finetuned(base, "template")
    save_tokenizer(other, template=TEMPLATE.replace("<|{{ m.role }}|>", "[{{ m.role }}]"))
    message = blocking(base, other)["chat-template"].message
    assert "probe 1 becomes '[user]Where is my order?<|en'" in message
    assert "in the base '<|user|>Where is my order?<|'" in message


def test_equal_text_that_becomes_other_ids_is_a_difference(base: Path) -> None:
    other = finetuned(base, "ids")
    save_tokenizer(other, ["order"])
    finding = blocking(base, other)["chat-template"]
    assert "becomes token ids [" in finding.message
    settled = found("chat-template", base, other, tokenizer_source="union")
    assert settled.status == "pass"


def test_a_template_on_one_side_only_fails(base: Path) -> None:
    other = finetuned(base, "bare")
    (other / "chat_template.jinja").unlink()
    assert "bare has no chat template" in blocking(base, other)["chat-template"].message


def test_a_tokenizer_that_cannot_be_loaded_is_not_judged_by_its_template(base: Path) -> None:
    other = finetuned(base, "broken")
    content = json.loads((other / "tokenizer.json").read_text())
    content["decoder"] = {"type": "NoSuchDecoder"}
    (other / "tokenizer.json").write_text(json.dumps(content))
    assert found("chat-template", base, other).status == "cannot_judge"
    assert found("chat-template", base, other, chat_template="chatml").status == "pass"


def test_templates_that_render_nothing_are_not_alike(base: Path) -> None:
    other = finetuned(base, "broken")
    for folder in (base, other):
        save_tokenizer(folder, template="{{ raise_exception('never') }}")
    (other / "chat_template.jinja").write_text("{{ raise_exception('never') }} ")
    finding = found("chat-template", base, other)
    assert finding.status == "cannot_judge"
    assert "renders no probe (error: never)" in finding.message


def test_a_template_that_is_no_text_is_refused(base: Path) -> None:
    other = finetuned(base, "bytes")
    (other / "chat_template.jinja").write_bytes(b"\xff\xfe")
    with pytest.raises(CorruptArtifactError, match=r"chat_template.jinja: not UTF-8"):
        findings(base, other)


def test_an_adapter_of_another_base_is_caught_by_the_digest_that_it_states(base: Path) -> None:
    tone, other = base.parent / "tone", base.parent / "other"
    statement = {"base_model_digest": weights_digest(other)}
    (tone / "mergegate.json").write_text(json.dumps(statement))
    finding = blocking(base, f"{base}+{tone}")["lineage"]
    assert (finding.observed, finding.required) == (weights_digest(other), weights_digest(base))
    assert "its adapter was made from another base" in finding.message
    assert "stated in its mergegate.json" in finding.message


def test_the_stated_digest_counts_before_the_stated_name(base: Path) -> None:
    tone = edit_config(base.parent / "tone", "adapter_config.json", base_model_name_or_path="x/y")
    statement = {"base_model_digest": weights_digest(base)}
    (tone / "mergegate.json").write_text(json.dumps(statement))
    finding = found("lineage", base, f"{base}+{tone}")
    assert (finding.status, "by digest" in finding.message) == ("pass", True)


def test_an_adapter_of_a_retrained_base_of_the_same_shape_is_caught(base: Path) -> None:
    other = base.parent / "other"
    finding = blocking(other, f"{other}+{base.parent / 'tone'}")["lineage"]
    assert f"those of {base}" in finding.message


@pytest.mark.parametrize(
    ("stated", "status"),
    [
        ("elsewhere/base", "pass"),
        ("/home/someone/base", "pass"),
        ("acme/llama", "cannot_judge"),
        (None, "cannot_judge"),
        ("a\0b", "cannot_judge"),
    ],
)
def test_without_a_digest_the_stated_name_decides(
    base: Path, stated: str | None, status: str
) -> None:
    tone = edit_config(base.parent / "tone", "adapter_config.json", base_model_name_or_path=stated)
    finding = found("lineage", base, f"{base}+{tone}")
    assert finding.status == status
    assert status == "pass" or "base_model_digest" in finding.remedy


@pytest.mark.parametrize(
    ("stated", "revision", "status"),
    [
        ("acme/llama", None, "pass"),
        ("acme/llama", "main", "pass"),
        ("acme/llama", "c" * 40, "pass"),
        ("acme/llama", "d" * 40, "fail"),
        ("mirror/llama", "c" * 40, "cannot_judge"),
        ("/home/someone/llama", None, "pass"),
    ],
)
def test_over_a_hub_model_name_and_commit_must_agree(
    base: Path, stated: str, revision: str | None, status: str
) -> None:
    tone = edit_config(
        base.parent / "tone",
        "adapter_config.json",
        base_model_name_or_path=stated,
        revision=revision,
    )
    mapping = {"merge_method": "linear", "base_model": "acme/llama", "models": []}
    mapping["models"] = [{"model": "acme/llama+tone", "parameters": {"weight": 1}}]
    recipe = parse_recipe(mapping, "recipe.yaml")
    model = Checkpoint.open(base)
    sources = {
        str(r): Source(r, model, Adapter.open(tone) if r.adapter else None, "c" * 40, None)
        for r in recipe.references()
    }
    (finding,) = [f for f in run_checks(recipe, sources) if f.code == "lineage"]
    assert finding.status == status


def test_a_finetune_descends_from_its_base_and_a_retrained_model_does_not(base: Path) -> None:
    assert found("lineage", base, finetuned(base, "near")).status == "pass"
    finding = blocking(base, base.parent / "other")["lineage"]
    assert "does not descend from" in finding.message
    assert abs(float(finding.observed.split()[-1])) < 0.2
    assert finding.required == "median cosine at least 0.5"


def test_a_finetune_that_moved_far_still_descends_from_its_base(base: Path) -> None:
    # The initial weights have a standard deviation of 0.02; a quarter of it is far beyond any tuning.
    assert found("lineage", base, finetuned(base, "far", step=0.005)).status == "pass"


def test_an_adapter_over_another_model_is_judged_with_that_model(base: Path) -> None:
    other = base.parent / "other"
    blocked = [f for f in findings(base, f"{other}+{base.parent / 'tone'}") if f.code == "lineage"]
    assert [f.status for f in blocked] == ["fail", "fail"]


def test_models_without_a_matrix_in_common_cannot_be_judged(base: Path, tmp_path: Path) -> None:
    wide = save_model(tmp_path / "wide", hidden_size=32, intermediate_size=40, vocab_size=300)
    assert blocking(base, wide)["lineage"].status == "cannot_judge"


@pytest.mark.parametrize("text", ["cc-by-nd-4.0", "cc-by-nc-nd-4.0"])
def test_a_licence_without_derivatives_forbids_the_merge(base: Path, text: str) -> None:
    other = finetuned(base, "nd")
    state_licence(other, text)
    assert f"{text}, allows no derivatives" in blocking(base, other)["licences"].message


@pytest.mark.parametrize(
    ("one", "other", "excluded"),
    [
        ("apache-2.0", "mit", False),
        ("apache-2.0", "gpl-3.0", False),
        ("apache-2.0", "cc-by-nc-4.0", False),
        ("gpl-2.0", "apache-2.0", True),
        ("gpl-3.0", "gpl-2.0", True),
        ("gpl-3.0", "cc-by-nc-4.0", True),
        ("cc-by-sa-4.0", "cc-by-nc-sa-4.0", True),
        ("gpl-3.0", "llama3.1", True),
        ("cc-by-nc-sa-4.0", "cc-by-nc-4.0", False),
        ("gemma", "apache-2.0", False),
    ],
)
def test_licences_exclude_each_other_or_not(
    base: Path, one: str, other: str, excluded: bool
) -> None:
    tuned = finetuned(base, "tuned")
    state_licence(base, one)
    state_licence(tuned, other)
    assert ("licences" in blocking(base, tuned)) is excluded


def test_a_conflict_names_both_licences_and_who_has_them(base: Path) -> None:
    tuned = finetuned(base, "tuned")
    state_licence(tuned, "gpl-2.0")
    message = blocking(base, tuned)["licences"].message
    assert f"apache-2.0 ({base}) and gpl-2.0 ({tuned}) exclude each other" in message


def test_an_unstated_licence_passes_with_a_note(base: Path) -> None:
    (base / "README.md").unlink()
    finding = next(f for f in findings(base, finetuned(base, "x")) if f.code == "licences")
    assert (finding.status, finding.observed) == ("pass", "model states no licence")
    assert "Make sure that you may merge it" in finding.message
