"""Third-party libraries kept silent and repeatable while they work for us.

lm-eval, transformers and llm-compressor draw their own progress bars and log through several
systems; the project shows its own bars, and only the front end prints.
"""

from __future__ import annotations

import importlib
import logging
import os
import platform
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipeline.code import code_digest_of
from pipeline.facts import digest_of

_LOGURU = ("llmcompressor", "compressed_tensors")


@contextmanager
def quiet() -> Iterator[None]:
    """No tqdm bar, no warning, no log line below an error, until the block ends."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), _no_tqdm(), _no_loguru():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)


@contextmanager
def _no_tqdm() -> Iterator[None]:
    """Disable every tqdm bar. TQDM_DISABLE would not do: lm-eval passes `disable=False` by name."""
    tqdm: Any = importlib.import_module("tqdm.std").tqdm
    original = tqdm.__init__

    def disabled(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **{**kwargs, "disable": True})

    tqdm.__init__ = disabled
    try:
        yield
    finally:
        tqdm.__init__ = original


@contextmanager
def _no_loguru() -> Iterator[None]:
    """Silence the quantization libraries, which log through loguru, where they are installed."""
    if find_spec("loguru") is None:
        yield
        return
    from loguru import logger

    for name in _LOGURU:
        logger.disable(name)
    try:
        yield
    finally:
        for name in _LOGURU:
            logger.enable(name)


@contextmanager
def repeatable(seed: int) -> Iterator[None]:
    """Seed every generator, and compute on one thread unless OMP_NUM_THREADS says otherwise.

    The number of threads decides the order of float sums, and so now and then an answer: one thread
    gives the same scores on machines with 2 cores and with 64. Set OMP_NUM_THREADS for large models
    on a CPU.
    """
    import numpy
    import torch

    threads = torch.get_num_threads()
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
    random.seed(seed)
    numpy.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def device() -> str:
    """«cuda» where torch sees such a device, else «cpu»."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def surroundings() -> dict[str, Any]:
    """What can change an answer or a score besides model, task and settings, as JSON values.

    Every installed distribution, for metric code may import any of them; the code that evaluates; processor,
    accelerators, and threads, which decide the order of float sums.
    """
    import torch

    packages = {(one.metadata["Name"] or "", one.version or "") for one in distributions()}
    cuda = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processor": torch.backends.cpu.get_cpu_capability(),
        "accelerators": [torch.cuda.get_device_name(number) for number in cuda],
        "threads": torch.get_num_threads(),
        "packages": digest_of(sorted(packages)),
        "code": code_digest_of("pipeline.evaluate.runner"),
    }


def memory() -> int:
    """Bytes that this process may fill: of the machine, or of its control group where that allows fewer."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        allowed = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
    except OSError:  # no control groups of version 2 here
        return total
    return min(total, int(allowed)) if allowed.isdigit() else total
