"""Inception Score: known classifiers, and an interval that holds the truth."""

import numpy as np
import pytest
from scipy import special

from jaxgan.errors import UserError
from jaxgan.metrics.inception_score import inception_score


def sure(labels, classes, size=40.0):
    return size * np.eye(classes)[labels]


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_a_sure_classifier_of_even_classes_scores_their_number(classes):
    found = inception_score(sure(np.arange(20 * classes) % classes, classes), splits=1)
    assert found.splits_mean == pytest.approx(classes, rel=1e-9)
    assert found.splits_std == 0


def test_one_class_scores_1_and_so_does_a_classifier_that_knows_nothing():
    for logits in (sure(np.zeros(100, int), 10), np.ones((100, 10))):
        found = inception_score(logits)
        assert [found.splits_mean, *found.debiased] == pytest.approx([1, 1, 1, 1])


def test_of_unequal_classes_it_is_the_exponential_of_their_entropy():
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    shares = np.array([0.5, 0.3, 0.2])
    expected = np.exp(-(shares * np.log(shares)).sum())
    assert inception_score(sure(labels, 3), splits=1).splits_mean == pytest.approx(expected)


def test_logits_and_log_probabilities_and_any_order_of_the_whole_score_the_same():
    generator = np.random.default_rng(0)
    logits = 3 * generator.normal(size=(200, 10))
    found, by_logs = inception_score(logits), inception_score(special.log_softmax(logits, axis=1))
    assert [*by_logs[:2], *by_logs.debiased] == pytest.approx([*found[:2], *found.debiased], rel=1e-9)
    assert inception_score(logits + generator.normal(size=(200, 1))).debiased == pytest.approx(found.debiased, rel=1e-9)
    assert inception_score(logits[::-1]).debiased == pytest.approx(found.debiased, rel=1e-9)
    assert inception_score(logits[::-1]).splits_mean != found.splits_mean  # other splits


@pytest.mark.parametrize("size", [1.0, 30.0])
def test_the_interval_covers_and_splits_are_too_low(size):
    generator = np.random.default_rng(int(size))

    def draw(count):
        return sure(generator.integers(0, 10, count), 10, size) + 0.7 * generator.normal(size=(count, 10))

    logs = special.log_softmax(draw(50_000), axis=1)
    truth = np.exp((np.exp(logs) * logs).sum(1).mean() + np.log(10))  # the classes are even
    found = [inception_score(draw(200)) for _ in range(200)]
    debiased = np.array([score.debiased for score in found])
    assert 0.9 <= np.mean((debiased[:, 1] <= truth) & (truth <= debiased[:, 2])) <= 0.99
    assert debiased[:, 0].mean() == pytest.approx(truth, rel=0.01)
    assert np.mean([score.splits_mean for score in found]) < truth


def test_bad_input_is_an_error():
    with pytest.raises(UserError, match="an Inception Score of 10 splits needs 20 samples or more, and there are 19"):
        inception_score(np.ones((19, 4)))
    with pytest.raises(UserError, match="an Inception Score of 0 splits"):
        inception_score(np.ones((19, 4)), splits=0)
    with pytest.raises(UserError, match="20 of 20 samples have values that are not finite"):
        inception_score(np.full((20, 4), np.inf))
