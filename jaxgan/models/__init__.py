"""Network families: pure Flax modules by the roles that they play."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from jaxgan.core.settings import NOT_NEGATIVE, Choice, Setting, Settings, one_of
from jaxgan.data.sizes import format_size
from jaxgan.errors import UserError
from jaxgan.models import (
    cyclegan,
    dcgan,
    fastgan,
    iwae_mlp,
    mlp,
    motion,
    patchgan,
    pix2pix,
    r3gan,
    resnet,
    spade,
    stylegan2,
    stylegan3,
    tf_dcgan,
    toy_mlp,
    vaegan,
    voxel,
)
from jaxgan.models.ops import layers


class Role(NamedTuple):
    """A network of a family.

    Attributes:
        module: a Flax module. A generator or decoder is called with (latents, modulation, train) and has attributes for
            the shape of an example; a discriminator or encoder is called with (examples, train) and makes features. A
            translator is called with (images, train), and `sides` are those of images that it takes; a
            feature_translator gives its encoder's features as well. The four networks of an animation are called as in
            `motion`. A mapping is called with (latents, labels, train),
            a synthesis with (its intermediate latents, train), of which it takes `num_ws`, and a style_discriminator
            with (images, labels, train) for logits; labels are one-hot, or None. A two_scale_generator is called with
            (latents, train) and makes each image in two sizes; a two_scale_discriminator is called with (images,
            smaller images, train) for a `fastgan.Output`, and decoders with (its three features, train).
        settings: that become its attributes.
        fixed: further attributes.
        check: (the shape of an example, its settings, and `latent_dim` of the configuration, 0 if it has none) -> which
            of them is wrong, and what would be right.
    """

    module: type[nn.Module]
    settings: Settings
    fixed: Mapping[str, Any] = MappingProxyType({})
    check: Callable[[tuple[int, ...], Mapping[str, Any]], str | None] = lambda shape, settings: None


class Family(NamedTuple):
    """Networks made for each other.

    Attributes:
        roles: by name: "generator", "discriminator", "encoder", "decoder", ...
        check_shape: the shape of an example -> what would be right, if the family cannot make such examples.
        smallest: settings of the smallest networks, {name in the group of a network: value}, for contract tests.
        shape: of the examples of those.
        initializable: whether the initialiser of its kernels can be chosen.
        logit_bias: whether a bias is part of a discriminator's logits.
    """

    roles: Mapping[str, Role]
    check_shape: Callable[[tuple[int, ...]], str | None]
    smallest: Mapping[str, Any]
    shape: tuple[int, ...]
    initializable: bool = True
    logit_bias: bool = True


MODELS: dict[str, Family] = {
    "dcgan": Family(
        {
            "generator": Role(dcgan.Generator, dcgan.GENERATOR_SETTINGS, check=dcgan.check_settings),
            "discriminator": Role(dcgan.Discriminator, dcgan.DISCRIMINATOR_SETTINGS, check=dcgan.check_settings),
            "encoder": Role(dcgan.Discriminator, dcgan.DISCRIMINATOR_SETTINGS, check=dcgan.check_settings),
            "decoder": Role(
                dcgan.Generator, dcgan.GENERATOR_SETTINGS, {"activation": "linear"}, check=dcgan.check_settings
            ),
        },
        dcgan.check_shape,
        {"base_channels": 2},
        (8, 8, 1),
    ),
    "tf_dcgan": Family(
        {
            "generator": Role(tf_dcgan.Generator, tf_dcgan.SETTINGS),
            "discriminator": Role(tf_dcgan.Discriminator, tf_dcgan.DISCRIMINATOR_SETTINGS),
        },
        tf_dcgan.check_shape,
        {"base_channels": 2},
        (8, 8, 1),
    ),
    "mlp": Family(
        {
            "generator": Role(mlp.Generator, mlp.SETTINGS),
            "discriminator": Role(mlp.Discriminator, mlp.DISCRIMINATOR_SETTINGS),
            "encoder": Role(mlp.Discriminator, mlp.DISCRIMINATOR_SETTINGS),
            "decoder": Role(mlp.Generator, mlp.SETTINGS, {"activation": "linear"}),
        },
        mlp.check_shape,
        {"width": 4},
        (8, 8, 1),
    ),
    "iwae_mlp": Family(
        {
            "encoder": Role(iwae_mlp.Encoder, iwae_mlp.SETTINGS),
            "decoder": Role(iwae_mlp.Decoder, iwae_mlp.SETTINGS),
        },
        iwae_mlp.check_shape,
        {"hidden_dims": (4,)},
        (8, 8, 1),
    ),
    "vaegan": Family(
        {
            "generator": Role(vaegan.Generator, vaegan.SETTINGS),
            "discriminator": Role(vaegan.Discriminator, vaegan.SETTINGS),
            "encoder": Role(vaegan.Encoder, vaegan.SETTINGS),
            "decoder": Role(vaegan.Generator, vaegan.SETTINGS, {"activation": "linear"}),
        },
        vaegan.check_shape,
        {"base_channels": 2},
        (16, 16, 1),
    ),
    "toy_mlp": Family(
        {
            "generator": Role(toy_mlp.Generator, toy_mlp.GENERATOR_SETTINGS),
            "discriminator": Role(toy_mlp.Discriminator, toy_mlp.DISCRIMINATOR_SETTINGS),
            "encoder": Role(toy_mlp.Discriminator, toy_mlp.DISCRIMINATOR_SETTINGS),
            "decoder": Role(toy_mlp.Generator, toy_mlp.GENERATOR_SETTINGS),
        },
        toy_mlp.check_shape,
        {"width": 4, "depth": 1},
        (2,),
    ),
    "r3gan": Family(
        {
            "generator": Role(r3gan.Generator, r3gan.SETTINGS, check=r3gan.check_settings),
            "discriminator": Role(r3gan.Discriminator, r3gan.SETTINGS, check=r3gan.check_settings),
        },
        r3gan.check_shape,
        {"widths": (6,), "cardinality": (2,), "blocks": (1,)},
        (8, 8, 1),
        initializable=False,
        logit_bias=False,
    ),
    "resnet": Family(
        {
            "generator": Role(resnet.Generator, resnet.SETTINGS, check=resnet.check_generator),
            "discriminator": Role(
                resnet.Discriminator, resnet.DISCRIMINATOR_SETTINGS, check=resnet.check_discriminator
            ),
        },
        resnet.check_shape,
        {"base_channels": 2, "multipliers": (2,)},
        (8, 8, 1),
    ),
    "voxel": Family(
        {
            "generator": Role(voxel.Generator, voxel.SETTINGS),
            "discriminator": Role(voxel.Discriminator, voxel.DISCRIMINATOR_SETTINGS),
        },
        voxel.check_shape,
        {"base_channels": 2},
        (16, 16, 16, 1),
    ),
}


def antialiased(own: Settings) -> Settings:
    """The settings of a network that is antialiased by default."""
    return own | {"antialias": own["antialias"]._replace(default=True)}


PATCH_DISCRIMINATOR = Role(patchgan.Discriminator, patchgan.SETTINGS)
STYLE_DISCRIMINATOR = Role(stylegan2.Discriminator, stylegan2.DISCRIMINATOR_SETTINGS)
MODELS |= {
    "cyclegan": Family(
        {
            "translator": Role(cyclegan.Translator, cyclegan.SETTINGS),
            "feature_translator": Role(cyclegan.Translator, cyclegan.SETTINGS),
            "patch_discriminator": PATCH_DISCRIMINATOR,
        },
        cyclegan.check_shape,
        {"base_channels": 2},
        (24, 24, 1),
    ),
    "cut": Family(  # CycleGAN's networks, antialiased
        {
            "translator": Role(cyclegan.Translator, antialiased(cyclegan.SETTINGS)),
            "feature_translator": Role(cyclegan.Translator, antialiased(cyclegan.SETTINGS)),
            "patch_discriminator": Role(patchgan.Discriminator, antialiased(patchgan.SETTINGS)),
        },
        cyclegan.check_shape,
        {"base_channels": 2},
        (24, 24, 1),
    ),
    "pix2pix": Family(
        {"translator": Role(pix2pix.Translator, pix2pix.SETTINGS), "patch_discriminator": PATCH_DISCRIMINATOR},
        pix2pix.check_shape,
        {"base_channels": 2},
        (24, 24, 1),
    ),
    "spade": Family(
        {"translator": Role(spade.Translator, spade.SETTINGS), "patch_discriminator": PATCH_DISCRIMINATOR},
        spade.check_shape,
        {"base_channels": 2},
        (24, 24, 1),
    ),
    "fastgan": Family(
        {
            "two_scale_generator": Role(fastgan.TwoScaleGenerator, fastgan.SETTINGS),
            "two_scale_discriminator": Role(fastgan.Discriminator, fastgan.DISCRIMINATOR_SETTINGS),
            "decoders": Role(fastgan.Decoders, fastgan.DECODER_SETTINGS),
            "generator": Role(fastgan.Generator, fastgan.PROJECTED_SETTINGS),
        },
        fastgan.check_shape,
        {"base_channels": 1},
        (64, 64, 1),
    ),
    "fomm": Family(
        {
            "keypoint_detector": Role(motion.KeypointDetector, motion.KEYPOINT_SETTINGS, check=motion.check_keypoints),
            "dense_motion": Role(motion.DenseMotion, motion.MOTION_SETTINGS, check=motion.check_hourglass),
            "warping_generator": Role(motion.WarpingGenerator, motion.GENERATOR_SETTINGS, check=motion.check_generator),
            "keypoint_discriminator": Role(
                motion.Discriminator, motion.DISCRIMINATOR_SETTINGS, check=motion.check_discriminator
            ),
        },
        motion.check_shape,
        {"base_channels": 2, "blocks": 1, "shrink": 1, "halvings": 1, "count": 2},
        (24, 24, 3),
        initializable=False,
    ),
    "stylegan2": Family(
        {
            "mapping": Role(stylegan2.Mapping, stylegan2.MAPPING_SETTINGS),
            "synthesis": Role(stylegan2.Synthesis, stylegan2.SYNTHESIS_SETTINGS),
            "style_discriminator": STYLE_DISCRIMINATOR,
        },
        stylegan2.check_shape,
        {"w_dim": 4, "depth": 2, "channel_base": 16},
        (8, 8, 1),
        initializable=False,
    ),
    "stylegan3": Family(
        {
            "mapping": Role(stylegan2.Mapping, stylegan3.MAPPING_SETTINGS),
            "synthesis": Role(stylegan3.Synthesis, stylegan3.SETTINGS),
            "style_discriminator": STYLE_DISCRIMINATOR,
        },
        stylegan3.check_shape,
        {"w_dim": 4, "depth": 2, "layers": 3, "channel_base": 16},
        (8, 8, 1),
        initializable=False,
    ),
}

MOST_CHANGE = 128  # pixels by which the images may differ that an error proposes

INITIALIZERS: dict[str, Settings] = {name: {} for name in layers.INITIALIZERS} | {
    "gaussian": {"init_stddev": Setting(0.02, "standard deviation of the initial kernels", NOT_NEGATIVE)},
    "xavier_normal": {"init_gain": Setting(0.02, "of the initial kernels, by Xavier's deviation", NOT_NEGATIVE)},
}


def settings(
    roles: Mapping[str, str], family: str = "dcgan", initializer: str = "gaussian", images: bool = False
) -> Settings:
    """The settings of an algorithm's networks.

    Args:
        roles: network -> the role that a family has to have for it.
        family, initializer: the defaults.
        images: whether a family has to make images.
    """

    kernels = {"initializer": Choice(initializer, "of the kernels", lambda: INITIALIZERS)}

    def brought(entry: Family) -> Settings | str:
        missing = [role for role in roles.values() if role not in entry.roles]
        if missing:
            return f"has no {missing[0]}, which this algorithm needs"
        if images and len(entry.shape) != 3:
            return "makes no images, which this algorithm needs"
        networks = {network: entry.roles[role].settings for network, role in roles.items()}
        return networks | (kernels if entry.initializable else {})

    def table() -> dict[str, Settings | str]:
        return {name: brought(entry) for name, entry in MODELS.items()}

    return {
        "precision": Setting(
            "float32", "what networks compute in; parameters and losses stay float32", one_of("float32", "bfloat16")
        ),
        "model": {"family": Choice(family, "of the networks", table)},
    }


def make(
    config: ConfigDict, network: str, role: str, shape: tuple[int, ...], axis_name: str | None = None
) -> nn.Module:
    """A network of the family that a configuration names.

    Args:
        config: the whole configuration.
        network: its name, a group of `config.model`.
        role: that it plays.
        shape: of one example: (height, width, channels) of an image, (side, side, side, channels) of a grid of
            voxels, (dim,) of a point.
        axis_name: the axis over whose devices the batch is sharded, for BatchNorm.

    Raises:
        UserError: the family cannot make such examples, or not with these settings.
    """
    family = MODELS[config.model.family]
    advice = family.check_shape(shape)
    if advice:
        size = (
            f"config.data.size={config.data.size}"
            if "size" in config.data
            else f"config.data.source={config.data.source}"
        )
        near = near_sizes(family, shape)
        advice += f"; near ones: {', '.join(near)}" if near else ""
        raise UserError(f"{size} does not fit config.model.family={config.model.family}: {advice}")
    module, declared, fixed, check = family.roles[role]
    own = {name: config.model[network][name] for name in declared}
    if (reason := check(shape, own | {"latent_dim": config.get("latent_dim", 0)})) is not None:
        raise UserError(f"config.model.{network}.{reason}")
    known = set(module.__dataclass_fields__)
    places = {"shape": shape, "dim": shape[0]}
    attributes = places | {"axis_name": axis_name, "dtype": jnp.dtype(config.precision)}
    if family.initializable:
        attributes |= {"initializer": config.model.initializer, "init_stddev": init_argument(config)}
    attributes |= {"batch_last": jax.default_backend() == "cpu"}
    attributes = {name: value for name, value in attributes.items() if name in known}
    return module(**attributes, **own, **fixed)


def near_sizes(family: Family, shape: tuple[int, ...]) -> list[str]:
    """The nearest smaller and the nearest larger images that a family can make, squares where `shape` is one."""
    if len(shape) != 3:
        return []
    height, width, channels = shape
    found = []
    for sign in (-1, 1):
        for change in range(1, MOST_CHANGE + 1):
            steps = [(change, change)] if height == width else [(down, change - down) for down in range(change + 1)]
            sizes = [(height + sign * down, width + sign * across) for down, across in steps]
            fits = [size for size in sizes if min(size) > 0 and not family.check_shape((*size, channels))]
            if fits:
                found.append(fits[0])
                break
    return [format_size(*size) for size in found]


def kernel_init(config: ConfigDict) -> Callable:
    """The initialiser of kernels outside a family's networks; beside a family that has its own, it keeps variances."""
    if not MODELS[config.model.family].initializable:
        return nn.initializers.variance_scaling(1.0, "fan_in", "normal")
    return layers.INITIALIZERS[config.model.initializer](init_argument(config))


def init_argument(config: ConfigDict) -> float:
    """The initialiser's only number; 0 for one that takes none."""
    return float(sum(config.model[name] for name in INITIALIZERS[config.model.initializer]))
