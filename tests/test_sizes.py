"""Sizes of images: numbers, and texts of height and width."""

import pytest

from jaxgan import config as configuration
from jaxgan.cli.train import override
from jaxgan.data import sources
from jaxgan.data.sizes import SIZE, SIZE_OR_ZERO, format_size, height_width
from jaxgan.errors import UserError


@pytest.mark.parametrize(("size", "sides"), [(64, (64, 64)), ("64x96", (64, 96)), ("100x1", (100, 1))])
def test_height_comes_before_width(size, sides):
    assert height_width(size) == sides
    assert format_size(*sides) == str(size)


@pytest.mark.parametrize("size", ["64", "64x", "x64", "64x96x3", "-4x4", "4.5x4", "64X96", "", "64 x 96", "٣x4"])
def test_other_texts_are_no_sizes(size):
    with pytest.raises(ValueError, match="no size"):
        height_width(size)
    assert not SIZE.valid(size)


def test_zero_is_a_size_before_cropping_alone():
    for size in (0, "0x5", "5x0"):
        assert SIZE_OR_ZERO.valid(size)
        assert not SIZE.valid(size)
    assert not SIZE.valid(2**31)


@pytest.mark.parametrize(("text", "shape"), [("48", (48, 48, 1)), ("64x96", (64, 96, 1))])
def test_the_command_line_and_a_file_set_the_same_size(text, shape, tmp_path):
    config = override(configuration.default(), [f"--config.data.size={text}", "--config.steps=7"])
    assert sources.example_shape(config.data) == shape
    assert config.steps == 7
    other = configuration.default()
    other.data.size = int(text) if text.isdecimal() else text
    other.steps = 7
    assert config.to_dict() == other.to_dict()
    configuration.validate(config)
    configuration.save(config, tmp_path / "config.json")
    assert configuration.load(tmp_path / "config.json") == config


@pytest.mark.parametrize("value", ["12x", "0", "-3", "1.5", "wide", "0x8"])
def test_a_wrong_size_is_named_with_what_is_right(value):
    with pytest.raises(UserError, match=rf"config.data.size={value} must be a number .* such as 64x96"):
        configuration.validate(override(configuration.default(), [f"--config.data.size={value}"]))


@pytest.mark.parametrize(("value", "like"), [(1.5, "32"), (None, "32"), ((64, 96), "32")])
def test_a_size_of_another_type_is_refused(value, like):
    config = configuration.default()
    config.data.size = value
    with pytest.raises(UserError, match=rf"config.data.size=.* must be like {like}"):
        configuration.validate(config)


def test_a_text_where_a_number_belongs_is_refused_without_pythons_words():
    with pytest.raises(UserError, match=r"^config\.steps=ten must be a whole number$"):
        override(configuration.default(), ["--config.steps=ten"])
