"""Predictions of texts in memory, with their texts."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from recipes.metrics import Predictions
from recipes.runs.predictions import PREFIX


@dataclass(frozen=True)
class TextPredictions(Predictions):
    """A model's predictions for texts, in their order."""

    texts: Sequence[str]
    pairs: Sequence[str] | None
    """The second text of each pair; None for single texts."""

    def to_frame(self) -> Any:
        """The predictions as a pandas DataFrame: a row for each text, with the probability of each class.

        Example:
            run.predict(df["review"]).to_frame().sort_values("p_positive")
        """
        import pandas as pd

        pairs = {} if self.pairs is None else {"pair": self.pairs}
        columns = {"text": self.texts, **pairs, "prediction": self.names()}
        probabilities = {f"{PREFIX}{name}": self.probabilities[:, number] for number, name in enumerate(self.classes)}
        return pd.DataFrame({**columns, **probabilities})

    def _repr_html_(self) -> str:
        from recipes.reports.notebook import predictions_html

        return predictions_html(self, self.texts, self.pairs)


def with_texts(predictions: Predictions, texts: Sequence[str], pairs: Sequence[str] | None) -> TextPredictions:
    """The same predictions with their texts."""
    values = {item.name: getattr(predictions, item.name) for item in fields(predictions)}
    return TextPredictions(**values, texts=texts, pairs=pairs)
