"""The networks of the First Order Motion Model: the authors' numbers, and laws of their geometry."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from jaxgan.adversarial import deformations
from jaxgan.adversarial.deformations import Deformation
from jaxgan.models import motion
from jaxgan.models.ops.keypoints import Keypoints, Motion, gaussians, inverse, sparse_motions, warped

HOURGLASS = {"base_channels": 4, "max_channels": 12, "blocks": 2, "shrink": 2}
LAYOUTS = pytest.mark.parametrize("batch_last", [False, True])
close = {"atol": 1e-4, "rtol": 1e-4}


@pytest.fixture(scope="module")
def golden() -> dict[str, jax.Array]:
    with np.load(Path(__file__).parent / "golden" / "motion.npz") as arrays:
        return {name: jnp.asarray(array) for name, array in arrays.items()}


def variables(golden, network):
    own = {name.removeprefix(f"{network}/"): a for name, a in golden.items() if name.startswith(f"{network}/")}
    return traverse_util.unflatten_dict(own, sep="/")


def run(module, golden, network, *inputs):
    """A network with the authors' weights, all of which it has to take."""
    own = variables(golden, network)
    made = jax.eval_shape(lambda: module.init(jax.random.key(0), *inputs, train=True))
    assert jax.tree.map(jnp.shape, own) == jax.tree.map(lambda x: x.shape, made)
    return jax.jit(lambda own, *inputs: module.apply(own, *inputs, train=False))(own, *inputs)


def keypoints_of(golden, name):
    return Keypoints(golden[f"{name} positions"], golden[f"{name} jacobians"])


@LAYOUTS
def test_keypoints_are_the_authors(golden, batch_last):
    module = motion.KeypointDetector(count=3, batch_last=batch_last, **HOURGLASS)
    for name in ("source", "driving"):
        found = run(module, golden, "keypoints", golden[name])
        np.testing.assert_allclose(found.positions, golden[f"{name} positions"], **close)
        np.testing.assert_allclose(found.jacobians, golden[f"{name} jacobians"], **close)


@LAYOUTS
def test_flow_and_occlusion_are_the_authors(golden, batch_last):
    both = keypoints_of(golden, "source"), keypoints_of(golden, "driving")
    module = motion.DenseMotion(batch_last=batch_last, **HOURGLASS)
    found = run(module, golden, "motion", golden["source"], *both)
    np.testing.assert_allclose(found.flow, golden["flow"], **close)
    np.testing.assert_allclose(found.occlusion, golden["occlusion"], **close)


@LAYOUTS
def test_the_generators_images_are_the_authors(golden, batch_last):
    module = motion.WarpingGenerator(base_channels=4, max_channels=12, blocks=2, batch_last=batch_last)
    given = Motion(golden["flow"], golden["occlusion"])
    found = run(module, golden, "generator", golden["source"], given)
    np.testing.assert_allclose(found, golden["prediction"], **close)
    np.testing.assert_allclose(warped(golden["source"], given.flow), golden["deformed"], **close)


@LAYOUTS
@pytest.mark.parametrize("name", ["with", "without"])
def test_logits_and_features_are_the_authors(golden, name, batch_last):
    module = motion.Discriminator(
        base_channels=2, max_channels=6, blocks=2, keypoints=name == "with", batch_last=batch_last
    )
    found = run(module, golden, f"discriminator {name}", golden["driving"], golden["driving positions"])
    np.testing.assert_allclose(found.logits[0], golden[f"logits {name}"], **close)
    for index, features in enumerate(found.features[0]):
        own = jnp.swapaxes(features, 0, -1) if batch_last else features
        np.testing.assert_allclose(own, golden[f"features {name} {index}"], **close)


def test_deformations_are_the_authors(golden):
    deformation = Deformation(golden["theta"], golden["control"])
    places = golden["places"]
    np.testing.assert_allclose(deformations.move(deformation, places), golden["transformed places"], **close)
    np.testing.assert_allclose(deformations.jacobians(deformation, places), golden["transformed jacobians"], **close)
    np.testing.assert_allclose(deformations.deform(deformation, golden["source"]), golden["transformed frame"], **close)


