"""Makes tests/golden/r3gan.npz: what small networks of R3GAN's authors compute, without classes and with them.

    git clone https://github.com/brownvc/R3GAN
    python tests/make_golden_r3gan.py R3GAN

needs torch 2.13, requests and setuptools<80. All weights and inputs are numbers by a formula, in the order of PyTorch's
parameters. Images are [batch, channels, height, width]; gradients by parameters follow each other in one array.
"""

import sys
from pathlib import Path

import numpy as np
import torch

FILE = Path(__file__).parent / "golden" / "r3gan.npz"
BATCH, LATENTS, CLASSES, EMBEDDING, GAMMA = 2, 5, 4, 2, 0.7
WIDTHS, CARDINALITY, BLOCKS, EXPANSION = [4, 4, 6], [2, 4, 3], [2, 1, 1], 2  # of 4x4, 8x8 and 16x16
CHANNELS, SIZE = 3, 16


def numbers(shape: tuple[int, ...], start: int) -> torch.Tensor:
    """Biases of up to 1/2; other arrays times 1.5 over the root of what each number out is a sum of."""
    scale = 1.5 / np.prod(shape[1:]) ** 0.5 if len(shape) > 1 else 0.5
    return torch.tensor(np.sin(np.arange(np.prod(shape)) * 0.7 + start) * scale, dtype=torch.float32).reshape(shape)


def made(networks, classes: int) -> tuple[torch.nn.Module, torch.nn.Module]:
    """A generator and a discriminator."""

    def options(embedding: int) -> dict[str, int]:
        return {"ConditionDimension": classes, "ConditionEmbeddingDimension": embedding} if classes else {}

    backwards = (each[::-1] for each in (WIDTHS, CARDINALITY, BLOCKS))
    generator = networks.Generator(LATENTS, WIDTHS, CARDINALITY, BLOCKS, EXPANSION, **options(EMBEDDING))
    discriminator = networks.Discriminator(*backwards, EXPANSION, **options(WIDTHS[0]))
    for network in (generator, discriminator):
        for start, array in enumerate(network.parameters()):
            array.data = numbers(array.shape, start)
    return generator, discriminator


def computed(networks, training, classes: int) -> dict[str, torch.Tensor]:
    """The fakes of some latents; of real images the logits, their gradients and R1's; both losses."""
    generator, discriminator = made(networks, classes)
    latents, real = numbers((BATCH, LATENTS), 1), numbers((BATCH, CHANNELS, SIZE, SIZE), 2).requires_grad_(True)
    condition = torch.nn.functional.one_hot(torch.arange(BATCH) + 1, classes).float() if classes else None
    fake, logits = generator(latents, condition), discriminator(real, condition)
    (by_image,) = torch.autograd.grad(logits.sum(), real, retain_graph=True)
    penalty = training.ZeroCenteredGradientPenalty(real, logits).mean()
    arrays = tuple(discriminator.parameters())
    slopes = torch.autograd.grad(penalty, arrays, allow_unused=True)
    slopes = [torch.zeros_like(a) if s is None else s for a, s in zip(arrays, slopes, strict=True)]
    pair = training(generator, discriminator)
    first, _, r1, r2 = pair.AccumulateDiscriminatorGradients(latents, real, condition, GAMMA)
    second, _ = pair.AccumulateGeneratorGradients(latents, real, condition)
    return {
        "fake": fake,
        "logits": logits,
        "by_image": by_image,
        "penalty_by_params": torch.cat([slope.flatten() for slope in slopes]),
        "losses": torch.stack([(first + GAMMA / 2 * (r1 + r2)).mean(), second.mean()]),
    }


def main() -> None:
    sys.path.insert(0, sys.argv[1])
    from R3GAN import Networks, Trainer  # noqa: PLC0415

    arrays = {}
    for name, classes in (("plain", 0), ("classes", CLASSES)):
        found = computed(Networks, Trainer.AdversarialTraining, classes)
        arrays |= {f"{name}/{key}": value.detach().numpy() for key, value in found.items()}
    np.savez_compressed(FILE, **arrays)


if __name__ == "__main__":
    main()
