"""Every name is the field's term: private words of former versions stand nowhere in the code."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted(
    {path.resolve() for folder in ("jaxgan", "configs") for path in (ROOT / folder).rglob("*.py")}
    | {ROOT / name for name in ("train.py", "sample.py", "evaluate.py")}
)

# Neither names nor parts of names, nor words of docstrings, comments and texts: {retired: the field's word}.
WORDS = {
    "allow_drift": "allow_config_change",
    "contest": "EvalTask",
    "d_ahead": "d_pairwise_accuracy",
    "digested": "with_digest",
    "feed": "loader",
    "feeds": "loaders",
    "fed": "given",
    "final_share": "final_fraction",
    "g_spread": "diversity_ratio",
    "heed": "configure",
    "heed_warnings": "configure_warnings",
    "impatient": "fail_fast_downloads",
    "in_order": "ordered_map",
    "joined_batches": "concat_real_fake",
    "judge": "evaluator",
    "judged": "evaluated",
    "judgement": "discriminator output",
    "judgements": "discriminator outputs",
    "judges": "evaluates",
    "judging": "evaluating",
    "made_once": "cached_arrays",
    "mourn": "defer_to_heartbeat",
    "mourning": "defer_to_heartbeat",
    "of_halves": "real_vs_real",
    "over_local_devices": "local_shard_map",
    "penalty_every": "penalty_interval",
    "reseeded": "fork_seed",
    "run_once": "compile_and_run",
    "sees": "is given",
    "shared_penalties": "fused_penalties",
    "spared": "warn_on_oserror",
    "spares": "warn_on_oserror",
    "sparing": "tolerate_failure",
    "told": "given",
    "with_wish": "attach_stop_flag",
}
# Texts that stay. Streams of random numbers of other names would be other numbers; a heading is for people.
KEPT = {
    ("adversarial/penalties.py", "lipschitz"),
    ("adversarial/penalties.py", "max_gradient"),
    ("metrics/report.py", "real images"),
}
# Not names as they stand.
NAMES = {
    "Collapse": "TrainingMonitor",
    "Contest": "EvalTask",
    "Context": "PenaltyInputs",
    "DISCRIMINATOR_SIDES": "DISCRIMINATOR_CONDITIONING",
    "Frame": "WhitenedBasis",
    "GENERATOR_SIDES": "GENERATOR_CONDITIONING",
    "Group": "ClusterSpec",
    "HARMLESS": "RESUMABLE",
    "Judge": "Evaluator",
    "Judgement": "DiscriminatorOutput",
    "Kept": "SavedFeatures",
    "LASTING": "PERMANENT_ERRNOS",
    "Log": "MetricLogger",
    "Made": "FakeBatch",
    "Order": "BatchSampler",
    "ResidentFeed": "DeviceLoader",
    "Run": "Trainer",
    "SILENCE": "HEARTBEAT_TIMEOUT",
    "SWEEPABLE": "Setting.sweepable",
    "Seen": "DiscriminatorInput",
    "Side": "ImageSet",
    "StopRequest": "StopSignal",
    "StreamingFeed": "PrefetchLoader",
    "Trained": "RestoredRun",
    "Undecoded": "LazyDataset",
    "WISH": "STOP_FLAG",
    "World": "GaussianMixture",
    "_averaged": "ema_update",
    "_chosen": "tree_select",
    "_finished": "finish_step",
    "_raised": "_compensated_add",
    "_updated": "apply_update",
    "active": "is_enabled",
    "by_rows": "map_rows",
    "curved": "delta_interval",
    "drift": "config change",
    "flattened": "to_flat",
    "held": "lock_workdir, from_arrays",
    "joins": "concatenates",
    "keys_for": "fold_in_name",
    "largest": "pmax",
    "leak": "negative_slope",
    "lipschitz": "wgan_lp",
    "manifold": "prdc",
    "max_gradient": "max_gp",
    "meet": "barrier",
    "memory": "extra",
    "modulates": "modulates_norm",
    "nearby": "perturb",
    "nonfinite": "skipped_updates",
    "normalised": "maybe_spectral_norm",
    "penalize": "discriminator_penalties",
    "put": "shard_batch",
    "recovered": "aux_logits",
    "recovers": "predicts",
    "replacing": "atomic_write",
    "seal": "record_digest",
    "see": "preprocess, update",
    "stats": "model_state",
    "through": "apply_layer",
    "turned": "to_layout, transposed",
}
# No keys of metrics, scores or settings, as texts that are nothing else.
KEYS = re.compile(
    r"[dg]_(loss|real|fake|grad_norm|learning_rate|features|recovery|zcr|ahead|spread)|nonfinite|real images"
    r"|images_per_second|lipschitz|max_gradient|nearby|\w*_(se|perfect)"
)
# No parts of messages; docstrings may have them.
MESSAGES = ("should be", "there is no config", "goes on from", "holds another experiment", "means nothing to")
# Of no module; what lies in a package of its subject does not lie in the package itself.
MODULES = {"bilinear", "homogeneous", "passes", "pictures", "points", "processes", "regularizers", "worlds", "writers"}
MOVED = {"augment", "checkpoint", "experiment", "files", "images", "keys", "losses", "objectives", "optimizers"}
MOVED |= {"parallel", "penalties", "pictures", "plots", "population", "runs", "sampling", "state", "steps"}


class Found(NamedTuple):
    """A name, a comment or a text (one line of it) in a file."""

    place: str
    line: int
    kind: str
    text: str


def found_in(source: str, place: str) -> Iterator[Found]:
    """All names, comments and texts of a file."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        line = token.start[0]
        if token.type == tokenize.NAME:
            yield Found(place, line, "name", token.string)
        elif token.type == tokenize.COMMENT:
            yield Found(place, line, "comment", token.string)
    nodes = [*ast.walk(ast.parse(source))]
    docstrings = {
        id(node.body[0].value)
        for node in nodes
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node)
    }
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            kind = "docstring" if id(node) in docstrings else "text"
            yield Found(place, node.lineno, kind, node.value)


