"""Clips: two frames of each, people kept apart, and what is wrong with files said in one line."""

import itertools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import raises_user_error
from PIL import ExifTags, Image

from jaxgan.config import default
from jaxgan.data import cartoon_faces, clips, sources, videos
from jaxgan.data.loader import make_loader
from jaxgan.data.sources import cartoon_heads
from jaxgan.data.sources import clips as clip_source
from jaxgan.errors import UserError
from jaxgan.metrics import held_out

HEADS = {"algorithm": "motion", "data.source": "cartoon_heads", "data.size": 24, "data.clips": 6, "data.frames": 5}


def write_clips(folder, lengths, size=(10, 8)):
    """Frames whose grey says of which clip and which frame they are."""
    for clip, length in enumerate(lengths):
        (folder / f"clip{clip}").mkdir(parents=True)
        for frame in range(length):
            grey = np.full((size[1], size[0], 3), 40 * clip + frame, np.uint8)
            Image.fromarray(grey).save(folder / f"clip{clip}" / f"{frame:03}.png")
    return folder


def config_of(folder, **more):
    settings = {"algorithm": "motion", "data.source": f"clips:{folder}", "data.size": 8, "data.channels": 3}
    return default(settings | {key.replace("__", "."): value for key, value in more.items()})


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXGAN_DATA_CACHE", str(tmp_path / "cache"))


def test_two_different_frames_of_every_clip_are_drawn_anew_at_each_visit():
    pairs = clips.FramePairs((2, 5, 3))
    examples, seen = {"": np.repeat(np.arange(3), 40)}, []
    for batch in range(4):
        rows = pairs(7, batch, examples)
        seen.append(rows)
        assert rows["source"].dtype == rows["driving"].dtype == np.int32
        for field in rows.values():
            np.testing.assert_array_equal(np.searchsorted(pairs.starts, field, side="right") - 1, examples[""])
        assert (rows["source"] != rows["driving"]).all()
        np.testing.assert_array_equal(rows["driving"], pairs(7, batch, examples)["driving"])
    assert not np.array_equal(seen[0]["source"], seen[1]["source"])
    assert not np.array_equal(seen[0]["source"], pairs(8, 0, examples)["source"])
    middle = {(s, d) for rows in seen for s, d in zip(rows["source"], rows["driving"], strict=True) if 2 <= s < 7}
    assert middle == set(itertools.permutations(range(2, 7), 2))


def test_frames_of_folders_stay_bytes_and_keep_their_clips(tmp_path):
    dataset = sources.open_dataset(config_of(write_clips(tmp_path / "data", (3, 2, 4))))
    assert dataset.groups == {"": 3}
    assert dataset.arrays["frames"].dtype == np.uint8
    found = clips.frames_of(dataset)
    assert [list(own[:, 0, 0, 0]) for own in found] == [[0, 1, 2], [40, 41], [80, 81, 82, 83]]
    again = pickle.loads(pickle.dumps(dataset))
    np.testing.assert_array_equal(again.take(np.arange(3))["driving"], dataset.take(np.arange(3))["driving"])


def test_a_split_counts_clips(tmp_path):
    folder = write_clips(tmp_path / "data", (3, 2, 4))
    config = config_of(folder, data__split="train[2:]")
    assert clips.frames_of(sources.open_dataset(config))[0][0, 0, 0, 0] == 80
    assert sources.split_counts(config.data) == [{"train": 3}]
    named = tmp_path / "named"
    write_clips(named / "train", (2, 2))
    write_clips(named / "test", (3,))
    config = config_of(named)
    assert sources.split_counts(config.data) == [{"train": 2, "test": 1}]
    assert held_out.split_of(config, None) == "test"


def test_both_loaders_give_the_same_frames(tmp_path):
    config = config_of(write_clips(tmp_path / "data", (3, 2, 4)), batch_size=4)
    found = {}
    for placement in ("resident", "streaming"):
        config.data.placement = placement
        dataset = sources.open_dataset(config)
        feed = make_loader(config, dataset, 1, 2**30)
        rows = jax.tree.map(lambda x: x[0], feed.inputs_at(5, 1))
        found[placement] = feed.gather(*jax.tree.map(jnp.asarray, (feed.data, rows)))
        feed.close()
    jax.tree.map(np.testing.assert_array_equal, found["resident"], found["streaming"])


@pytest.mark.parametrize("lengths", [(3, 1), (1,)])
def test_a_clip_of_one_frame_is_an_error(tmp_path, lengths):
    config = config_of(write_clips(tmp_path / "data", lengths))
    with raises_user_error(UserError, match="has 1 frame: a clip must have 2 at least"):
        sources.open_dataset(config)


def test_frames_of_different_sizes_are_an_error(tmp_path):
    folder = write_clips(tmp_path / "data", (3, 2))
    Image.new("RGB", (12, 8)).save(folder / "clip1" / "005.png")
    with raises_user_error(
        UserError, match=r"005.png has 8x12 pixels, height and width, and .*000.png 8x10: all frames of a"
    ):
        sources.open_dataset(config_of(folder))


def test_frames_come_in_the_order_of_their_numbers(tmp_path):
    """2.png before 10.png, as people count."""
    folder = tmp_path / "data" / "clip"
    folder.mkdir(parents=True)
    for number in range(8, 13):
        Image.new("RGB", (10, 8), (20 * number,) * 3).save(folder / f"{number}.png")
    (clip,) = clips.frames_of(sources.open_dataset(config_of(tmp_path / "data")))
    assert (np.diff(clip[:, 0, 0, 0].astype(int)) > 0).all()


