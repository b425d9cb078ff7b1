"""Scores of animations: clips made again from their first frame and, of drawn heads, of transfers between people.

A clip is an example: its number is the mean over its frames. Beside each score is that of the first frame itself, as if
it were the animation ("unchanged").

References:
    Siarohin et al., First Order Motion Model for Image Animation, 2019, section 4 (L1, AKD, MKR, AED).
    https://arxiv.org/abs/2003.00196
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float, UInt8

from jaxgan import inference
from jaxgan.core.experiment import Experiment
from jaxgan.core.state import Variables
from jaxgan.data import cartoon_faces
from jaxgan.data.cartoon_faces import Identity, Pose
from jaxgan.data.sources.cartoon_heads import Heads
from jaxgan.metrics import examples, image_quality
from jaxgan.metrics.report import Result
from jaxgan.metrics.scores import Score, Scored
from jaxgan.viz import snapshot

NEAR = 0.14  # how far from a place a landmark is looked for, first from where it must be
SHIFTS = 5  # times that the place moves to the centre of what was found
LEAST = 0.25  # share of the true landmark's weight below which it is not found

Frames = UInt8[np.ndarray, "_ _ _ _"]  # [frames, height, width, channel]
Animate = Callable[[Frames, Frames, Frames | None], Frames]  # (source, driving, initial or None) -> result


def animator(exp: Experiment, variables: Mapping[str, Variables]) -> Animate:
    """What an experiment's task makes of sources and driving frames, relative to initial ones where they are given."""

    def animate(source: Frames, driving: Frames, initial: Frames | None) -> Frames:
        inputs = inference.seed_inputs(0, len(source))
        inputs |= snapshot.as_inputs(exp, {"source": source, "driving": driving})
        if initial is not None:
            inputs["initial"] = snapshot.as_inputs(exp, {"driving": initial})["driving"]
        (made,) = inference.run_task(exp, "animate", variables, inputs, inference.batch_of(exp)).values()
        return made

    return animate


def repeated(clips: Sequence[Frames]) -> Frames:
    """The first frame of each clip in the place of all others."""
    return np.concatenate([np.repeat(clip[:1], len(clip) - 1, axis=0) for clip in clips])


def others(clips: Sequence[Frames]) -> Frames:
    """All frames of all clips but the first ones."""
    return np.concatenate([clip[1:] for clip in clips])


def by_clip(numbers: Float[np.ndarray, " frames"], lengths: Sequence[int]) -> Float[np.ndarray, " clips"]:
    """Means over the frames of each clip."""
    return np.array([part.mean() for part in np.split(numbers, np.cumsum(lengths)[:-1])])


def scored(numbers: Mapping[str, np.ndarray], lengths: Sequence[int]) -> Scored:
    """Means over clips of numbers of frames."""
    found = {name: Score(examples.mean(name, by_clip(own, lengths))) for name, own in numbers.items()}
    return Scored(found, {}, len(lengths), len(lengths))


def reconstruction(animate: Animate, clips: Sequence[Frames]) -> Result:
    """The L1 distance, of pixels from 0 to 1, of clips from what their first frame becomes when they drive it."""
    source, driving, lengths = repeated(clips), others(clips), [len(clip) - 1 for clip in clips]
    sides = (animate(source, driving, None), source)
    own, unchanged = (scored({"L1": image_quality.l1(side, driving)}, lengths) for side in sides)
    return Result(own, unchanged=unchanged)


# Drawn heads, of which all is known


