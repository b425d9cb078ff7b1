"""3D-GAN's networks: published counts of parameters, layouts, the accuracy gate, augmentations of shapes."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import quick_jit, raises_user_error, same

from jaxgan.adversarial.augment_shapes import mirror, turn
from jaxgan.adversarial.conditioning import DiscriminatorOutput
from jaxgan.adversarial.losses import LOSSES
from jaxgan.adversarial.objectives import discriminator_loss
from jaxgan.config import build, default, example_batch
from jaxgan.core.experiment import initial_state
from jaxgan.errors import UserError
from jaxgan.models import voxel

SMALL = {"data.source": "world:solids", "data.size": 16, "model.family": "voxel", "batch_size": 2, "latent_dim": 2}
SMALL |= {"model.generator.base_channels": 2, "model.discriminator.base_channels": 2}


def parameters(module, *inputs):
    return jax.eval_shape(lambda: module.init(jax.random.key(0), *inputs, train=True))["params"]


def test_kernels_are_those_of_the_papers():
    """3D-GAN at 64^3: 512, 256, 128, 64 and 1 channels from 200 latents; at 32^3 Smith and Meger's numbers."""
    grids = jnp.zeros((1, 64, 64, 64, 1))
    channels = list(itertools.pairwise((200, 512, 256, 128, 64, 1)))
    generator = parameters(voxel.Generator(grids.shape[1:]), jnp.zeros((1, 200)), None)
    kernels = sum(
        leaf.size for path, leaf in jax.tree_util.tree_leaves_with_path(generator) if path[-1].key == "kernel"
    )
    assert kernels == sum(64 * before * after for before, after in channels)
    discriminator = parameters(voxel.Discriminator(), grids)
    sizes = [own["kernel"].shape for name, own in discriminator.items() if name.startswith("Conv3D")]
    assert sizes == [(4, 4, 4, before, after) for before, after in itertools.pairwise((1, 64, 128, 256, 512))]
    small = voxel.Generator((32, 32, 32, 1), base_channels=32, smallest=2)
    shapes = [
        own["kernel"].shape for name, own in parameters(small, jnp.zeros((1, 200)), None).items() if "Conv" in name
    ]
    assert [shape[3:] for shape in shapes] == [(256, 128), (128, 64), (64, 32), (32, 1)]
    features = jax.eval_shape(
        lambda: voxel.Discriminator(base_channels=32, smallest=2).init_with_output(
            jax.random.key(0), grids[:, ::2, ::2, ::2], True
        )
    )[0]
    assert features.shape == (1, 256 * 8)


@pytest.mark.parametrize("residual", [False, True])
def test_both_layouts_make_the_same(residual):
    latents, options = jax.random.normal(jax.random.key(0), (2, 3)), {"base_channels": 2, "residual": residual}
    made = []
    for batch_last in (False, True):
        generator = voxel.Generator((8, 8, 8, 1), smallest=2, batch_last=batch_last, **options)
        discriminator = voxel.Discriminator(smallest=2, batch_last=batch_last, **options)

        def run(generator=generator, discriminator=discriminator):
            grids, _ = generator.init_with_output(jax.random.key(1), latents, None, True)
            return grids, discriminator.init_with_output(jax.random.key(2), grids, True)[0]

        made.append(quick_jit(run)())
    for one, other in zip(*made, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    grids, features = made[0]
    assert grids.shape == (2, 8, 8, 8, 1)
    assert features.shape == (2, 2 * 2 * 8)


def test_grids_that_the_family_cannot_make_are_refused():
    for shape in ((12, 12, 12, 1), (16, 16, 8, 1), (4, 4, 4, 1)):
        assert voxel.check_shape(shape) == "voxel makes cubes whose sides are 8, 16, 32, 64, ... voxels"
    with raises_user_error(UserError, match="config.data.size=24 does not fit config.model.family=voxel"):
        build(default(SMALL | {"data.size": 24}))
    with raises_user_error(UserError, match="voxel makes grids of voxels"):
        build(default({"data.source": "digits", "model.family": "voxel"}))
    with raises_user_error(UserError, match="config.augment=flip is not for .*: take mirror, turn"):
        build(default(SMALL | {"augment": ("flip",)}))


def test_the_discriminator_waits_while_its_accuracy_is_above_the_gate():
    """Whatever the accuracy, a gate of 0 or more lets an update through only if the accuracy is at most the gate."""
    made = {}
    for gate in (0.0, 0.999):
        ring = {"data.source": "world:ring", "model.family": "toy_mlp", "batch_size": 8, "latent_dim": 2}
        exp = build(default(ring | {"accuracy_gate": gate}), classes=8)
        state = initial_state(exp)
        after, metrics = quick_jit(lambda state, batch, exp=exp: exp.algorithm.step(exp, state, batch))(
            state, example_batch(exp)
        )
        moved = not same(after.networks["discriminator"].params, state.networks["discriminator"].params)
        assert moved == (float(metrics["d_accuracy"]) <= gate)
        assert not same(after.networks["generator"].params, state.networks["generator"].params)
        assert int(after.extra["skipped_updates"]["discriminator"]) == 0  # that counts bad numbers alone
        made[gate] = moved
    assert made == {0.0: False, 0.999: True}


@pytest.mark.parametrize("loss", LOSSES)
def test_the_accuracy_is_that_of_the_losss_own_boundary(loss):
    """It is 1 if real logits are above the boundary and fake ones below, or above fake ones without a boundary."""
    ring = {"data.source": "world:ring", "model.family": "toy_mlp", "batch_size": 8, "latent_dim": 2}
    exp = build(default(ring | {"loss": loss, "accuracy_gate": 0.8}), classes=8)
    state, centre = initial_state(exp), LOSSES[loss].boundary or 0.0
    for side, accuracy in ((0.4, 1.0), (-0.4, 0.0)):
        real, fake = (DiscriminatorOutput(jnp.full(8, centre + own), None, None) for own in (side, -side))
        _, metrics = discriminator_loss(exp, state, real, fake, None)
        assert float(metrics["d_accuracy"]) == accuracy


def test_augmentations_keep_the_vertical_axis_and_every_voxel():
    grid = jax.random.normal(jax.random.key(0), (6, 6, 6, 1))
    keys = jax.random.split(jax.random.key(1), 64)
    for change, count in ((mirror, 2), (turn, 4)):
        changed = np.asarray(jax.vmap(change, (None, 0))(grid, keys))
        np.testing.assert_allclose(
            changed.sum((1, 2)), np.broadcast_to(grid.sum((0, 1)), (64, 6, 1)), rtol=1e-3, atol=1e-5
        )
        assert len({each.tobytes() for each in changed}) == count
        np.testing.assert_array_equal(
            np.sort(changed.reshape(64, -1)), np.sort(np.broadcast_to(grid.ravel(), (64, 216)))
        )
