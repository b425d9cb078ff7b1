"""Half precision is an option of what networks compute in: it trains as well."""

import json

import numpy as np
import pytest
from programs import DEADLINE, ROOT, started

import sample
from benchmarks import digits

STEPS = 2000
SMALLER = {"data.size": 8, "batch_size": 32, "model.generator.dense": (64, 256), "model.discriminator.dense": (128,)}
SMALLER |= {"penalties.r2": 0.0}  # of the two penalties one does at this size, and a step takes less


# In one process, which imports everything once.
TRAIN = """
import json, sys, train
sys.exit(max(train.main(command) for command in json.loads(sys.argv[1])))
"""


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """For each precision: the share of each digit among what was drawn, and the share that a judge is sure of."""
    classifier, *_ = digits.trained_judge()
    workdirs = {precision: tmp_path_factory.mktemp("digits") / precision for precision in ("float32", "bfloat16")}
    commands, found = [], {}
    for precision, workdir in workdirs.items():
        settings = SMALLER | {"precision": precision, "steps": STEPS, "sample_every": STEPS, "checkpoint_every": STEPS}
        settings |= {f"optimizer.{name}.decay_steps": STEPS for name in ("generator", "discriminator")}
        given = [f"--config.{name}={value}" for name, value in settings.items()]
        commands.append([f"--config={ROOT / 'configs/digits.py'}", f"--workdir={workdir}", *given])
    with started(
        "-c", TRAIN, json.dumps(commands), XLA_FLAGS=""
    ) as process:  # optimised, which pays over so many steps
        _, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0, err
    for precision, workdir in workdirs.items():
        assert sample.main([f"--workdir={workdir}", f"--out={workdir / 'drawn.npz'}", "--num=500"]) == 0
        with np.load(workdir / "drawn.npz") as file:
            found[precision] = digits.judge(classifier, file["images"])
    return found


def test_digits_trained_in_bfloat16_score_like_those_in_float32(judged):
    """Two seeds of one precision differ by up to .06 in what the judge is sure of."""
    (_, single), (_, half) = judged["float32"], judged["bfloat16"]
    assert single > 0.5  # it learned something, and so can be compared
    assert abs(half - single) < 0.1


def test_all_ten_digits_are_drawn_in_bfloat16(judged):
    shares, _ = judged["bfloat16"]
    assert shares.min() > 0.03
