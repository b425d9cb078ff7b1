"""Parts of a data set: slices that tile leave nothing out and take nothing twice; the roundings are those of TFDS."""

import itertools

import pytest
from experiments import raises_user_error
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgan.data.splits import parse
from jaxgan.errors import UserError

law = settings(deadline=None, max_examples=100, derandomize=True)
COUNTS = {"train": 10, "test": 7}


def taken(text: str, count: int) -> list[int]:
    """The examples of one part; none where `parse` refuses it as empty."""
    try:
        [(name, start, stop)] = parse(text, {"train": count})
    except UserError as error:
        if "nothing lies in" not in str(error):
            raise
        return []
    assert name == "train"
    return list(range(start, stop))


@law
@given(count=st.integers(1, 3000), cuts=st.sets(st.integers(1, 99), max_size=8))
def test_percent_slices_that_tile_tile_the_examples(count, cuts):
    bounds = ["", *(f"{cut}%" for cut in sorted(cuts)), ""]
    tiles = (taken(f"train[{a}:{b}]", count) for a, b in itertools.pairwise(bounds))
    assert list(itertools.chain.from_iterable(tiles)) == list(range(count))


@law
@given(count=st.integers(1, 3000), percent=st.integers(1, 99))
def test_the_last_percents_and_those_before_them_tile_the_examples(count, percent):
    last = taken(f"train[-{percent}%:]", count)
    assert taken(f"train[:-{percent}%]", count) + last == list(range(count))
    assert len(last) == len(taken(f"train[:{percent}%]", count)) == round(count * percent / 100)


BOUND = st.none() | st.integers(-25, 25)


@law
@given(count=st.integers(1, 20), start=BOUND, stop=BOUND)
def test_slices_in_examples_are_those_of_python(count, start, stop):
    text = f"train[{'' if start is None else start}:{'' if stop is None else stop}]"
    assert taken(text, count) == list(range(count)[start:stop])


@pytest.mark.parametrize(
    ("part", "count", "start", "stop"),
    [  # start and stop by tensorflow_datasets 4.9.9, ReadInstruction.from_spec(...).to_absolute(...)
        ("[:25%]", 10, 0, 2),  # 2.5: halves go to the even number
        ("[:35%]", 10, 0, 4),  # 3.5
        ("[25%:75%]", 10, 2, 8),
        ("[:50%]", 7, 0, 4),
        ("[50%:]", 9, 4, 9),
        ("[:10%]", 55, 0, 6),
        ("[-5%:]", 60, 57, 60),
        ("[:33%]", 1797, 0, 593),  # 593.01
        ("[33%:67%]", 1797, 593, 1204),  # 1203.99
        ("[-33%:]", 1797, 1204, 1797),
        ("[:-10%]", 1797, 0, 1617),  # 179.7
        ("[99%:]", 200, 198, 200),
        ("[100:-100]", 1797, 100, 1697),
        ("[-100:]", 1797, 1697, 1797),
    ],
)
def test_percents_are_rounded_as_tfds_rounds_them(part, count, start, stop):
    assert parse("train" + part, {"train": count}) == [("train", start, stop)]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("train", [("train", 0, 10)]),
        ("train[:]", [("train", 0, 10)]),
        ("train+test", [("train", 0, 10), ("test", 0, 7)]),
        (" test [ : 3 ] + train[-20%:] ", [("test", 0, 3), ("train", 8, 10)]),
        ("train[:4]+train[2:]", [("train", 0, 4), ("train", 2, 10)]),
    ],
)
def test_parts_come_in_the_order_of_their_names_in_the_text(text, parts):
    assert parse(text, COUNTS) == parts


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be like 'train'"),
        ("train+", "must be like"),
        ("train[5]", "must be like"),
        ("train[:5.5%]", "must be like"),
        ("train[::2]", "must be like"),
        ("train[1:5", "must be like"),
        ("trian", "unknown split 'trian': did you mean train"),
        ("train+val[:3]", "unknown split 'val': choose from test, train"),
        ("train[7:7]", r"config.data.split='train\[7:7\]': nothing lies in 'train\[7:7\]' of 10 examples"),
        ("test+train[10:]", "nothing lies in 'train"),
        ("train[:4%]", "nothing lies in"),  # 0.4 of an example
        ("train[-4%:]", "nothing lies in"),  # not all, as of -0
    ],
)
def test_wrong_splits_are_answered(text, message):
    with raises_user_error(UserError, match=message):
        parse(text, COUNTS)
