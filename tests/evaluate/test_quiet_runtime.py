"""What third-party libraries must not do while they work for us, and what is put back afterwards."""

from __future__ import annotations

import logging
import random
import warnings

import pytest

from pipeline.evaluate.runtime import quiet, repeatable


def test_bars_warnings_and_log_lines_are_silent(capfd: pytest.CaptureFixture[str]) -> None:
    from tqdm.auto import tqdm

    with quiet():
        assert list(tqdm(range(3), disable=False)) == [0, 1, 2]
        warnings.warn("noise", stacklevel=1)
        logging.getLogger("lm_eval").warning("noise")
    assert capfd.readouterr() == ("", "")


def test_all_is_put_back_after_an_error() -> None:
    from tqdm.std import tqdm

    before = (tqdm.__init__, logging.root.manager.disable)
    with pytest.raises(RuntimeError), quiet():
        raise RuntimeError
    assert (tqdm.__init__, logging.root.manager.disable) == before


def test_one_thread_unless_the_environment_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        with repeatable(1):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        with repeatable(1):
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_the_seed_decides_every_generator() -> None:
    import numpy
    import torch

    drawn = []
    for _ in range(2):
        with repeatable(2**40):
            drawn.append((random.random(), float(numpy.random.rand()), float(torch.rand(()))))
    assert drawn[0] == drawn[1]
