"""The heat map: every value in its place, and a picture that is made without a display."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_models import diagnosed, only, plus, randoms, write_lora, write_model

from pipeline.diagnose import Diagnosis, write_heatmap
from pipeline.diagnose.heatmap import _figure
from pipeline.diagnose.panels import axes_of, measures

pytestmark = pytest.mark.usefixtures("here")


def diagnosis(count: int = 2, layers: int = 2) -> Diagnosis:
    """Fine-tunes of all tensors but norms; the second leaves layer 0 alone."""
    base = randoms(0, layers=layers)
    write_model("base", base, layers)
    for i in range(1, count + 1):
        change = only(
            randoms(i, 0.01, layers), lambda n, i=i: "norm" not in n and (i != 2 or ".0." not in n)
        )
        write_model(f"m{i}", plus(base, change), layers)
    models = [f"m{i}" for i in range(1, count + 1)]
    return diagnosed(merge_method="task_arithmetic", base_model="base", models=models)


def texts(found: Diagnosis) -> list[str]:
    """All that is written into the cells."""
    return [text.get_text() for axes in drawn(found) for text in axes.texts]


def drawn(found: Diagnosis) -> list[Any]:
    """The panels of the picture, without the scales beside them."""
    return [axes for part in _figure(found).subfigs for axes in part.axes if axes.images]


def size(path: Path) -> tuple[int, int]:
    """Width and height of a PNG, from its header."""
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", data[16:24])
    return width, height


def test_axes_go_from_embeddings_through_the_layers_to_the_head() -> None:
    axes = axes_of(diagnosis(1))
    assert axes.columns == ("in", "0", "1", "out")
    assert (axes.kinds[0], axes.kinds[-1]) == ("embed_tokens", "lm_head")
    assert axes.kinds[1:4] == ("mlp.down_proj", "mlp.gate_proj", "mlp.up_proj")


def test_every_figure_of_a_cell_stands_in_its_place() -> None:
    found = diagnosis()
    axes, tables = axes_of(found), {m.title: m for m in measures(found)}
    norms = tables["norm of the difference, relative to the base"].panels
    angles = tables["cosine of two differences"].panels[0]
    for cell in found.cells:
        place = axes.place(cell)
        for source in (0, 1):
            value = cell.relative_norm(source)
            assert norms[source].values[place] == pytest.approx(value or np.nan, nan_ok=True)
        cosine = cell.cosine((0, 1))
        assert angles.values[place] == pytest.approx(
            np.nan if cosine is None else cosine, nan_ok=True
        )
    assert np.isfinite(norms[0].values).sum() == len(found.cells)


def test_many_pairs_are_shown_by_their_extremes() -> None:
    found = diagnosis(5)
    tables = {m.title: m for m in measures(found)}
    low, high = tables["cosine of two differences"].panels
    assert (low.title, high.title) == ("lowest of 10 pairs", "highest of 10 pairs")
    shown = np.isfinite(low.values)
    assert (low.values[shown] <= high.values[shown]).all()


def test_one_source_has_no_panels_of_pairs() -> None:
    assert [m.title for m in measures(diagnosis(1))] == [
        "norm of the difference, relative to the base",
        "effective rank of the difference",
        "share of mass in the largest 20 % of entries",
    ]


def test_few_cells_have_their_values_printed() -> None:
    found = diagnosis()
    written = texts(found)
    expected = {f"{cell.relative_norm(0):.3f}" for cell in found.cells}
    assert expected <= set(written)
    assert not any(text in ("−0.00", "-0.00") or "-" in text for text in written)


def test_in_narrow_cells_negative_cosines_carry_a_minus() -> None:
    found = diagnosis(2, layers=20)
    negative = sum((cell.cosine((0, 1)) or 0) < -0.05 for cell in found.cells)
    marks = [len(marked.get_offsets()) for axes in drawn(found) for marked in axes.collections]
    assert sum(marks) == negative > 0
    assert texts(found) == []


@pytest.mark.parametrize(("count", "layers"), [(1, 1), (3, 20)])
def test_the_picture_is_written_whole_and_alone(count: int, layers: int) -> None:
    found = diagnosis(count, layers)
    path = Path("pictures/heat.png")
    write_heatmap(found, path)
    width, height = size(path)
    assert 500 < width < 3000
    assert 500 < height < 6000
    assert [p.name for p in path.parent.iterdir()] == ["heat.png"]


def test_a_diagnosis_without_differences_is_drawn_as_words() -> None:
    write_model("base", randoms(0))
    write_model("copy", randoms(0))
    found = diagnosed(merge_method="task_arithmetic", base_model="base", models=["copy"])
    write_heatmap(found, Path("heat.png"))
    assert size(Path("heat.png"))[0] > 300


def test_no_display_and_no_state_of_pyplot_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    write_model("base", randoms(0))
    write_lora("a", ["model.layers.0.self_attn.q_proj"], seed=1)
    code = (
        "import sys; sys.path[:0] = sys.argv[1:]; from pathlib import Path\n"
        "from small_models import diagnosed; from pipeline.diagnose import write_heatmap\n"
        "keys = {'merge_method': 'task_arithmetic', 'base_model': 'base', 'models': ['base+a']}\n"
        "write_heatmap(diagnosed(**keys), Path('heat.png'))\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setenv("MPLBACKEND", "tkagg")
    here = Path(__file__)
    paths: list[Any] = [here.parent, here.parents[2]]
    subprocess.run([sys.executable, "-c", code, *map(str, paths)], check=True)
    assert size(Path("heat.png"))
