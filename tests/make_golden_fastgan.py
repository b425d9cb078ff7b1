"""Makes tests/golden/fastgan.npz: what small networks of FastGAN's and Projected GAN's authors compute.

    git clone https://github.com/andreasjansson/FastGAN-pytorch  # a fork that has the authors' history
    git clone https://github.com/autonomousvision/projected-gan
    python tests/make_golden_fastgan.py FastGAN-pytorch projected-gan

needs torch 2.13. Weights, inputs and noise are those of `made_up.numbers`, by PyTorch's names; test_fastgan.py has the
same sizes. All is computed in float64. Of large images every 16th pixel is kept.
"""

import importlib
import sys
import types
from pathlib import Path

import numpy as np
import torch
from made_up import numbers

OUT = Path(__file__).parent / "golden" / "fastgan.npz"
SIDE, BATCH, LATENT, QUARTER = 256, 2, 4, 2
G_WIDTH, D_WIDTH, PROJECTED = 2, 4, 64
PYRAMID = ((24, 32), (40, 16), (112, 8), (320, 4))  # channels and rows


def made_up(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.from_numpy(numbers(name, tuple(shape))).double()


def filled(network: torch.nn.Module) -> torch.nn.Module:
    """The network with made-up parameters and vectors of spectral norm."""
    network = network.double().train()
    with torch.no_grad():
        for name, array in network.named_parameters():
            array.copy_(made_up(name, array.shape))
        for name, array in network.named_buffers():
            if name.endswith("_u"):
                array.copy_(torch.nn.functional.normalize(made_up(name, array.shape), dim=0))
    return network


def fixed_noise(batch: int, *shape: int) -> torch.Tensor:
    """What takes the place of `torch.randn`: the same noise for all images."""
    return made_up("noise", shape).expand(batch, *shape)


def few(images: torch.Tensor) -> torch.Tensor:
    return images[:, :, 5::16, 3::16]


def fastgan(models: types.ModuleType) -> dict[str, torch.Tensor]:
    latents, images = made_up("latents", (BATCH, LATENT)), made_up("images", (BATCH, 3, SIDE, SIDE))
    large, small = filled(models.Generator(G_WIDTH, LATENT, im_size=SIDE))(latents)
    models.random.randint = lambda first, last: QUARTER
    logits, drawn, _ = filled(models.Discriminator(D_WIDTH, im_size=SIDE))(images, "real")
    logits = logits.reshape(2, BATCH, -1).swapaxes(0, 1).flatten(1)
    found = {"large": few(large), "small": few(small), "logits": logits}
    return found | {name: few(own) for name, own in zip(("whole", "small image", "part"), drawn, strict=True)}


def projected() -> dict[str, torch.Tensor]:
    blocks, synthesis, projector, discriminator = (
        importlib.import_module(f"pg_modules.{name}")
        for name in ("blocks", "networks_fastgan", "projector", "discriminator")
    )
    del blocks
    latents = made_up("latents", (BATCH, 1, LATENT))
    found = {}
    for name, lite in (("all", False), ("none", True)):
        network = filled(synthesis.FastganSynthesis(G_WIDTH, LATENT, img_resolution=SIDE, lite=lite))
        found[f"projected {name}"] = few(network(latents, None))

    channels = [count for count, _ in PYRAMID]
    scratch = projector._make_scratch_ccm(torch.nn.Module(), channels, PROJECTED, expand=True)
    scratch = filled(projector._make_scratch_csm(scratch, scratch.CHANNELS, PROJECTED, expand=True))
    heads = filled(discriminator.MultiScaleD(scratch.CHANNELS, [128, 64, 32, 16], num_discs=4))
    mixed, above = {}, None
    for size in reversed(range(4)):
        count, rows = PYRAMID[size]
        own = getattr(scratch, f"layer{size}_ccm")(made_up(f"features {size}", (BATCH, count, rows, rows)))
        fuse = getattr(scratch, f"layer{size}_csm")
        mixed[str(size)] = above = fuse(own) if above is None else fuse(above, own)
    found |= {f"mixed {size}": own[:, :, ::5, ::5] for size, own in mixed.items()}
    return found | {"projected logits": heads(mixed, None)}


def main() -> None:
    sys.path[:0] = sys.argv[1:]
    sys.modules["timm"] = types.ModuleType("timm")
    torch.randn = fixed_noise
    found = fastgan(importlib.import_module("models")) | projected()
    np.savez_compressed(OUT, **{name: array.detach().float().numpy() for name, array in found.items()})


if __name__ == "__main__":
    main()
