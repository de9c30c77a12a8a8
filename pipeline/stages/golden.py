"""Stage `golden`: the golden sets are fit to judge by, or no score is made with them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from gates.golden import check_golden_sets
from pipeline.errors import InputError
from pipeline.facts import digest_file, write_json
from pipeline.params import SPLITS, Skill, load_params
from pipeline.stages.workspace import GOLDEN


def run() -> None:
    """Check every set that params.yaml names; write build/golden.json with findings and digests."""
    skills = [skill for skill in load_params().evaluate.skills.values() if skill.golden]
    findings = check_golden_sets({skill.name: _splits(skill) for skill in skills})
    write_json(
        GOLDEN,
        {
            "digests": {s.name: digest_file(path) for s in skills if (path := s.split("test"))},
            "findings": [asdict(finding) for finding in findings],
        },
    )
    if faults := [f"{f.message} {f.remedy}" for f in findings if f.blocks]:
        raise InputError.of(faults)


def _splits(skill: Skill) -> dict[str, Path | None]:
    """The paths of a skill's splits. Training data may be elsewhere; the test split must be here."""
    paths = {split: skill.split(split) for split in SPLITS}
    return {k: path for k, path in paths.items() if k == "test" or (path and path.is_file())}
