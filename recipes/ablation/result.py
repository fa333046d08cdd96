"""A study, for Python: its verdicts as a frame, what it recommends, and its page."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from recipes.ablation.endpoints import Interval
from recipes.ablation.findings import COSTS, Findings
from recipes.ablation.report import summarize
from recipes.ablation.verdicts import Verdict
from recipes.errors import UserError
from recipes.reports.notebook import html_lines, html_table, show_page

PLANNED = UserError("this study is a plan (plan=True), which has no verdicts; call ablate without it.")


@dataclass(frozen=True, repr=False)
class Study:
    """The result of a study.

    Args:
        folder: its folder, with the runs, `runs.csv` and the report.
        findings: None if it was only planned.
    """

    folder: Path
    findings: Findings | None

    @cached_property
    def verdicts(self) -> Any:
        """A row for each trick or level, as a pandas DataFrame.

        The columns are name, verdict, effect, low and high (its interval), the same of the second endpoint if there is
        one, the costs as multiples (passes, time, memory), and the reason where there is no estimate.
        """
        import pandas as pd

        frame = pd.DataFrame([self._row(verdict) for verdict in self._judged.mains])
        # A column without any number would not be one of numbers.
        return frame.astype({name: float for name in frame if name not in ("name", "verdict", "why")})

    @cached_property
    def best(self) -> list[str]:
        """The overrides of the recommended recipe, for `recipes.finetune(study.best, ...)`; none if there is none."""
        findings = self._judged
        levels = findings.space.levels_of(findings.recommended_arm)
        tricks = sorted({*findings.space.always, *(level.trick for level in levels if level.trick)})
        selection = [f"+tricks=[{','.join(tricks)}]"] if tricks else []
        return [*selection, *(line for level in levels for line in level.overrides), *findings.length]

    @cached_property
    def summary(self) -> list[str]:
        """The study in sentences."""
        return list(summarize(self._judged))

    @property
    def page(self) -> Path:
        """The page of the study with its pictures, `report.html` in its folder."""
        if self.findings is None:
            raise PLANNED
        return self.folder / "report.html"

    def show(self) -> None:
        """Show the page: inside a notebook, or in the browser."""
        show_page(self.page)

    @property
    def _judged(self) -> Findings:
        if self.findings is None:
            raise PLANNED
        return self.findings

    def _row(self, verdict: Verdict) -> dict[str, Any]:
        findings = self._judged
        row: dict[str, Any] = {"name": findings.name(verdict.effect), "verdict": verdict.word}
        numbers = [verdict.value, *verdict.interval] if verdict.has_estimate else [None] * 3
        row |= dict(zip(("effect", "low", "high"), numbers, strict=True))
        if second := findings.second:
            estimate = second.effects.get(verdict.effect)
            numbers = [estimate.value, estimate.low, estimate.high] if isinstance(estimate, Interval) else [None] * 3
            names = (f"{second.metric}_effect", f"{second.metric}_low", f"{second.metric}_high")
            row |= dict(zip(names, numbers, strict=True))
        costs = findings.costs[verdict.effect]
        return row | {word: costs.get(cost) for cost, word in COSTS.items()} | {"why": verdict.why}

    def __repr__(self) -> str:
        return "\n".join(self.summary) if self.findings else f"the plan of a study in {self.folder}"

    def _repr_html_(self) -> str:
        if self.findings is None:
            return html_lines([repr(self)])
        rows = []
        for row in map(self._row, self.findings.mains):
            numbers = ["" if row[name] is None else f"{row[name]:+.4f}" for name in ("effect", "low", "high")]
            rows.append([row["name"], row["verdict"], *numbers, "" if row["time"] is None else f"{row['time']:.2f}"])
        table = html_table(["", "verdict", self.findings.metric, "from", "to", "x time"], rows, 2)
        return html_lines(self.summary) + table + html_lines([f"{self.folder} · .show() opens the page of this study."])