def random_keypoints(seed, jacobians=True):
    rng = np.random.default_rng(seed)
    matrices = np.eye(2) + 0.3 * rng.normal(size=(2, 3, 2, 2))
    positions = jnp.asarray(rng.uniform(-0.8, 0.8, (2, 3, 2)), jnp.float32)
    return Keypoints(positions, jnp.asarray(matrices, jnp.float32) if jacobians else None)


def test_the_inverse_of_matrices():
    matrices = random_keypoints(0).jacobians
    np.testing.assert_allclose(inverse(matrices) @ matrices, np.broadcast_to(np.eye(2), (2, 3, 2, 2)), atol=1e-5)


@pytest.mark.parametrize("jacobians", [False, True])
def test_the_same_keypoints_imply_no_motion(jacobians):
    own = random_keypoints(0, jacobians)
    guesses = sparse_motions(own, own, (6, 8))
    assert guesses.shape == (2, 4, 6, 8, 2)
    np.testing.assert_allclose(guesses, np.broadcast_to(guesses[:1, :1], guesses.shape), atol=1e-5)


def test_guesses_lead_from_each_driving_keypoint_to_the_sources():
    """To first order: at the keypoint itself, and with the Jacobians' ratio as the slope."""
    source, driving = random_keypoints(0), random_keypoints(1)
    guesses = np.asarray(sparse_motions(source, driving, (41, 41)))
    step = 2 / 40
    slopes = np.stack([np.diff(guesses, axis=3)[:, :, 0, 0], np.diff(guesses, axis=2)[:, :, 0, 0]], axis=-1) / step
    ratio = source.jacobians @ inverse(driving.jacobians)
    np.testing.assert_allclose(slopes[:, 1:], ratio, atol=1e-4)
    at = guesses[:, 1:, 0, 0] + np.einsum("bkij,bkj->bki", ratio, driving.positions + 1)
    np.testing.assert_allclose(at, source.positions, atol=1e-4)


def test_gaussians_peak_at_their_keypoints():
    maps = gaussians(jnp.array([[[0.0, -1.0], [0.5, 0.5]]]), (9, 9))
    np.testing.assert_allclose([maps[0, 0, 4, 0], maps[0, 6, 6, 1]], 1)
    assert maps.max() <= 1


def test_a_deformations_jacobians_are_its_slopes():
    deformation = deformations.draw(jax.random.split(jax.random.key(0), 2))
    places = jnp.asarray(np.random.default_rng(0).uniform(-0.9, 0.9, (2, 4, 2)), jnp.float32)
    steps = 1e-2 * np.eye(2, dtype=np.float32)
    moved = [
        (deformations.move(deformation, places + s) - deformations.move(deformation, places - s)) / 2e-2 for s in steps
    ]
    np.testing.assert_allclose(np.stack(moved, axis=-1), deformations.jacobians(deformation, places), atol=2e-3)


def test_published_sizes():
    """Parameters of vox-256 in the authors' code but for biases before normalisations and softmax, with which they are
    14,215,368 for the detector and 45,575,391 for both others."""
    images = jnp.zeros((1, 256, 256, 3))
    keypoints = Keypoints(jnp.zeros((1, 10, 2)), jnp.zeros((1, 10, 2, 2)))
    given = {
        motion.KeypointDetector(): (images,),
        motion.DenseMotion(): (images, keypoints, keypoints),
        motion.WarpingGenerator(): (images, Motion(jnp.zeros((1, 64, 64, 2)), jnp.zeros((1, 64, 64, 1)))),
    }
    made = [
        jax.eval_shape(lambda m=m, i=i: m.init(jax.random.key(0), *i, train=True))["params"] for m, i in given.items()
    ]
    counts = [sum(leaf.size for leaf in jax.tree.leaves(own)) for own in made]
    assert counts == [14_212_382, 37_725_340, 7_842_947]
