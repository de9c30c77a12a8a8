"""Models of 0.1 million parameters whose answers depend on prompt and adapter, and tasks that score any answer.

The score is a checksum of the answer, so that the digest of a release covers every token that every variant wrote.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).parent))
from family import SIZES, build

EXPERTS = ("lora0", "lora1")
SKILLS = ("skill", "harm")  # the second is a safety suite
# Fewer rows than this are refused by the golden stage.
ROWS, TUNE_ROWS = 100, 24

_TEMPLATE = "{% for m in messages %}{{ m.content }} {% endfor %}"
_METRIC = '''\
"""A score that depends on every character of the answer, from 0 to 5. Standard library only."""

import zlib


def process_results(doc, results):
    """`checksum`: CRC-32 of the answer, modulo 6."""
    return {"checksum": float(zlib.crc32(results[0].encode()) % 6)}
'''
_TASK = """\
task: survive_{skill}
dataset_path: json
dataset_kwargs: {{data_files: {{test: data/test/{skill}.jsonl}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{prompt}}}}"
doc_to_target: "{{{{target}}}}"
process_results: !function metrics.process_results
generation_kwargs: {{do_sample: false, until: []}}
metric_list: [{{metric: checksum, aggregation: mean, higher_is_better: true}}]
metadata: {{version: 1.0}}
"""


def write_models(models: Path) -> None:
    """Write base and adapters into the folder `models`."""
    build(models, SIZES["tiny"], 2)
    (models / "whole").unlink()
    for name in ("ft0", "ft1"):
        shutil.rmtree(models / name)
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "chat_template": _TEMPLATE,
        "unk_token": "w0",
        "pad_token": "w0",
        "eos_token": "w255",
    }
    (models / "base" / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
    for file in models.glob("*/*.safetensors"):
        _enliven(file)
    _change(models / "base" / "config.json", eos_token_id=255, pad_token_id=0)
    for name in EXPERTS:
        _change(models / name / "adapter_config.json", base_model_name_or_path="models/base")
    for name in ("base", *EXPERTS):
        (models / name / "README.md").write_text("---\nlicense: apache-2.0\n---\n", "utf-8")


def _enliven(file: Path) -> None:
    """Larger weights, with which answers depend on the prompt and on the adapter; as built, all are the same."""
    tensors = load_file(file)
    for name, tensor in tensors.items():
        if tensor.dim() == 1:
            tensor.fill_(1.0)
        elif "lora_A" not in name:
            tensor.mul_(50 if name.endswith(("lora_B.weight", "embed_tokens.weight")) else 10)
    save_file(tensors, file, {"format": "pt"})


def _change(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), "utf-8")


def write_tasks(folder: Path) -> None:
    """Write evals/ and data/: a task and golden sets for each of SKILLS."""
    chance = random.Random(0)
    (folder / "evals").mkdir()
    (folder / "evals" / "metrics.py").write_text(_METRIC, "utf-8")
    for skill in SKILLS:
        (folder / "evals" / f"{skill}.yaml").write_text(_TASK.format(skill=skill), "utf-8")
        for split, count in (("test", ROWS), ("tune", TUNE_ROWS)):
            path = folder / "data" / split / f"{skill}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            rows = [_row(f"{skill}-{split}-{number}", chance) for number in range(count)]
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def _row(name: str, chance: random.Random) -> dict[str, str]:
    prompt = " ".join(f"w{chance.randrange(2, 255)}" for _ in range(8))
    return {"id": name, "prompt": prompt, "target": "w3", "category": "any"}
