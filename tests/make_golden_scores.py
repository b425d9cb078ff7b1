"""What the libraries that others use say about features of a seeded generator, for tests that have none of them.

Made by `pip install -e .[scores_test]` and `python tests/make_golden_scores.py > tests/golden_scores.json`.
"""

import contextlib
import io
import json

import numpy as np

SIZES = {"narrow": (400, 300, 8), "wide": (250, 350, 64)}  # fakes, real ones, features


def draw(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fake features, real ones, and logits of the fakes, in float64: skewed, correlated, and far from 0."""
    count, other, width = SIZES[name]
    generator = np.random.default_rng(width)
    mixing = generator.normal(size=(width, width)) / np.sqrt(width)
    real = np.exp(0.4 * generator.normal(size=(other, width)) @ mixing) + 2
    fake = np.exp(0.4 * generator.normal(size=(count, width)) @ mixing + 0.15) + 2.05
    return fake, real, 3 * generator.normal(size=(count, width))


def library_scores(fake: np.ndarray, real: np.ndarray, logits: np.ndarray) -> dict[str, float]:
    """By torch-fidelity, prdc and scipy."""
    import prdc  # noqa: PLC0415  # only where the libraries are
    import torch  # noqa: PLC0415
    from scipy import linalg  # noqa: PLC0415
    from torch_fidelity import metric_fid, metric_isc, metric_kid, metric_prc  # noqa: PLC0415

    fakes, reals = torch.from_numpy(fake), torch.from_numpy(real)
    statistics = [metric_fid.fid_features_to_statistics(features) for features in (fakes, reals)]
    root = linalg.sqrtm(statistics[0]["sigma"] @ statistics[1]["sigma"]).real
    shift = statistics[0]["mu"] - statistics[1]["mu"]
    traces = sum(np.trace(one["sigma"]) for one in statistics)
    kid = metric_kid.kid_features_to_metric(
        fakes, reals, kid_subsets=20, kid_subset_size=100, rng_seed=2020, verbose=False
    )
    isc = metric_isc.isc_features_to_metric(torch.from_numpy(logits))
    prc = metric_prc.prc_features_to_metric(fakes, reals, verbose=False)
    with contextlib.redirect_stdout(io.StringIO()):
        dense = prdc.compute_prdc(real, fake, 5)
        close = prdc.compute_prdc(real, fake, 3)
    return {
        "fid": metric_fid.fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"],
        "fid_scipy": float(shift @ shift + traces - 2 * np.trace(root)),
        "kid_mean": kid["kernel_inception_distance_mean"],
        "kid_std": kid["kernel_inception_distance_std"],
        "isc_mean": isc["inception_score_mean"],
        "isc_std": isc["inception_score_std"],
        "precision": prc["precision"],
        "recall": prc["recall"],
        "prdc_precision": float(close["precision"]),
        "prdc_recall": float(close["recall"]),
        "density": float(dense["density"]),
        "coverage": float(dense["coverage"]),
    }


if __name__ == "__main__":
    print(json.dumps({name: library_scores(*draw(name)) for name in SIZES}, indent=2))
