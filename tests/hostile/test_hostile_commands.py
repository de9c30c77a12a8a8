"""Hostile and broken inputs end in exit code 2 and one message that names the culprit, with nothing left behind."""

from __future__ import annotations

import errno
import fcntl
import importlib
import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hostile_files import (
    HIDDEN,
    Q0,
    entry,
    factors,
    index,
    model,
    raw,
    safetensors,
    shapes,
    tokenizer,
    values,
)

from pipeline.errors import CorruptArtifactError
from pipeline.sources import read_header

Refusal = Callable[..., str]
Break = Callable[[Path], object]
OTHER = "model.safetensors"


def edit(path: Path, **keys: Any) -> None:
    """Change keys of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))


def header(*entries: tuple[str, Any], data: int = 8) -> Break:
    """Give the other model a file with this header."""
    content = raw(dict(entries), bytes(data))
    return lambda other: (other / OTHER).write_bytes(content)


def weights(change: Callable[[dict[str, Any]], object]) -> Break:
    """Change the tensors of the other model."""

    def apply(other: Path) -> None:
        tensors = values(1)
        change(tensors)
        (other / OTHER).write_bytes(safetensors(tensors))

    return apply


def moved(other: Path, name: str) -> Path:
    """Put a file of the model beside its folder; where it was."""
    (other / name).rename(other.parent / f"moved-{name}")
    return other / name


def config(**keys: Any) -> Break:
    return lambda other: edit(other / "config.json", **keys)


def text(name: str, content: str) -> Break:
    return lambda other: (other / name).write_text(content)


def link(name: str, target: str) -> Break:
    return lambda other: ((other / name).unlink(missing_ok=True), (other / name).symlink_to(target))


def pipe(name: str) -> Break:
    return lambda other: ((other / name).unlink(missing_ok=True), os.mkfifo(other / name))


def pickled(other: Path) -> None:
    moved(other, OTHER)
    (other / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")


Q = f"{Q0}.weight"
BROKEN_MODELS: dict[str, tuple[Break, str]] = {
    # Weights: the file and its header.
    "empty": (text(OTHER, ""), "has 0 bytes; a file with a header has 10 or more"),
    "truncated": (lambda o: os.truncate(o / OTHER, 3000), "must rise and stay within"),
    "one byte short": (
        lambda o: os.truncate(o / OTHER, (o / OTHER).stat().st_size - 1),
        "must rise and stay within",
    ),
    "one byte more": (
        lambda o: (o / OTHER).write_bytes((o / OTHER).read_bytes() + b"\0"),
        "the last 1 bytes belong to no tensor",
    ),
    "absurd length": (
        lambda o: (o / OTHER).write_bytes(raw({}, b"", 2**63)),
        "its header claims 9,223,372,036,854,775,808 bytes",
    ),
    "no JSON": (lambda o: (o / OTHER).write_bytes(raw(b"\x80\x02}q\x01.")), "not valid JSON"),
    "a list": (lambda o: (o / OTHER).write_bytes(raw(b"[1]")), "not a JSON object"),
    "no tensors": (lambda o: (o / OTHER).write_bytes(raw({})), "its weights hold no tensor"),
    "beyond the file": (header(("a", entry([2], 8, 16))), "'a' has data_offsets [8, 16]"),
    "overlap": (
        header(("a", entry([2], 0, 8)), ("b", entry([1], 4, 8))),
        "'b' overlaps the one before it by 4 bytes",
    ),
    "negative side": (header(("a", entry([-2], 0, 8))), "'a' has a shape that is not"),
    "overflow": (
        header(("a", entry([2**62, 2**62, 0], 0, 0)), data=0),
        "'a' has the shape [4611686018427387904, 4611686018427387904, 0], whose sides",
    ),
    "a name of many parts": (
        weights(lambda t: t.update({"a" * 15 + ".aaaaaaaaaaaaaaa" * 30: ([1], [0.0])})),
        "is not in the base",
    ),
    "overflow to its size": (header(("a", entry([2**63 + 1], 0, 8))), "'a' has a shape that"),
    "endless name": (header(("x" * 10**6, entry([2], 0, 8))), "of over 500 characters"),
    "endless layer": (
        header(("model.layers." + "9" * 5000 + ".w", entry([2], 0, 8))),
        "of over 500 characters",
    ),
    "control characters": (header(("\x1b[2J", entry([2], 0, 8))), "cannot be printed"),
    "unknown dtype": (header(("a", entry([2], 0, 8, "F31"))), "has dtype 'F31'"),
    # Weights: tensors.
    "missing": (weights(lambda t: t.pop(Q)), f"{Q} is missing"),
    "extra": (weights(lambda t: t.update(evil=([1], [0.0]))), "evil is not in the base"),
    "another shape": (
        weights(lambda t: t.update({Q: ([HIDDEN], [0.0] * HIDDEN)})),
        f"{Q} is [{HIDDEN}], in the base [{HIDDEN}, {HIDDEN}]",
    ),
    "NaN": (weights(lambda t: t[Q][1].__setitem__(5, float("nan"))), Q),
    "infinity": (weights(lambda t: t[Q][1].__setitem__(5, float("-inf"))), Q),
    "another model": (
        weights(lambda t: t.update({n: (s, v[::-1]) for n, (s, v) in t.items()})),
        "other does not descend from base",
    ),
    # The index.
    "index out of the folder": (
        lambda o: index(o, dict.fromkeys(shapes(), "../base/model.safetensors")),
        "Files are named without a path",
    ),
    "index of endless names": (
        lambda o: index(o, dict.fromkeys(shapes(), "x" * 5000 + ".safetensors")),
        "is not the name of a file",
    ),
    "index without a shard": (
        lambda o: index(o, dict.fromkeys(shapes(), "model-2.safetensors")),
        "model-2.safetensors: no such file",
    ),
    "index of pickles": (lambda o: index(o, {"a": "x.bin"}), "shards are *.safetensors files"),
    "index of a list": (lambda o: index(o, ["a"]), "has no weight_map"),
    "index with a tensor more": (
        lambda o: index(
            o, {**dict.fromkeys(shapes(), "model-1.safetensors"), "b" * 999: "model-1.safetensors"}
        ),
        "is not in model-1.safetensors, where it should be",
    ),
    # Links, pipes, pickles, code.
    "link out": (link(OTHER, "../base/model.safetensors"), "is a link that leaves its folder"),
    "link to secrets": (link("LICENSE", "/etc/passwd"), "LICENSE: is a link that leaves"),
    "link to itself": (link("x.txt", "x.txt"), "x.txt: is a link that leads nowhere"),
    "link to a folder": (link("sub", "."), "sub: is a link to a folder"),
    "pipe": (pipe(OTHER), "model.safetensors: is no file"),
    "pipe for a configuration": (pipe("config.json"), "config.json: is no file"),
    "pipe for a licence": (pipe("LICENSE"), "LICENSE: is no file"),
    "folders without end": (
        lambda o: (o / "/".join("d" * 50)).mkdir(parents=True),
        "lie more than 32 deep",
    ),
    "pickle": (pickled, "its weights are pickles (pytorch_model.bin)"),
    "remote code": (config(auto_map={"AutoModel": "evil.Model"}), "mergegate runs none"),
    "remote code of a tokenizer": (
        lambda o: edit(o / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.T", None]}),
        "tokenizer_config.json: auto_map asks for code",
    ),
    # Configuration and tokenizer.
    "configuration is a list": (text("config.json", "[]"), "config.json: holds a list"),
    "configuration is empty": (text("config.json", ""), "config.json: not valid JSON"),
    "configuration is absent": (lambda o: moved(o, "config.json"), "has no config.json"),
    "configuration with NaN": (text("config.json", '{"a": NaN}'), "NaN is no value of JSON"),
    "configuration beyond floats": (text("config.json", '{"a": 1e999}'), "1e999 is beyond"),
    "configuration with a long number": (
        text("config.json", '{"a": ' + "9" * 999 + "}"),
        "a whole number of 999 digits",
    ),
    "configuration nested": (
        text("config.json", '{"a":' * 300 + "1" + "}" * 300),
        "nested more than 64 deep",
    ),
    "configuration with half a character": (text("config.json", '{"a": "\\ud800"}'), "surrogate"),
    "10 GB of configuration": (
        lambda o: os.truncate(o / "config.json", 10 * 2**30),
        "config.json: 10737418240 bytes; JSON here has at most",
    ),
    "a million million layers": (
        config(num_hidden_layers=10**12),
        "'num_hidden_layers' is 1,000,000,000,000",
    ),
    "labels without end": (config(text={"num_labels": 10**9}), "'num_labels' is 1,000,000,000"),
    "another architecture": (config(hidden_size="8"), "hidden_size is 8, in the base 8"),
    "tokenizer is a list": (text("tokenizer.json", "[]"), "tokenizer.json: holds a list"),
    "tokenizer without a model": (text("tokenizer.json", "{}"), "tokenizer.json: is not a token"),
    "tokenizer with words for ids": (
        lambda o: edit(o / "tokenizer.json", model={"type": "WordLevel", "vocab": {"a": "b"}}),
        "tokenizer.json: is not a tokenizer",
    ),
    "tokenizer with words for added ids": (
        lambda o: edit(o / "tokenizer.json", added_tokens=[{"content": "<x>", "id": "q"}]),
        "tokenizer.json: is not a tokenizer",
    ),
    "tokenizer with another vocabulary": (
        lambda o: edit(o / "tokenizer.json", model={**tokenizer()["model"], "vocab": {"w0": 0}}),
        "vocabulary: lacks 'w1'",
    ),
    "template that is no text": (
        lambda o: (o / "chat_template.jinja").write_bytes(b"\xff\xfe"),
        "chat_template.jinja: not UTF-8",
    ),
    "template of 10 GB": (
        text("chat_template.jinja", "{{ 'a' * (10**10) }}"),
        "renders no probe (error: MemoryError)",
    ),
    "template of many words": (
        text("chat_template.jinja", "{% for i in range(99999) %}{{ messages }}{% endfor %}"),
        "characters of a short conversation",
    ),
    "templates with lists for names": (
        lambda o: (
            moved(o, "chat_template.jinja"),
            edit(o / "tokenizer_config.json", chat_template=[{"name": ["default"]}]),
        ),
        "other has no chat template",
    ),
}


@pytest.mark.parametrize("case", BROKEN_MODELS)
def test_a_broken_model_is_refused_by_name(here: Path, refusal: Refusal, case: str) -> None:
    damage, words = BROKEN_MODELS[case]
    damage(here / "other")
    assert words in refusal()


def tensors(content: Any) -> Break:
    return lambda lora: (lora / "adapter_model.safetensors").write_bytes(safetensors(content))


def settings(**keys: Any) -> Break:
    return lambda lora: edit(lora / "adapter_config.json", **keys)


BROKEN_ADAPTERS: dict[str, tuple[Break, str]] = {
    "another shape": (tensors(factors(Q0, into=9)), f"{Q0} is [8, 8], its change [8, 9]"),
    "a layer that does not exist": (
        tensors(factors("model.layers.7.mlp.up_proj", 12)),
        "model.layers.7.mlp.up_proj.weight does not exist",
    ),
    "half a module": (
        tensors(dict(list(factors(Q0).items())[:1])),
        f"module {Q0} must have A and B, and no more",
    ),
    "a module said twice": (
        tensors(factors(Q0) | factors(Q0.replace(".q_proj", ".modules_to_save.q_proj"))),
        "says again",
    ),
    "another rank": (settings(r=2), "for rank 2 they must be [2, in] and [out, 2]"),
    "no tensors": (
        lambda o: (o / "adapter_model.safetensors").write_bytes(raw({})),
        "it holds no tensor",
    ),
    "NaN": (tensors({n: (s, [float("nan")] * 8) for n, (s, _) in factors(Q0).items()}), Q),
    "a pickle": (
        lambda o: (o / "adapter_model.safetensors").rename(o / "adapter_model.bin"),
        "its weights are a pickle",
    ),
    "a pipe": (
        lambda o: ((o / "adapter_config.json").unlink(), os.mkfifo(o / "adapter_config.json")),
        "adapter_config.json: is no file",
    ),
    "an alpha beyond floats": (settings(lora_alpha=10**400), "a whole number of 401 digits"),
    "an alpha beyond float32": (settings(lora_alpha=1e300), "infinite or undefined values"),
    "an endless path": (settings(base_model_name_or_path="a" * 5000), "it must be text, as a path"),
    "a path of no characters": (settings(base_model_name_or_path="a\0b"), "which is not here to"),
    "a pattern that looks back": (settings(rank_pattern={r"(a)\1": 1}), "rank_pattern is"),
    "another base": (
        lambda o: (o / "mergegate.json").write_text(json.dumps({"base_model_digest": "ab" * 32})),
        "its adapter was made from another base",
    ),
}


@pytest.mark.parametrize("case", BROKEN_ADAPTERS)
def test_a_broken_adapter_is_refused_by_name(here: Path, refusal: Refusal, case: str) -> None:
    damage, words = BROKEN_ADAPTERS[case]
    damage(here / "lora")
    said = refusal(models=[{"model": "base"}, {"model": "base+lora"}])
    assert words in said
    assert "lora" in said or Q in said


def test_a_pattern_without_end_is_matched_in_no_time(here: Path) -> None:
    from pipeline.sources import Adapter

    edit(here / "lora" / "adapter_config.json", rank_pattern={"([a-z_.0-9]+)+!": 5, r".*q_proj": 1})
    assert Adapter.open(here / "lora").modules[Q0].rank == 1


BOMB = "\n".join(
    ["a0: &a0 {k: v}"]
    + [f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}" for i in range(1, 12)]
)
RECIPES = {
    "an object": ("a: !!python/object/apply:os.system [touch pwned]", ", line 1: not valid YAML"),
    "an alias bomb": (BOMB, "aliases stand for more than 100000 values"),
    "a list in itself": ("a: &a [*a]", "aliases stand for more than"),
    "a key given twice": (
        "merge_method: ties\ndtype: float16\nmerge_method: linear\n",
        ", line 3: not valid YAML: the key 'merge_method' is given twice, on lines 1 and 3",
    ),
    "nesting without end": ("a: " + "[" * 400_000, "nested too deeply"),
    "values without end": ("- 1\n" * 200_000, "not valid YAML: more than 50000 values"),
    "a large file": ("#" * 2_000_000, "2000000 bytes; a recipe has at most 1000000"),
    "a number without end": ("a: 1" + ":0" * 300_000, "a number of 600001 characters"),
    "a float beyond floats": ("a: 1" + ":0" * 400 + ".5", "a number of 803 characters"),
    "half a character": ('a: "\\ud800"', "half of a surrogate pair"),
    "a zero byte": ("a: \0", "not valid YAML"),
    "a tag that does not fit": ("a: !!timestamp soon", ", line 1: not valid YAML: a value that is"),
    "an empty number": ('a: !!int ""', "a value that is no int"),
    "nothing": ("", "recipe is empty; it must be a mapping"),
    "a list": ("- a\n", "recipe is a list"),
    "another method": ("merge_method: liner\nmodels: [{model: base}]", "Did you mean linear?"),
}


@pytest.mark.parametrize("case", RECIPES)
def test_a_hostile_recipe_is_refused_by_name_and_line(refusal: Refusal, case: str) -> None:
    content, words = RECIPES[case]
    said = refusal(content)
    assert words in said
    assert "recipe.yaml" in said
    assert not Path("pwned").exists()


def one(**parameters: Any) -> list[dict[str, Any]]:
    return [{"model": "base"}, {"model": "other", "parameters": parameters}]


KEYS: dict[str, tuple[dict[str, Any], str]] = {
    "a mistyped key": ({"merge_metod": "ties"}, "recipe.merge_metod is not a key"),
    "a mistyped parameter": ({"models": one(wieght=1)}, "Did you mean weight?"),
    "a weight that is a word": ({"models": one(weight="heavy")}, "models[1].parameters.weight"),
    "a weight that is NaN": ({"models": one(weight="nan")}, "it must be a finite number"),
    "weights that cancel": ({"models": one(weight=-1)}, "their sum is 0"),
    "a density of 2": (
        {"merge_method": "ties", "base_model": "base", "models": one(weight=1, density=2)},
        "models[1].parameters.density is 2; it must be in (0, 1]",
    ),
    "three models for slerp": (
        {
            "merge_method": "slerp",
            "models": [{"model": m} for m in ("base", "other", "base+lora")],
            "parameters": {"t": 0.5},
        },
        "has 3 models; slerp takes exactly 2",
    ),
    "no model": ({"models": []}, "recipe.models is []"),
    "no base": ({"merge_method": "ties"}, "base_model is missing"),
    "a model that is not there": ({"models": [{"model": "./nowhere"}]}, "./nowhere: no such"),
    "a model that is a device": ({"models": [{"model": "/dev/zero"}]}, "/dev/zero: is a file"),
    "an endless model": ({"models": [{"model": "a" * 5000}]}, "aaaa: no such folder"),
    "a path without end": ({"models": [{"model": "a/" * 3000}]}, "a/a/: no such folder"),
    "padding without end": (
        {"tokenizer": {"source": "union", "pad_to_multiple_of": 10**15}},
        "pad_to_multiple_of is 1000000000000000; it must be a whole number from 1 to 65536",
    ),
    "a weight beyond float32": (
        {"models": one(weight=1e39)},
        "models[1].parameters.weight is '1e+39'; it must be a finite number of at most 1e+30",
    ),
    "a mistyped reference": (
        {"base_model": {"modle": "x", "adapter": "y"}},
        "recipe.base_model: 'adapter' is not a key of a reference",
    ),
    "layers that do not exist": (
        {
            "models": None,
            "parameters": None,
            "merge_method": "passthrough",
            "slices": [{"sources": [{"model": "base", "layer_range": [0, 10**15]}]}],
        },
        "of base goes beyond its 2 layers",
    ),
    "a result beyond its type": (
        {"models": one(weight=1e7), "parameters": {"normalize": False}, "out_dtype": "float16"},
        "they exceed the range of float16",
    ),
}


@pytest.mark.parametrize("case", KEYS)
def test_a_wrong_recipe_is_refused_by_key(refusal: Refusal, case: str) -> None:
    keys, words = KEYS[case]
    recipe = {
        "merge_method": "linear",
        "models": one(weight=1),
        "parameters": {"weight": 1},
        **keys,
    }
    if recipe["parameters"] == {"normalize": False}:
        recipe["models"][0]["parameters"] = {"weight": 1}
    said = refusal(json.dumps({key: value for key, value in recipe.items() if value is not None}))
    assert words in said


README = {
    "newlines": "---" + "\n" * 100_000,
    "aliases": f"---\n{BOMB}\nlicense: mit\n---\n",
    "a licence for the terminal": '---\nlicense: "\\e[2J\\e[31mcc-by-nd-4.0"\n---\n',
}


@pytest.mark.parametrize("case", README)
def test_a_hostile_model_card_holds_nothing_up(
    here: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    from flows.cli import app, guarded

    (here / "other" / "README.md").write_text(README[case])
    (here / "recipe.yaml").write_text(RECIPE)
    assert guarded(lambda: app(["check", "recipe.yaml", "--all"])) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_a_chat_template_without_end_is_ended(
    here: Path, refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module("pipeline.compat.chat_template")
    monkeypatch.setattr(module, "PROBE_SECONDS", 0.2)
    loop = "{% for i in range(99999) %}" * 3 + "{% endfor %}" * 3
    (here / "other" / "chat_template.jinja").write_text(loop)
    assert "the template of other renders no probe (error: it takes too long)" in refusal()


def test_a_recipe_that_is_a_pipe_or_a_device_is_refused_without_waiting(here: Path) -> None:
    os.mkfifo(here / "pipe")
    for recipe in ("pipe", "/dev/zero"):
        done = fresh("check", recipe, cwd=here)
        assert done.returncode == 2
        assert f"{recipe}: is a pipe or a device" in done.stderr


def test_a_file_that_may_not_be_read_is_named_with_the_way_out(
    here: Path, refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def denied(path: Any, *given: Any, **more: Any) -> int:  # for root, who may read everything
        if Path(path) == Path("other/config.json"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, *given, **more)

    monkeypatch.setattr(os, "open", denied)
    said = refusal()
    assert "other/config.json: this user may not read it" in said
    assert "chmod u+r" in said


def test_a_model_that_shrinks_while_it_is_merged_is_refused(
    here: Path, refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module("pipeline.merge.merge")
    real = module.lay_out

    def shrink(*given: Any) -> Any:
        os.truncate(here / "other" / OTHER, 3000)
        return real(*given)

    monkeypatch.setattr(module, "lay_out", shrink)
    assert "other/model.safetensors" in refusal()


def test_a_model_without_its_file_is_not_read_from_elsewhere(here: Path, refusal: Refusal) -> None:
    model(here / "models" / "deep")
    (here / "models" / "deep" / OTHER).unlink()
    said = refusal(models=[{"model": "base"}, {"model": "models/deep"}])
    assert "models/deep: has neither model.safetensors nor" in said


def fresh(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, ended after a minute."""
    done = subprocess.run(
        [sys.executable, "-m", "flows", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "Traceback" not in done.stdout + done.stderr
    assert "fault of mergegate" not in done.stderr
    return done


RECIPE = "merge_method: linear\nmodels: [{model: base}, {model: other}]\nparameters: {weight: 1}\n"


def test_an_output_folder_in_use_by_another_process_is_the_environments_fault(here: Path) -> None:
    (here / "recipe.yaml").write_text(RECIPE)
    (here / ".out.part").mkdir()
    held = os.open(here / ".out.part", os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = fresh("merge", "recipe.yaml", "out", cwd=here)
    finally:
        os.close(held)
    assert done.returncode == 6
    assert ".out.part: another process is writing there" in done.stderr
    assert not (here / "out").exists()


def test_a_header_of_100_mb_of_lists_is_refused_before_they_fill_the_memory(tmp_path: Path) -> None:
    content = raw(b'{"a":[' + b"[]," * 33_000_000 + b"[]]}")
    (tmp_path / OTHER).write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(CorruptArtifactError, match="not valid JSON"):
            read_header(tmp_path / OTHER)
        assert tracemalloc.get_traced_memory()[1] < 2 * len(content)
    finally:
        tracemalloc.stop()
