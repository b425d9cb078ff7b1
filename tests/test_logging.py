"""The writers of a run's metrics have the same numbers, and each number once."""

import io
import json
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from jaxgan.algorithms import ALGORITHMS
from jaxgan.config import default
from jaxgan.errors import UserError
from jaxgan.io import logging
from jaxgan.viz.curves import save_curves

GAN = ALGORITHMS["gan"]
D_LOSS, G_LOSS = GAN.headlines
PANELS = {
    "loss": [D_LOSS, G_LOSS],
    "logits": ["logits/real", "logits/fake"],
    "learning rate": ["learning_rate/generator", "learning_rate/discriminator"],
}
NAMES = [name for names in PANELS.values() for name in names]
SPEEDS = {"steps_per_second": 4.0, "examples_per_second": 2048.0}


def record(step: int) -> dict[str, float]:
    """Another number for each step and name."""
    return {name: step + place / 10 for place, name in enumerate(NAMES)} | SPEEDS


def terminal_of(screen, first_step: int = 0) -> logging.Terminal:
    return logging.Terminal(first_step, 1000, GAN.headlines, screen)


class Screen(io.StringIO):
    """A stream that is a terminal, or not."""

    def __init__(self, tty: bool):
        super().__init__()
        self.tty = tty

    def isatty(self) -> bool:
        return self.tty


@pytest.mark.parametrize("end", ["", '{"step": 50, "d_lo', "{"])
@pytest.mark.parametrize("resumed", [0, 25, 30, 100])
def test_lines_beyond_the_resumed_step_and_half_a_line_are_dropped(tmp_path, resumed, end):
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
    terminal = terminal_of(screen, first_step=100)
    for step in (200, 300):
        terminal.write(step, record(step))
    terminal.close()
    assert screen.getvalue().splitlines() == [
        f"step 200/1000  {D_LOSS} 200.000  {G_LOSS} 200.100  4.0 steps/s  2,048 examples/s  3 min 20 s left",
        f"step 300/1000  {D_LOSS} 300.000  {G_LOSS} 300.100  4.0 steps/s  2,048 examples/s  2 min 55 s left",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 min 00 s"), (29.6, "0 min 30 s"), (59.7, "1 min 00 s"), (95, "1 min 35 s")]
)
def test_the_time_left_is_minutes_and_seconds(seconds, text):
    screen = Screen(tty=False)
    rate = 500 / seconds if seconds else 7.0
    terminal_of(screen).write(500 if seconds else 1000, record(1) | {"steps_per_second": rate})
    assert screen.getvalue().endswith(f"  {text} left\n")


def test_the_bar_of_a_terminal_shows_the_step_of_the_run():
    screen = Screen(tty=True)
    terminal = terminal_of(screen, first_step=100)
    for step in (200, 600):
        terminal.write(step, record(step))
    terminal.close()
    first, last = screen.getvalue().split("\r")[1], screen.getvalue().split("\r")[-1]
    assert "100/1000" in first
    assert "600/1000" in last and "60%" in last  # noqa: PT018
    assert f"{D_LOSS} 600.000" in last and f"{G_LOSS} 600.100, 2,048 examples/s" in last  # noqa: PT018
    assert screen.getvalue().count("\n") == 1  # the bar's own end: no line per step


def test_a_number_that_is_not_finite_is_written_as_null_and_shown_as_nan(tmp_path):
    file = logging.JsonLines(tmp_path / "metrics.jsonl", 0)
    file.write(1, {"x": None})
    with pytest.raises(ValueError, match="JSON"):
        file.write(2, {"x": np.nan})
    file.close()
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1, "x": null}\n'
    screen = Screen(tty=False)
    terminal_of(screen).write(200, record(200) | {G_LOSS: None})
    assert screen.getvalue().startswith(f"step 200/1000  {D_LOSS} 200.000  {G_LOSS} nan  4.0 steps/s")


def test_nan_and_infinity_in_an_old_record_become_null(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "x": NaN, "y": -Infinity, "z": 2.0}\n')
    logging.JsonLines(path, 1).close()
    assert path.read_text() == '{"step": 1, "x": null, "y": null, "z": 2.0}\n'


def test_tensorboard_has_finite_numbers_alone(tmp_path):
    board = logging.TensorBoard(tmp_path, 0)
    board.write(3, {D_LOSS: 0.5, "unknown": None, G_LOSS: 0.0})
    board.close()
    (path,) = tmp_path.iterdir()
    data = path.read_bytes()
    assert D_LOSS.encode() in data
    assert G_LOSS.encode() in data
    assert b"unknown" not in data


