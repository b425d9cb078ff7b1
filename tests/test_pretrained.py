"""A run that begins with another run's networks."""

import json
import re

import jax
import numpy as np
import pytest
from programs import bits, options, train_tiny

from jaxgan.cli import train
from jaxgan.config import build, load
from jaxgan.core.program import Program
from jaxgan.data import loader, sources
from jaxgan.io import pretrained, run_folder

# Averages, BatchNorm's moments and the vectors of spectral norm come along; labels give arrays that depend on classes.
PARENT = ("--config.ema_decay=0.9", "--config.model.discriminator.spectral_norm=True")
SETTINGS = (*PARENT, "--config.conditioning.generator=cbn", "--config.conditioning.discriminator=projection")


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    """A conditional run of 12 steps with checkpoints at 4, 8 and 12."""
    workdir = tmp_path_factory.mktemp("parent") / "run"
    assert train_tiny(workdir, *SETTINGS) == 0
    return workdir


def assembled(parent, workdir, *more):
    """The program of a run with other settings, and the networks that it begins with."""
    config, chosen = train.parse(options(workdir, *SETTINGS, f"--init_from={parent}", *more))
    dataset = sources.open_dataset(config)
    exp = build(config, len(dataset.classes))
    data = loader.make_loader(config, dataset, exp.algorithm.batches_per_step(config), 2**30)
    found = pretrained.load(chosen.init_from, chosen.workdir)
    pretrained.check(found, exp)
    return Program(exp, data, loader.make_batch_fn(config, data), 1), found


def begun(parent, workdir, *more):
    """The random state of a run with other settings, and the initialised one."""
    program, found = assembled(parent, workdir, *more)
    return program.initial_state(), pretrained.init_from(found, program)


def leaves(tree):
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def test_equal_networks_are_copied_bit_by_bit_and_all_else_is_new(parent, tmp_path, capsys):
    random, state = begun(parent, tmp_path / "run")
    trained = run_folder.restore_state(parent).state
    assert bits(state.networks) == bits(trained.networks)
    assert bits(state.ema) == bits(trained.ema)
    assert bits(state.replace(networks={}, ema={})) == bits(random.replace(networks={}, ema={}))
    assert "afresh" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "changes",
    [
        ["--config.data.size=16"],
        ["--config.data.classes=1,2,3"],
        ["--config.data.channels=3"],
        ["--config.latent_dim=6"],
        ["--config.model.generator.base_channels=6"],
        ["--config.conditioning.generator=none", "--config.conditioning.discriminator=none"],
    ],
    ids=lambda changes: changes[0].partition("=")[2],
)
def test_arrays_are_copied_where_they_fit_and_listed_where_not(parent, changes, tmp_path, capsys):
    random, state = begun(parent, tmp_path / "run", *changes)
    trained, printed = run_folder.restore_state(parent).state, capsys.readouterr().out
    for group in ("networks", "ema"):
        old, new, first = (leaves(getattr(each, group)) for each in (trained, state, random))
        assert new.keys() == first.keys()
        fits = {name for name in new if name in old and old[name].shape == new[name].shape}
        assert all(np.array_equal(new[name], old[name] if name in fits else first[name]) for name in new)
        if group == "networks":
            copied = sum(map(int, re.findall(r"(\d+) of \d+ arrays", printed)))
            assert 0 < copied == len(fits)
            assert ("afresh" in printed) == (len(fits) < len(new))


def test_all_members_of_a_population_begin_alike(parent, tmp_path):
    random, state = begun(parent, tmp_path / "run", "--config.population=3")
    trained = leaves(run_folder.restore_state(parent).state.networks)
    for name, array in leaves(state.networks).items():
        assert all(np.array_equal(member, trained[name]) for member in array)
    assert bits(state.seed) == bits(random.seed)


def test_a_population_gives_its_first_member(parent, tmp_path):
    both = tmp_path / "both"
    assert train_tiny(both, *SETTINGS, "--config.population=2", "--config.steps=4") == 0
    _, state = begun(both, tmp_path / "run")
    assert bits(state.networks) == bits(run_folder.restore_state(both, member=0).state.networks)


def test_the_program_trains_from_there_and_resumes_without_it(parent, tmp_path, capsys):
    workdir = tmp_path / "run"
    assert train_tiny(workdir, *SETTINGS, f"--init_from={parent}:8", "--config.steps=4") == 0
    assert f"initialised from {parent} at step 8: " in capsys.readouterr().out
    assert train_tiny(workdir, *SETTINGS, f"--init_from={parent}:8") == 0
    printed = capsys.readouterr().out
    assert "initialised" not in printed
    assert "resuming" in printed
    whole = tmp_path / "whole"
    assert train_tiny(whole, *SETTINGS, f"--init_from={parent}:8") == 0
    assert bits(run_folder.restore_state(workdir).state) == bits(run_folder.restore_state(whole).state)
    launches = [json.loads(line) for line in (workdir / "launches.jsonl").read_text().splitlines()]
    assert [line["init_from"] for line in launches] == [f"{parent} at step 8", None]


def test_an_average_begins_as_the_network_where_the_other_run_has_none(parent, tmp_path):
    program, found = assembled(parent, tmp_path / "run")
    state = pretrained.init_from(found._replace(ema={}), program)
    assert bits(state.ema["generator"]) == bits(found.networks["generator"])
    assert bits(state.ema["generator"]) != bits(found.ema["generator"])


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("{}/none", "none holds no run"),
        ("{}:5", "has no checkpoint of step 5: there are 4, 8, 12"),
        ("{}/samples", "samples holds no run"),
    ],
)
def test_wrong_runs_are_named_in_one_line(parent, place, message, tmp_path, capsys):
    code = train_tiny(tmp_path / "run", *SETTINGS, f"--init_from={place.format(parent)}")
    error = capsys.readouterr().err
    assert code == 2
    assert error.count("\n") == 1
    assert error.startswith("error: --init_from=")
    assert message in error
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_run_of_which_nothing_fits_is_refused(parent, tmp_path, capsys):
    changes = ("--config.algorithm=vae", "--config.data.source=digits")
    assert train_tiny(tmp_path / "run", *changes, f"--init_from={parent}") == 2
    assert "no array of" in capsys.readouterr().err
    assert load(parent / "config.json").algorithm == "gan"
