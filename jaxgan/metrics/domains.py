"""A classifier that tells two domains of images apart by their features: logistic regression.

It is fitted to real images of both domains, each domain with the same weight whatever its number of images. Features
are standardised, and the squares of the weights are penalised.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import optimize, special

from jaxgan.metrics.moments import Features

PENALTY = 0.1  # times half the squared norm of the weights, beside a mean log loss


class DomainClassifier(NamedTuple):
    """Takes an image for one of the second domain where the logit of its features is above 0.

    Attributes:
        weights: of the features as they are.
        bias: added to their product.
    """

    weights: Float[np.ndarray, " width"]
    bias: float

    def is_second(self, features: Features) -> Bool[np.ndarray, " n"]:
        """Which images are taken for those of the second domain."""
        return np.asarray(features, np.float64) @ self.weights + self.bias > 0


def fit(first: Features, second: Features) -> DomainClassifier:
    """The minimum of the mean log loss of both domains with the penalty, by L-BFGS in float64."""
    values = np.concatenate([first, second]).astype(np.float64)
    signs = np.repeat([-1.0, 1.0], [len(first), len(second)])
    share = np.repeat([0.5 / len(first), 0.5 / len(second)], [len(first), len(second)])
    mean = share @ values
    scale = np.sqrt(share @ (values - mean) ** 2)
    scale = np.where(scale > 1e-6 * scale.max(), scale, np.inf)  # a feature that never varies tells nothing
    inputs = (values - mean) / scale

    def loss(params: np.ndarray) -> tuple[float, np.ndarray]:
        margins = signs * (inputs @ params[:-1] + params[-1])
        slopes = -share * signs * special.expit(-margins)
        total = share @ np.logaddexp(0, -margins) + PENALTY / 2 * params[:-1] @ params[:-1]
        return total, np.append(slopes @ inputs + PENALTY * params[:-1], slopes.sum())

    found = optimize.minimize(loss, np.zeros(inputs.shape[1] + 1), jac=True, method="L-BFGS-B").x
    weights = found[:-1] / scale
    return DomainClassifier(weights, float(found[-1] - weights @ mean))
