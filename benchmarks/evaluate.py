"""Samples per second of an evaluation, against `lm_eval.simple_evaluate` over the same tasks, model and batches.

    python benchmarks/evaluate.py --json evaluation.json

The model has random weights and ends its answers at random, so that their lengths differ. Every run is a process of its
own, tools in turn, on the same number of threads. Seconds are those of the evaluation itself, with the reading of the
model and of the tasks; the import of libraries, the same for all, is a column of its own. Medians of the runs; `same`
counts the answers that are those of the plain run. "Each skill in one call" is a first evaluation that keeps nothing
before a skill is finished: what it takes less is the price of keeping each batch.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

SKILLS = ("tickets", "policy", "tone")
STOPS = {"tickets": [], "policy": [], "tone": ["w7 ", "w70 ", "w170 "]}  # one with stop texts
TOKENS = 48  # longest answer
SYSTEM = "w1 w2 w3"
WORDS = [f"w{number}" for number in range(500)]
SPECIAL = ["<pad>", "<system>", "<user>", "<assistant>", "<end>", "<unk>"]
TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}> {{ m.content }} <end> {% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
TASK = """task: {skill}
output_type: generate_until
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
doc_to_text: "{{{{prompt}}}}"
doc_to_target: "{{{{target}}}}"
process_results: !function metrics.process_results
generation_kwargs: {{until: {until}, do_sample: false, max_gen_toks: {tokens}}}
metric_list:
  - {{metric: words, aggregation: mean, higher_is_better: true}}
"""
METRICS = "def process_results(doc, results):\n    return {'words': len(results[0].split())}\n"
KINDS = (
    "plain lm-eval",
    "each skill in one call",
    "first evaluation",
    "nothing changed",
    "one skill changed",
)


def make_model(folder: Path) -> None:
    """A Llama of 4 layers and 4.5 million weights, and a tokenizer of 506 words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    vocabulary = {word: number for number, word in enumerate((*SPECIAL, *WORDS))}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="<end>", unk_token="<unk>"
    )
    tokenizer.chat_template = TEMPLATE
    torch.manual_seed(1)
    ends = [vocabulary["<end>"], *range(len(vocabulary) - 15, len(vocabulary))]  # 3 % of all tokens
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=512,
        initializer_range=0.2,
        eos_token_id=ends,
        pad_token_id=vocabulary["<pad>"],
        bos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def make_task(folder: Path, skill: str, samples: int) -> None:
    """A task file, its metric code, and its golden set of prompts of 5 to 60 words."""
    place = folder / "evals" / skill
    place.mkdir(parents=True)
    data = folder / f"{skill}.jsonl"
    (place / "metrics.py").write_text(METRICS)
    text = TASK.format(skill=skill, data=data, until=json.dumps(STOPS[skill]), tokens=TOKENS)
    (place / f"{skill}.yaml").write_text(text)
    draw = random.Random(skill)
    rows = (
        {
            "id": f"{skill}-{number}",
            "prompt": " ".join(draw.choices(WORDS, k=draw.randint(5, 60))),
            "target": "",
        }
        for number in range(samples)
    )
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))


def plain(folder: Path, batch_size: int) -> dict[str, str]:
    """Sample id -> answer, by lm-eval's own entry point."""
    import logging

    import lm_eval
    from lm_eval.tasks import TaskManager

    logging.disable(logging.WARNING)
    found = lm_eval.simple_evaluate(
        model="hf",
        model_args={"pretrained": str(folder / "model"), "device": "cpu"},
        tasks=list(SKILLS),
        task_manager=TaskManager(include_path=str(folder / "evals"), include_defaults=False),
        batch_size=batch_size,
        system_instruction=SYSTEM,
        apply_chat_template=True,
        fewshot_as_multiturn=True,
        bootstrap_iters=0,
        random_seed=0,
        numpy_random_seed=0,
        torch_random_seed=0,
    )
    rows = (row for skill in SKILLS for row in found["samples"][skill])
    return {row["doc"]["id"]: row["resps"][0][0] for row in rows}


