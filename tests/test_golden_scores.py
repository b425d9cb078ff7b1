"""Parity with the libraries others use: by their committed answers, and by themselves where they are installed."""

import json
from pathlib import Path

import numpy as np
import pytest
from make_golden_scores import SIZES, draw, library_scores

from jaxgan.metrics.frechet import frechet_distance, frechet_distance_of_few
from jaxgan.metrics.inception_score import inception_score
from jaxgan.metrics.kid import subset_kernel_distances
from jaxgan.metrics.moments import statistics
from jaxgan.metrics.prdc import manifold_scores

GOLDEN = json.loads((Path(__file__).parent / "golden_scores.json").read_text())


def our_scores(fake, real, logits):
    kid = subset_kernel_distances(fake, real, 20, 100)
    score = inception_score(logits)
    precision, recall, density, coverage = (estimate.value for estimate in manifold_scores(fake, real))
    distance = frechet_distance(statistics(fake), statistics(real))
    assert frechet_distance_of_few(fake, real) == pytest.approx(distance, rel=1e-9)
    return {
        "fid": distance,
        "fid_scipy": distance,
        "kid_mean": kid.mean(),
        "kid_std": kid.std(),
        "isc_mean": score.splits_mean,
        "isc_std": score.splits_std,
        "precision": precision,
        "recall": recall,
        "prdc_precision": precision,
        "prdc_recall": recall,
        "density": density,
        "coverage": coverage,
    }


@pytest.mark.parametrize("name", SIZES)
def test_scores_are_those_of_the_libraries(name):
    assert our_scores(*draw(name)) == pytest.approx(GOLDEN[name], rel=1e-6)


@pytest.mark.parametrize("name", SIZES)
def test_the_libraries_still_say_so(name):
    pytest.importorskip("prdc", reason="prdc is in the extra scores_test")
    pytest.importorskip("torch_fidelity", reason="torch-fidelity is in the extra scores_test")
    assert library_scores(*draw(name)) == pytest.approx(GOLDEN[name], rel=1e-6)


def test_features_are_drawn_alike_everywhere():
    """Golden answers hold for these features alone."""
    fake, real, logits = draw("narrow")
    assert (fake.shape, real.shape, logits.shape) == ((400, 8), (300, 8), (400, 8))
    np.testing.assert_allclose(
        [fake.sum(), real.sum(), logits.sum()], [10693.753245, 7492.676565, -190.727094], rtol=1e-8
    )
