"""The pool of former fakes: CycleGAN's rule, written with a list."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.adversarial import pool

SIZE = 3


def plain(kept: list, fakes, keys, size: int = SIZE) -> list:
    """The rule, image by image, with the same coins; `kept` changes."""
    shown = []
    for fake, key in zip(fakes, keys, strict=True):
        coin, place = jax.random.split(key)
        if len(kept) < size:
            kept.append(fake)
            shown.append(fake)
        elif jax.random.bernoulli(coin):
            index = int(jax.random.randint(place, (), 0, size))
            shown.append(kept[index])
            kept[index] = fake
        else:
            shown.append(fake)
    return shown


def fakes_of(step: int, count: int) -> jax.Array:
    """Images that are all different."""
    return 100.0 * step + jnp.arange(4.0 * count).reshape(count, 2, 2, 1)


def test_it_is_the_rule_written_with_a_list():
    """Through batches that fill it half, over its brim, and replace some of its images."""
    own, kept, replaced = pool.empty(SIZE, (2, 2, 1)), [], 0
    query = jax.jit(pool.query)
    for step, count in enumerate([2, 4, 4, 4]):
        keys = jax.random.split(jax.random.key(step), count)
        own, shown = query(own, fakes_of(step, count), keys)
        np.testing.assert_array_equal(shown, plain(kept, fakes_of(step, count), keys))
        np.testing.assert_array_equal(own["images"][: len(kept)], kept)
        assert int(own["count"]) == len(kept)
        replaced += int((shown != fakes_of(step, count)).any((1, 2, 3)).sum())
    assert 0 < replaced < 12


@pytest.mark.parametrize("size", [0, 50])
def test_a_pool_without_room_and_one_that_is_not_full_show_the_new_fakes(size):
    fakes = fakes_of(0, 4)
    own, shown = pool.query(pool.empty(size, (2, 2, 1)), fakes, jax.random.split(jax.random.key(0), 4))
    np.testing.assert_array_equal(shown, fakes)
    assert len(own["images"]) == size
    assert int(own["count"]) == min(size, 4)


def test_half_of_the_new_fakes_are_shown_once_it_is_full():
    count = 2000
    own, _ = pool.query(pool.empty(2, (1,)), jnp.zeros((2, 1)), jax.random.split(jax.random.key(0), 2))
    fakes = 1 + jnp.arange(float(count)).reshape(count, 1)
    _, shown = jax.jit(pool.query)(own, fakes, jax.random.split(jax.random.key(1), count))
    share = float((shown == fakes).mean())
    assert abs(share - 0.5) < 4 * 0.5 / np.sqrt(count)