def heads_scores(animate: Animate, heads: Heads, size: tuple[int, int]) -> Result:
    """Errors of clips made again from their first frame, and of transfers of a clip to the next person.

    A transfer starts from the person as the clip's first frame is posed, so that both ways of transfer have one truth.
    """
    frames, count = heads.frames, heads.clips
    rest = np.flatnonzero(np.arange(count * frames) % frames)
    first, lengths = rest // frames * frames, [frames - 1] * count
    shifted = cartoon_faces.rows(heads.who, (np.arange(count * frames) + frames) % (count * frames))

    def drawn(who: Identity, indices: np.ndarray, poses: np.ndarray) -> Frames:
        return cartoon_faces.draw(cartoon_faces.rows(who, indices), cartoon_faces.rows(heads.pose, poses), size)

    driving, initial = drawn(heads.who, rest, rest), drawn(heads.who, first, first)
    source, truth = drawn(shifted, rest, first), drawn(shifted, rest, rest)
    pose = cartoon_faces.rows(heads.pose, rest)
    own, other = (cartoon_faces.rows(who, rest) for who in (heads.who, shifted))
    sides = {
        "reconstruction": (animate(initial, driving, None), driving, own),
        "absolute": (animate(source, driving, None), truth, other),
        "relative": (animate(source, driving, initial), truth, other),
    }
    still = {"reconstruction": initial, "absolute": source, "relative": source}
    found, unchanged = {}, {}
    for name, (made, right, who) in sides.items():
        found |= {f"{key}-{name}": value for key, value in errors(made, right, who, pose).items()}
        unchanged |= {f"{key}-{name}": value for key, value in errors(still[name], right, who, pose).items()}
    return Result(scored(found, lengths), unchanged=scored(unchanged, lengths))


def errors(made: Frames, truth: Frames, who: Identity, pose: Pose) -> dict[str, Float[np.ndarray, " frames"]]:
    """How far each picture is from the right one: L1, places of landmarks in pixels, landmarks not found, colours.

    No landmark counts as further away than it is looked for, and one that is not found counts as that: so no picture
    gains by having none.

    Args:
        made, truth: pictures, and the right ones.
        who, pose: of the faces in the right ones.
    """
    known = cartoon_faces.landmarks(who, pose)
    places, weights = located(made, known)
    right, full = located(truth, known)
    missing = weights < LEAST * full
    distance = np.where(missing, NEAR, np.minimum(np.sqrt(((places - right) ** 2).sum(-1)), NEAR))
    return {
        "L1": image_quality.l1(made, truth),
        "keypoint_error": distance.mean(1) * min(truth.shape[1:3]) / 2,
        "missing_keypoints": missing.mean(1),
        "identity_error": identity_error(made, truth, who),
    }


def located(
    pictures: Frames, known: Float[np.ndarray, "frames landmark 2"]
) -> tuple[Float[np.ndarray, "frames landmark 2"], Float[np.ndarray, "frames landmark"]]:
    """The centres of each landmark's colour, found by mean shift from where it must be, and how much of it there is.

    What counts is how much more alike a pixel is than its surroundings: a flat picture has no landmarks.
    """
    y, x = ((np.arange(count) + 0.5) / count * 2 - 1 for count in pictures.shape[1:3])
    grid = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    flat = pictures.reshape(len(pictures), -1, 3).astype(np.float64)
    colours = [cartoon_faces.WHITE, cartoon_faces.WHITE, cartoon_faces.BLACK, cartoon_faces.BLACK, cartoon_faces.LIPS]
    centres, totals = [], []
    for landmark, colour in enumerate(colours):
        alike = -np.sqrt(((flat - colour) ** 2).sum(-1))
        centre = known[:, landmark]
        for _ in range(SHIFTS):
            near = ((grid - centre[:, None]) ** 2).sum(-1) < NEAR**2
            usual = np.where(near, alike, 0).sum(1) / np.maximum(near.sum(1), 1)
            weight = np.where(near, np.maximum(alike - usual[:, None], 0), 0)
            total = weight.sum(1)
            centre = np.where(total[:, None] > 0, weight @ grid / np.maximum(total, 1e-9)[:, None], centre)
        centres.append(centre)
        totals.append(total)
    return np.stack(centres, axis=1), np.stack(totals, axis=1)


def identity_error(made: Frames, truth: Frames, who: Identity) -> Float[np.ndarray, " frames"]:
    """The mean distance, from 0 to 1, of the colours of skin, hair and background from the person's own."""
    found = []
    for colour in (who.skin, who.hair, who.background):
        own = colour[:, None, None]
        where = (np.abs(truth - own) < 1).all(-1)
        counts = np.maximum(where.sum((1, 2)), 1)[:, None]
        mean = np.einsum("fhw,fhwc->fc", where, made.astype(np.float64)) / counts
        found.append(np.where(where.any((1, 2)), np.abs(mean - colour).mean(-1) / 255, 0))
    return np.mean(found, axis=0)
