"""The order in which a study tries its arms: first those of which the trick atlas expects most.

All arms run in any case, seed by seed. So the order decides what is known first, and what a study that is stopped has.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean

from recipes.ablation.composer import Composer
from recipes.ablation.design import Arm
from recipes.ablation.expectations import MIN_DATA_SETS, Features, advise, describe_rows, read_measured
from recipes.ablation.factors import Space
from recipes.compose.reading import read
from recipes.config import Config
from recipes.data.language import guess_language
from recipes.data.splits import read_splits

WITHOUT_SPACES = ("ja", "zh")
"""Languages whose words have no spaces between them."""


def describe_data(config: Config) -> tuple[Features | None, str | None]:
    """Describe the training rows of a config, and find the language of their texts.

    Returns:
        The features, None if rows have more than one label; and the language, None if it is unknown.

    Raises:
        UserError: the rows cannot be read.
    """
    splits = read_splits(config.data, {}, False)
    columns = zip(splits.train["text"], splits.train["text_pair"], strict=True)
    texts = [" ".join(filter(None, both)) for both in columns]
    language = guess_language(texts)
    if splits.multi_label:
        return None, language
    return describe_rows(texts, splits.train["label"], language not in WITHOUT_SPACES), language


def predict_effects(space: Space, composer: Composer, margin: float) -> dict[str, float]:
    """Predict the effect of each trick of a study from the atlas, on average over its data sets.

    Returns:
        The effects on accuracy by trick; none where the atlas abstains on some data set.
    """
    tricks = [level.trick for factor in space.factors for level in factor.choices if level.trick]
    measured = [each for each in read_measured() if each.trick in tricks]
    # Without enough data sets there is no prediction, and no reason to read the rows.
    if len({each.data for each in measured}) < MIN_DATA_SETS:
        return {}
    by_data = []
    for data in space.data:
        features, language = describe_data(read(composer(space.overrides_of(space.base, 0, data))))
        if features is None:
            return {}
        by_data.append(advise(features, language, margin, measured).expected)
    predicted = [trick for trick in tricks if all(trick in expected for expected in by_data)]
    return {trick: fmean(expected[trick].mean for expected in by_data) for trick in predicted}


def order_arms(space: Space, arms: Sequence[Arm], predicted: Mapping[str, float]) -> list[Arm]:
    """Order arms by the sum of what is predicted of their tricks, the largest first; a tie leaves them as they are."""
    sums = {arm: sum(predicted.get(level.trick or "", 0.0) for level in space.levels_of(arm)) for arm in arms}
    return sorted(arms, key=lambda arm: -sums[arm])


def describe_order(predicted: Mapping[str, float]) -> str:
    """Describe the order in a line of the plan."""
    effects = ", ".join(
        f"{trick} {predicted[trick]:+.4f}" for trick in sorted(predicted, key=lambda each: -predicted[each])
    )
    return (
        f"arms with the largest effects predicted by the atlas come first: {effects} (trickbook choose has intervals)"
    )
