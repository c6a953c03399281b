"""The decision itself: scores in, verdict and numbers out. No store, no files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from scipy.stats import norm

from deepdigits.release.config import GeneratorRule, Promotion
from deepdigits.tasks.classification.metrics import mcnemar
from deepdigits.tasks.contract import EvaluationResult, Reading, Samples, Statistic
from deepdigits.tasks.gan.metrics import frechet_distance

Outcome = Literal["promoted", "refused"]


@dataclass(frozen=True)
class Decision:
    """`reasons` say why, one sentence each. `numbers` are the figures behind them, ready for JSON."""

    outcome: Outcome
    reasons: list[str]
    numbers: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Score:
    """The result of one packaged model on the test data, and its cost: parameters, and milliseconds per answer."""

    result: EvaluationResult
    parameters: int
    milliseconds: float


def judge(candidate: Score, champion: Score | None, rule: Promotion, seed: int, objections: Sequence[str]) -> Decision:
    """Compare a candidate with the champion by the evidence of their task. An objection always rules out promotion.

    Args:
        seed: the seed of the bootstrap, if the rule has one.
    """
    if champion is None:
        return judge_first(objections)
    match candidate.result.evidence, champion.result.evidence:
        case Reading() as one, Reading() as other:
            return judge_readings(one, other, cost_ratio(candidate, champion), rule, objections)
        case Samples() as one, Samples() as other:
            fids = candidate.result.measures["fid"], champion.result.measures["fid"]
            coverages = candidate.result.measures["coverage"], champion.result.measures["coverage"]
            return judge_samples(one, other, fids, coverages, rule.generator, rule.alpha, seed, objections)
        case Statistic() as one, Statistic() as other:
            return judge_statistics(one, other, cost_ratio(candidate, champion), rule, seed, objections)
    raise TypeError("Two models of the same task gave different kinds of evidence.")


def cost_ratio(candidate: Score, champion: Score) -> dict[str, float]:
    return {
        "parameters": candidate.parameters / champion.parameters,
        "latency": candidate.milliseconds / champion.milliseconds,
    }


def judge_first(objections: Sequence[str]) -> Decision:
    """Without a champion, the floors alone decide."""
    if objections:
        return Decision("refused", list(objections))
    return Decision("promoted", ["There is no champion yet, and every floor is met."])


def judge_readings(
    candidate: Reading, champion: Reading, cost: Mapping[str, float], rule: Promotion, objections: Sequence[str]
) -> Decision:
    """Promote a candidate that is better by exact McNemar at `rule.alpha`, or that is cheaper and non-inferior within
    `rule.accuracy_margin`. Never promote it if a class's recall falls by more than `rule.max_class_drop`."""
    labels = candidate.labels
    right, champion_right = candidate.digits == labels, champion.digits == labels
    paired = mcnemar(right, champion_right)
    low, high = paired_interval(paired.only_first_right, paired.only_second_right, len(labels), 2 * rule.alpha)
    classes = np.unique(labels).tolist()
    falls = [float(right[labels == one].mean() - champion_right[labels == one].mean()) for one in classes]
    numbers = {
        "contingency": {
            "both_right": int((right & champion_right).sum()),
            "only_candidate_right": paired.only_first_right,
            "only_champion_right": paired.only_second_right,
            "both_wrong": int((~right & ~champion_right).sum()),
        },
        "mcnemar_p": paired.p_value,
        "accuracy_difference": float(right.mean() - champion_right.mean()),
        "accuracy_difference_interval": [low, high],
        "interval_confidence": 1 - 2 * rule.alpha,
        "recall_difference_by_digit": falls,
        "cost_ratio": dict(cost),
    }
    blocked = [*objections] + [
        f"Recall of class {digit} falls by {-100 * fall:.2f} points; allowed: {100 * rule.max_class_drop:.2f}."
        for digit, fall in zip(classes, falls, strict=True)
        if fall < -rule.max_class_drop
    ]
    if blocked:
        return Decision("refused", blocked, numbers)
    won, lost = paired.only_first_right, paired.only_second_right
    if won > lost and paired.p_value < rule.alpha:
        reason = f"Better: only the candidate reads {won} images correctly, only the champion {lost}"
        return Decision("promoted", [f"{reason}, p = {paired.p_value:.3g} < {rule.alpha:g}."], numbers)
    cheaper = [f"{name} {ratio:.2f} of the champion's" for name, ratio in cost.items() if ratio <= rule.cheaper_share]
    accuracy = (
        f"the accuracy is at most {-100 * min(low, 0):.3f} points lower (allowed {100 * rule.accuracy_margin:.3f})"
    )
    if low > -rule.accuracy_margin and cheaper:
        return Decision("promoted", [f"Non-inferior and cheaper: {accuracy}; {', '.join(cheaper)}."], numbers)
    reasons = [
        f"Not better: only the candidate reads {won} images correctly, only the champion {lost}, "
        f"p = {paired.p_value:.3g}; p < {rule.alpha:g} is required."
    ]
    if low <= -rule.accuracy_margin:
        reasons.append(f"Not shown to be non-inferior: {accuracy}.")
    if not cheaper:
        shares = ", ".join(f"{name} {ratio:.2f}" for name, ratio in cost.items())
        reasons.append(f"Not cheaper: {shares} of the champion's; {rule.cheaper_share:g} or less is required.")
    return Decision("refused", reasons, numbers)


