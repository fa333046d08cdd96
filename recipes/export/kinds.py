"""Which runs have a model that can be exported."""

from recipes.errors import UserError, list_names
from recipes.prediction import ensemble
from recipes.runs.folder import RunFolder


def refuse_other_kinds(run: RunFolder, verb: str, about_linear: str) -> None:
    """Refuse a run whose model is no single transformer.

    Args:
        run: a finished run.
        verb: what is to be done with each run of a fused one, such as `publish`.
        about_linear: why a linear model cannot be exported, and what to do, as the end of a sentence.

    Raises:
        UserError: it is fused, or its model is linear.
    """
    if members := ensemble.read(run.folder):
        names = list_names([str(run.folder / member) for member in members.weights])
        raise UserError(f"{run.folder} is fused from {len(members.weights)} runs; {verb} each of them: {names}.")
    if run.config["model"]["source"] == "linear":
        raise UserError(f"{run.folder}: model=linear is TF-IDF and a linear model of scikit-learn, {about_linear}")
