"""Rotating folds against one split, on heads that are trained on frozen vectors of real texts.

    python scripts/calibration/fold_heads.py --data FOLDER --samples 200

FOLDER has the folders `eda_pc` and `thucnews_titles`, each with train.csv, validation.csv and test.csv (columns text
and label). Texts of the first become averaged vectors of `model=minilm`, texts of the second TF-IDF of 1- and 2-grams of
characters; both are reduced to 128 components, once for all rows. Each sample has 1,000 rows, drawn without replacement
from all rows but 5,000, which measure the truth. Heads with one hidden layer are trained on 900 of them and scored on
100: five seeds on one split, and five seeds on five of ten folds. The tricks are real and their effects small. The
effects and intervals are those of `recipes/ablation/effects.py`.

The truth is the mean effect over all samples on the 5,000 rows. `ratio` is the variance of the estimate around it with
one split, divided by that with rotating folds, at the same number of runs. Standard errors are over samples, by
bootstrap for ratios.
"""

import argparse
import csv
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from torch import Tensor
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parents[2]))

from recipes.ablation.design import Design
from recipes.ablation.effects import Block, estimate
from recipes.ablation.observations import combine_folds
from recipes.config import Model
from recipes.data.splitting import assign_folds
from recipes.models.loading import load_model, load_tokenizer

ROWS, FOLDS, SEEDS, TRUTH_ROWS = 1000, 10, 5, 5000
DIMENSIONS = 128
HIDDEN, EPOCHS, BATCH, LEARNING_RATE = 16, 5, 64, 5e-3
DROPOUT = 0.3
TRICKS = ("feature dropout", "label smoothing", "mixup", "weight decay")
ARMS = len(TRICKS) + 1
METRICS = ("accuracy", "brier", "loss")
# One trick in each arm but the first.
DESIGN = Design(
    "one_at_a_time", (2,) * len(TRICKS), ((0,) * len(TRICKS), *map(tuple, np.eye(len(TRICKS), dtype=int).tolist()))
)


@dataclass(frozen=True)
class Rows:
    """All rows of a data set."""

    vectors: Tensor
    labels: Tensor


def read_rows(folder: Path, name: str, cache: Path | None) -> Rows:
    """Read the distinct texts of a data set as vectors, in random order."""
    files = [folder / name / f"{split}.csv" for split in ("train", "validation", "test")]
    table = pd.concat([pd.read_csv(file, keep_default_na=False, dtype=str) for file in files])
    table = table.drop_duplicates("text").sample(frac=1, random_state=0)
    texts = table["text"].tolist()
    stored = cache / f"folds-{name}.npy" if cache else None
    if stored and stored.exists():
        vectors = np.load(stored).astype(np.float32)
    else:
        vectors = embed(texts) if name == "eda_pc" else reduce_ngrams(texts)
        if stored:
            np.save(stored, vectors.astype(np.float16))
    # Fewer dimensions make a head cheap; all are of equal variance.
    vectors = PCA(DIMENSIONS, whiten=True, random_state=0).fit_transform(vectors.astype(np.float32))
    _, labels = np.unique(table["label"], return_inverse=True)
    return Rows(torch.from_numpy(vectors), torch.from_numpy(labels))


def reduce_ngrams(texts: list[str]) -> np.ndarray:
    """Reduce TF-IDF of 1- and 2-grams of characters to 300 components, (row, component)."""
    counts = TfidfVectorizer(analyzer="char", ngram_range=(1, 2), min_df=5, sublinear_tf=True).fit_transform(texts)
    return np.asarray(TruncatedSVD(300, random_state=0).fit_transform(counts))