def judge_samples(
    candidate: Samples,
    champion: Samples,
    fids: tuple[float, float],
    coverages: tuple[float, float],
    rule: GeneratorRule,
    alpha: float,
    seed: int,
    objections: Sequence[str],
) -> Decision:
    """Promote a candidate that is better in FID or coverage, and non-inferior within the margin in the other.

    The intervals of both differences are percentiles of a paired bootstrap over real images and samples (Efron and
    Tibshirani, 1993): every round judges both generators on the same draw, so the bias of FID at few samples affects
    both.

    Args:
        fids, coverages: the values of candidate and champion, in this order.
    """
    fid, coverage = bootstrap_differences(candidate, champion, rule.bootstrap_rounds, seed)
    fid /= fids[1]
    fid_low, fid_high = (float(value) for value in np.quantile(fid, (alpha, 1 - alpha)))
    cov_low, cov_high = (float(value) for value in np.quantile(coverage, (alpha, 1 - alpha)))
    numbers = {
        "fid": {"candidate": fids[0], "champion": fids[1]},
        "coverage": {"candidate": coverages[0], "champion": coverages[1]},
        "fid_change_interval": [fid_low, fid_high],
        "coverage_difference_interval": [cov_low, cov_high],
        "interval_confidence": 1 - 2 * alpha,
        "bootstrap_rounds": rule.bootstrap_rounds,
    }
    if objections:
        return Decision("refused", list(objections), numbers)
    in_fid = f"FID changes by {100 * fid_low:+.1f} to {100 * fid_high:+.1f} % (allowed {100 * rule.fid_margin:+.1f} %)"
    in_coverage = (
        f"coverage changes by {100 * cov_low:+.2f} to {100 * cov_high:+.2f} points "
        f"(allowed {-100 * rule.coverage_margin:+.2f})"
    )
    non_inferior = fid_high <= rule.fid_margin and cov_low >= -rule.coverage_margin
    better = fid_high < 0 or cov_low > 0
    if non_inferior and better:
        return Decision("promoted", [f"Better, and no worse in anything: {in_fid}; {in_coverage}."], numbers)
    verdict = "Not better" if non_inferior else "Not shown to be non-inferior"
    return Decision("refused", [f"{verdict}: {in_fid}; {in_coverage}."], numbers)


def judge_statistics(
    candidate: Statistic,
    champion: Statistic,
    cost: Mapping[str, float],
    promotion: Promotion,
    seed: int,
    objections: Sequence[str],
) -> Decision:
    """Promote a candidate that is better at `promotion.alpha`, or that is cheaper and non-inferior.

    The non-inferiority margin is `promotion.paired.margin`. The interval of the difference is from a paired bootstrap
    over images (Efron and Tibshirani, 1993): every round judges both networks on the same draw.
    """
    rule, alpha, name = promotion.paired, promotion.alpha, candidate.name
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(candidate.count, np.full(candidate.count, 1 / candidate.count), rule.bootstrap_rounds)
    differences = [candidate.value(draw) - champion.value(draw) for draw in draws]
    low, high = (float(value) for value in np.quantile(differences, (alpha, 1 - alpha)))
    everything = np.ones(candidate.count, np.int64)
    numbers = {
        "paired_measure": name,
        "scores": {"candidate": candidate.value(everything), "champion": champion.value(everything)},
        "difference_interval": [low, high],
        "interval_confidence": 1 - 2 * alpha,
        "bootstrap_rounds": rule.bootstrap_rounds,
        "cost_ratio": dict(cost),
    }
    if objections:
        return Decision("refused", list(objections), numbers)
    change = f"{name} changes by {100 * low:+.2f} to {100 * high:+.2f} points"
    if low > 0:
        return Decision("promoted", [f"Better: {change}."], numbers)
    cheaper = [
        f"{what} {ratio:.2f} of the champion's" for what, ratio in cost.items() if ratio <= promotion.cheaper_share
    ]
    if low >= -rule.margin and cheaper:
        return Decision("promoted", [f"Non-inferior and cheaper: {change}; {', '.join(cheaper)}."], numbers)
    verdict = "Not better" if low >= -rule.margin else "Not shown to be non-inferior"
    return Decision("refused", [f"{verdict}: {change} (allowed {-100 * rule.margin:+.2f})."], numbers)


def paired_interval(only_first: int, only_second: int, images: int, alpha: float) -> tuple[float, float]:
    """The adjusted Wald interval, at confidence 1 - alpha, of the difference of two proportions measured on the same
    images (Bonett and Price, 2012, doi:10.3102/1076998611411915)."""
    first, second = (only_first + 1) / (images + 2), (only_second + 1) / (images + 2)
    spread = float(norm.ppf(1 - alpha / 2)) * ((first + second - (first - second) ** 2) / (images + 2)) ** 0.5
    return first - second - spread, first - second + spread


def bootstrap_differences(
    candidate: Samples, champion: Samples, rounds: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Bootstrap differences, candidate minus champion, in FID and in coverage, `(rounds,)` each."""
    rng, real = np.random.default_rng(seed), candidate.real
    fid, coverage = np.empty(rounds), np.empty(rounds)
    for index in range(rounds):
        rows = rng.integers(len(real), size=len(real))
        drawn = rng.integers(len(candidate.features), size=len(candidate.features))
        fids = [frechet_distance(real[rows], score.features[drawn]) for score in (candidate, champion)]
        fid[index] = fids[0] - fids[1]
        coverage[index] = candidate.covered[rows].mean() - champion.covered[rows].mean()
    return fid, coverage
