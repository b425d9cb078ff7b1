"""Pictures: where the grid puts each image, and what comes back from the files."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxgan.images import MOST_FRAMES, colours, grid, save_gif, save_png


def noise(*shape):
    return np.random.default_rng(0).integers(0, 255, shape, np.uint8)  # 255 is the frame's


@settings(deadline=None, max_examples=30, derandomize=True)
@given(count=st.integers(1, 12), size=st.sampled_from([3, 8, 24, 28, 48, 50, 64]), columns=st.integers(1, 5))
def test_image_i_lies_in_row_i_over_columns(count, size, columns):
    images = noise(count, size, size, 3)
    canvas, factor = grid(images, columns), -(-48 // size)
    pitch, rows = size * factor + 2, -(-count // columns)
    assert canvas.shape == (rows * pitch + 2, columns * pitch + 2, 3)
    covered = np.zeros(canvas.shape[:2], bool)
    for i, image in enumerate(images):
        top, left = 2 + (i // columns) * pitch, 2 + (i % columns) * pitch
        place = np.s_[top : top + size * factor, left : left + size * factor]
        np.testing.assert_array_equal(canvas[place], np.kron(image, np.ones((factor, factor, 1), np.uint8)))
        covered[place] = True
    assert (canvas[~covered] == 255).all()


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (4, 2), (5, 3), (9, 3), (10, 4), (64, 8)])
def test_a_grid_is_as_wide_as_high_unless_told_otherwise(count, columns):
    images = noise(count, 48, 48, 1)
    np.testing.assert_array_equal(grid(images), grid(images, columns))


def test_images_need_not_be_square():
    images = noise(2, 24, 10, 3)
    canvas = grid(images, 2)
    assert canvas.shape == (48 + 4, 2 * 22 + 2, 3)
    np.testing.assert_array_equal(canvas[2:50:2, 24:44:2], images[1])


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_what_is_not_coloured_is_shown_grey_by_its_first_channel(channels):
    images = noise(2, 5, 5, channels)
    shown = colours(images)
    assert shown.shape == (2, 5, 5, 3)
    for channel in range(3):
        np.testing.assert_array_equal(shown[..., channel], images[..., 0])


def test_colours_stay():
    images = noise(2, 5, 5, 3)
    np.testing.assert_array_equal(colours(images), images)


def test_a_png_gives_the_pixels_back(tmp_path):
    image = noise(9, 7, 3)
    save_png(tmp_path / "image.png", image)
    with Image.open(tmp_path / "image.png") as read:
        np.testing.assert_array_equal(np.asarray(read), image)
        assert read.format == "PNG"
    assert [path.name for path in tmp_path.iterdir()] == ["image.png"]


def save_frames(tmp_path, count):
    """Flat pictures of distinct colours, which a GIF's palette can hold exactly."""
    paths = []
    for index in range(count):
        path = tmp_path / f"{index:04d}.png"
        save_png(path, np.full((4, 4, 3), [index % 256, index // 256 * 100, 50], np.uint8))
        paths.append(path)
    return paths


def frames_of(path):
    """[(first pixel, milliseconds)]."""
    found = []
    with Image.open(path) as gif:
        for index in range(gif.n_frames):
            gif.seek(index)
            found.append((gif.convert("RGB").getpixel((0, 0)), gif.info["duration"]))
        loops = gif.info["loop"]
    assert loops == 0
    return found


@pytest.mark.parametrize("count", [1, 2, 7])
def test_a_gif_has_every_frame_in_order_and_rests_on_the_last(count, tmp_path):
    paths = save_frames(tmp_path, count)
    save_gif(tmp_path / "out.gif", paths, seconds=1.4)
    frames = frames_of(tmp_path / "out.gif")
    assert [colour for colour, _ in frames] == [(index, 0, 50) for index in range(count)]
    assert [time for _, time in frames] == [1400 // count // 10 * 10] * (count - 1) + [1500]


def test_many_frames_are_thinned_evenly(tmp_path):
    paths = save_frames(tmp_path, 500)
    save_gif(tmp_path / "out.gif", paths)
    indices = [red + 256 * (green // 100) for (red, green, _), _ in frames_of(tmp_path / "out.gif")]
    assert len(indices) == MOST_FRAMES
    assert (indices[0], indices[-1]) == (0, 499)
    assert set(np.diff(indices)) <= {4, 5}
