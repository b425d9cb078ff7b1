"""Signs of failing adversarial training, of metrics that several algorithms have."""

from jaxgan.core.types import Monitor


def mode_collapse(player: str, advice: str) -> Monitor:
    """Says that samples hardly differ from each other."""
    return Monitor(
        "diversity_ratio",
        lambda value: value < 0.1,
        100,
        f"the samples hardly differ (their spread is {{value:.0%}} of the real examples'): the {player} has collapsed; "
        f"try {advice}",
    )


def perfect_discriminator(advice: str) -> Monitor:
    """Says that the discriminator is always right, which a healthy critic of WGAN-GP was for its first 200 steps."""
    return Monitor(
        "d_pairwise_accuracy",
        lambda value: value > 1 - 1e-6,  # a mean of ones may be rounded
        1000,
        "the discriminator ranked every real example above its fake for {steps} steps: the generator may learn nothing "
        f"more; try {advice}",
        always=True,
    )
