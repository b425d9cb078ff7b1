"""Tasks of a trained encoder and decoder: samples, reconstructions, latents, walks between images, traversals.

Images that are drawn are means of p(x | z), not samples of it; encoded images are means of q(z | x).
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from jaxgan.core import latents, rng
from jaxgan.core.experiment import Experiment
from jaxgan.core.state import Variables
from jaxgan.core.types import Arrays, Layout, RunTask, Task, example_fields
from jaxgan.errors import UserError
from jaxgan.variational.densities import Examples, Gaussian, Latents

Networks = Mapping[str, Variables]
Condition = Float[Array, "batch classes"] | None
# (experiment, variables, examples, condition) -> q(z | x)
Encode = Callable[[Experiment, Networks, Examples, Condition], Gaussian]
# (experiment, variables, latents, condition, keys) -> expected examples. The keys, one for each, are for latents
# between z and x; without keys these are means.
Decode = Callable[[Experiment, Networks, Latents, Condition, Array | None], Examples]

EXTREME = 3.0  # standard deviations of the prior, where a traversal ends


def data_field(exp: Experiment) -> str:
    """The field of a batch that is encoded and decoded."""
    (field,) = example_fields(exp.fields)
    return field.name


def condition_of(exp: Experiment, labels: Array | None) -> Condition:
    """Labels as the networks are given them: one-hot, or nothing if the networks are unconditional."""
    return jax.nn.one_hot(labels, exp.classes) if exp.config.conditional else None


def check_labels(config: ConfigDict, classes: int) -> None:
    """Raises a `UserError` if the networks are conditional and the data set has no labels."""
    if config.conditional and not classes:
        raise UserError(f"config.conditional needs labels, and config.data.source={config.data.source} has none")


def needs(exp: Experiment) -> tuple[str, ...]:
    """What has to be given to encode an example."""
    return (data_field(exp), *(["labels"] if exp.config.conditional else []))


def squared_error(exp: Experiment, one: Examples, other: Examples) -> Float[Array, " batch"]:
    """The mean squared difference of each two examples; of pixels in [0, 1]."""
    scale = 0.5 if example_fields(exp.fields)[0].kind == "pixels" else 1.0
    return ((scale * (one - other)) ** 2).mean(axis=range(1, one.ndim))


def tasks(encode: Encode, decode: Decode, encoders: tuple[str, ...], decoders: tuple[str, ...]) -> dict[str, Task]:
    """The tasks of an algorithm.

    Args:
        encode, decode: as the types say.
        encoders, decoders: the networks that each of them needs.
    """

    def encoded(exp: Experiment, variables: Networks, inputs: Arrays, end: str = "") -> tuple[Gaussian, Condition]:
        condition = condition_of(exp, inputs.get(f"{end}labels"))
        return encode(exp, variables, inputs[end + data_field(exp)], condition), condition

    def sample(exp: Experiment, variables: Networks, inputs: Arrays) -> dict[str, Array]:
        def of(seed: Array) -> Latents:
            return latents.latents_of(seed, inputs["index"], exp.config.latent_dim, inputs.get("truncation"))

        z = of(inputs["seed"])
        if "end_seed" in inputs:
            z = latents.slerp(z, of(inputs["end_seed"]), inputs["fraction"])
        keys = jax.vmap(lambda seed, index: jax.random.fold_in(rng.stream_key(seed, 0, "sample lower"), index))(
            inputs["seed"], inputs["index"]
        )
        return {data_field(exp): decode(exp, variables, z, condition_of(exp, inputs.get("labels")), keys)}

    def reconstruct(exp: Experiment, variables: Networks, inputs: Arrays) -> dict[str, Array]:
        q, condition = encoded(exp, variables, inputs)
        return {"reconstructions": decode(exp, variables, q.mean, condition, None)}

    def reconstruction_error(exp: Experiment, variables: Networks, inputs: Arrays) -> dict[str, Array]:
        decoded = reconstruct(exp, variables, inputs)["reconstructions"]
        return {"reconstruction_mse": squared_error(exp, decoded, inputs[data_field(exp)])}

    def encode_task(exp: Experiment, variables: Networks, inputs: Arrays) -> dict[str, Array]:
        q, _ = encoded(exp, variables, inputs)
        return {"mean": q.mean, "log_variance": q.log_variance, "kl": q.kl_to_standard_normal()}

    def interpolate(exp: Experiment, variables: Networks, inputs: Arrays) -> dict[str, Array]:
        q, condition = encoded(exp, variables, inputs)
        z = q.mean
        if "fraction" in inputs:
            end, end_condition = encoded(exp, variables, inputs, "end_")
            fraction = inputs["fraction"]
            z = latents.slerp(z, end.mean, fraction)
            mixed = zip(jax.tree.leaves(condition), jax.tree.leaves(end_condition), strict=True)
            mixed = [(1 - fraction[:, None]) * one + fraction[:, None] * other for one, other in mixed]
            condition = jax.tree.unflatten(jax.tree.structure(condition), mixed)
        return {data_field(exp): decode(exp, variables, z, condition, None)}

    def traverse(exp: Experiment, variables: Networks, inputs: Arrays) -> dict[str, Array]:
        q, condition = encoded(exp, variables, inputs)
        z = q.mean
        if "value" in inputs:
            chosen = jax.nn.one_hot(inputs["dimension"], z.shape[1], dtype=bool)
            z = jnp.where(chosen, inputs["value"][:, None], z)
        return {data_field(exp): decode(exp, variables, z, condition, None)}

    def same_kind(exp: Experiment) -> dict[str, str]:
        return {data_field(exp): example_fields(exp.fields)[0].kind}

    both = encoders + decoders
    return {
        "sample": Task(decoders, sample, same_kind, options=("labels", "truncation", "fraction", "end_seed")),
        "reconstruct": Task(
            both, reconstruct, lambda exp: {"reconstructions": example_fields(exp.fields)[0].kind}, needs=needs
        ),
        "interpolate": Task(both, interpolate, same_kind, needs=needs, layout=interpolation_layout),
        "traverse": Task(both, traverse, same_kind, needs=needs, layout=traversal_layout),
        "encode": Task(
            encoders,
            encode_task,
            lambda exp: {"mean": "latents", "log_variance": "floats", "kl": "floats"},
            needs=needs,
        ),
        "reconstruction_error": Task(
            both, reconstruction_error, lambda exp: {"reconstruction_mse": "score"}, needs=needs
        ),
    }


def interpolation_layout(exp: Experiment, run: RunTask, inputs: Arrays, rows: int, columns: int) -> Layout:
    """Row i walks from given example 2 i to example 2 i + 1; both ends are decoded as well."""
    del run
    if 2 * rows > len(inputs["index"]):
        raise UserError(
            f"--task=interpolate: {rows} rows need {2 * rows} examples, and there are {len(inputs['index'])}"
        )
    starts, ends = (np.repeat(np.arange(rows) * 2 + end, columns) for end in (0, 1))
    found = {name: np.asarray(array)[starts] for name, array in inputs.items()}
    found |= {f"end_{name}": np.asarray(inputs[name])[ends] for name in needs(exp)}
    found["fraction"] = np.tile(np.linspace(0, 1, columns, dtype=np.float32), rows)
    return Layout(found)


def traversal_layout(exp: Experiment, run: RunTask, inputs: Arrays, rows: int, columns: int) -> Layout:
    """Row i varies the latent of the i-th largest mean KL over all given examples; the others are those of the first.

    References:
        Burgess et al., Understanding disentangling in beta-VAE, 2018, figure 7. https://arxiv.org/abs/1804.03599
    """
    if rows > exp.config.latent_dim:
        raise UserError(
            f"--task=traverse: {rows} rows are more than the {exp.config.latent_dim} latents: make --num smaller"
        )
    kl = run("encode", inputs)["kl"].mean(0)
    order = np.argsort(-kl, kind="stable")[:rows]
    found = {name: np.repeat(np.asarray(array)[:1], rows * columns, axis=0) for name, array in inputs.items()}
    found["dimension"] = np.repeat(order, columns).astype(np.int32)
    found["value"] = np.tile(np.linspace(-EXTREME, EXTREME, columns, dtype=np.float32), rows)
    return Layout(found, tuple(f"z{index}: {kl[index]:.2f} nats" for index in order))
