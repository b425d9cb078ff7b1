"""Pictures of shapes, their meshes, and the files of both."""

import importlib.util
import json
import struct

import numpy as np
import pytest
from experiments import raises_user_error
from PIL import Image

from jaxgan.cli import sample as sample_program
from jaxgan.cli import train as train_program
from jaxgan.data import solids
from jaxgan.errors import UserError
from jaxgan.viz import meshes, shapes

CHAIR = solids.grid("chair", 0.35, 0.45, 32)
needs_skimage = pytest.mark.skipif(importlib.util.find_spec("skimage") is None, reason="scikit-image is an extra")


def ball(size, radius):
    """Probabilities that fall from 1 to 0 within two voxels around a sphere."""
    centres = np.stack(np.meshgrid(*[np.arange(size) + 0.5] * 3, indexing="ij")) - size / 2
    return np.clip((radius - np.linalg.norm(centres, axis=0)) / 2 + 0.5, 0, 1).astype(np.float32)


def test_a_ball_is_a_disc_from_everywhere():
    for azimuth, elevation in ((0.0, 0.0), (35.0, 25.0), (200.0, -40.0)):
        picture = shapes.render(ball(24, 8), azimuth, elevation)
        share = (picture < 255).any(-1).mean()
        assert share == pytest.approx(np.pi * (8 / (shapes.SPAN * 24)) ** 2, rel=0.03)


def test_axes_are_a_right_handed_view():
    for angles in ((0.0, 0.0), (35.0, 25.0), (215.0, 60.0)):
        right, towards, up = shapes.axes(*angles)
        np.testing.assert_allclose(np.cross(right, up), towards, atol=1e-12)
        assert up[2] > 0
        assert right[2] == 0


def test_up_is_up_and_turns_turn():
    """Seen from the front, a chair's back, which lies at the far end, is in the upper half."""
    top = CHAIR.copy()
    top[:, :, : CHAIR.any((0, 1)).nonzero()[0].mean().astype(int)] = False
    rows = (shapes.render(top, 180.0, 0.0) < 255).any((1, 2)).nonzero()[0]
    assert rows.max() < shapes.PIXELS * 0.65
    frames = shapes.turning(CHAIR[None, ..., None])
    assert len(frames) == shapes.FRAMES
    assert len({frame.tobytes() for frame in frames}) == shapes.FRAMES
    outline = (shapes.render(CHAIR, 180.0, 0.0) < 255).any(-1)
    assert (outline != outline[:, ::-1]).mean() < 0.01  # a chair is symmetric
    assert (shapes.render(np.zeros((8, 8, 8))) == 255).all()


@needs_skimage
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of scikit-image with NumPy 2.5
def test_a_mesh_is_closed_and_encloses_the_shape():
    mesh = meshes.marching_cubes(ball(24, 8))
    a, b, c = np.moveaxis(mesh.vertices[mesh.faces].astype(np.float64), 1, 0)
    volume = (np.cross(a, b) * c).sum() / 6  # positive where faces are against the clock from outside
    assert volume == pytest.approx(4 / 3 * np.pi * (8 / 24) ** 3, rel=0.02)
    edges = np.sort(np.concatenate([mesh.faces[:, pair] for pair in ([0, 1], [1, 2], [2, 0])]))
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()
    full = meshes.marching_cubes(np.ones((4, 4, 4)))  # to the border of its grid
    np.testing.assert_allclose([full.vertices.min(), full.vertices.max()], [0, 1], atol=1e-6)


