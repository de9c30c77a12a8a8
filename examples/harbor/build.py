"""Build the family: golden sets, tokenizer, bases, adapters and fine-tunes. `python -m examples.harbor.build`.

Two models are trained at a time, each on one thread, which is as fast as two threads on one model. All is written
into a folder beside the final one and renamed at the end, so an interrupted build leaves the old family whole.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any

from examples.harbor import family
from examples.harbor.corpus import Corpus
from examples.harbor.family import MEMBERS, Member
from pipeline.progress import bars

HERE = Path(__file__).parent
SEED = 7
_steps: Any = None  # in a worker: the queue to which it reports each training step


def main() -> None:
    """Read the command line, build, and say how long it took."""
    parser = argparse.ArgumentParser(description="Build the Harbor Support data and models.")
    parser.add_argument("--seed", type=int, default=SEED, help="seed of the training (default 7)")
    parser.add_argument("--out", type=Path, default=HERE, help="folder for data/ and models/")
    chosen = parser.parse_args()
    started = time.monotonic()
    build(chosen.out, chosen.seed)
    seconds = time.monotonic() - started
    print(f"Harbor Support: {len(MEMBERS)} models in {chosen.out / 'models'}, {seconds:.0f} s")


def build(out: Path, seed: int = SEED, members: Sequence[Member] = MEMBERS) -> None:
    """Write OUT/data and OUT/models, replacing what is there once the new family is whole."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".build-", dir=out) as name:
        draft = Path(name)
        corpus = Corpus.draw()
        corpus.write(draft / "data")
        _write_tokenizer(draft / "models" / "tokenizer", corpus)
        _train_all(draft / "models", corpus, seed, members)
        shutil.rmtree(draft / "models" / "tokenizer")  # each model has its own copy by now
        for part in ("data", "models"):
            _replace(draft / part, out / part)


def _write_tokenizer(folder: Path, corpus: Corpus) -> None:
    from examples.harbor.tokenizer import train_tokenizer

    turns = corpus.base(8000, Random("tokenizer"))
    train_tokenizer(text for turn in turns for text in turn).save_pretrained(folder)


def _train_all(models: Path, corpus: Corpus, seed: int, members: Sequence[Member]) -> None:
    """Train each member as soon as its base is there, two at a time."""
    os.environ["OMP_NUM_THREADS"] = "1"  # inherited by the workers
    spawn = get_context("spawn")
    with (
        spawn.Manager() as manager,
        bars() as progress,
        ProcessPoolExecutor(2, spawn, _start_worker, (steps := manager.Queue(),)) as pool,
    ):
        bar = progress.add_task("training", total=sum(m.schedule.steps for m in members))
        waiting, built = list(members), {""}
        running: dict[Future[None], str] = {}
        while waiting or running:
            for member in [m for m in waiting if m.base in built]:
                waiting.remove(member)
                job = pool.submit(_work, member, models, corpus, seed)
                running[job] = member.name
            for job in wait(running, timeout=0.5, return_when=FIRST_COMPLETED).done:
                job.result()  # raises what the worker raised
                built.add(running.pop(job))
            progress.advance(bar, _drain(steps))


def _drain(steps: Any) -> int:
    return sum(steps.get_nowait() for _ in range(steps.qsize()))


def _start_worker(steps: Any) -> None:
    import torch
    from transformers.utils import logging

    global _steps
    _steps = steps
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def _work(member: Member, models: Path, corpus: Corpus, seed: int) -> None:
    """Train one member; runs in a worker process."""
    family.make(member, models, corpus, seed, lambda: _steps.put(1))


def _replace(draft: Path, final: Path) -> None:
    """Put the folder `draft` in place of `final`; what was there goes with the temporary folder."""
    if final.exists():
        final.rename(draft.with_name(f"old-{draft.name}"))
    draft.rename(final)


if __name__ == "__main__":
    main()
