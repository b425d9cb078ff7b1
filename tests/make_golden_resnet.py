"""Makes tests/golden/resnet.npz: what small networks of BigGAN's and SNGAN's authors compute, and their gradients.

    git clone https://github.com/ajbrock/BigGAN-PyTorch
    git clone https://github.com/kwotsin/mimicry
    PYTHONPATH=BigGAN-PyTorch:mimicry python tests/make_golden_resnet.py

needs torch 2.13. "nearest" is mimicry's network with the doubling, the epsilon and the ReLU (not in place) of SNGAN's
Chainer code, which no current Python runs. All weights, vectors and inputs are those of `made_up` by PyTorch's names.
Names and shapes are part of the file. Gradients of a network follow each other in one array.
"""

import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import BigGAN
import BigGANdeep
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from made_up import array_of, numbers

for part in ("datasets", "metrics", "training"):  # which need TensorFlow
    sys.modules[f"torch_mimicry.{part}"] = types.ModuleType(part)
from torch_mimicry.nets.cgan_pd import cgan_pd_32  # noqa: E402
from torch_mimicry.nets.sngan import sngan_32  # noqa: E402

FILE = Path(__file__).parent / "golden" / "resnet.npz"
BATCH, CLASSES, LATENTS = 3, 4, 6
IS_8 = {side: side == 8 for side in (2, 4, 8, 16)}  # where attention stands
BASIC = {
    "G": {"in_channels": [12, 12], "out_channels": [12, 8], "upsample": [True] * 2, "resolution": [8, 16]},
    "D": {
        "in_channels": [3, 8, 12],
        "out_channels": [8, 12, 12],
        "downsample": [True, True, False],
        "resolution": [8, 4, 4],
    },
}
DEEP = {
    "G": BASIC["G"],
    "D": {"in_channels": [8, 8], "out_channels": [8, 12], "downsample": [True] * 2, "resolution": [8, 4]},
}


class Case(NamedTuple):
    """Two networks, (latents, labels) -> images and (images, labels) -> logits."""

    generator: torch.nn.Module
    discriminator: torch.nn.Module
    generate: Callable
    discriminate: Callable
    side: int


def biggan(code, sizes: dict[str, dict], **options) -> Case:
    """BigGAN or BigGAN-deep for 16x16 images."""
    made = []
    for kind, name in (("G", "Generator"), ("D", "Discriminator")):
        arch = {16: sizes[kind] | {"attention": IS_8}}
        with mock.patch.object(code, f"{kind}_arch", lambda *args, arch=arch: arch):
            common = {"resolution": 16, "n_classes": CLASSES, "SN_eps": 1e-6, "skip_init": True}
            made.append(getattr(code, name)(dim_z=LATENTS, **common, **options))
    generator, discriminator = made
    return Case(
        *made,
        lambda z, y: generator(z, generator.shared(y)),
        discriminator,
        16,
    )


def sngan(by_classes: bool) -> Case:
    """SNGAN for 32x32 images."""
    sizes = {"nz": LATENTS, "ngf": 6}
    if by_classes:
        made = cgan_pd_32.CGANPDGenerator32(CLASSES, **sizes), cgan_pd_32.CGANPDDiscriminator32(CLASSES, ndf=4)
        return Case(*made, *made, 32)
    generator, discriminator = made = sngan_32.SNGANGenerator32(**sizes), sngan_32.SNGANDiscriminator32(ndf=4)
    return Case(*made, lambda z, y: generator(z), lambda x, y: discriminator(x), 32)


def fill(network: torch.nn.Module) -> None:
    """Sets all parameters and buffers."""
    with torch.no_grad():
        for name, array in network.state_dict().items():
            if array.dtype == torch.float32:
                array.copy_(torch.from_numpy(array_of(name, tuple(array.shape))))


def computed(case: Case) -> dict[str, np.ndarray]:
    """Losses and gradients of both updates, each from the same state, what the first one leaves, and samples."""
    z, y = torch.from_numpy(numbers("z", (BATCH, LATENTS))), torch.arange(BATCH) % CLASSES
    real = torch.from_numpy(numbers("real", (BATCH, 3, case.side, case.side))) / 2
    networks = {"G": case.generator, "D": case.discriminator}

    def reset() -> None:
        for network in networks.values():
            fill(network)
            network.train()
            network.zero_grad()

    reset()
    fake = case.generate(z, y)
    logits = case.discriminate(torch.cat([fake.detach(), real]), torch.cat([y, y]))
    on_fake, on_real = logits.split(BATCH)
    d_loss = F.relu(1 - on_real).mean() + F.relu(1 + on_fake).mean()
    d_loss.backward()
    found = {"fake": fake, "logits": logits, "D/gradients": gradients(case.discriminator)}
    for name, network in networks.items():
        kept = {n: a for n, a in network.state_dict().items() if a.dtype == torch.float32}
        found |= {f"{name}/after/{n}": a.clone() for n, a in kept.items() if n not in dict(network.named_parameters())}
        found[f"{name}/shapes"] = np.array(json.dumps({n: list(a.shape) for n, a in kept.items()}))
    reset()
    g_loss = -case.discriminate(case.generate(z, y), y).mean()
    g_loss.backward()
    found |= {"losses": torch.stack([d_loss, g_loss]), "G/gradients": gradients(case.generator)}
    reset()
    case.generator.eval()
    found["sample"] = case.generate(z, y)
    return {name: a if isinstance(a, np.ndarray) else a.detach().numpy() for name, a in found.items()}


def gradients(network: torch.nn.Module) -> torch.Tensor:
    return torch.cat([array.grad.flatten() for array in network.parameters()])


def main() -> None:
    cases = {
        "biggan": lambda: biggan(BigGAN, BASIC, G_shared=True, shared_dim=3, hier=True),
        "flat": lambda: biggan(BigGAN, BASIC, G_shared=False),
        "deep": lambda: biggan(BigGANdeep, DEEP, G_shared=True, shared_dim=3, hier=True),
        "sngan": lambda: sngan(False),
        "projection": lambda: sngan(True),
    }
    arrays = {f"{name}/{key}": a for name, make in cases.items() for key, a in computed(make()).items()}
    original = F.interpolate
    norm, relu = torch.nn.BatchNorm2d.__init__, torch.nn.ReLU.__init__
    with (
        mock.patch.object(F, "interpolate", lambda x, **_: original(x, scale_factor=2)),
        mock.patch.object(torch.nn.BatchNorm2d, "__init__", lambda *args, **more: norm(*args, **more | {"eps": 2e-5})),
        mock.patch.object(torch.nn.ReLU, "__init__", lambda self, inplace=False: relu(self)),
    ):
        arrays |= {f"nearest/{key}": a for key, a in computed(sngan(True)).items()}
    np.savez_compressed(FILE, **arrays)


if __name__ == "__main__":
    main()