def test_a_photograph_on_its_side_has_the_size_of_the_upright_one(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.new("RGB", (10, 8)).save(tmp_path / "a.jpg", exif=exif)
    assert clip_source.size_of(str(tmp_path / "a.jpg")) == (10, 8)
    Image.new("RGB", (10, 8)).save(tmp_path / "b.jpg")
    assert clip_source.size_of((tmp_path / "b.jpg").read_bytes()) == (8, 10)


def test_what_a_split_leaves_out_need_not_be_a_clip(tmp_path):
    config = config_of(write_clips(tmp_path / "data", (3, 4, 1)))
    config.data.split = "train[:2]"
    assert len(sources.open_dataset(config)) == 2


def test_frames_beside_folders_are_an_error(tmp_path):
    folder = write_clips(tmp_path / "data", (3, 2))
    Image.new("RGB", (10, 8)).save(folder / "005.png")
    with raises_user_error(UserError, match=r"005.png must lie in a folder of its clip"):
        sources.open_dataset(config_of(folder))


def test_a_folder_without_clips_is_an_error(tmp_path):
    (tmp_path / "data" / "empty").mkdir(parents=True)
    with raises_user_error(UserError, match="holds no folder of frames and no video"):
        sources.open_dataset(config_of(tmp_path / "data"))


def test_a_video_without_the_extra_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(videos, "PLUGINS", {})
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "one.mp4").write_bytes(b"no video")
    with raises_user_error(UserError, match=r'one.mp4 is a video, which needs an extra: pip install "imageio'):
        sources.open_dataset(config_of(tmp_path / "data"))


def test_videos_are_clips(tmp_path):
    pytest.importorskip("imageio", reason="imageio is in the extra video")
    pytest.importorskip("av", reason="PyAV is in the extra video")
    folder = write_clips(tmp_path / "data", (2,), (16, 16))
    frames = np.repeat(np.uint8([40, 120, 200]), 16 * 16 * 3).reshape(3, 16, 16, 3)
    videos.write(folder / "zoom.mp4", frames, 10.0)
    dataset = sources.open_dataset(config_of(folder))
    assert dataset.groups == {"": 2}
    assert np.abs(clips.frames_of(dataset)[1].mean((1, 2, 3)) - [40, 120, 200]).max() < 6
    (folder / "zoom.mp4").write_bytes(b"no video")
    with raises_user_error(UserError, match="zoom.mp4 cannot be read as a video"):
        sources.open_dataset(config_of(folder))


# Drawn heads


def test_the_people_of_the_test_split_are_others():
    config = default(HEADS)
    train = cartoon_heads.heads_of(config.data)
    config.data.split = "test"
    test = cartoon_heads.heads_of(config.data)
    assert (train.clips, test.clips) == (6, cartoon_heads.TEST_CLIPS)
    assert not {*map(tuple, train.who.skin)} & {*map(tuple, test.who.skin)}
    assert all(len({*map(tuple, own)}) == 1 for own in np.split(train.who.skin, 6))


def test_a_part_of_a_split_is_the_same_clips():
    config = default(HEADS)
    whole = sources.open_dataset(config)
    config.data.split = "train[2:4]"
    part = sources.open_dataset(config)
    assert whole.digest != part.digest
    for own, other in zip(clips.frames_of(part), clips.frames_of(whole)[2:4], strict=True):
        np.testing.assert_array_equal(own, other)


def test_landmarks_lie_where_their_colours_are_drawn():
    rng = np.random.default_rng(3)
    who, pose = cartoon_faces.identities(rng, 8), cartoon_faces.motions(rng, 8, 1)
    size = 96
    pictures = cartoon_faces.draw(who, pose, (size, size)).astype(float)
    pixels = (np.arange(size) + 0.5) / size * 2 - 1
    places = np.stack(np.meshgrid(pixels, pixels), axis=-1)
    known = cartoon_faces.landmarks(who, pose)
    for picture, own in zip(pictures, known, strict=True):
        lips = np.abs(picture - cartoon_faces.LIPS).sum(-1) < 30
        np.testing.assert_allclose(places[lips].mean(0), own[4], atol=0.02)
        dark = np.abs(picture - cartoon_faces.BLACK).sum(-1) < 30
        for pupil in own[2:4]:
            near = dark & (((places - pupil) ** 2).sum(-1) < 0.01)
            np.testing.assert_allclose(places[near].mean(0), pupil, atol=0.03)


def test_turning_a_head_turns_its_landmarks():
    rng = np.random.default_rng(0)
    who, pose = cartoon_faces.identities(rng, 4), cartoon_faces.motions(rng, 4, 1)
    straight = pose._replace(roll=np.zeros(4), place=np.zeros((4, 2)))
    turned = straight._replace(roll=np.full(4, np.pi / 2))
    before, after = (cartoon_faces.landmarks(who, own) for own in (straight, turned))
    np.testing.assert_allclose(after, np.stack([-before[..., 1], before[..., 0]], axis=-1), atol=1e-12)


def test_the_frames_of_an_example_do_not_depend_on_those_behind():
    pairs, clips_of = clips.FramePairs((5,) * 9), np.arange(9)
    many, few = (pairs(0, 0, {"": clips_of[:count]}) for count in (9, 3))
    for field in few:
        np.testing.assert_array_equal(many[field][:3], few[field])
