"""Networks that compute in half precision train as well as those in float32."""

import json

import numpy as np
import pytest
from programs import DEADLINE, ROOT, started

from benchmarks import digits
from jaxgan.cli import sample

pytestmark = pytest.mark.slow  # two runs of some minutes

STEPS = 2000
SMALLER = {"data.size": 8, "batch_size": 32, "model.generator.hidden_dims": (64, 256)}
SMALLER |= {"model.discriminator.hidden_dims": (128,)}
SMALLER |= {"penalties.r2": 0.0}  # R1 alone is enough at this size, and a step takes less time


# In one process, which imports everything once.
TRAIN = """
import json, sys
from jaxgan.cli import train
sys.exit(max(train.main(command) for command in json.loads(sys.argv[1])))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """For each precision: the share of each digit in the samples, and the share of which a classifier is sure."""
    classifier, *_ = digits.train_classifier()
    workdirs = {precision: tmp_path_factory.mktemp("digits") / precision for precision in ("float32", "bfloat16")}
    commands, results = [], {}
    for precision, workdir in workdirs.items():
        settings = SMALLER | {"precision": precision, "steps": STEPS, "sample_every": STEPS, "checkpoint_every": STEPS}
        settings |= {f"optimizer.{name}.decay_steps": STEPS for name in ("generator", "discriminator")}
        given = [f"--config.{name}={value}" for name, value in settings.items()]
        commands.append([f"--config={ROOT / 'configs/digits.py'}", f"--workdir={workdir}", *given])
    # Optimised, which pays off in so many steps.
    with started("-c", TRAIN, json.dumps(commands), XLA_FLAGS="") as process:
        _, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0, err
    for precision, workdir in workdirs.items():
        assert sample.main([f"--workdir={workdir}", f"--out={workdir / 'samples.npz'}", "--num=500"]) == 0
        with np.load(workdir / "samples.npz") as file:
            results[precision] = digits.decisions(classifier, file["images"])
    return results


def test_digits_trained_in_bfloat16_score_like_those_in_float32(found):
    """Two seeds of one precision differ by up to .06 in the share of which the classifier is sure."""
    (_, single), (_, half) = found["float32"], found["bfloat16"]
    assert single > 0.5  # training succeeds, and can be compared
    assert abs(half - single) < 0.1


def test_bfloat16_samples_have_all_ten_digits(found):
    shares, _ = found["bfloat16"]
    assert shares.min() > 0.03
