"""Makes golden/grid_sample.npz by PyTorch: python tests/make_golden_grid_sample.py. Needs torch, which no test does."""

import itertools
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

PADDINGS = ("zeros", "border", "reflection")


def main() -> None:
    """Outputs and both gradients of every mode, for one image and one grid that reaches far beyond it."""
    random = np.random.default_rng(0)
    images = random.normal(size=(2, 5, 7, 3)).astype(np.float32)
    grid = random.uniform(-3.2, 3.2, (2, 6, 4, 2)).astype(np.float32)
    weights = random.normal(size=(2, 6, 4, 3)).astype(np.float32)
    arrays = {"images": images, "grid": grid, "weights": weights}
    for padding, align_corners in itertools.product(PADDINGS, (False, True)):
        own, places = torch.tensor(images.transpose(0, 3, 1, 2), requires_grad=True), torch.tensor(grid)
        places.requires_grad_()
        out = functional.grid_sample(own, places, padding_mode=padding, align_corners=align_corners)
        (out * torch.tensor(weights.transpose(0, 3, 1, 2))).sum().backward()
        name = f"{padding} {align_corners}"
        arrays[f"{name} out"] = out.detach().numpy().transpose(0, 2, 3, 1)
        arrays[f"{name} by images"] = own.grad.numpy().transpose(0, 2, 3, 1)
        arrays[f"{name} by grid"] = places.grad.numpy()
    np.savez_compressed(Path(__file__).parent / "golden" / "grid_sample.npz", **arrays)


if __name__ == "__main__":
    main()
