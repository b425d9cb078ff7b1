"""Drawn faces of which all is known: who they are, how they are posed, and where each part lies in the picture.

Places are (x, y) with the picture from -1 to 1, columns first; 1 is half of the picture's side.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

CHUNK = 64  # faces drawn at a time
WHITE, BLACK, LIPS = np.array([255.0, 255, 255]), np.array([15.0, 15, 15]), np.array([200.0, 15, 45])
LANDMARKS = ("left eye", "right eye", "left pupil", "right pupil", "mouth")

Colours = Float[np.ndarray, "faces 3"]
Numbers = Float[np.ndarray, " faces"]
Pairs = Float[np.ndarray, "faces 2"]


class Identity(NamedTuple):
    """Who each face is: colours from 0 to 255, and proportions of the head."""

    background: Colours
    hair: Colours
    skin: Colours
    head: Pairs  # half of its width and height
    eyes: Pairs  # the right eye's place from the middle of the head
    eye: Numbers  # half of an eye's width
    mouth: Pairs  # how far below the middle it is, and half of its width


class Pose(NamedTuple):
    """How each head is held: the place of its middle, the turn in radians, and what eyes and mouth do."""

    place: Pairs
    roll: Numbers
    gaze: Pairs  # of both pupils, from -1 to 1 in each direction
    open_eyes: Numbers  # from 0 to 1
    open_mouth: Numbers  # from 0 to 1


def identities(rng: np.random.Generator, count: int) -> Identity:
    """So many different people."""

    def between(low: float, high: float, *shape: int) -> np.ndarray:
        return rng.uniform(low, high, (count, *shape))

    return Identity(
        background=between(60.0, 200.0, 3),
        hair=between(40.0, 220.0, 3),
        skin=np.sort(between(90.0, 230.0, 3), axis=1)[:, ::-1],
        head=np.stack([between(0.42, 0.56), between(0.52, 0.66)], axis=1),
        eyes=np.stack([between(0.17, 0.24), between(-0.2, -0.08)], axis=1),
        eye=between(0.1, 0.14),
        mouth=np.stack([between(0.24, 0.36), between(0.13, 0.22)], axis=1),
    )


def motions(rng: np.random.Generator, clips: int, frames: int) -> Pose:
    """The poses of clips, frame after frame, clip after clip: every number swings slowly about its mean."""
    time = np.linspace(0.0, 1.0, frames)

    def swing(low: float, high: float, *shape: int) -> np.ndarray:
        rates, phases = rng.uniform(0.5, 1.5, (clips, 1, *shape)), rng.uniform(0, 1, (clips, 1, *shape))
        waves = np.sin(2 * np.pi * (rates * time.reshape(1, -1, *[1] * len(shape)) + phases))
        return (low + high) / 2 + (high - low) / 2 * waves.reshape(clips * frames, *shape)

    return Pose(
        place=swing(-0.2, 0.2, 2),
        roll=swing(-0.35, 0.35),
        gaze=swing(-1.0, 1.0, 2),
        open_eyes=swing(0.45, 1.0),
        open_mouth=swing(0.0, 1.0),
    )


def rows(faces: Identity | Pose, indices: np.ndarray) -> Identity | Pose:
    """Some of the identities or poses."""
    return type(faces)(*(array[indices] for array in faces))


def landmarks(who: Identity, pose: Pose) -> Float[np.ndarray, "faces landmark 2"]:
    """Where the parts named in `LANDMARKS` have their centres."""
    eyes = who.eyes[:, None] * np.array([[-1, 1], [1, 1]])
    pupils = eyes + (pose.gaze * _gaze_reach(who, pose))[:, None]
    mouth = np.stack([np.zeros_like(pose.roll), who.mouth[:, 0]], axis=1)[:, None]
    return _turned(np.concatenate([eyes, pupils, mouth], axis=1), pose.roll) + pose.place[:, None]


def draw(who: Identity, pose: Pose, size: tuple[int, int]) -> UInt8[np.ndarray, "faces height width 3"]:
    """A picture of each face, of that height and width, with soft borders of a pixel."""
    chunks = np.array_split(np.arange(len(pose.roll)), max(1, -(-len(pose.roll) // CHUNK)))
    return np.concatenate([_drawn(rows(who, chunk), rows(pose, chunk), size) for chunk in chunks])


def _gaze_reach(who: Identity, pose: Pose) -> Pairs:
    """How far from its eye's centre a pupil goes at most."""
    return np.stack([0.45 * who.eye, 0.3 * who.eye * pose.open_eyes], axis=1)


def _turned(places: np.ndarray, roll: Numbers) -> np.ndarray:
    """Places [faces, n, 2] turned about the origin."""
    cosine, sine = np.cos(roll)[:, None], np.sin(roll)[:, None]
    x, y = places[..., 0], places[..., 1]
    return np.stack([cosine * x - sine * y, sine * x + cosine * y], axis=-1)


def _drawn(who: Identity, pose: Pose, size: tuple[int, int]) -> UInt8[np.ndarray, "faces height width 3"]:
    y, x = ((np.arange(count) + 0.5) / count * 2 - 1 for count in size)
    grid = np.stack(np.meshgrid(x, y), axis=-1).reshape(1, -1, 2)
    head = _turned(grid - pose.place[:, None], -pose.roll)  # in the head's own coordinates
    sharpness = min(size) / 2

    def ellipse(centre: np.ndarray, axes: np.ndarray) -> Float[np.ndarray, "faces places 1"]:
        """How much of each pixel an ellipse covers."""
        away = np.sqrt((((head - centre[:, None]) / axes[:, None]) ** 2).sum(-1))
        distance = (away - 1) * axes.min(1)[:, None]
        return np.clip(0.5 - distance * sharpness, 0, 1)[..., None]

    middle, tall = np.zeros_like(pose.place), np.array([0.0, 1])
    picture = np.broadcast_to(who.background[:, None], (*head.shape[:2], 3))

    def paint(colour: np.ndarray, cover: np.ndarray) -> None:
        nonlocal picture
        picture = picture + cover * (colour.reshape(-1, 1, 3) - picture)

    paint(who.hair, ellipse(middle - 0.12 * tall, 1.14 * who.head))
    paint(who.skin, ellipse(middle, who.head))
    paint(0.75 * who.skin, ellipse(middle + 0.06 * tall, middle + np.array([0.04, 0.09])))
    for side in (-1, 1):
        centre = who.eyes * np.array([side, 1])
        eye = ellipse(centre, np.stack([who.eye, 0.8 * who.eye * pose.open_eyes], axis=1))
        paint(WHITE, eye)
        pupil = ellipse(centre + pose.gaze * _gaze_reach(who, pose), np.repeat(0.5 * who.eye[:, None], 2, axis=1))
        paint(BLACK, eye * pupil)
    mouth = np.stack([np.zeros_like(pose.roll), who.mouth[:, 0]], axis=1)
    paint(LIPS, ellipse(mouth, np.stack([who.mouth[:, 1], 0.04 + 0.09 * pose.open_mouth], axis=1)))
    return np.round(picture).astype(np.uint8).reshape(-1, *size, 3)
