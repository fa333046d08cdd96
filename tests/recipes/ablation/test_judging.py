"""Verdicts on logs: each by runs with a known truth."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from recipes.ablation.judging import Judgement, Question, build_parts, judge_log
from recipes.ablation.logs import LoggedRun
from recipes.errors import UserError
from recipes.metrics import Predictions
from recipes.prediction.pseudo_values import score_rows
from recipes.reports.document import as_markdown
from tests.sampling import slow

EFFECTS = {"base": 0.0, "mixup": 0.05, "ema": 0.0, "fgm": -0.05}


def simulate(
    effects: dict[str, float], seeds: int = 4, noise: float = 0.003, is_paired: bool = True, number: int = 1
) -> list[LoggedRun]:
    """A log with known effects; a seed moves all arms, and each run moves on its own."""
    random = np.random.default_rng(number)
    of_seed = random.normal(0, 0.02, seeds)
    return [
        LoggedRun(
            (arm,),
            str(seed if is_paired else f"{arm} {seed}"),
            "data",
            round(0.85 + effect + of_seed[seed] * is_paired + random.normal(0, noise), 4),
        )
        for arm, effect in effects.items()
        for seed in range(seeds)
    ]


def words(judgement: Judgement) -> dict[str, str]:
    assert judgement.findings is not None
    return {judgement.findings.name(verdict.effect): verdict.word for verdict in judgement.findings.mains}


def with_scores(runs: Sequence[LoggedRun], arm: str, scores: Sequence[float | None]) -> list[LoggedRun]:
    numbers = iter(scores)
    return [replace(run, score=next(numbers)) if run.levels == (arm,) else run for run in runs]


def test_arms_are_judged_against_the_base_in_the_words_of_the_ablation() -> None:
    judgement = judge_log(simulate(EFFECTS), Question())
    assert words(judgement) == {"mixup": "helps", "ema": "practically nothing", "fgm": "hurts"}
    text = as_markdown("Judged", build_parts(judgement, Question()))
    assert "mixup (+0.0" in text and "makes no difference above 0.01. Recommended: mixup." in text
    assert "another seed moves the score of one arm by 0.0" in text and "for these validation rows only" in text
    assert "Whether the runs learned is unknown" in text


def test_the_effect_of_paired_seeds_is_the_mean_difference() -> None:
    runs = simulate({"base": 0.0, "mixup": 0.05})
    scores = [run.score or 0 for run in runs]
    judgement = judge_log(runs, Question())
    assert judgement.findings is not None
    (verdict,) = judgement.findings.mains
    assert verdict.value == pytest.approx(np.mean(scores[4:]) - np.mean(scores[:4]))
    differences = np.subtract(scores[4:], scores[:4])
    half = 3.182446 * differences.std(ddof=1) / 2  # t with 3 degrees of freedom
    assert verdict.interval == pytest.approx((verdict.value - half, verdict.value + half))


def test_runs_without_common_seeds_are_independent() -> None:
    runs = simulate({"base": 0.0, "mixup": 0.05}, is_paired=False)
    scores = np.array([run.score for run in runs]).reshape(2, 4)
    judgement = judge_log(runs, Question())
    assert judgement.findings is not None
    (verdict,) = judgement.findings.mains
    half = 2.446912 * (scores.var(1, ddof=1).mean() / 2) ** 0.5  # t with 6 degrees of freedom
    assert verdict.interval == pytest.approx((verdict.value - half, verdict.value + half))
    assert any("do not have their seeds in common" in sentence for sentence in judgement.noise)
    noisy = judge_log(simulate({"base": 0.0, "mixup": 0.01}, noise=0.02, is_paired=False), Question())
    assert "seeds instead of 4" in as_markdown("Judged", build_parts(noisy, Question()))


def test_less_of_a_loss_helps() -> None:
    question = Question(lower_is_better=True)
    judgement = judge_log(simulate(EFFECTS), question)
    assert words(judgement) == {"mixup": "hurts", "ema": "practically nothing", "fgm": "helps"}
    assert "+ is less of it" in as_markdown("Judged", build_parts(judgement, question))


def test_factors_have_effects_and_pairs() -> None:
    random = np.random.default_rng(0)
    runs = [
        LoggedRun((mixup, model), str(seed), data, 0.8 + 0.05 * (mixup == "1") + random.normal(0, 0.004))
        for mixup in "01"
        for model in ("minilm", "tiny")
        for data in ("sst2", "imdb")
        for seed in range(3)
    ]
    question = Question(factors=["mixup", "model"], bases=["model=minilm"])
    judgement = judge_log(runs, question)
    assert words(judgement) == {"mixup": "helps", "model=tiny": "practically nothing"}
    assert "mixup × model=tiny" in as_markdown("Judged", build_parts(judgement, question))
    with pytest.raises(UserError, match="model: which of 'minilm', 'tiny' are the others compared with"):
        judge_log(runs, replace(question, bases=[]))
    with pytest.raises(UserError, match="--base=modle=tiny: write <factor>=<level>; did you mean model"):
        judge_log(runs, replace(question, bases=["modle=tiny"]))


def test_arms_with_unequal_noise_are_named() -> None:
    runs = with_scores(simulate(EFFECTS, noise=0.001, is_paired=False), "ema", [0.7, 0.8, 0.9, 0.75])
    assert any("seeds move some arms more than others" in each for each in judge_log(runs, Question()).noise)
    assert not any("seeds move some" in each for each in judge_log(simulate(EFFECTS), Question()).noise)


def test_a_base_at_the_majority_class_gives_no_verdict() -> None:
    runs = [replace(run, majority=0.55) for run in simulate(EFFECTS)]
    judgement = judge_log(with_scores(runs, "base", [0.55, 0.551, 0.85, 0.84]), Question())
    assert judgement.findings is None
    assert judgement.health[0].startswith("No verdict: 2 of 4 runs of the base failed or did not learn")


def test_an_arm_that_breaks_training_leaves_with_its_healthy_runs() -> None:
    runs = [replace(run, majority=0.55) for run in simulate(EFFECTS)]
    healthy = judge_log([run for run in runs if run.levels != ("fgm",)], Question())
    judgement = judge_log(with_scores(runs, "fgm", [0.55, None, 0.54, 0.85]), Question())
    assert words(judgement) == {**words(healthy), "fgm": "breaks training (3 of 4 runs)"}
    assert judgement.findings is not None and healthy.findings is not None
    assert judgement.findings.mains[0].interval == healthy.findings.mains[0].interval
    assert "fgm: 1 of 4 runs failed or have no finite score" in " ".join(judgement.health)


def test_the_report_of_a_log_shows_the_effects_with_and_without_the_level_that_breaks() -> None:
    runs = [replace(run, majority=0.55) for run in simulate(EFFECTS)]
    text = as_markdown("Judged", build_parts(judge_log(with_scores(runs, "fgm", [0.55] * 4), Question()), Question()))
    # 1 of the 1,820 choices of 4 runs of 16.
    assert "fgm breaks training (4 of 4 runs), p = 0.00055. All its runs, the healthy ones too, are left out" in text
    assert "This loses 1 of 4 combinations. To measure all of it, repeat the study without fgm." in text
    line = next(
        line for line in text.splitlines() if line.startswith("| fgm | breaks training (4 of 4 runs) |  |  | -0.")
    )
    assert line.count("|") == 7


def make_predictions(right: Sequence[float]) -> Predictions:
    """The true class of each row has this probability."""
    probabilities = np.array([[each, 1 - each] for each in right], np.float32)
    ids = [str(row) for row in range(len(right))]
    return Predictions(ids, ["a"] * len(right), probabilities, np.round(probabilities), ["a", "b"], False)


def test_a_log_with_probabilities_has_a_second_endpoint() -> None:
    random = np.random.default_rng(0)
    runs = []
    for arm, added in (("base", 0.0), ("smooth", 0.05)):
        for seed in range(4):
            predictions = make_predictions(np.clip(random.normal(0.7 + added, 0.15, 300), 0.01, 0.99).tolist())
            rows = score_rows(predictions, "accuracy")
            runs.append(
                LoggedRun(
                    (arm,), str(seed), "data", float(rows.mean()), None, rows, f"{arm}{seed}", predictions=predictions
                )
            )
    judgement = judge_log(runs, Question())
    assert judgement.findings is not None and judgement.findings.second is not None
    ((effect, interval),) = judgement.findings.second.effects.items()
    losses = [score_rows(run.predictions, "loss").mean() for run in runs if run.predictions]
    assert judgement.findings.name(effect) == "smooth"
    assert interval.value == pytest.approx(np.mean(losses[4:]) - np.mean(losses[:4]))
    text = as_markdown("Judged", build_parts(judgement, Question()))
    assert "loss (second endpoint)" in text and "It recommends nothing." in text
    without = judge_log(runs, Question(second_endpoint="none"))
    assert without.findings is not None and without.findings.second is None


def test_a_single_collapsed_run_stays_in_with_its_score_and_leaves_its_level_in_doubt() -> None:
    runs = [replace(run, majority=0.55) for run in simulate(EFFECTS)]
    judgement = judge_log(with_scores(runs, "fgm", [0.55, 0.8, 0.8, 0.8]), Question())
    assert judgement.findings is not None
    fgm = judgement.findings.mains[2]
    assert fgm.word == "cannot tell (1 of 4 runs did not learn)" and not fgm.has_estimate
    assert judgement.findings.over_all_runs[fgm.effect].value < -0.1
    text = as_markdown("", build_parts(judgement, Question()))
    assert "Cannot tell what fgm does: 1 of 4 runs did not learn" in text and "3 levels were tested" in text
    assert "fgm: 1 of 4 runs did not learn" in " ".join(judgement.health)


def test_three_runs_of_three_against_three_are_enough_to_break() -> None:
    runs = [replace(run, majority=0.55) for run in simulate({"base": 0.0, "awp": 0.0}, seeds=3)]
    assert words(judge_log(with_scores(runs, "awp", [0.55] * 3), Question())) == {
        "awp": "breaks training (3 of 3 runs)"
    }


def test_equal_scores_of_all_seeds_measure_no_chance() -> None:
    runs = [replace(run, score=0.9 if run.levels == ("mixup",) else 0.8) for run in simulate(EFFECTS)]
    judgement = judge_log(runs, Question())
    assert judgement.findings is None and "in each arm every seed has the same score" in judgement.health[0]


def test_rounding_that_hides_the_noise_gives_no_verdict() -> None:
    scores = [0.8, 0.81, 0.85, 0.86]
    runs = [replace(run, score=score) for run, score in zip(simulate({"base": 0, "a": 0}, 2), scores, strict=True)]
    judgement = judge_log(runs, Question())
    assert words(judgement) == {"a": "no evidence"}
    assert judgement.findings is not None and "have 2 digits" in judgement.findings.mains[0].why


@pytest.mark.parametrize(
    ("runs", "question", "message"),
    [
        (simulate(EFFECTS, seeds=1), Question(), "On data 'data' every arm has a single seed"),
        (simulate({"base": 0.0}), Question(), "arm: every run has 'base', so there is nothing to compare"),
        (simulate({"a": 0.0, "b": 0.0}), Question(), "arm: which of 'a', 'b' are the others compared with"),
        (simulate(EFFECTS), Question(bases=["mixpu"]), "--base: no run has arm=mixpu; did you mean mixup"),
        (simulate(EFFECTS), Question(bases=["a", "b"]), "--base: 'a', 'b' are more than one arm"),
        (
            [*simulate(EFFECTS), LoggedRun(("ema",), "0", "imdb", 0.8)],
            Question(),
            "On data 'imdb' there is no run of the base",
        ),
    ],
)
def test_a_log_that_cannot_be_compared_is_refused(runs: Sequence[LoggedRun], question: Question, message: str) -> None:
    with pytest.raises(UserError, match=message):
        judge_log(runs, question)


@pytest.mark.parametrize("is_paired", [True, slow(False)])
@pytest.mark.slow
def test_placebos_are_rarely_said_to_do_something(is_paired: bool) -> None:
    """200 studies of 4 arms that all do the same; `scripts/calibrate.py` counts more of them."""
    placebos = dict.fromkeys(EFFECTS, 0.0)
    claims = [
        {"helps", "hurts"} & set(words(judge_log(simulate(placebos, 3, 0.02, is_paired, number), Question())).values())
        for number in range(200)
    ]
    assert sum(map(bool, claims)) <= 0.05 * 200 + 3 * (200 * 0.05 * 0.95) ** 0.5
