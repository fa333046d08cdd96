"""The health of a run in words: the same headline and findings in the terminal, on the page and in the model card."""

from collections.abc import Iterator, Mapping
from typing import Any

HEADLINES: Mapping[str, str] = {
    "diverged": "training diverged",
    "collapsed": "the model has collapsed: it predicts one class",
    "not_better": "not shown to be better than the baseline",
    "memorized": "the training rows are memorized",
    "best_at_end": "it learned, and its last evaluation is the best one: a longer run may be better",
    "learned": "it learned",
}
"""What each headline says."""
BASELINES = {"linear": "the linear baseline", "majority": "the majority class"}
"""The name of each baseline in a sentence."""


def is_worse(health: Mapping[str, Any]) -> bool:
    """Whether a run that is not shown to be better is shown to be worse: its whole interval is below 0."""
    against = health.get("against")
    return bool(against and health["headline"] == "not_better" and against["high"] < 0)


def name_headline(health: Mapping[str, Any]) -> str:
    """The headline in words, without the comparison."""
    headline: str = health["headline"]
    return "worse than the baseline" if is_worse(health) else HEADLINES.get(headline, headline)


def describe_headline(health: Mapping[str, Any]) -> str:
    """The headline and the comparison with the baseline, as one sentence."""
    text = name_headline(health)
    against = health.get("against")
    if not against:
        return f"{text}."
    return (
        f"{text}. {against['metric']} against {BASELINES[against['baseline']]}: {against['difference']:+.4f} "
        f"(95 % interval {against['low']:+.4f} to {against['high']:+.4f}, better is positive)."
    )


def describe_findings(health: Mapping[str, Any]) -> Iterator[str]:
    """Each finding as a paragraph: what was seen, what it leads to, and what to do."""
    for finding in health["findings"]:
        yield (
            f"{finding['severity']}: {finding['message']} Leads to: {finding['consequence']}. Do: {finding['remedy']}."
        )


def describe_health(metrics: Mapping[str, Any]) -> Iterator[str]:
    """The early stop, the headline and the findings of a run, a paragraph each; nothing for runs of earlier versions.

    Args:
        metrics: the content of `metrics.json`.
    """
    if stop := metrics.get("early_stop"):
        yield describe_early_stop(stop)
    if health := metrics.get("health"):
        yield f"health: {describe_headline(health)}"
        yield from describe_findings(health)


def describe_early_stop(stop: Mapping[str, Any]) -> str:
    """When and why early stopping ended the run, as a sentence."""
    times = stop["evaluations_since_best"]
    return (
        f"early stop after update {stop['update']} of {stop['planned_updates']}: {times} evaluation"
        f"{'' if times == 1 else 's'} in a row did not improve {stop['metric']}. The best, {stop['best']:.4f}, was "
        f"after update {stop['best_update']}."
    )
