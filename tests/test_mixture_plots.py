"""Plots of mixtures of Gaussians: one size and one place for everything, whatever the samples are."""

import numpy as np
import pytest
from PIL import Image

from jaxgan.data.gaussian_mixtures import MIXTURES
from jaxgan.viz import mixture
from jaxgan.viz.grid import save_png

PLANES, LINES = ("ring", "grid"), ("gaussian1d", "mixture1d")
BLUE, ORANGE = np.array([0, 114, 178]), np.array([230, 159, 0])  # of Okabe and Ito


def samples_of(name, kind, count=40):
    known = MIXTURES[name]
    return {
        "real": known.sample(0, count)[0],
        "one": known.sample(0, 1)[0],
        "equal": np.repeat(known.means[:1], count, axis=0).astype(np.float32),
        "far": np.full((count, known.dim), 1e30, np.float32),
        "largest": np.full((count, known.dim), np.finfo(np.float32).max, np.float32),
        "nan": np.full((count, known.dim), np.nan, np.float32),
        "some infinite": np.where(np.arange(count)[:, None] % 2, np.float32(np.inf), known.sample(0, count)[0]),
    }[kind]


KINDS = ("real", "one", "equal", "far", "largest", "nan", "some infinite")


def draw(name, samples, title="step 10"):
    """The plot of one mixture's samples; on a line, with a discriminator that says 1/2 everywhere."""
    if MIXTURES[name].dim == 2:
        return mixture.scatter(MIXTURES[name], samples, title)
    return mixture.densities(MIXTURES[name], samples, np.full(mixture.GRID, 0.5, np.float32), title)


def near(picture, colour, tolerance=12):
    """Which pixels have a colour: bool [height, width]."""
    return (abs(picture.astype(int) - colour) <= tolerance).all(-1)


@pytest.mark.parametrize("name", MIXTURES)
def test_all_plots_of_a_mixture_have_one_size(name):
    shapes = set()
    for kind in KINDS:
        picture = draw(name, samples_of(name, kind), title="" if kind == "nan" else f"step 10, {kind}")
        assert picture.dtype == np.uint8
        shapes.add(picture.shape)
    expected = (584, 560, 3) if MIXTURES[name].dim == 2 else (440, 640, 3)
    assert shapes == {expected}


@pytest.mark.parametrize("name", MIXTURES)
def test_a_plot_depends_on_its_arguments_alone(name):
    first, other = draw(name, samples_of(name, "real")), draw(name, samples_of(name, "equal"))
    np.testing.assert_array_equal(draw(name, samples_of(name, "real")), first)
    assert (other != first).any()


