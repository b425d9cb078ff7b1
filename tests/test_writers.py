"""Where a run's numbers go: the same numbers everywhere, and none twice."""

import io
import json
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from jaxgan.core.settings import default
from jaxgan.errors import UserError
from jaxgan.io import logging

NAMES = [name for _, names in logging.PANELS for name in names]


def record(step: int) -> dict[str, float]:
    """Numbers that tell step and name apart."""
    return {name: step + place / 10 for place, name in enumerate(NAMES)} | {
        "steps_per_second": 4.0,
        "images_per_second": 2048.0,
    }


class Screen(io.StringIO):
    """A stream that says of itself whether it is a terminal."""

    def __init__(self, tty: bool):
        super().__init__()
        self.tty = tty

    def isatty(self) -> bool:
        return self.tty


@pytest.mark.parametrize("end", ["", '{"step": 50, "d_lo', "{"])
@pytest.mark.parametrize("resumed", [0, 25, 30, 100])
def test_lines_beyond_the_resumed_step_and_half_a_line_vanish(tmp_path, resumed, end):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": step, "x": step / 3}) + "\n" for step in (10, 20, 30, 40)) + end)
    file = logging.JsonLines(path, resumed)
    file.write(110, {"x": 110 / 3})
    file.close()
    steps = [step for step in (10, 20, 30, 40) if step <= resumed]
    assert path.read_text().splitlines() == [json.dumps({"step": step, "x": step / 3}) for step in [*steps, 110]]
    assert list(tmp_path.iterdir()) == [path]


def test_every_line_is_on_disk_before_the_next_step(tmp_path):
    file = logging.JsonLines(tmp_path / "metrics.jsonl", 0)
    for step in (1, 2):
        file.write(step, {"x": 0.1})
        assert [line["step"] for line in logging.read_records(tmp_path / "metrics.jsonl")] == list(range(1, step + 1))
    file.close()


def test_without_a_terminal_one_line_per_log_step():
    screen = Screen(tty=False)
    terminal = logging.Terminal(first_step=100, steps=1000, stream=screen)
    for step in (200, 300):
        terminal.write(step, record(step))
    terminal.close()
    assert screen.getvalue().splitlines() == [
        "step 200/1000  d_loss 200.000  g_loss 200.100  4.0 steps/s  2,048 images/s  3 min 20 s left",
        "step 300/1000  d_loss 300.000  g_loss 300.100  4.0 steps/s  2,048 images/s  2 min 55 s left",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 min 00 s"), (29.6, "0 min 30 s"), (59.7, "1 min 00 s"), (95, "1 min 35 s")]
)
def test_the_time_left_is_minutes_and_seconds(seconds, text):
    screen = Screen(tty=False)
    steps = 1000
    rate = 500 / seconds if seconds else 7.0
    logging.Terminal(0, steps, screen).write(steps if not seconds else 500, record(1) | {"steps_per_second": rate})
    assert screen.getvalue().endswith(f"  {text} left\n")


def test_on_a_terminal_a_bar_stands_where_the_run_stands():
    screen = Screen(tty=True)
    terminal = logging.Terminal(first_step=100, steps=1000, stream=screen)
    for step in (200, 600):
        terminal.write(step, record(step))
    terminal.close()
    first, last = screen.getvalue().split("\r")[1], screen.getvalue().split("\r")[-1]
    assert "100/1000" in first
    assert "600/1000" in last and "60%" in last  # noqa: PT018
    assert "d_loss 600.000" in last and "g_loss 600.100, 2,048 images/s" in last  # noqa: PT018
    assert screen.getvalue().count("\n") == 1  # the bar's own end: no line per step


def test_a_number_that_is_not_finite_is_written_as_null_and_shown_as_nan(tmp_path):
    file = logging.JsonLines(tmp_path / "metrics.jsonl", 0)
    file.write(1, {"x": None})
    with pytest.raises(ValueError, match="JSON"):
        file.write(2, {"x": np.nan})
    file.close()
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1, "x": null}\n'
    screen = Screen(tty=False)
    logging.Terminal(0, 1000, screen).write(200, record(200) | {"g_loss": None})
    assert screen.getvalue().startswith("step 200/1000  d_loss 200.000  g_loss nan  4.0 steps/s")


def test_what_older_versions_wrote_is_mended(tmp_path):
    """They let NaN and Infinity into their scores."""
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "x": NaN, "y": -Infinity, "z": 2.0}\n')
    logging.JsonLines(path, 1).close()
    assert path.read_text() == '{"step": 1, "x": null, "y": null, "z": 2.0}\n'