@pytest.mark.parametrize("distances", [False, True])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_curves_are_drawn_of_the_records(tmp_path, monkeypatch, count, distances):
    """One panel for each group of metrics, and one for Frechet distances if there are any; no standard errors."""
    figures, print_png = [], FigureCanvasAgg.print_png
    monkeypatch.setattr(
        FigureCanvasAgg, "print_png", lambda canvas, path: (figures.append(canvas.figure), print_png(canvas, path))
    )
    records = [{"step": step} | record(step) | {f"{D_LOSS}_stderr": 1.0} for step in range(10, 10 * count + 1, 10)]
    records[-1][G_LOSS] = None  # a gap
    panels = PANELS
    if distances:
        records[-1] |= {"FD-lenet": 3.0}
        panels = PANELS | {"Fréchet distance": ["FD-lenet"]}
    save_curves(tmp_path / "curves.png", records, GAN.curves)
    (figure,) = figures
    assert [axes.get_title() for axes in figure.axes] == list(panels)
    for axes, names in zip(figure.axes, panels.values(), strict=True):
        assert [text.get_text() for text in axes.get_legend().get_texts()] == [name.split("/")[-1] for name in names]
        for line, name in zip(axes.get_lines(), names, strict=True):
            points = [(values["step"], values[name]) for values in records if name in values]
            np.testing.assert_array_equal(np.transpose(line.get_data()), np.array(points, float))
    with Image.open(tmp_path / "curves.png") as picture:
        assert (picture.format, picture.size) == ("PNG", (700, 300 * len(panels)))
        assert len(picture.convert("RGB").getcolors(2**20)) > 10
    assert list(tmp_path.iterdir()) == [tmp_path / "curves.png"]


# The log


def log(workdir, **settings):
    config = default({"steps": 100, "log_every": 10, "batch_size": 8} | settings)
    return logging.MetricLogger(config, GAN, workdir, 0)


def metrics(first: int, count: int, **changed) -> dict:
    """Those of a healthy run, another number for each step and name."""
    steps = jnp.arange(first + 1, first + count + 1)
    healthy = {"diversity_ratio": jnp.ones(count), "d_pairwise_accuracy": jnp.full(count, 0.5)}
    return {name: steps + place / 10 for place, name in enumerate(NAMES)} | healthy | changed


@pytest.mark.parametrize("dispatch", [1, 2, 5, 10])
def test_the_record_of_a_log_step_does_not_depend_on_dispatches(tmp_path, dispatch):
    with log(tmp_path) as run:
        for first in range(0, 40, dispatch):
            run.write(first, metrics(first, dispatch))
            assert run.record[D_LOSS] == first + dispatch
    lines = logging.read_records(tmp_path / "metrics.jsonl")
    assert [(line["step"], line[D_LOSS]) for line in lines] == [(step, float(step)) for step in (10, 20, 30, 40)]


def test_scores_are_written_with_their_step_also_between_log_steps(tmp_path, capsys):
    scores = {"modes": 7.0, "high_quality": 0.25}
    with log(tmp_path, sample_every=7) as run:
        run.write(0, metrics(0, 4), {"modes": 4.0})  # a run stopped here and resumed
        run.write(4, metrics(4, 3), scores)
        run.write(7, metrics(7, 3))
        run.write(10, metrics(10, 10), {"modes": 8.0})
    lines = logging.read_records(tmp_path / "metrics.jsonl")
    assert [(line["step"], line[D_LOSS]) for line in lines] == [(7, 7.0), (10, 10.0), (20, 20.0)]
    assert [line.get("modes") for line in lines] == [7.0, None, 8.0]
    assert [line.get("high_quality") for line in lines] == [0.25, None, None]
    assert {**run.record} == pytest.approx({name: value for name, value in lines[2].items() if name in run.record})
    assert set(run.record) == {*NAMES, "diversity_ratio", "d_pairwise_accuracy", "modes"}
    shown = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[:2] for line in shown] == [
        [f"step {step}/100", f"{D_LOSS} {step}.000"] for step in (7, 10, 20)
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
    assert [line["examples_per_second"] for line in lines] == [28.0, 24.0]


def test_scores_do_not_hide_a_number_that_is_not_finite(tmp_path):
    with log(tmp_path) as run:
        bad = metrics(0, 3)[G_LOSS].at[1].set(np.nan)
        with pytest.raises(UserError, match=r"^loss/generator is nan at step 2: "):
            run.write(0, metrics(0, 3, **{G_LOSS: bad}), {"modes": 7.0})
    assert logging.read_records(tmp_path / "metrics.jsonl") == []


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 3, 4])
def test_the_first_number_that_is_not_finite_is_named_with_its_step(tmp_path, bad, place):
    """Also between log steps; later numbers that are not finite are not named."""
    with log(tmp_path) as run:
        run.write(0, metrics(0, 5))
        changed = {"logits/real": metrics(5, 5)["logits/real"].at[place:].set(bad)}
        if place < 4:
            changed[G_LOSS] = metrics(5, 5)[G_LOSS].at[4].set(np.nan)
        with pytest.raises(UserError, match=rf"^logits/real is {bad} at step {6 + place}: .*smaller learning rate"):
            run.write(5, metrics(5, 5, **changed))
    assert logging.read_records(tmp_path / "metrics.jsonl") == []
