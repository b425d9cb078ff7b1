"""Grids of voxels in files: arrays, packed arrays, binvox, meshes; and what is wrong with bad ones."""

import importlib.util

import jax.numpy as jnp
import numpy as np
import pytest
from experiments import raises_user_error

from jaxgan.config import default
from jaxgan.core.types import Field
from jaxgan.data import bits, meshes
from jaxgan.data.sources import open_dataset, voxels
from jaxgan.errors import UserError

GRIDS = np.random.default_rng(0).random((5, 8, 8, 8)) < 0.3


def opened(path, **more):
    config = default({"data.source": f"voxels:{path}", "data.size": 8, "model.family": "voxel"})
    config.data.update(more)
    dataset = open_dataset(config)
    return dataset, bits.unpack(dataset.arrays["voxels"], (config.data.size,) * 3)


def test_packed_bits_are_the_numbers_that_networks_take():
    for shape in ((3,), (2, 5), (8, 8, 8, 1)):
        values = np.random.default_rng(1).random((4, *shape)) < 0.5
        packed = bits.pack(values)
        assert packed.shape[1:] == bits.stored_shape(Field("voxels", shape, "bits"))
        np.testing.assert_array_equal(bits.unpack(packed, shape), values)
        inside = bits.to_float(jnp.asarray(packed), shape)
        np.testing.assert_array_equal(inside, np.where(values, 1.0, -1.0))
        np.testing.assert_array_equal(bits.to_occupancy(inside), values)


def test_arrays_are_read_in_every_form(tmp_path):
    np.save(tmp_path / "a.npy", GRIDS)
    np.savez(tmp_path / "b.npz", voxels=GRIDS.astype(np.uint8), labels=[0, 1, 0, 1, 1])
    np.savez(tmp_path / "c.npz", voxels=np.packbits(GRIDS.reshape(5, -1), axis=1), shape=GRIDS.shape)
    for name in ("a.npy", "b.npz", "c.npz"):
        dataset, grids = opened(tmp_path / name)
        np.testing.assert_array_equal(grids, GRIDS)
    assert opened(tmp_path / "b.npz")[0].classes == ("0", "1")
    assert dataset.classes == ()


def test_arrays_in_a_folder_are_splits(tmp_path):
    packed = {"voxels": bits.pack(GRIDS), "shape": GRIDS.shape}
    np.savez(tmp_path / "train.npz", **packed)
    np.save(tmp_path / "test.npy", GRIDS[:2])
    np.testing.assert_array_equal(opened(tmp_path)[1], GRIDS)
    np.testing.assert_array_equal(opened(tmp_path, split="test")[1], GRIDS[:2])


@pytest.mark.parametrize(("up", "axis"), [("x", 1), ("y", 2), ("z", 3)])
def test_the_axis_that_points_up_becomes_the_last_one(tmp_path, up, axis):
    np.save(tmp_path / "a.npy", GRIDS)
    grids = opened(tmp_path / "a.npy", up=up)[1]
    np.testing.assert_array_equal(grids.sum((1, 2)), GRIDS.sum(tuple({1, 2, 3} - {axis})))


def write_binvox(path, grid):
    values = grid.transpose(0, 2, 1).ravel().astype(np.uint8)
    runs = b"".join(bytes([value, 1]) for value in values)
    path.write_bytes(b"#binvox 1\ndim 8 8 8\ntranslate 0 0 0\nscale 1\ndata\n" + runs)


def test_binvox_files_in_subfolders_have_classes(tmp_path):
    for index, grid in enumerate(GRIDS):
        folder = tmp_path / ("chair" if index < 3 else "table")
        folder.mkdir(exist_ok=True)
        write_binvox(folder / f"{index}.binvox", grid)
    dataset, grids = opened(tmp_path)
    np.testing.assert_array_equal(grids, GRIDS)
    assert dataset.classes == ("chair", "table")
    np.testing.assert_array_equal(dataset.labels, [0, 0, 0, 1, 1])


@pytest.mark.parametrize("layout", ["{split}/{kind}", "{kind}/{split}", "{split}"])
def test_subfolders_named_after_splits_are_splits(tmp_path, layout):
    """Above the classes or below them, as ModelNet has it; test shapes are not trained on."""
    rows = {("train", "chair"): [0, 1], ("test", "chair"): [2], ("train", "table"): [3], ("test", "table"): [4]}
    for (split, kind), own in rows.items():
        folder = tmp_path / layout.format(split=split, kind=kind)
        folder.mkdir(parents=True, exist_ok=True)
        for index in own:
            write_binvox(folder / f"{index}.binvox", GRIDS[index])
    for split, own in {"train": [0, 1, 3], "test": [2, 4]}.items():
        dataset, grids = opened(tmp_path, split=split)
        np.testing.assert_array_equal(grids, GRIDS[own])
        assert dataset.classes == (() if layout == "{split}" else ("chair", "table"))
    np.testing.assert_array_equal(opened(tmp_path, split="train")[0].labels, [0, 0, 0 if layout == "{split}" else 1])


