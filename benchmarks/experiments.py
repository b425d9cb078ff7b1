"""Training runs for tables, each once: what is there already is not trained again."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from jaxgan.config import load
from jaxgan.io import run_folder

ROOT = Path(__file__).parent.parent


def train(config: str, workdir: Path, settings: Mapping[str, object], *more: str) -> float:
    """Trains a configuration of configs/ with some settings and options, unless its last step is there; `seconds`."""
    done = workdir / "config.json"
    if not done.exists() or run_folder.newest_checkpoint(workdir) < load(done).steps:
        options = [f"--config.{name}={value}" for name, value in settings.items()]
        command = [sys.executable, "train.py", f"--config=configs/{config}.py", f"--workdir={workdir}", *options, *more]
        subprocess.run(command, check=True, cwd=ROOT)
    return seconds(workdir)


def seconds(workdir: Path) -> float:
    """How long a run trained, all that it did between its steps included, by its log."""
    total, before = 0.0, 0
    for line in map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines()):
        if "steps_per_second" in line:
            total += (line["step"] - before) / line["steps_per_second"]
            before = line["step"]
    return total