def retired(found: Found) -> str | None:
    """What is wrong with it."""
    for word in re.findall(r"[a-z]+(?:_[a-z]+)*", found.text.lower()):
        if bad := {word, *word.split("_")} & WORDS.keys():
            return f"{min(bad)}: {WORDS[min(bad)]}"
    if found.kind == "name" and found.text in NAMES:
        return f"{found.text}: {NAMES[found.text]}"
    if found.kind == "text" and KEYS.fullmatch(found.text) and (found.place, found.text) not in KEPT:
        return f"the key {found.text!r}"
    if found.kind == "text":
        return next((f"{phrase!r} in a message" for phrase in MESSAGES if phrase in found.text), None)
    return None


def place_of(path: Path) -> str:
    """Of a file within the package, or in the repository."""
    inside = ROOT / "jaxgan"
    return str(path.relative_to(inside if path.is_relative_to(inside) else ROOT))


@pytest.mark.parametrize("path", FILES, ids=place_of)
def test_no_retired_word_stands_in_the_code(path):
    wrong = [(each, why) for each in found_in(path.read_text(), place_of(path)) if (why := retired(each))]
    assert not wrong, "\n".join(f"{each.place}:{each.line}: {why} ({each.kind})" for each, why in wrong)


def test_no_module_has_a_retired_name():
    assert not MODULES & {path.stem for path in FILES}
    assert not MOVED & {path.stem for path in (ROOT / "jaxgan").glob("*.py")}


def test_all_code_is_read():
    places = {place_of(path) for path in FILES}
    assert {"train.py", "algorithms/gan.py", "adversarial/penalties.py", "configs/digits.py"} <= places


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ("def judge(x): ...", "judge"),
        ("d_judged = 1", "judged"),
        ("class Made: ...", "Made"),
        ('"""What the discriminator is told."""', "told"),
        ("x = 1  # as it was Told", "told"),
        ('raise ValueError(f"config.loss={x} should be hinge")', "should be"),
        ('metrics["d_loss"] = x', "d_loss"),
        ('metrics = {f"{name}_se": 1}', "_se"),
        ('weight = config["lipschitz"]', "lipschitz"),
    ],
)
def test_a_retired_word_would_be_found(source, word):
    assert [why for each in found_in(source, "here.py") if (why := retired(each)) and word in why]


@pytest.mark.parametrize(
    "source",
    [
        '"""A Lipschitz function\'s logits should be near, and what it used of memory is largest."""'.replace(
            "Lips", "s"
        ),
        '"""Made-up examples."""',
        'config.on_nonfinite = "skip"',
        "rows = parse(text)  # that people see",
        'print("2 real images are left out")',
    ],
)
def test_plain_words_are_allowed(source):
    assert [why for each in found_in(source, "here.py") if (why := retired(each))] == []
