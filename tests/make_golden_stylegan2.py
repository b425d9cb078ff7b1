"""Makes tests/golden/stylegan2.npz: outputs and gradients of small StyleGAN2 networks by their authors' code.

    git clone https://github.com/NVlabs/stylegan2-ada-pytorch
    PYTHONPATH=stylegan2-ada-pytorch python tests/make_golden_stylegan2.py

needs torch 2.13. Weights and inputs are those of `made_up.numbers`, by PyTorch's names; test_stylegan2.py has the same
sizes.
"""

from pathlib import Path

import numpy as np
import torch
from made_up import numbers
from training import networks

OUT = Path(__file__).parent / "golden" / "stylegan2.npz"
SIDE, BATCH, LATENT, W_DIM, CLASSES, GROUP = 16, 4, 6, 8, 3, 2
WIDTH = {"channel_base": 64, "channel_max": 8}
MAPPING_SCALE = 100  # weights of mapping networks are used at a hundredth


def filled(network: torch.nn.Module) -> torch.nn.Module:
    """The network with made-up parameters and noise."""
    with torch.no_grad():
        for name, array in [*network.named_parameters(), *network.named_buffers()]:
            if "resample_filter" not in name and "w_avg" not in name:
                scale = MAPPING_SCALE if "fc" in name and "b4" not in name else 1
                array.copy_(scale * made_up(name, array.shape))
    return network.train()


def made_up(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.from_numpy(numbers(name, tuple(shape)))


def one_hot() -> torch.Tensor:
    return torch.eye(CLASSES)[torch.arange(BATCH) % CLASSES]


def mapping(classes: int) -> dict[str, torch.Tensor]:
    network = filled(networks.MappingNetwork(LATENT, classes, W_DIM, num_ws=1, num_layers=3))
    ws = network(made_up("latents", (BATCH, LATENT)), one_hot() if classes else None)
    return {"w": ws[:, 0], "w_avg": network.w_avg}


def synthesis() -> dict[str, torch.Tensor]:
    found = {}
    for clamp in (None, 1.0):
        network = filled(networks.SynthesisNetwork(W_DIM, SIDE, 3, conv_clamp=clamp, **WIDTH))
        ws = made_up("ws", (2, network.num_ws, W_DIM)).requires_grad_()
        mode = "none" if clamp else "const"
        found[mode] = network(ws, noise_mode=mode)
        if not clamp:
            noise = made_up("path noise", found[mode].shape) / SIDE
            (slopes,) = torch.autograd.grad((found[mode] * noise).sum(), ws, create_graph=True)
            found["lengths"] = slopes.square().sum(2).mean(1).sqrt()
            found |= gradients(network, "path", (found["lengths"] - found["lengths"].mean() / 100).square().mean())
    return found


def discriminator(classes: int, architecture: str, clamp: float | None) -> dict[str, torch.Tensor]:
    options = {"epilogue_kwargs": {"mbstd_group_size": GROUP}, "mapping_kwargs": {"num_layers": 2}}
    network = networks.Discriminator(classes, SIDE, 3, architecture, conv_clamp=clamp, **WIDTH, **options)
    network, images = filled(network), made_up("images", (BATCH, 3, SIDE, SIDE)).requires_grad_()
    logits = network(images, one_hot() if classes else None)[:, 0]
    if clamp:
        return {"logits": logits}
    (slopes,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return {"logits": logits, "slopes": slopes} | gradients(network, "r1", slopes.square().sum((1, 2, 3)).mean())


def gradients(network: torch.nn.Module, prefix: str, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    """Of the loss by all parameters; a bias has none where the loss is a gradient of what follows it alone."""
    names, arrays = zip(*network.named_parameters(), strict=True)
    found = torch.autograd.grad(loss, arrays, allow_unused=True)
    return {f"{prefix}/{name}": slope for name, slope in zip(names, found, strict=True) if slope is not None}


def main() -> None:
    groups = {
        "mapping": mapping(0),
        "mapping of labels": mapping(CLASSES),
        "synthesis": synthesis(),
        "resnet": discriminator(0, "resnet", None),
        "resnet of labels": discriminator(CLASSES, "resnet", 1.0),
        "orig": discriminator(0, "orig", 1.0),
    }
    arrays = {f"{group}/{name}": array for group, own in groups.items() for name, array in own.items()}
    np.savez_compressed(OUT, **{name: array.detach().numpy() for name, array in arrays.items()})


if __name__ == "__main__":
    main()