def embed(texts: list[str]) -> np.ndarray:
    """Average the last hidden states of `model=minilm`, (row, dimension)."""
    settings = Model("minilm", None, None, False)
    tokenizer = load_tokenizer(settings, texts)
    encoder = load_model(settings, tokenizer, ["a", "b"], False).base_model.eval()
    by_length = np.argsort([len(text) for text in texts])
    vectors = np.zeros((len(texts), encoder.config.hidden_size), np.float32)
    with torch.inference_mode():
        for rows in np.array_split(by_length, len(texts) // 64 + 1):
            batch = tokenizer(
                [texts[row] for row in rows], padding=True, truncation=True, max_length=64, return_tensors="pt"
            )
            states, mask = encoder(**batch).last_hidden_state, batch["attention_mask"].unsqueeze(-1)
            vectors[rows] = ((states * mask).sum(1) / mask.sum(1)).numpy()
    return vectors


@dataclass(frozen=True)
class Heads:
    """Trained heads, one for each run."""

    first: Tensor
    second: Tensor

    def probabilities(self, vectors: Tensor) -> Tensor:
        """Predict rows, (run, row, class); `vectors` is (run, row, dimension) or (row, dimension)."""
        return functional.softmax(torch.relu(vectors @ self.first) @ self.second, -1)


def train_heads(rows: Rows, classes: int, train: np.ndarray, arms: np.ndarray, seeds: np.ndarray, sample: int) -> Heads:
    """Train a head for each run, all at the same time.

    Args:
        rows: of the sample.
        classes: number of classes.
        train: the training rows of each run, (run, row).
        arms: each run's arm, (run).
        seeds: each run's seed, (run).
        sample: number of the sample, which makes its seeds different from those of the other samples.
    """
    count, width = len(arms), rows.vectors.shape[1]
    generators = {seed: torch.Generator().manual_seed(1000 * sample + seed) for seed in sorted(set(seeds.tolist()))}

    def draw(*shape: int) -> Tensor:
        """Standard normal draws, the same for all runs of a seed, (run, ...)."""
        of_seeds = {seed: torch.randn(shape, generator=generator) for seed, generator in generators.items()}
        return torch.stack([of_seeds[seed] for seed in seeds.tolist()])

    def where_arm(arm: int, value: float) -> Tensor:
        return torch.from_numpy(np.where(arms == arm, value, 0.0)).float()[:, None, None]

    first = (draw(width, HIDDEN) / width**0.5).requires_grad_()
    second = (draw(HIDDEN, classes) / HIDDEN**0.5).requires_grad_()
    smoothing, mixes, decay = (where_arm(arm, value) for arm, value in enumerate((0.1, 1.0, 0.1), 2))
    drops = torch.from_numpy(np.flatnonzero(arms == 1))
    optimizer = torch.optim.Adam([first, second], lr=LEARNING_RATE)
    run = torch.arange(count)[:, None]
    updates = EPOCHS * (train.shape[1] // BATCH)
    for update in range(updates):
        if update % (train.shape[1] // BATCH) == 0:
            order = torch.from_numpy(train)[run, draw(train.shape[1]).argsort(-1)]
        start = update % (train.shape[1] // BATCH) * BATCH
        batch = order[:, start : start + BATCH]
        vectors, targets = rows.vectors[batch], functional.one_hot(rows.labels[batch], classes).float()
        # The proportion of the partner is uniform between 0 and 1/2.
        proportion = mixes * torch.special.ndtr(draw(BATCH, 1)) / 2
        vectors = vectors + proportion * (vectors.roll(1, 1) - vectors)
        targets = targets + proportion * (targets.roll(1, 1) - targets)
        targets = targets + smoothing * (1 / classes - targets)
        vectors[drops] *= (torch.rand(len(drops), BATCH, width, generator=generators[0]) >= DROPOUT) / (1 - DROPOUT)
        logits = torch.relu(vectors @ first) @ second
        loss = -(targets * functional.log_softmax(logits, -1)).sum(-1).mean(-1).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * (1 - update / updates)
        optimizer.step()
        with torch.no_grad():
            for weights in (first, second):
                weights -= optimizer.param_groups[0]["lr"] * 10 * decay * weights
    return Heads(first.detach(), second.detach())


def score(probabilities: Tensor, labels: Tensor) -> np.ndarray:
    """Score each row, (metric, run, row); more is better. `labels` is (row) or (run, row)."""
    targets = functional.one_hot(labels, probabilities.shape[-1]).expand(probabilities.shape)
    of_label = (probabilities * targets).sum(-1).clamp(min=1e-7)
    is_right = (probabilities.argmax(-1) == targets.argmax(-1)).float()
    return torch.stack([is_right, -((probabilities - targets) ** 2).sum(-1), of_label.log()]).double().numpy()


@dataclass(frozen=True)
class Study:
    """What one sample gives; arrays are (design, metric, trick), and the designs are one split and rotating folds."""

    values: np.ndarray
    low: np.ndarray
    high: np.ndarray
    truth: np.ndarray
    """The mean effect of its heads on the rows that measure the truth, (metric, trick)."""
    base: np.ndarray
    """The score of the base on these rows, (metric)."""


def run_study(rows: Rows, truth_rows: Rows, classes: int, sample: int) -> Study:
    """Train all heads of a sample and estimate the effects with both designs."""
    fold_of_row = assign_folds(rows.labels.numpy(), None, FOLDS, sample, "folds")
    # Seed s on fold s, and then the other seeds on fold 0.
    by_seed = [(seed, seed) for seed in range(SEEDS)] + [(0, seed) for seed in range(1, SEEDS)]
    folds, seeds, arms = (
        np.array(each) for each in zip(*[(*each, arm) for each in by_seed for arm in range(ARMS)], strict=True)
    )
    size = min(np.bincount(fold_of_row))
    validation = np.stack([np.flatnonzero(fold_of_row == fold)[:size] for fold in folds])
    # Folds of 99 and 101 rows leave 899 rows for all.
    train = np.stack([np.flatnonzero(fold_of_row != fold)[: ROWS - max(np.bincount(fold_of_row))] for fold in folds])
    heads = train_heads(rows, classes, train, arms, seeds, sample)
    with torch.inference_mode():
        scores = score(heads.probabilities(rows.vectors[validation]), rows.labels[validation])
        of_truth = score(heads.probabilities(truth_rows.vectors), truth_rows.labels).mean(-1)
    means = of_truth.reshape(len(METRICS), -1, ARMS).mean(1)
    estimates = []
    for design in ("one split", "rotating"):
        for metric in range(len(METRICS)):
            blocks = []
            for fold in range(1 if design == "one split" else SEEDS):
                selected = (folds == fold) & ((seeds == fold) | (design == "one split"))
                names = [f"{run}" for run in np.flatnonzero(selected)]
                blocks.append(Block(design, arms[selected], seeds[selected], scores[metric, selected], names))
            block = blocks[0] if design == "one split" else combine_folds(blocks, FOLDS)
            family, _ = estimate(DESIGN, [block])
            estimates.append((family.values, *family.interval(0.95)))
    values, low, high = np.array(estimates).reshape(2, len(METRICS), 3, len(TRICKS)).transpose(2, 0, 1, 3)
    return Study(values, low, high, means[:, 1:] - means[:, :1], means[:, 0])


def summarize(name: str, studies: list[Study]) -> Iterator[dict[str, str | int]]:
    """Summarize the studies of a data set, a line for each metric and trick."""
    values, low, high = (np.array([getattr(each, part) for each in studies]) for part in ("values", "low", "high"))
    truth = np.mean([each.truth for each in studies], axis=0)
    count, squares = len(studies), (values - truth) ** 2
    covered = (low <= truth) & (truth <= high)
    draws = np.random.default_rng(0).integers(count, size=(2000, count))
    for metric, metric_name in enumerate(METRICS):
        for trick in (*range(len(TRICKS)), None):
            # The last line is over all tricks: means of their logarithms, and of their coverage.
            index = (slice(None), slice(None), metric, slice(None) if trick is None else [trick])
            logs = np.log(squares[index][draws].mean(1))
            ratios = np.exp((logs[:, 0] - logs[:, 1]).mean(-1))
            observed = np.log(squares[index].mean(0))
            line: dict[str, str | int] = {"data": name, "samples": count, "metric": metric_name}
            line["trick"] = "all" if trick is None else TRICKS[trick]
            line["base"] = f"{np.mean([each.base[metric] for each in studies]):.4f}"
            line["truth"] = "" if trick is None else f"{truth[metric, trick]:.5f}"
            line["ratio"] = f"{np.exp((observed[0] - observed[1]).mean()):.3f}"
            line["ratio_error"] = f"{ratios.std():.3f}"
            for design, design_name in enumerate(("split", "rotating")):
                by_study = covered[index][:, design].mean(-1)
                line[f"coverage_{design_name}"] = f"{by_study.mean():.4f}"
                line[f"coverage_{design_name}_error"] = f"{by_study.std() / count**0.5:.4f}"
                line[f"half_width_{design_name}"] = f"{np.median((high - low)[index][:, design]) / 2:.5f}"
            yield line


def main() -> None:
    """Train all heads, and write a line for each data set, metric and trick."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--output", type=Path, default=Path("docs/evidence/folds.csv"))
    parser.add_argument("--cache", type=Path, help="folder for the vectors, to make them once")
    parser.add_argument("--only", nargs="+", default=["eda_pc", "thucnews_titles"], help="data sets")
    arguments = parser.parse_args()
    lines = []
    for name in arguments.only:
        rows = read_rows(arguments.data, name, arguments.cache)
        classes = int(rows.labels.max()) + 1
        truth_rows = Rows(rows.vectors[:TRUTH_ROWS], rows.labels[:TRUTH_ROWS])
        studies = []
        for sample in range(arguments.samples):
            drawn = (
                np.random.default_rng(sample).choice(len(rows.labels) - TRUTH_ROWS, ROWS, replace=False) + TRUTH_ROWS
            )
            studies.append(run_study(Rows(rows.vectors[drawn], rows.labels[drawn]), truth_rows, classes, sample))
            print(f"{name}: sample {sample + 1} of {arguments.samples}", file=sys.stderr, flush=True)
        lines += list(summarize(name, studies))
    with arguments.output.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, lines[0])
        writer.writeheader()
        writer.writerows(lines)


if __name__ == "__main__":
    main()
