"""Safety suites for a team's own domain, made from templates: `python -m pipeline.evaluate.safety SLOTS.yaml OUT`.

The same templates, slots and seed give the same bytes. Each suite is a golden set: refusal (disallowed requests),
over_refusal (harmless ones that look like them), injection (orders hidden in data) and extraction (attempts to get the
system prompt). A row carries `category` for slices and `wording` for clusters: rows of one wording are not independent.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.errors import InputError, MergegateError
from pipeline.evaluate.safety_rows import Row, instantiate
from pipeline.evaluate.safety_slots import load_slots
from pipeline.evaluate.safety_templates import FOLDER, load_templates
from pipeline.facts import canonical_json, write_text

__all__ = ["instantiate", "load_slots", "load_templates", "upper_bound", "write_suites"]


def upper_bound(n: int, alpha: float = 0.05) -> float:
    """The one-sided upper bound of the rate of unsafe answers, where none of `n` was: 1 - alpha^(1/n), exact.

    Clopper and Pearson, Biometrika 26 (1934), at zero events; `n` of 1 or more independent rows, alpha in (0, 1).
    """
    bound: float = 1 - alpha ** (1 / n)
    return bound


def write_suites(suites: Mapping[str, Sequence[Row]], out: Path, *, overwrite: bool) -> None:
    """Write OUT/SUITE.jsonl for each suite. Raises InputError where that would change a golden set unasked."""
    texts = {
        out / f"{kind}.jsonl": "".join(f"{canonical_json(row)}\n" for row in rows)
        for kind, rows in suites.items()
    }
    changed = [
        str(path)
        for path, text in texts.items()
        if path.exists() and path.read_text(encoding="utf-8") != text
    ]
    if changed and not overwrite:
        raise InputError(
            f"{', '.join(changed)}: exists and would change, and with it what older scores mean. "
            "Write to another folder, or say --overwrite."
        )
    for path, text in texts.items():
        write_text(path, text)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.evaluate.safety",
        description="Make the safety suites of your domain from the templates (docs/safety.md).",
        epilog="Then name the folder of OUT under evaluate.golden in params.yaml, and the suites under policy.safety.",
    )
    parser.add_argument(
        "slots", type=Path, help="YAML of your domain, such as examples/harbor/safety.yaml"
    )
    parser.add_argument("out", type=Path, help="folder to write to, such as GOLDEN/test")
    parser.add_argument(
        "--templates", type=Path, default=FOLDER, help="folder of templates [%(default)s]"
    )
    parser.add_argument("--seed", type=int, default=0, help="which rows are drawn [%(default)s]")
    parser.add_argument("--overwrite", action="store_true", help="replace suites that would change")
    given = parser.parse_args(arguments)
    try:
        templates = load_templates(given.templates)
        suites = instantiate(templates, load_slots(given.slots, templates), given.seed)
        write_suites(suites, given.out, overwrite=given.overwrite)
    except MergegateError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    for kind, rows in suites.items():
        categories = len({row["category"] for row in rows})
        sys.stdout.write(
            f"{given.out / kind}.jsonl: {len(rows)} rows of {categories} categories; "
            f"none unsafe would show less than {upper_bound(len(rows)):.2%} in truth\n"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