def ours(folder: Path, batch_size: int, *, batches: bool) -> dict[str, str]:
    """Sample id -> answer, by mergegate, with the store of the folder; each batch is kept, or only each skill."""
    from pipeline.evaluate import Settings, SkillSpec, evaluate, runner
    from pipeline.evaluate.reuse import Store

    if not batches:
        runner.in_batches = lambda *_: nullcontext()
    evaluate(
        "model",
        str(folder / "model"),
        adapter=None,
        model_digest="model",
        skills={
            skill: SkillSpec(
                str(folder / "evals" / skill / f"{skill}.yaml"),
                folder / f"{skill}.jsonl",
                ("words",),
            )
            for skill in SKILLS
        },
        settings=Settings(batch_size=batch_size, max_new_tokens=TOKENS, system=SYSTEM),
        out=folder / "out",
        store=Store(folder / "kept"),
    )
    lines = (folder / "out" / "model.answers.jsonl").read_text(encoding="utf-8").split("\n")
    rows = (json.loads(line) for line in lines if line)
    return {row["sample_id"]: row["answer"] for row in rows}


def child(folder: Path, kind: str, batch_size: int) -> dict[str, Any]:
    """One measured run, in this process."""
    begun = time.perf_counter()
    import lm_eval.evaluator
    import lm_eval.models.huggingface  # noqa: F401
    import peft  # noqa: F401  what both would import on their way

    import pipeline.evaluate  # noqa: F401

    imported, cpu = time.perf_counter(), time.process_time()
    answers = (
        plain(folder, batch_size)
        if kind == KINDS[0]
        else ours(folder, batch_size, batches=kind != KINDS[1])
    )
    return {
        "wall": time.perf_counter() - imported,
        "cpu": time.process_time() - cpu,
        "import": imported - begun,
        "answers": answers,
    }


def prepared(folder: Path, kind: str) -> None:
    """What the kind of run finds of the one before it."""
    if kind in KINDS[1:3]:
        shutil.rmtree(folder / "kept", ignore_errors=True)
    if kind == "one skill changed":  # its rows in another order: as many samples, another digest
        data = folder / f"{SKILLS[0]}.jsonl"
        data.write_text("".join(reversed(data.read_text().splitlines(keepends=True))))


def measured(folder: Path, kind: str, batch_size: int, threads: int) -> dict[str, Any]:
    """One run in a process of its own."""
    prepared(folder, kind)
    command = [sys.executable, __file__, "--child", kind, "--work", str(folder)]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(folder / "datasets"),
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    run = subprocess.run(
        [*command, "--batch-size", str(batch_size)],
        env=environment,
        capture_output=True,
        text=True,
    )
    if run.returncode:
        raise SystemExit(run.stderr[-3000:])
    return dict(json.loads(run.stdout.splitlines()[-1]))


def summary(runs: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """A row for each kind: medians, samples per second, and how often it is as fast as the plain run."""
    base = statistics.median(one["wall"] for one in runs[KINDS[0]])
    expected = runs[KINDS[0]][0]["answers"]
    rows = []
    for kind, found in runs.items():
        row = {
            key: statistics.median(one[key] for one in found) for key in ("wall", "cpu", "import")
        }
        answers = found[0]["answers"]
        samples, same = len(answers), sum(answers[name] == expected[name] for name in expected)
        ratio = base / row["wall"]
        speed = samples / row["wall"]
        rows.append({"run": kind, **row, "samples_per_second": speed, "ratio": ratio, "same": same})
    return rows


def main() -> None:
    """Measure every kind in turn, print a table and write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=300, help="of each of the three skills")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--child", choices=KINDS, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(child(args.work, args.child, args.batch_size)))
        return
    runs: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_model(folder / "model")
        for skill in SKILLS:
            make_task(folder, skill, args.samples)
        for _ in range(args.runs):
            for kind in KINDS:
                runs[kind].append(measured(folder, kind, args.batch_size, args.threads))
            prepared(folder, KINDS[-1])  # the rows in their first order again
    rows = summary(runs)
    print("| run | wall s | CPU s | samples/s | × plain | same answers | import s |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for row in rows:
        print(
            f"| {row['run']} | {row['wall']:.2f} | {row['cpu']:.2f} | {row['samples_per_second']:.0f} | "
            f"{row['ratio']:.2f} | {row['same']} | {row['import']:.1f} |"
        )
    if args.json:
        facts = {"samples": args.samples * len(SKILLS), "batch_size": args.batch_size}
        value = {**facts, "threads": args.threads, "runs": args.runs, "rows": rows}
        args.json.write_text(json.dumps(value, indent=2) + "\n")


if __name__ == "__main__":
    main()