@pytest.mark.parametrize("name", MIXTURES)
def test_axes_title_and_legend_stay_where_they_are(name):
    """Between two frames the samples differ, and the text about those outside, but no axis, tick, title or legend."""
    same = (draw(name, samples_of(name, "equal")) == draw(name, samples_of(name, "nan"))).all(-1)
    height, width = same.shape
    assert same[mixture.HEADER + 2 :, :40].all()
    assert same[-40:].all()
    assert same[: mixture.HEADER, : width // 2].all()
    assert not same[: mixture.HEADER, width // 2 :].all()
    assert not same[mixture.HEADER : height - 100, 60 : width - 70].all()


@pytest.mark.parametrize(
    ("shown", "text"),
    [([True, True], ""), ([True, False], "1 outside"), ([False] * 12, "12 outside"), ([False] * 1234, "1,234 outside")],
)
def test_the_text_counts_what_is_not_shown(shown, text):
    assert mixture.outside(np.array(shown)) == text


@pytest.mark.parametrize("name", MIXTURES)
def test_what_is_far_or_not_finite_is_outside(name):
    known = MIXTURES[name]
    for kind, count in zip(KINDS, (0, 0, 0, 40, 40, 40, 20), strict=True):
        assert (~mixture.inside(known, samples_of(name, kind))).sum() == count, kind
    low, high = mixture.limits(known)
    edges = np.stack([low, high, np.nextafter(low, -np.inf), np.nextafter(high, np.inf)])
    assert mixture.inside(known, edges).tolist() == [True, True, False, False]
    assert mixture.inside(known, np.stack([edges, edges])).shape == (2, 4)


def test_one_coordinate_outside_is_enough():
    assert mixture.inside(MIXTURES["ring"], np.array([[0.0, 0.0], [0.0, 9.0], [9.0, 0.0]])).tolist() == [
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("name", MIXTURES)
def test_the_limits_leave_room_around_all_modes_and_the_origin(name):
    known = MIXTURES[name]
    low, high = mixture.limits(known)
    points = np.concatenate([known.means, np.zeros((1, known.dim))])
    assert (low <= points - 5 * known.stddev).all()
    assert (high >= points + 5 * known.stddev).all()
    assert len(set(np.round(high - low, 9))) == 1  # one scale along all axes


@pytest.mark.parametrize("name", LINES)
def test_the_grid_goes_from_limit_to_limit_in_equal_steps(name):
    points = mixture.grid(MIXTURES[name])
    assert (points.shape, points.dtype) == ((mixture.GRID, 1), np.float32)
    np.testing.assert_allclose([points[0], points[-1]], mixture.limits(MIXTURES[name]), rtol=1e-6)
    np.testing.assert_allclose(np.diff(points[:, 0]), (points[-1, 0] - points[0, 0]) / (mixture.GRID - 1), rtol=1e-3)


@pytest.mark.parametrize("name", PLANES)
def test_a_sample_is_drawn_where_it_is(name):
    low, high = mixture.limits(MIXTURES[name])
    empty = draw(name, samples_of(name, "nan"))[mixture.HEADER + 2 : -60, 50:-20]
    found = []
    for share in ((0.2, 0.3), (0.8, 0.3), (0.2, 0.7)):
        samples = np.repeat((low + share * (high - low))[None], 30, axis=0).astype(np.float32)
        changed = (draw(name, samples)[mixture.HEADER + 2 : -60, 50:-20] != empty).any(-1)
        assert 1 <= changed.sum() <= 36
        found.append(np.argwhere(changed).mean(0))
    side = mixture.SIDE - 64  # pixels from `low` to `high`
    np.testing.assert_allclose(found[1] - found[0], [0, 0.6 * side], atol=1)
    np.testing.assert_allclose(found[2] - found[0], [-0.4 * side, 0], atol=1)


@pytest.mark.parametrize("name", PLANES)
def test_a_mode_without_samples_is_an_orange_circle(name):
    picture = draw(name, samples_of(name, "nan"))[:-60]  # without the legend
    assert near(picture, ORANGE, 60).sum() > 8 * MIXTURES[name].modes
    assert not near(picture, BLUE).any()


def test_the_real_density_is_orange_and_the_generated_one_a_blue_line():
    known = MIXTURES["mixture1d"]
    left = np.full(40, -2.0, np.float32)
    top = slice(mixture.HEADER, 300)
    picture = mixture.densities(known, left, None, "")[top]
    blue, orange = near(picture, BLUE), near(picture, 0.4 * ORANGE + 0.6 * 255)
    middle = 56 + 520 // 2
    assert blue[:250, :middle].sum() > 100
    assert not blue[:250, middle + 5 :].any()  # but for the foot
    assert orange[:, :middle].sum() > 1000
    assert orange[:, middle:].sum() > 1000


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_samples_of_a_line_may_have_an_axis_more(shape):
    samples = samples_of("gaussian1d", "real")
    np.testing.assert_array_equal(draw("gaussian1d", samples.reshape(shape)), draw("gaussian1d", samples))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_discriminator_is_drawn_at_its_height_and_may_be_not_finite(bad):
    known, samples = MIXTURES["gaussian1d"], samples_of("gaussian1d", "real")
    left, right = slice(70, 100), slice(500, 570)
    rows = []
    for value in (0.25, 0.75):
        outputs = np.full(mixture.GRID, value, np.float32)
        outputs[-200:] = bad
        picture = mixture.densities(known, samples, outputs, "")[mixture.HEADER + 2 : 340]
        black = near(picture, 0, 90)
        rows.append(np.flatnonzero(black[:, left].any(1)).mean())
        above = black[:250, right]  # the line of the discriminator ends
        assert not above.all(1).any()
    height = (440 - mixture.HEADER - 96) / 1.06
    assert rows[0] - rows[1] == pytest.approx(height / 2, abs=1.5)


def test_without_a_discriminator_there_is_no_second_axis():
    known, samples = MIXTURES["gaussian1d"], samples_of("gaussian1d", "real")
    picture = mixture.densities(known, samples, None, "")
    assert picture.shape == draw("gaussian1d", samples).shape
    assert (picture[: 440 - 96, 585:] == 255).all()
    assert (draw("gaussian1d", samples)[: 440 - 96, 585:] != 255).any()


@pytest.mark.parametrize(
    ("members", "columns", "rows"), [(1, 1, 1), (2, 2, 1), (3, 2, 2), (5, 3, 2), (9, 3, 3), (12, 4, 3), (40, 4, 3)]
)
def test_a_population_has_a_panel_for_each_member_up_to_twelve(members, columns, rows):
    samples = np.stack([samples_of("ring", "equal", 5)] * members)
    picture = mixture.population(MIXTURES["ring"], samples, "step 10")
    height, width, _ = picture.shape
    assert (picture.dtype, width) == (np.uint8, 640)
    # A frame is dark all along its upper edge.
    side = (640 - mixture.GAP) // columns - mixture.GAP
    dark = near(picture, 0, 140).sum(1)
    frames = dark[dark > side * 0.9] / side
    assert len(frames) >= 2 * rows
    assert round(frames.max()) == min(columns, members)
    assert height == mixture.HEADER + mixture.LEGEND + rows * (side + mixture.GAP + mixture.PANEL_TITLE)


def test_members_beyond_the_twelfth_are_counted_but_not_drawn():
    samples = np.stack([samples_of("ring", "equal", 5)] * 14)
    shown = mixture.population(MIXTURES["ring"], samples, "step 10")
    samples[12:] = np.nan
    np.testing.assert_array_equal(mixture.population(MIXTURES["ring"], samples, "step 10"), shown)
    changed = mixture.population(MIXTURES["ring"], samples[:12], "step 10") != shown
    assert changed[: mixture.HEADER].any()
    assert not changed[mixture.HEADER :].any()


@pytest.mark.parametrize("name", ["ring", "mixture1d"])
def test_a_member_changes_its_own_panel_alone(name):
    samples = np.stack([samples_of(name, "real")] * 4)
    before = mixture.population(MIXTURES[name], samples, "step 10")
    samples[3] = samples_of(name, "far")
    changed = (mixture.population(MIXTURES[name], samples, "step 10") != before).any(-1)
    middle = mixture.HEADER + (before.shape[0] - mixture.HEADER - mixture.LEGEND) // 2
    assert changed[middle:, 320:].any()
    assert not changed[:middle].any()
    assert not changed[:, :318].any()


@pytest.mark.parametrize("name", ["grid", "gaussian1d"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_population_of_any_samples_has_one_size(name, kind):
    samples = np.stack([samples_of(name, kind)] * 2)
    real = np.stack([samples_of(name, "real")] * 2)
    assert (
        mixture.population(MIXTURES[name], samples, "step 10").shape
        == mixture.population(MIXTURES[name], real, "other").shape
    )


# Points of no known mixture


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_clouds_of_points_have_one_size_and_a_colour_each(dim):
    points = np.random.default_rng(0).normal(size=(2, 50, dim)).astype(np.float32)
    one, both = mixture.clouds({"a": points[0]}, "real"), mixture.clouds({"a": points[0], "b": points[1]}, "real")
    assert one.shape == both.shape == (584, 560, 3)
    inner = np.s_[mixture.HEADER + 2 : -60, 50:-20]
    colours = [np.array([31, 119, 180]), np.array([255, 127, 14])]  # Matplotlib's first two
    found = [
        [near(picture[inner], 0.6 * colour + 0.4 * 255, 20).any() for colour in colours] for picture in (one, both)
    ]
    assert found == [[True, False], [True, True]]


def test_clouds_show_the_first_two_coordinates():
    points = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    np.testing.assert_array_equal(mixture.clouds({"a": points}, ""), mixture.clouds({"a": points[:, :2]}, ""))
    assert (mixture.clouds({"a": points[:, ::-1]}, "") != mixture.clouds({"a": points}, "")).any()


def test_a_plot_can_be_saved_and_changed(tmp_path):
    picture = draw("ring", samples_of("ring", "real"))
    assert picture.flags.writeable
    assert picture.flags.c_contiguous
    save_png(tmp_path / "frame.png", picture)
    with Image.open(tmp_path / "frame.png") as read:
        np.testing.assert_array_equal(np.asarray(read), picture)
