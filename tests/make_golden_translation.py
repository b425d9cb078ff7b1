"""What the authors' PyTorch code of image translation says, for tests that have neither PyTorch nor that code.

Networks get weights by a formula and narrow widths; the code runs in float64. Made where torch and torchvision are, by
`python tests/make_golden_translation.py CUT HD tests/golden_translation.npz`, with checkouts of
https://github.com/taesungp/contrastive-unpaired-translation and https://github.com/NVIDIA/pix2pixHD.
"""

import contextlib
import functools
import importlib
import os
import sys
from types import SimpleNamespace

import numpy as np

WIDTH = 4  # channels of the narrowest layer; U-Nets have half
CASES = {  # network, rows and columns of the images
    "resnet_6": ("resnet", (16, 24), {"n_blocks": 6}),
    "resnet_9": ("resnet", (16, 16), {"n_blocks": 9}),
    "resnet_batch": ("resnet", (16, 16), {"n_blocks": 1, "norm": "batch"}),
    "resnet_antialias": ("resnet", (16, 24), {"n_blocks": 6, "antialias": True}),
    "unet_128": ("unet", (128, 128), {"num_downs": 7, "norm": "batch"}),
    "unet_256": ("unet", (256, 256), {"num_downs": 8, "norm": "batch"}),
    "patch": ("patch", (32, 40), {"n_layers": 3}),
    "patch_batch": ("patch", (32, 32), {"n_layers": 2, "norm": "batch"}),
    "patch_antialias": ("patch", (32, 40), {"n_layers": 3, "antialias": True}),
}
KEPT = {"unet_128": 16, "unet_256": 32}  # every so many-th row and column of the output is kept
TEMPERATURE, HEAD_WIDTH = 0.07, 8
FULL = 10**6  # patches, more than there are places, so that no random numbers matter


