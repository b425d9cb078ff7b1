"""Pictures: where the grid puts each image, and what comes back from the files."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxgan.viz.grid import FONT, MOST_FRAMES, as_png, as_rgb, image_grid, save_gif, save_png


def noise(*shape):
    return np.random.default_rng(0).integers(0, 255, shape, np.uint8)  # 255 is the frame's


@settings(deadline=None, max_examples=30, derandomize=True)
@given(count=st.integers(1, 12), size=st.sampled_from([3, 8, 24, 28, 48, 50, 64]), columns=st.integers(1, 5))
def test_image_i_lies_in_row_i_over_columns(count, size, columns):
    images = noise(count, size, size, 3)
    canvas, factor = image_grid(images, columns), -(-48 // size)
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
def test_a_grid_is_as_wide_as_high_unless_columns_are_given(count, columns):
    images = noise(count, 48, 48, 1)
    np.testing.assert_array_equal(image_grid(images), image_grid(images, columns))


@pytest.mark.parametrize(
    ("height", "width", "factor"), [(24, 10, 5), (8, 12, 6), (64, 96, 1), (48, 47, 2), (4, 512, 3), (2000, 7, 1)]
)
def test_the_shorter_side_is_enlarged_to_48_pixels_unless_the_longer_one_would_pass_1536(height, width, factor):
    images = noise(2, height, width, 3)
    canvas = image_grid(images, 2)
    high, wide = factor * height, factor * width
    assert canvas.shape == (high + 4, 2 * (wide + 2) + 2, 3)
    np.testing.assert_array_equal(canvas[2:-2:factor, wide + 4 : 2 * wide + 4 : factor], images[1])


@given(count=st.integers(1, 100), height=st.integers(8, 100), width=st.integers(8, 100))
def test_a_grid_of_rectangles_is_about_as_wide_as_high(count, height, width):
    """One column fewer would make it higher than wide, if they were all full; one more is not needed."""
    canvas = image_grid(np.zeros((count, height, width, 1), np.uint8))
    high, wide = (side - 2 for side in image_grid(np.zeros((1, height, width, 1), np.uint8)).shape[:2])
    columns = (canvas.shape[1] - 2) // wide
    assert columns == count or columns**2 * wide >= count * high
    assert (columns - 1) ** 2 * wide < count * high


NAMES = ["0", "airplane", "W" * 40, "gjpqy"]


def strip_of(names, size: int = 48, columns: int = 2):
    """What stands in front of the pictures, and those."""
    images = noise(len(names) * columns, size, size, 3)
    whole, plain = image_grid(images, columns, names), image_grid(images, columns)
    width = whole.shape[1] - plain.shape[1]
    assert whole.shape[0] == plain.shape[0]
    np.testing.assert_array_equal(whole[:, width:], plain)
    return whole[:, :width]


@pytest.mark.parametrize("size", [28, 48, 64])
@pytest.mark.parametrize("names", [NAMES, NAMES[:1], ["x"] * 3])
def test_the_name_of_a_row_stands_beside_it_and_is_not_cut(names, size):
    ink = (strip_of(names, size) < 255).any(-1)
    assert not ink[:, : FONT // 4].any()
    assert not ink[:, -FONT // 4 :].any()
    pitch = size * -(-48 // size) + 2
    for row, name in enumerate(names):
        place = ink[2 + row * pitch : 2 + (row + 1) * pitch]
        lines, columns = np.flatnonzero(place.any(1)), np.flatnonzero(place.any(0))
        assert abs((lines[0] + lines[-1]) / 2 - pitch / 2) < FONT / 2, name  # in the middle of the row
        assert len(lines) <= FONT + 4
        assert ink.shape[1] - FONT <= columns[-1] < ink.shape[1]  # close to the pictures
    assert not ink[:2].any()


def test_the_strip_is_as_wide_as_the_longest_name():
    widths = [strip_of(["x" * count, "x"]).shape[1] for count in (1, 10, 40)]
    assert widths[0] < widths[1] < widths[2] < 40 * FONT
    assert strip_of(["W" * 10, "x"]).shape[1] == strip_of(["x", "W" * 10]).shape[1]


def test_names_of_rows_lower_than_a_line_do_not_overlap():
    names = ["W", "gj", "x"]
    images = noise(3, 4, 1536, 3)
    whole = image_grid(images, 1, names)
    ink = (whole[:, : whole.shape[1] - 1536 - 4] < 255).any((1, 2))
    for row in range(3):
        assert ink[2 + row * 22 : 2 + (row + 1) * 22].any()
        np.testing.assert_array_equal(whole[2 + row * 22 : 6 + row * 22, -1538:-2], images[row])


def test_each_row_has_its_own_name():
    """Exchanged names are exchanged strips."""
    one, other = strip_of(["ship", "frog"]), strip_of(["frog", "ship"])
    np.testing.assert_array_equal(one[2:52], other[52:102])
    np.testing.assert_array_equal(one[52:102], other[2:52])
    assert (one[2:52] != one[52:102]).any()


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_what_is_not_coloured_is_shown_grey_by_its_first_channel(channels):
    images = noise(2, 5, 5, channels)
    shown = as_rgb(images)
    assert shown.shape == (2, 5, 5, 3)
    for channel in range(3):
        np.testing.assert_array_equal(shown[..., channel], images[..., 0])


def test_colours_stay():
    images = noise(2, 5, 5, 3)
    np.testing.assert_array_equal(as_rgb(images), images)


def test_what_is_opaque_is_its_colour_and_what_is_transparent_light_chequered_squares():
    images = noise(2, 20, 17, 4)
    images[0, :10, :, 3], images[0, 10:, :, 3] = 255, 0
    shown = as_rgb(images)[0]
    np.testing.assert_array_equal(shown[:10], images[0, :10, :, :3])
    ground = shown[10:]
    assert {tuple(pixel) for pixel in ground.reshape(-1, 3)} == {(255, 255, 255), (204, 204, 204)}
    for row, column in [(10, 0), (10, 7), (10, 8), (16, 0), (16, 8), (19, 16)]:
        assert (shown[row, column] == 255).all() == ((row // 8 + column // 8) % 2 == 0)


def test_half_transparent_colour_is_the_mean_of_colour_and_ground():
    image = np.full((1, 2, 2, 4), [0, 100, 255, 51], np.uint8)  # a fifth of the colour on white
    assert as_rgb(image)[0, 0, 0].tolist() == [204, 224, 255]


def test_the_squares_behind_small_images_are_not_enlarged_with_them():
    canvas = image_grid(np.zeros((1, 8, 8, 4), np.uint8))[2:-2, 2:-2]
    assert canvas.shape == (48, 48, 3)
    np.testing.assert_array_equal(canvas[0, ::8, 0], [255, 204] * 3)


def test_single_pictures_keep_their_transparency(tmp_path):
    for channels, mode in ((1, "RGB"), (3, "RGB"), (4, "RGBA")):
        image = noise(9, 7, channels)
        save_png(tmp_path / "image.png", as_png(image))
        with Image.open(tmp_path / "image.png") as read:
            assert read.mode == mode
            np.testing.assert_array_equal(np.asarray(read)[..., :channels], image)


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
