"""The decision on its own, on made-up predictions whose outcome can be worked out by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from deepdigits.core.loading import read_params
from deepdigits.promotion.rules import Decision, Score, judge, judge_first, paired_interval
from deepdigits.release.params import Params
from deepdigits.tasks.contract import EvaluationResult, Reading, Samples, Statistic
from tests.conftest import ROOT

RULE = read_params(Params, ROOT / "params.yaml").promotion
LABELS = np.arange(10_000) % 10


def score(*wrong: int, parameters: int = 1000, milliseconds: float = 1.0) -> Score:
    predicted = LABELS.copy()
    predicted[list(wrong)] = (predicted[list(wrong)] + 1) % 10
    return Score(EvaluationResult({}, Reading(predicted, LABELS)), parameters, milliseconds)


def test_the_first_version_only_has_to_meet_its_floors() -> None:
    assert judge_first([]).outcome == "promoted"
    refused = judge_first(["Floor not met."])
    assert (refused.outcome, refused.reasons) == ("refused", ["Floor not met."])


def test_a_candidate_better_by_mcnemar_is_promoted_with_the_contingency_table() -> None:
    decision = judge(score(*range(5)), score(*range(5), *range(20, 40)), RULE, 0, [])
    assert decision.outcome == "promoted"
    assert "only the candidate reads 20 images correctly, only the champion 0" in decision.reasons[0]
    assert decision.numbers["contingency"] == {
        "both_right": 9975, "only_candidate_right": 20, "only_champion_right": 0, "both_wrong": 5,
    }  # fmt: skip
    assert decision.numbers["mcnemar_p"] == pytest.approx(binomtest(20, 20).pvalue)


def test_a_candidate_better_by_chance_is_refused_with_what_was_needed() -> None:
    decision = judge(score(*range(5)), score(*range(8)), RULE, 0, [])
    assert decision.outcome == "refused"
    assert "p < 0.05 is required" in decision.reasons[0]
    assert "Not cheaper" in decision.reasons[1]


@pytest.mark.parametrize("cost", [{"parameters": 800}, {"milliseconds": 0.5}])
def test_a_cheaper_non_inferior_candidate_is_promoted(cost: dict[str, int]) -> None:
    decision = judge(score(*range(10), **cost), score(*range(2, 12)), RULE, 0, [])
    assert decision.outcome == "promoted"
    assert decision.reasons[0].startswith("Non-inferior and cheaper")


def test_a_cheaper_but_possibly_worse_candidate_is_refused() -> None:
    decision = judge(score(*range(30), parameters=10), score(*range(20, 40)), RULE, 0, [])
    assert decision.outcome == "refused"
    assert any("Not shown to be non-inferior" in reason for reason in decision.reasons)


def test_a_drop_in_the_recall_of_one_digit_blocks_even_a_better_model() -> None:
    sevens = np.flatnonzero(LABELS == 7)[:6]
    others = np.flatnonzero(LABELS != 7)[:60]
    decision = judge(score(*sevens), score(*others), RULE, 0, [])
    assert decision.outcome == "refused"
    assert decision.reasons == ["Recall of class 7 falls by 0.60 points; allowed: 0.50."]


def test_an_objection_blocks_even_a_better_model() -> None:
    decision = judge(score(), score(*range(50)), RULE, 0, ["Other data."])
    assert (decision.outcome, decision.reasons) == ("refused", ["Other data."])


@given(st.sets(st.integers(0, 9999), max_size=40), st.sets(st.integers(0, 9999), max_size=40))
def test_a_candidate_that_is_no_better_is_never_promoted(candidate_errors: set[int], champion_errors: set[int]) -> None:
    decision = judge(score(*candidate_errors), score(*champion_errors), RULE, 0, [])
    if len(candidate_errors) >= len(champion_errors):
        assert decision.outcome == "refused"
    assert decision.reasons


@given(st.integers(0, 50), st.integers(0, 50), st.integers(200, 20_000))
def test_the_paired_interval_contains_the_difference_and_is_negated_when_the_roles_swap(
    first: int, second: int, n: int
) -> None:
    low, high = paired_interval(first, second, n, 0.1)
    assert low <= (first - second) / (n + 2) <= high
    assert paired_interval(second, first, n, 0.1) == pytest.approx((-high, -low))


def test_the_paired_interval_matches_the_paper() -> None:
    """By hand: (5 + 1 - 9 - 1) / 102 -+ 1.96 * sqrt((16/102 - (4/102)^2) / 102)."""
    middle, spread = -4 / 102, 1.959964 * math.sqrt((16 / 102 - (4 / 102) ** 2) / 102)
    assert paired_interval(5, 9, 100, 0.05) == pytest.approx((middle - spread, middle + spread))


REAL = np.random.default_rng(9).standard_normal((400, 5))


def generator(shift: float, coverage: float, seed: int = 0) -> Score:
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((400, 5)) + shift
    measures = {"fid": 5 * shift**2 + 0.05, "coverage": coverage}
    return Score(EvaluationResult(measures, Samples(features, REAL, rng.random(400) < coverage)), 1, 1.0)


RULE_GAN = RULE.model_copy(update={"generator": RULE.generator.model_copy(update={"bootstrap_rounds": 60})})


@pytest.mark.parametrize(
    ("candidate", "outcome", "reason"),
    [
        (generator(0.1, 0.95), "promoted", "Better, and no worse in anything"),
        (generator(0.5, 0.9), "refused", "Not better"),
        (generator(0.9, 0.95), "refused", "Not shown to be non-inferior"),
        (generator(0.1, 0.6), "refused", "Not shown to be non-inferior"),
    ],
)
def test_a_generator_must_be_better_and_worse_in_nothing(candidate: Score, outcome: str, reason: str) -> None:
    champion = generator(0.5, 0.9)
    decision = judge(candidate, champion, RULE_GAN, 1, [])
    assert decision.outcome == outcome
    assert decision.reasons[0].startswith(reason)


def test_a_generator_below_a_floor_is_refused_and_equal_seeds_give_equal_decisions() -> None:
    pair = generator(0.1, 0.95), generator(0.5, 0.9)
    blocked = judge(*pair, RULE_GAN, 1, ["Floor not met."])
    assert (blocked.outcome, blocked.reasons) == ("refused", ["Floor not met."])
    decision = judge(*pair, RULE_GAN, 1, [])
    assert decision == judge(*pair, RULE_GAN, 1, [])
    assert replace(decision, numbers={}).outcome == "promoted"


def scene_score(*wrong: int, parameters: int = 1000) -> Score:
    """The score of a network that gets all of 500 scenes right except these."""
    right = np.ones(500)
    right[list(wrong)] = 0
    evidence = Statistic("mAP", lambda weights: float(weights @ right / weights.sum()), 500)
    return Score(EvaluationResult({}, evidence), parameters, 1.0)


def judge_pair(candidate: Score, champion: Score, *objections: str) -> Decision:
    return judge(candidate, champion, RULE, 1, list(objections))


def test_a_better_detector_is_promoted_by_its_interval() -> None:
    decision = judge_pair(scene_score(*range(10)), scene_score(*range(40)))
    assert decision.outcome == "promoted"
    assert decision.numbers["scores"] == {"candidate": 0.98, "champion": 0.92}
    low, high = decision.numbers["difference_interval"]
    assert 0 < low < 0.06 < high
    assert judge_pair(scene_score(*range(10)), scene_score(*range(40)), "No.").outcome == "refused"


def test_a_detector_that_is_better_by_chance_or_worse_is_refused() -> None:
    lucky = judge_pair(scene_score(1, 2, 3), scene_score(4, 5, 6, 7))
    assert lucky.outcome == "refused"
    worse = judge_pair(scene_score(*range(40)), scene_score(*range(10)))
    assert worse.outcome == "refused"
    assert "Not shown to be non-inferior" in worse.reasons[0]


def test_a_cheaper_detector_that_is_as_good_is_promoted() -> None:
    cheaper = judge_pair(scene_score(*range(10), parameters=500), scene_score(*range(10)))
    assert cheaper.outcome == "promoted"
    assert "parameters 0.50 of the champion's" in cheaper.reasons[0]
    assert judge_pair(scene_score(*range(10)), scene_score(*range(10))).outcome == "refused"
