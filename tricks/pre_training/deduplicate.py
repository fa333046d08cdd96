"""Deduplicate: drop training rows that repeat one another or a row that the model is evaluated on.

Duplicates are equal except for case and white space, in both texts of a pair. Near-duplicates share at least
`threshold` of their character sequences: |A and B| / |A or B| >= threshold over the sets of `shingle` consecutive
characters, again in both texts of a pair. Candidates are found by MinHash (128 permutations; 1 in 50 near-duplicates
right at the threshold may be missed), then compared exactly. A group is a row and the later rows that duplicate it. The
first row with the most frequent label of its group stays. The test split and `evaluate.extra` are not read, only the
digests of their rows: exact duplicates of them are found, near-duplicates are not, and none with `evaluate.test=false`.

Source: MinHash, Broder 1997, On the Resemblance and Containment of Documents; that duplicates inflate scores and make a
    model repeat itself: Lee et al. 2022, arXiv 2107.06499 (Jaccard 0.8 over words there).
Cost: none in training. Before it, on a shared core: 9,600 Chinese reviews took 1 second for exact duplicates only and 5
    with near-duplicates; 35,000 English phrases took 3 and 16.
Use when: texts come from crawls, reposts or templates, or were duplicated before a random split.
Avoid when: duplicates are real frequencies that the model should learn. Near-duplicates (set threshold=1.0) if a small
    edit decides the label: negation, pairs of paraphrases.
Composes: examples/drop, before rewriting and adding, so that no variants are made of dropped rows; compares texts after
    normalize.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from datasets import Dataset

from recipes import Run, Trick, UserError, allowed
from recipes.data import duplicates

MOST_IDS = 3  # ids that a message lists


@dataclass
class Deduplicate(Trick):
    """Keep one row of each group of duplicates."""

    inside: bool = allowed("")
    """Whether duplicates within the training rows are dropped."""
    held_out: bool = allowed("")
    """Whether training rows that are in validation, test or `evaluate.extra` are dropped."""
    threshold: float = allowed(
        "(0, 1]",
        advised="[0.7, 1]",
        source="0.8 over words in Lee et al. 2022, arXiv 2107.06499; 0.9 here",
        below="different texts are dropped as near-duplicates",
    )
    """Fraction of common character sequences of near-duplicates; 1: exact duplicates only."""
    shingle: int = allowed(
        "[1, inf)",
        advised="[2, 9]",
        source="5 to 9 for English, 2 to 4 for Chinese",
        below="all texts share nearly all sequences, so different texts are dropped",
        above="a changed letter hides a near-duplicate",
    )
    """Length of a character sequence."""

    slots = {"examples": "drop"}
    neutral = {"inside": False, "held_out": False}
    remedies = {
        **dict.fromkeys(("duplicates", "leaked_rows", "leaked_near_duplicates"), "+tricks=[{name}]"),
        "contradictory_labels": "+tricks=[{name}] keeps the most frequent one",
    }

    def examples(self, run: Run, inner: Callable[[Dataset], Dataset], examples: Dataset) -> Dataset:
        """Drop rows that are in other splits, then all but one row of each group."""
        if not (self.inside or self.held_out):
            return inner(examples)
        texts, labels = duplicates.fold_rows(examples), [duplicates.comparable(label) for label in examples["label"]]
        held_out_texts = (
            dict.fromkeys(duplicates.fold_rows(run.clean_rows(run.splits.validation))) if self.held_out else {}
        )
        hidden_digests = run.splits.hidden_digests() if self.held_out else frozenset()
        candidates = [
            text
            for text in dict.fromkeys(texts)
            if text not in held_out_texts and duplicates.digest(text) not in hidden_digests
        ]
        first = self._map_to_first(held_out_texts, candidates)
        reasons: dict[int, str] = {}
        groups: dict[str, list[int]] = defaultdict(list)
        for row, text in enumerate(texts):
            if text in held_out_texts:
                reasons[row] = "in validation"
            elif text not in first:
                reasons[row] = "in test or evaluate.extra"
            elif first[text] in held_out_texts:
                reasons[row] = "nearly in validation"
            else:
                groups[first[text]].append(row)
        differing = 0
        for rows in groups.values() if self.inside else ():
            survivor = representative(rows, labels)
            differing += len({labels[row] for row in rows}) > 1
            for row in rows:
                if row != survivor:
                    reasons[row] = "exact duplicates" if texts[row] == texts[survivor] else "near-duplicates"
        self._report(run, reasons, examples["id"], differing)
        return inner(examples.select([row for row in range(len(texts)) if row not in reasons]) if reasons else examples)

    def _map_to_first(self, held_out_texts: Collection[str], candidates: Sequence[str]) -> dict[str, str]:
        """Map each training text to the first text it nearly duplicates, held-out texts first, or to itself."""
        if self.threshold == 1:
            return {text: text for text in candidates}
        try:
            return duplicates.first_near_duplicates(
                held_out_texts, candidates, self.threshold, self.shingle, self.inside
            )
        except ImportError as error:
            raise UserError(
                f"tricks.{self.name}.threshold={self.threshold}: near-duplicates need the package datasketch; pip "
                "install 'trickbook[deduplicate]', or find only exact duplicates with threshold=1.0."
            ) from error

    def _report(self, run: Run, reasons: Mapping[int, str], ids: Sequence[str], differing: int) -> None:
        if len(reasons) == len(ids):
            raise UserError(
                f"tricks.{self.name}: every training row is in validation or test, so nothing is left; give other rows "
                "in data.train, data.validation or data.test."
            )
        ids_by_reason: dict[str, list[str]] = defaultdict(list)
        for row, reason in sorted(reasons.items()):
            ids_by_reason[reason].append(ids[row])
        counts = [f"{reason} {len(rows):,} ({_some(rows)})" for reason, rows in sorted(ids_by_reason.items())]
        run.note(f"{self.name}: {'; '.join([f'{len(reasons):,} of {len(ids):,} training rows dropped', *counts])}.")
        if differing:
            run.note(
                f"{self.name}: groups of duplicates with different labels: {differing:,}; the most frequent label "
                "stays, the first one in a tie."
            )


def representative(rows: Sequence[int], labels: Sequence[object]) -> int:
    """The first row with the most frequent label of a group; the first such label wins a tie."""
    ((label, _),) = Counter(labels[row] for row in rows).most_common(1)
    return next(row for row in rows if labels[row] == label)


def _some(ids: Sequence[str]) -> str:
    return f"id {', '.join(ids[:MOST_IDS])}{', ...' if len(ids) > MOST_IDS else ''}"