def numbers(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """Normal numbers, float64."""
    return np.random.default_rng(seed).normal(size=shape)


def images(seed: int, size: tuple[int, int], batch: int = 2) -> np.ndarray:
    """In (-1, 1), [batch, rows, columns, 3]."""
    return np.tanh(numbers(1000 + seed, (batch, *size, 3)))


def weight(index: int, shape: tuple[int, ...], is_scale: bool) -> np.ndarray:
    """The index-th parameter of a network, shaped as in PyTorch."""
    return numbers(index, shape) * 0.1 + is_scale


def vectors(seed: int, places: int = 6) -> np.ndarray:
    """Unit vectors of two images, [2, places, 8]."""
    found = numbers(seed, (2, places, 8))
    return found / np.linalg.norm(found, axis=-1, keepdims=True)


def feature_maps(seed: int) -> list[list[np.ndarray]]:
    """Of two scales of three halvings: four layers and the logits, [batch, rows, columns, channels]."""
    return [[numbers(seed + 10 * scale + layer, (2, 3, 5, 4)) for layer in range(5)] for scale in range(2)]


def main(cut: str, pix2pix_hd: str, out: str) -> None:
    with imported(cut, "models.networks", "models.cut_model", "models.cycle_gan_model") as modules:
        networks, cut_model, cycle_gan_model = modules
        found = {name: output_of(networks, name) for name in CASES}
        found |= features(networks)
        found |= losses(networks, cut_model)
        found |= cyclegan(networks, cycle_gan_model.CycleGANModel)
        for fast in (False, True):
            found |= contrastive(networks, cut_model.CUTModel, fast)
    with imported(pix2pix_hd, "models.pix2pixHD_model") as (module,):
        found["feature_matching"] = feature_matching(module.Pix2PixHDModel)
    np.savez_compressed(out, **{name: np.float32(array) for name, array in found.items()})


@contextlib.contextmanager
def imported(folder: str, *names: str):
    """Modules of a checkout; both have packages of the same names."""
    sys.path.insert(0, os.path.abspath(folder))
    yield [importlib.import_module(name) for name in names]
    sys.path.pop(0)
    for name in [name for name in sys.modules if name.split(".")[0] in ("models", "util")]:
        del sys.modules[name]


def tensor(array: np.ndarray):
    """As PyTorch has images."""
    import torch  # noqa: PLC0415  # only where it is

    return torch.tensor(np.moveaxis(array, -1, 1) if array.ndim == 4 else array)


def array(images) -> np.ndarray:
    """The other way round."""
    return np.moveaxis(images.detach().numpy(), 1, -1)


def fill(network, first: int = 0):
    """The network with the weights of the formula, in float64."""
    import torch  # noqa: PLC0415

    network.double()
    for index, (name, own) in enumerate(network.named_parameters()):
        is_scale = name.endswith("weight") and own.ndim == 1
        own.data = torch.tensor(weight(first + index, tuple(own.shape), is_scale))
    return network


def make(networks, kind: str, norm: str = "instance", antialias: bool = False, **options):
    """A network with its weights."""
    from torch import nn  # noqa: PLC0415

    affine = norm == "batch"
    layer = functools.partial(nn.BatchNorm2d if affine else nn.InstanceNorm2d, affine=affine)
    if kind == "unet":
        return networks.UnetGenerator(3, 3, ngf=WIDTH // 2, norm_layer=layer, **options)
    if kind == "resnet":
        up = {"no_antialias_up": not antialias}
        return networks.ResnetGenerator(3, 3, WIDTH, layer, no_antialias=not antialias, **up, **options)
    return networks.NLayerDiscriminator(3, WIDTH, norm_layer=layer, no_antialias=not antialias, **options)


def output_of(networks, name: str) -> np.ndarray:
    kind, size, options = CASES[name]
    step = KEPT.get(name, 1)
    return array(fill(make(networks, kind, **options))(tensor(images(0, size))))[:, ::step, ::step]


def features(networks) -> dict[str, np.ndarray]:
    """What CUT compares patches by."""
    _, size, options = CASES["resnet_antialias"]
    network = fill(make(networks, "resnet", **options))
    found = network(tensor(images(0, size)), [0, 4, 8, 12, 16], encode_only=True)
    return {f"features_{index}": array(own)[:, ::2, ::2] for index, own in enumerate(found)}


def losses(networks, cut_model) -> dict[str, np.ndarray]:
    """Each term by itself."""
    from torch.nn import L1Loss  # noqa: PLC0415

    maps, found = tensor(numbers(1, (2, 5, 4, 1))), {}
    for mode in ("lsgan", "vanilla"):
        loss = networks.GANLoss(mode)
        for is_real in (True, False):
            found[f"{mode}_{'real' if is_real else 'fake'}"] = loss(maps, is_real).numpy()
    found["l1"] = L1Loss()(tensor(images(0, (8, 8))), tensor(images(1, (8, 8)))).numpy()
    query, key = (tensor(vectors(seed).reshape(-1, 8)) for seed in (0, 1))
    found["patch_nce"] = cut_model.PatchNCELoss(cut_options())(query, key).numpy()
    return found


def cut_options(fast: bool = False) -> SimpleNamespace:
    return SimpleNamespace(
        nce_includes_all_negatives_from_minibatch=False,
        batch_size=2,
        nce_T=TEMPERATURE,
        nce_idt=not fast,
        lambda_NCE=10.0 if fast else 1.0,
        lambda_GAN=1.0,
        num_patches=FULL,
        flip_equivariance=fast,
        isTrain=True,
    )


def contrastive(networks, model_class, fast: bool) -> dict[str, np.ndarray]:
    """The losses of CUT or FastCUT, whose images are flipped, and some gradients."""
    from torch import nn  # noqa: PLC0415

    model, options = model_class.__new__(model_class), cut_options(fast)
    model.opt, model.nce_layers = options, [0, 4, 8, 12, 16]
    model.criterionGAN = networks.GANLoss("lsgan")
    model.criterionNCE = [networks_loss(model_class)(options) for _ in model.nce_layers]
    model.netG = fill(make(networks, "resnet", n_blocks=6, antialias=True))
    model.netD = fill(make(networks, "patch", n_layers=2, antialias=True), 200)
    model.netF = networks.PatchSampleF(use_mlp=True, nc=HEAD_WIDTH)
    model.netF.create_mlp([nn.Parameter(tensor(np.zeros((1, 1, 1, c)))) for c in (3, 8, 16, 16, 16)])
    fill(model.netF, 400)
    model.real_A, model.real_B = (tensor(images(seed, (16, 16))) for seed in (2, 3))
    np.random.seed(1)  # whose first number is below 1/2, so that FastCUT flips
    model.forward()
    name = "fastcut" if fast else "cut"
    found = {f"{name}_discriminator": model.compute_D_loss(), f"{name}_generator": model.compute_G_loss()}
    model.loss_G.backward()
    found = {key: value.detach().numpy() for key, value in found.items()}
    found[f"{name}_conv_gradient"] = next(model.netG.parameters()).grad.numpy()
    found[f"{name}_heads_gradient"] = model.netF.mlp_2[0].weight.grad.numpy()
    return found


def networks_loss(model_class):
    """The class of PatchNCE's loss."""
    return sys.modules[model_class.__module__].PatchNCELoss


def cyclegan(networks, model_class) -> dict[str, np.ndarray]:
    """The losses of CycleGAN, without a pool, and a gradient."""
    from torch.nn import L1Loss  # noqa: PLC0415

    model = model_class.__new__(model_class)
    model.opt = SimpleNamespace(lambda_identity=0.5, lambda_A=10.0, lambda_B=10.0, amp=False)
    model.criterionGAN, model.criterionCycle, model.criterionIdt = networks.GANLoss("lsgan"), L1Loss(), L1Loss()
    model.netG_A, model.netG_B = (fill(make(networks, "resnet", n_blocks=1), first) for first in (0, 100))
    # Their netD_A judges domain B.
    model.netD_A, model.netD_B = (fill(make(networks, "patch", n_layers=1), first) for first in (200, 300))
    model.real_A, model.real_B = (tensor(images(seed, (16, 16))) for seed in (2, 3))
    model.forward()
    model.backward_G()
    found = {"cyclegan_generator": model.loss_G, "cyclegan_cycle_a": model.loss_cycle_A / 10}
    found["cyclegan_identity_b"] = model.loss_idt_A / 5
    found["cyclegan_discriminator_b"] = model.backward_D_basic(model.netD_A, model.real_B, model.fake_B)
    found = {key: value.detach().numpy() for key, value in found.items()}
    return found | {"cyclegan_conv_gradient": next(model.netG_A.parameters()).grad.numpy()}


def feature_matching(model_class) -> np.ndarray:
    """The term of pix2pixHD's generator, without its weight of 10."""
    import torch  # noqa: PLC0415

    model = model_class.__new__(model_class)
    torch.nn.Module.__init__(model)
    model.opt = SimpleNamespace(no_ganFeat_loss=False, no_vgg_loss=True, n_layers_D=3, num_D=2, lambda_feat=1.0)
    model.use_features, model.gen_features = False, False
    real, fake = ([[tensor(own) for own in scale] for scale in feature_maps(seed)] for seed in (0, 100))
    given = iter([fake, real, fake])  # the discriminator is asked for the pooled fake, the real image, the fake
    model.encode_input = lambda *inputs, **options: (inputs[0], None, inputs[0], None)
    model.netG = SimpleNamespace(forward=lambda label: label)
    model.netD = SimpleNamespace(forward=lambda images: next(given))
    model.discriminate = lambda *inputs, **options: next(given)
    model.criterionGAN, model.criterionFeat = lambda *inputs: 0.0, torch.nn.L1Loss()
    model.loss_filter = lambda *terms: terms
    label = torch.zeros(2, 3, 4, 4)
    return model_class.forward(model, label, None, label, None)[0][1].numpy()


if __name__ == "__main__":
    main(*sys.argv[1:])