@needs_skimage
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of scikit-image with NumPy 2.5
def test_files_hold_the_mesh():
    mesh = meshes.side_by_side([meshes.marching_cubes(CHAIR), meshes.marching_cubes(np.zeros((4, 4, 4)))])
    mesh = meshes.side_by_side([mesh, meshes.marching_cubes(ball(8, 2))])
    assert mesh.faces.max() == len(mesh.vertices) - 1
    lines = meshes.to_obj(mesh).decode().splitlines()
    vertices = np.float32([line.split()[1:] for line in lines if line[0] == "v"])
    np.testing.assert_allclose(vertices, mesh.vertices, atol=1e-5)
    assert lines[-1].split()[1:] == [str(index + 1) for index in mesh.faces[-1]]
    ply = meshes.to_ply(mesh)
    head, body = ply.split(b"end_header\n", 1)
    assert f"element face {len(mesh.faces)}".encode() in head
    assert len(body) == 12 * len(mesh.vertices) + 13 * len(mesh.faces)
    glb = meshes.to_glb(mesh)
    magic, version, length, size, kind = struct.unpack("<4sII I4s", glb[:20])
    assert (magic, version, length, kind) == (b"glTF", 2, len(glb), b"JSON")
    about = json.loads(glb[20 : 20 + size])
    assert about["accessors"][1]["count"] == mesh.faces.size
    start = 20 + size + 8
    stored = np.frombuffer(glb, "<f4", 3 * len(mesh.vertices), start).reshape(-1, 3)
    np.testing.assert_array_equal(stored[:, 1], mesh.vertices[:, 2])  # up


@needs_skimage
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("ending", meshes.FORMATS)
def test_trimesh_reads_what_is_written(tmp_path, ending):
    trimesh = pytest.importorskip("trimesh", reason="trimesh is an extra")
    path = tmp_path / f"chair{ending}"
    meshes.save(path, CHAIR[None, ..., None])
    mesh = trimesh.load(path, force="mesh")
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(CHAIR.mean(), rel=0.15)
    up = 1 if ending == ".glb" else 2
    assert np.ptp(mesh.vertices[:, up]) == pytest.approx(CHAIR.any((0, 1)).mean(), abs=1 / 32)


def test_all_empty_shapes_have_no_surface(tmp_path):
    pytest.importorskip("skimage", reason="scikit-image is an extra")
    with raises_user_error(UserError, match="all 2 shapes are empty"):
        meshes.save(tmp_path / "a.obj", np.zeros((2, 4, 4, 4, 1)))


@pytest.mark.slow
def test_a_run_of_solids_draws_in_every_form(tmp_path, capsys):
    settings = {"data.source": "world:solids", "data.size": 16, "data.split": "train[:20]", "model.family": "voxel"}
    few = {"steps": 2, "log_every": 1, "sample_every": 2, "checkpoint_every": 2, "sample_grid": 4, "batch_size": 4}
    small = {"model.generator.base_channels": 2, "model.discriminator.base_channels": 2}
    config = tmp_path / "config.py"
    config.write_text(
        "from jaxgan.config import default\n\n\ndef get_config():\n"
        f"    return default({ ({**settings, **few, **small})!r})\n"
    )
    run = tmp_path / "run"
    assert train_program.main([f"--config={config}", f"--workdir={run}"]) == 0
    with Image.open(run / "samples" / "step_000002.png") as picture:
        assert picture.width > shapes.PIXELS
    for ending in (".png", ".npz", ".gif", ".webp", "/"):
        out = f"{tmp_path / 'drawn'}{ending}"
        assert sample_program.main([f"--workdir={run}", f"--out={out}", "--num=3"]) == 0
    with np.load(tmp_path / "drawn.npz") as arrays:
        assert arrays["voxels"].shape == (3, 16, 16, 16)
        assert arrays["voxels"].dtype == bool
    with Image.open(tmp_path / "drawn.webp") as animation:
        assert animation.n_frames == shapes.FRAMES
    assert len(list((tmp_path / "drawn").glob("*.png"))) == 3
    out = tmp_path / "arithmetic.npz"
    assert sample_program.main([f"--workdir={run}", f"--out={out}", "--arithmetic=0-0+1,2-1+1"]) == 0
    with np.load(out) as arrays:
        found = arrays["voxels"]
    np.testing.assert_array_equal(found[1], found[0])
    np.testing.assert_array_equal(found[7], found[4])  # C - B + B is C
    assert sample_program.main([f"--workdir={run}", f"--out={out}", "--arithmetic=0+1"]) == 2
    assert "must be like 0-1+2" in capsys.readouterr().err