def test_tensorboard_is_told_numbers_alone(tmp_path):
    board = logging.TensorBoard(tmp_path, 0)
    board.write(3, {"d_loss": 0.5, "unknown": None, "g_loss": 0.0})
    board.close()
    (path,) = tmp_path.iterdir()
    data = path.read_bytes()
    assert b"d_loss" in data
    assert b"g_loss" in data
    assert b"unknown" not in data


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_curves_are_the_records(tmp_path, monkeypatch, count):
    drawn, print_png = [], FigureCanvasAgg.print_png
    monkeypatch.setattr(
        FigureCanvasAgg, "print_png", lambda canvas, path: (drawn.append(canvas.figure), print_png(canvas, path))
    )
    records = [record(step) for step in range(10, 10 * count + 1, 10)]
    records[-1]["g_loss"] = None  # a gap
    steps = [10 * index for index in range(1, count + 1)]
    logging.save_curves(
        tmp_path / "curves.png", [{"step": step, **line} for step, line in zip(steps, records, strict=True)]
    )
    (figure,) = drawn
    assert [axes.get_title() for axes in figure.axes] == [title for title, _ in logging.PANELS]
    for axes, (_, names) in zip(figure.axes, logging.PANELS, strict=True):
        for line, name in zip(axes.get_lines(), names, strict=True):
            np.testing.assert_array_equal(line.get_xdata(), steps)
            np.testing.assert_array_equal(line.get_ydata(), np.array([values[name] for values in records], float))
        texts = [text.get_text() for text in axes.get_legend().get_texts()]
        assert len(set(texts)) == len(names) and all(texts)  # noqa: PT018
    with Image.open(tmp_path / "curves.png") as picture:
        assert (picture.format, picture.size) == ("PNG", (700, 900))
        assert len(picture.convert("RGB").getcolors(2**20)) > 10
    assert list(tmp_path.iterdir()) == [tmp_path / "curves.png"]


# The log


def log(workdir, **settings):
    config = default()
    config.update_from_flattened_dict({"steps": 100, "log_every": 10, "batch_size": 8} | settings)
    return logging.MetricLogger(config, workdir, 0)


def metrics(first: int, count: int, **changed) -> dict:
    """Those of a healthy run, which tell step and name apart."""
    steps = jnp.arange(first + 1, first + count + 1)
    healthy = {"g_spread": jnp.ones(count), "d_ahead": jnp.full(count, 0.5)}
    return {name: steps + place / 10 for place, name in enumerate(NAMES)} | healthy | changed


@pytest.mark.parametrize("dispatch", [1, 2, 5, 10])
def test_a_log_step_tells_of_its_own_step_however_many_come_together(tmp_path, dispatch):
    with log(tmp_path) as run:
        for first in range(0, 40, dispatch):
            run.write(first, metrics(first, dispatch))
            assert run.record["d_loss"] == first + dispatch
    lines = logging.read_records(tmp_path / "metrics.jsonl")
    assert [(line["step"], line["d_loss"]) for line in lines] == [(step, float(step)) for step in (10, 20, 30, 40)]


def test_scores_are_written_with_their_step_also_between_log_steps(tmp_path, capsys):
    scores = {"modes": 7.0, "high_quality": 0.25}
    with log(tmp_path, sample_every=7) as run:
        run.write(0, metrics(0, 4), {"modes": 4.0})  # where a run ended that was to go on: as if it had not
        run.write(4, metrics(4, 3), scores)
        run.write(7, metrics(7, 3))
        run.write(10, metrics(10, 10), {"modes": 8.0})
    lines = logging.read_records(tmp_path / "metrics.jsonl")
    assert [(line["step"], line["d_loss"]) for line in lines] == [(7, 7.0), (10, 10.0), (20, 20.0)]
    assert [line.get("modes") for line in lines] == [7.0, None, 8.0]
    assert [line.get("high_quality") for line in lines] == [0.25, None, None]
    assert {**run.record} == pytest.approx({name: value for name, value in lines[2].items() if name in run.record})
    assert set(run.record) == {*NAMES, "g_spread", "d_ahead", "modes"}
    shown = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[:2] for line in shown] == [
        [f"step {step}/100", f"d_loss {step}.000"] for step in (7, 10, 20)
    ]
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.format == "PNG"


def test_the_speed_is_that_since_the_last_record(tmp_path, monkeypatch):
    times = iter([0.0, 2.0, 3.0])
    with log(tmp_path, sample_every=7) as run:
        monkeypatch.setattr(logging, "time", SimpleNamespace(perf_counter=lambda: next(times), time=lambda: 0.0))
        run.since = (0, next(times))
        run.write(0, metrics(0, 7), {"modes": 7.0})
        run.write(7, metrics(7, 3))
    lines = logging.read_records(tmp_path / "metrics.jsonl")
    assert [line["steps_per_second"] for line in lines] == [3.5, 3.0]
    assert [line["images_per_second"] for line in lines] == [28.0, 24.0]


def test_scores_do_not_hide_a_number_that_is_not_finite(tmp_path):
    with log(tmp_path) as run:
        bad = metrics(0, 3)["g_loss"].at[1].set(np.nan)
        with pytest.raises(UserError, match=r"^g_loss is nan at step 2: "):
            run.write(0, metrics(0, 3, g_loss=bad), {"modes": 7.0})
    assert logging.read_records(tmp_path / "metrics.jsonl") == []


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 3, 4])
def test_the_first_number_that_is_not_finite_is_named_with_its_step(tmp_path, bad, place):
    """Also between log steps, and not the later ones that it spoils."""
    with log(tmp_path) as run:
        run.write(0, metrics(0, 5))
        late = metrics(5, 5)["g_loss"].at[4].set(np.nan)
        early = metrics(5, 5)["d_real"].at[place:].set(bad)
        told = rf"^(d_real|g_loss) is {bad} at step {6 + place}: .*smaller learning rate"
        with pytest.raises(UserError, match=told if place == 4 else told.replace("|g_loss", "")):
            run.write(5, metrics(5, 5, d_real=early, **({} if place == 4 else {"g_loss": late})))
    assert logging.read_records(tmp_path / "metrics.jsonl") == []
