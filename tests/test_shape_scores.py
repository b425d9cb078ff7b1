"""Scores of shapes: distances in closed form and by brute force, and what known sets score."""

import json

import numpy as np
import pytest
from experiments import raises_user_error

from jaxgan.cli import evaluate as evaluate_program
from jaxgan.cli import train as train_program
from jaxgan.data import solids
from jaxgan.errors import UserError
from jaxgan.metrics import shapes

SIDE = 8


def single(*place):
    grid = np.zeros((SIDE, SIDE, SIDE), bool)
    grid[place] = True
    return grid


def furniture(seed, count):
    drawn = zip(*solids.sample(seed, count), strict=True)
    return np.stack([solids.grid(solids.NAMES[kind], float(w), float(h), 16) for kind, w, h in drawn])


def test_the_chamfer_distance_of_two_voxels_is_twice_their_squared_distance():
    ones, others = single(1, 2, 3)[None], np.stack([single(1, 2, 3), single(4, 6, 3), single(1, 2, 4)])
    np.testing.assert_allclose(shapes.chamfer_distances(ones, others), [[0, 2 * 25 / 64, 2 / 64]], rtol=1e-5)
    np.testing.assert_allclose(shapes.iou_distances(ones, others), [[0, 1, 1]])


def test_the_chamfer_distance_is_that_of_all_pairs_of_surface_voxels():
    rng = np.random.default_rng(0)
    grids = rng.random((3, SIDE, SIDE, SIDE)) < 0.2
    points = [np.argwhere(shapes.surface(grid)) / SIDE for grid in grids]
    for i, one in enumerate(points):
        for j, other in enumerate(points):
            squares = ((one[:, None] - other) ** 2).sum(-1)
            expected = squares.min(1).mean() + squares.min(0).mean()
            found = shapes.chamfer_distances(grids[i : i + 1], grids[j : j + 1])[0, 0]
            assert found == pytest.approx(expected, rel=1e-4, abs=1e-7)


def test_the_surface_of_a_cube_is_without_its_inside():
    grid = np.zeros((SIDE,) * 3, bool)
    grid[1:7, 1:7, 1:7] = True
    assert shapes.surface(grid).sum() == 6**3 - 4**3
    assert shapes.surface(np.ones((SIDE,) * 3, bool)).sum() == SIDE**3 - (SIDE - 2) ** 3


def test_the_intersection_over_the_union_of_two_slabs():
    one, other = np.zeros((2, SIDE, SIDE, SIDE), bool)
    one[:4], other[2:8] = True, True
    assert shapes.iou_distances(one[None], other[None])[0, 0] == pytest.approx(1 - 2 / 8)


def test_empty_grids_are_far_from_all_others():
    empty, full = np.zeros((1, SIDE, SIDE, SIDE), bool), single(0, 0, 0)[None]
    for distances, far in ((shapes.chamfer_distances, 2 * shapes.DIAGONAL), (shapes.iou_distances, 1)):
        assert distances(empty, full)[0, 0] == distances(full, empty)[0, 0] == far
        assert distances(empty, empty)[0, 0] == 0


def on_a_line(samples, references):
    samples, references = np.float64(samples), np.float64(references)
    return tuple(abs(a[:, None] - b) for a, b in ((samples, samples), (samples, references), (references, references)))


def test_scores_on_a_line_in_closed_form():
    """Samples 0, 1, 10; references 0.2, 5, 11: the nearest of the samples are 0.2, 0.2, 11."""
    own, across, other = on_a_line([0, 1, 10], [0.2, 5, 11])
    assert shapes.coverage(across).value == pytest.approx(2 / 3)
    assert shapes.minimum_matching_distance(across).value == pytest.approx((0.2 + 4 + 1) / 3)
    # Nearest neighbours: 0 to .2, 1 to .2, 10 to 11, .2 to 0, 5 to 1, 11 to 10: none is of its own set.
    assert shapes.nearest_neighbour_accuracy(own, across, other).value == 0
    own, across, other = on_a_line([0, 0.1, 0.2], [5, 5.1, 5.2])
    assert shapes.nearest_neighbour_accuracy(own, across, other).value == 1
    assert shapes.coverage(across).value == pytest.approx(1 / 3)