def test_arrays_beside_other_files_are_refused(tmp_path):
    np.save(tmp_path / "train.npy", GRIDS)
    write_binvox(tmp_path / "drawn.binvox", GRIDS[0])
    with raises_user_error(UserError, match=r"grids in arrays \(.*train.npy\) and in files \(.*binvox\): keep one"):
        opened(tmp_path)


def test_many_grids_are_packed_in_parts(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", GRIDS)
    (tmp_path / "a.npy").rename(tmp_path / "A.NPY")
    monkeypatch.setattr(voxels, "AT_ONCE", 2)
    np.testing.assert_array_equal(opened(tmp_path / "A.NPY")[1], GRIDS)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (GRIDS[:, :, :4], "grid 0 has 8x4x8 voxels, and config.data.size=8 needs 8x8x8: it must be a cube"),
        (GRIDS[:, :4, :4, :4], "grid 0 has 4x4x4 voxels, .* it must be config.data.size=4"),
        (GRIDS & False, "grid 0 is empty: it must have a filled voxel"),
        (GRIDS[0], "of type bool and shape .* must be bool, .N, X, Y, Z."),
        (GRIDS.astype(np.float32), "of type float32"),
        (GRIDS * np.uint8(2), "of type uint8"),
    ],
)
def test_grids_that_do_not_fit_are_refused_in_one_line(tmp_path, array, message):
    np.save(tmp_path / "a.npy", array)
    with raises_user_error(UserError, match=message):
        opened(tmp_path / "a.npy")


def test_damaged_files_and_missing_places_are_refused(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"nothing")
    (tmp_path / "b.binvox").write_bytes(b"#binvox 1\ndim 8 8 8\ndata\n\x01\x07")
    np.savez(tmp_path / "c.npz", grids=GRIDS)
    for name, message in {
        "a.npz": "cannot be read",
        "b.binvox": "is no binvox file .its runs do not make 8x8x8 voxels",
        "c.npz": "must hold an array 'voxels', not grids",
        "d.npz": "must be a folder or a file that ends in",
    }.items():
        with raises_user_error(UserError, match=message):
            opened(tmp_path / name)


BOX = """OFF
8 12 0
0 0 0
2 0 0
0 1 0
2 1 0
0 0 1
2 0 1
0 1 1
2 1 1
3 0 2 1
3 1 2 3
3 4 5 6
3 5 7 6
3 0 1 4
3 1 5 4
3 2 6 3
3 3 6 7
3 0 4 2
3 2 4 6
3 1 3 5
3 3 7 5
"""
needs_trimesh = pytest.mark.skipif(importlib.util.find_spec("trimesh") is None, reason="trimesh is an extra")


@needs_trimesh
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_closed_mesh_is_filled_once_into_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXGAN_DATA_CACHE", str(tmp_path / "cache"))
    (tmp_path / "box.off").write_text(BOX)
    grid = opened(tmp_path / "box.off", size=16)[1][0]
    inside = np.argwhere(grid)
    sides = np.ptp(inside, axis=0) + 1
    assert sides[0] == 14  # the longest side, between empty voxels
    assert abs(sides[1] - 7) <= 1
    assert abs(sides[2] - 7) <= 1
    assert grid.sum() == np.prod(sides)
    monkeypatch.setattr(meshes, "voxelise", None)  # the second time it is not called
    np.testing.assert_array_equal(opened(tmp_path / "box.off", size=16)[1][0], grid)


@needs_trimesh
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_mesh_that_is_not_closed_is_a_shell_with_a_warning(tmp_path, capsys):
    lines = BOX.splitlines()
    (tmp_path / "open.off").write_text("\n".join(["OFF", "8 10 0", *lines[2:10], *lines[10:12], *lines[14:]]))
    grid = meshes.voxelise(tmp_path / "open.off", 16)
    assert "has meshes that are not closed: their surfaces become voxels" in capsys.readouterr().err
    assert 0 < grid.sum() < 14 * 7 * 7
    (tmp_path / "bad.off").write_text("no mesh")
    with raises_user_error(UserError, match="is no mesh that trimesh can read"):
        meshes.voxelise(tmp_path / "bad.off", 16)


@needs_trimesh
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_grid_that_is_too_small_for_a_mesh_is_refused(tmp_path):
    (tmp_path / "box.off").write_text(BOX)
    with raises_user_error(UserError, match="config.data.size=3 must be at least 4 for meshes such as .*box.off"):
        meshes.voxelise(tmp_path / "box.off", 3)
    assert meshes.voxelise(tmp_path / "box.off", 4).any()
