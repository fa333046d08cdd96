"""The metrics of a config, `evaluate.metrics`: names of built-in ones, and functions by `_target_`."""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import yaml

from recipes.compose.trust import import_function
from recipes.errors import UserError, list_names, nearest
from recipes.metrics import FURTHER_MULTI, FURTHER_SINGLE, MULTI, TWO_CLASSES, CustomMetric, scoring

SETTING = "evaluate.metrics"
ON_REQUEST = (*FURTHER_SINGLE, *FURTHER_MULTI)
BUILT_IN = tuple(dict.fromkeys([*TWO_CLASSES, *MULTI, *ON_REQUEST]))
# Keys of a function that are about it; all others are its keyword arguments.
TARGET, NAME, INPUT, DIRECTION = "_target_", "name", "input", "greater_is_better"
INPUTS = ("labels", "probabilities")
# By the names that scikit-learn gives to arguments and functions.
OF_PROBABILITIES = ("y_score", "y_proba", "y_prob", "y_scores", "probas_pred", "pred_decision", "probabilities")
OF_ERRORS = re.compile(r"(^|_)(loss|error|deviance)$")
EXAMPLE = f"{SETTING}='[kappa,{{_target_: sklearn.metrics.fbeta_score, beta: 2, average: macro}}]'"


@contextmanager
def scoring_by(evaluate: Mapping[str, Any], of_folder: bool = False) -> Iterator[None]:
    """Inside this context runs are scored by the metrics of a config too.

    Args:
        evaluate: the settings of `evaluate`.
        of_folder: whether a run folder has them, as for `build_metrics`.

    Raises:
        UserError: with each metric that is wrong, or that nobody trusts.
    """
    items, metric = list(evaluate.get("metrics") or []), evaluate.get("metric")
    if metric in ON_REQUEST and metric not in items:
        items.append(metric)
    with scoring(build_metrics(items, of_folder)):
        yield


def build_metrics(items: Sequence[Any], of_folder: bool = False) -> list[str | CustomMetric]:
    """Import the functions that `evaluate.metrics` names.

    Args:
        items: of `evaluate.metrics`.
        of_folder: whether a run folder names them. What is not trusted there, or cannot be imported, has no value, and
            the metric says why.

    Raises:
        UserError: with each item that is wrong, or that nobody trusts.
    """
    problems: list[str] = []
    metrics: list[str | CustomMetric] = []
    for item in items:
        try:
            metrics.append(_read_item(item))
        except UserError as error:
            problems += error.problems
            metrics.append(CustomMetric(_name(item), None, problem=" ".join(error.problems).rstrip(".")))
    names = [each if isinstance(each, str) else each.name for each in metrics]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        problems.append(f"{SETTING} has {list_names(twice)} twice; give each function another {NAME}.")
    if problems and not of_folder:
        raise UserError(*problems)
    return metrics


def read_metric(text: str) -> CustomMetric:
    """Read a function that an option names, `{_target_: my_scores.gain}`.

    Raises:
        UserError: it is wrong, nobody trusts it, or less of it is better.
    """
    try:
        item = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"--metric={text} cannot be read; write --metric='{{{TARGET}: my_scores.gain}}'.") from error
    (metric,) = build_metrics([item])
    if not isinstance(metric, CustomMetric) or not metric.greater_is_better:
        raise UserError(f"--metric={text}: choose a metric of which more is better.")
    return metric


def _read_item(item: Any) -> str | CustomMetric:
    if isinstance(item, str):
        if item not in BUILT_IN:
            raise UserError(f"{SETTING}: there is no built-in metric {item!r}; {nearest(item, BUILT_IN)}")
        return item
    if not isinstance(item, Mapping) or not isinstance(item.get(TARGET), str):
        raise UserError(f"{SETTING}: {item!r} is neither a name nor a function with {TARGET}; write {EXAMPLE}.")
    name, target = _name(item), item[TARGET]
    if name in BUILT_IN or not re.fullmatch(r"\w+", name):
        raise UserError(
            f"{SETTING}: {NAME}={name} must be of letters, digits and _, and not the name of a built-in metric."
        )
    function = import_function(target, f"{SETTING}: {TARGET}")
    read, is_better = item.get(INPUT, _detect_input(function)), item.get(DIRECTION, _is_greater_better(target))
    if read not in INPUTS:
        raise UserError(f"{SETTING}: {INPUT}={read} of {name} must be {list_names(INPUTS, quoted=False, last=' or ')}.")
    if not isinstance(is_better, bool):
        raise UserError(f"{SETTING}: {DIRECTION}={is_better} of {name} must be true or false.")
    settings = {key: value for key, value in item.items() if key not in (TARGET, NAME, INPUT, DIRECTION)}
    return CustomMetric(name, function, settings, read == "probabilities", is_better)


def _name(item: Any) -> str:
    """The name of a metric, by default that of its function."""
    if not isinstance(item, Mapping):
        return str(item)
    return str(item.get(NAME) or str(item.get(TARGET)).rpartition(".")[2])


def _detect_input(function: Callable[..., Any]) -> str:
    """What a function reads: `probabilities` if its second argument is called as scikit-learn calls them."""
    try:
        names = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # it has no signature
        return "labels"
    return "probabilities" if names[1:2] and names[1] in OF_PROBABILITIES else "labels"


def _is_greater_better(target: str) -> bool:
    return not OF_ERRORS.search(target.rpartition(".")[2])