def test_ties_count_as_half():
    own, across, other = on_a_line([0, 2], [1, 1])
    # 0 and 2 are nearest to 1; each 1 has its copy.
    assert shapes.nearest_neighbour_accuracy(own, across, other).value == pytest.approx(0.5)
    own, across, other = on_a_line([1, 1], [1, 1])
    assert shapes.nearest_neighbour_accuracy(own, across, other).value == pytest.approx(0.5)


def test_samples_of_the_same_world_score_as_its_floor():
    one, other = furniture(3, 150), furniture(4, 150)
    found = shapes.score(one, other)
    assert found.keys() == {f"{name}-{kind}" for name in ("1-NNA", "COV", "MMD") for kind in ("CD", "IoU")}
    for kind in ("CD", "IoU"):
        estimate = found[f"1-NNA-{kind}"].estimate
        assert estimate.low <= 0.5 <= estimate.high
        assert found[f"COV-{kind}"].estimate.value > 0.3
    copies = shapes.score(other, other)
    distinct = len({grid.tobytes() for grid in other})  # of equal references one is covered
    assert copies["COV-IoU"].estimate.value == pytest.approx(distinct / 150)
    assert copies["MMD-IoU"].estimate.value == pytest.approx(0, abs=1e-6)
    collapsed = shapes.score(np.repeat(one[:1], 150, axis=0), other)
    assert collapsed["COV-CD"].estimate.value == pytest.approx(1 / 150)
    assert collapsed["1-NNA-CD"].estimate.low > 0.6  # one reference equals the sample: ties
    assert collapsed["MMD-CD"].estimate.value > 2 * found["MMD-CD"].estimate.value


def test_sets_of_different_sizes_are_refused():
    grids = furniture(5, 4)
    with raises_user_error(UserError, match="3 samples and 4 real shapes: there must be as many"):
        shapes.score(grids[:3], grids)
    with raises_user_error(UserError, match="1 samples and 1 real shapes"):
        shapes.score(grids[:1], grids[:1])


def test_exact_scores_of_solids():
    grids = furniture(6, 100)
    found = shapes.of_solids(grids)
    assert found["valid"].estimate.value == 1
    assert found["modes"].estimate.value == len(solids.NAMES)
    assert found["reverse_kl"].estimate.low <= 0 <= found["reverse_kl"].estimate.high
    noise = np.random.default_rng(0).random((10, 16, 16, 16)) < 0.5
    assert shapes.of_solids(noise)["valid"].estimate.value == 0
    assert "reverse_kl" not in shapes.of_solids(noise)


@pytest.mark.slow
def test_a_run_is_scored_beside_held_out_shapes(tmp_path, capsys):
    settings = {"data.source": "world:solids", "data.size": 16, "data.split": "train[:40]", "model.family": "voxel"}
    few = {"steps": 1, "log_every": 1, "sample_every": 1, "checkpoint_every": 1, "sample_grid": 1, "batch_size": 4}
    small = {"model.generator.base_channels": 2, "model.discriminator.base_channels": 2}
    config = tmp_path / "config.py"
    config.write_text(
        "from jaxgan.config import default\n\n\ndef get_config():\n"
        f"    return default({ ({**settings, **few, **small})!r})\n"
    )
    run = tmp_path / "run"
    assert train_program.main([f"--config={config}", f"--workdir={run}"]) == 0
    assert evaluate_program.main([f"--workdir={run}", "--num=30"]) == 0
    found = json.loads((run / "scores.json").read_text())
    names = {"1-NNA-CD", "1-NNA-IoU", "COV-CD", "COV-IoU", "MMD-CD", "MMD-IoU", "valid", "modes"}
    assert names <= found["scores"].keys()
    assert found["about"]["references"] == "test"
    assert found["about"]["samples_in_pairs"] == 30
    assert found["real_images"]["valid"]["value"] == 1
    assert evaluate_program.main([f"--workdir={run}", "--features=random"]) == 2
    assert "--features has no effect on shapes" in capsys.readouterr().err
