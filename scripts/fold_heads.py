"""Rotating folds against one split, on heads that are trained on frozen vectors of real texts.

    python scripts/fold_heads.py --data FOLDER --cache OTHER --samples 200

FOLDER has the folders `eda_pc` and `thucnews_titles`, each with train.csv, validation.csv and test.csv (columns text
and label). Texts of the first become averaged vectors of `model=minilm`, texts of the second TF-IDF of 1- and 2-grams
of characters; both are reduced to 64 components, once for all rows. Each sample has 1,000 rows, drawn without
replacement from all rows but 5,000, which measure the truth. Heads with one hidden layer are trained on 900 of them and
scored on 100: all seeds on one split, or each seed on another of ten folds. Three real tricks with small effects
are tried alone (4 arms x 5 seeds) and together (8 arms x 3 seeds). The effects and intervals are those of
`recipes/ablation/effects.py`.

The truth is the mean effect over all samples on the 5,000 rows. `ratio` is the variance of the estimate around it with
one split, divided by that with rotating folds, at the same number of runs. Standard errors are over samples, by
bootstrap for ratios.
"""

import argparse
import csv
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from torch import Tensor
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parents[1]))

from recipes.ablation.design import Design, choose
from recipes.ablation.effects import Block, estimate
from recipes.ablation.observations import combine_folds
from recipes.data.splitting import assign_folds

ROWS, FOLDS, TRUTH_ROWS = 1000, 10, 5000
DIMENSIONS = 64
HIDDEN, EPOCHS, BATCH, LEARNING_RATE = 16, 4, 100, 2e-2
DROPOUT, SMOOTHING = 0.3, 0.1
TRICKS = ("feature dropout", "label smoothing", "mixup")
SAMPLES_A_SAVE = 10
METRICS = ("accuracy", "brier", "loss")
TWO = (2,) * len(TRICKS)
# The name of a design, its arms, and its number of seeds.
DESIGNS = {
    "alone": (choose(TWO, lambda arm: True, "one_at_a_time", 4), 5),
    "together": (choose(TWO, lambda arm: True, "full", 8), 3),
}


@dataclass(frozen=True)
class Rows:
    """All rows of a data set."""

    vectors: Tensor
    labels: Tensor


def read_rows(folder: Path, name: str, cache: Path) -> Rows:
    """Read the distinct texts of a data set as vectors, in random order."""
    files = [folder / name / f"{split}.csv" for split in ("train", "validation", "test")]
    table = pd.concat([pd.read_csv(file, keep_default_na=False, dtype=str) for file in files])
    table = table.drop_duplicates("text").sample(frac=1, random_state=0)
    texts = table["text"].tolist()
    stored = cache / f"{name}.npy"
    if stored.exists():
        vectors = np.load(stored).astype(np.float32)
    else:
        vectors = embed(texts) if name == "eda_pc" else reduce_ngrams(texts)
        np.save(stored, vectors.astype(np.float16))
    # Fewer dimensions make a head cheap. Their mean square is 1.
    vectors = PCA(DIMENSIONS, random_state=0).fit_transform(vectors.astype(np.float32))
    vectors /= vectors.std()
    _, labels = np.unique(table["label"], return_inverse=True)
    return Rows(torch.from_numpy(vectors), torch.from_numpy(labels))


def reduce_ngrams(texts: list[str]) -> np.ndarray:
    """Reduce TF-IDF of 1- and 2-grams of characters to 300 components, (row, component)."""
    counts = TfidfVectorizer(analyzer="char", ngram_range=(1, 2), min_df=5, sublinear_tf=True).fit_transform(texts)
    return np.asarray(TruncatedSVD(300, random_state=0).fit_transform(counts))


def embed(texts: list[str]) -> np.ndarray:
    """Average the last hidden states of `model=minilm`, (row, dimension)."""
    # Only the first run with a cache needs these, and they take seconds.
    from recipes.config import Model
    from recipes.models.loading import load_model, load_tokenizer

    settings = Model("minilm", None, None, gradient_checkpointing=False, trim_vocabulary=False)
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


def train_heads(
    rows: Rows, classes: int, train: np.ndarray, levels: np.ndarray, seeds: np.ndarray, sample: int
) -> Heads:
    """Train a head for each run, all at the same time.

    Args:
        rows: of the sample.
        classes: number of classes.
        train: the training rows of each run, (run, row).
        levels: 1 where a run has a trick, (run, trick).
        seeds: each run's seed, (run).
        sample: number of the sample, which makes its seeds different from those of the other samples.
    """
    count, width = len(levels), rows.vectors.shape[1]
    generators = {seed: torch.Generator().manual_seed(1000 * sample + seed) for seed in sorted(set(seeds.tolist()))}

    def draw(*shape: int) -> Tensor:
        """Standard normal draws, the same for all runs of a seed, (run, ...)."""
        of_seeds = {seed: torch.randn(shape, generator=generator) for seed, generator in generators.items()}
        return torch.stack([of_seeds[seed] for seed in seeds.tolist()])

    first = (draw(width, HIDDEN) / width**0.5).requires_grad_()
    second = (draw(HIDDEN, classes) / HIDDEN**0.5).requires_grad_()
    smoothing = SMOOTHING * torch.from_numpy(levels[:, 1]).float()[:, None, None]
    drops, mixes = (torch.from_numpy(np.flatnonzero(levels[:, trick])) for trick in (0, 2))
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
        proportion = torch.special.ndtr(draw(BATCH, 1)[mixes]) / 2
        vectors[mixes] += proportion * (vectors[mixes].roll(1, 1) - vectors[mixes])
        targets[mixes] += proportion * (targets[mixes].roll(1, 1) - targets[mixes])
        targets = targets + smoothing * (1 / classes - targets)
        vectors[drops] *= (torch.rand(len(drops), BATCH, width, generator=generators[0]) >= DROPOUT) / (1 - DROPOUT)
        logits = torch.relu(vectors @ first) @ second
        loss = -(targets * functional.log_softmax(logits, -1)).sum(-1).mean(-1).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * (1 - update / updates)
        optimizer.step()
    return Heads(first.detach(), second.detach())


def score(probabilities: Tensor, labels: Tensor) -> np.ndarray:
    """Score each row, (metric, run, row); more is better. `labels` is (row) or (run, row)."""
    targets = functional.one_hot(labels, probabilities.shape[-1]).expand(probabilities.shape)
    of_label = (probabilities * targets).sum(-1).clamp(min=1e-7)
    is_right = (probabilities.argmax(-1) == targets.argmax(-1)).float()
    return torch.stack([is_right, -((probabilities - targets) ** 2).sum(-1), of_label.log()]).double().numpy()


@dataclass(frozen=True)
class Study:
    """What one sample gives; arrays are (split or folds, metric, trick)."""

    values: np.ndarray
    low: np.ndarray
    high: np.ndarray
    truth: np.ndarray
    """The mean effect of its heads on the rows that measure the truth, (metric, trick)."""
    base: np.ndarray
    """The score of the base on these rows, (metric)."""


def run_study(rows: Rows, truth_rows: Rows, classes: int, design: Design, seed_count: int, sample: int) -> Study:
    """Train all heads of a sample and estimate the effects with both kinds of split."""
    fold_of_row = assign_folds(rows.labels.numpy(), None, FOLDS, sample, "folds")
    # Seed s on fold s, and then the other seeds on fold 0.
    by_seed = [(seed, seed) for seed in range(seed_count)] + [(0, seed) for seed in range(1, seed_count)]
    arm_count = len(design.arms)
    folds, seeds = np.repeat(by_seed, arm_count, axis=0).T
    arms = np.tile(np.arange(arm_count), len(by_seed))
    sizes = np.bincount(fold_of_row)
    # Folds of 99 to 101 rows are cut to one size.
    validation = np.stack([np.flatnonzero(fold_of_row == fold)[: sizes.min()] for fold in folds])
    train = np.stack([np.flatnonzero(fold_of_row != fold)[: ROWS - sizes.max()] for fold in folds])
    heads = train_heads(rows, classes, train, np.array(design.arms)[arms], seeds, sample)
    with torch.inference_mode():
        scores = score(heads.probabilities(rows.vectors[validation]), rows.labels[validation])
        # The truth is measured by the heads of the rotating folds, which come first.
        first = Heads(heads.first[: seed_count * arm_count], heads.second[: seed_count * arm_count])
        of_truth = score(first.probabilities(truth_rows.vectors), truth_rows.labels).mean(-1)
    means = of_truth.reshape(len(METRICS), seed_count, arm_count).mean(1)
    estimates = []
    for is_rotating in (False, True):
        for metric in range(len(METRICS)):
            blocks = []
            for fold in range(seed_count if is_rotating else 1):
                selected = (folds == fold) & ((seeds == fold) | (not is_rotating))
                names = [f"{run}" for run in np.flatnonzero(selected)]
                blocks.append(Block("data", arms[selected], seeds[selected], scores[metric, selected], names))
            family, _ = estimate(design, [combine_folds(blocks, FOLDS) if is_rotating else blocks[0]])
            estimates.append((family.values, *family.interval(0.95)))
    values, low, high = np.array(estimates).reshape(2, len(METRICS), 3, len(TRICKS)).transpose(2, 0, 1, 3)
    contrasts = design.contrasts()
    weights = np.array([contrasts[effect] for effect in design.mains])
    return Study(values, low, high, means @ weights.T, means[:, design.arms.index((0,) * len(TRICKS))])


def save_studies(cache: Path, name: str, design: str, studies: list[Study]) -> None:
    """Save the samples so far, so that the same command goes on from there."""
    arrays = {field.name: np.array([getattr(each, field.name) for each in studies]) for field in fields(Study)}
    np.savez(cache / f"{name}-{design}.npz", **arrays)


def load_studies(cache: Path, name: str, design: str) -> Iterator[Study]:
    """Load the samples that an earlier call has saved."""
    path = cache / f"{name}-{design}.npz"
    if path.exists():
        with np.load(path) as arrays:
            loaded = [arrays[field.name] for field in fields(Study)]
        yield from (Study(*each) for each in zip(*loaded, strict=True))


def summarize(name: str, design: str, studies: list[Study]) -> Iterator[dict[str, str | int]]:
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
            line: dict[str, str | int] = {"data": name, "design": design, "samples": count}
            line["metric"] = metric_name
            line["trick"] = "all" if trick is None else TRICKS[trick]
            line["base"] = f"{np.mean([each.base[metric] for each in studies]):.4f}"
            line["truth"] = "" if trick is None else f"{truth[metric, trick]:.5f}"
            line["ratio"] = f"{np.exp((observed[0] - observed[1]).mean()):.3f}"
            line["ratio_error"] = f"{ratios.std():.3f}"
            for kind, kind_name in enumerate(("split", "rotating")):
                by_study = covered[index][:, kind].mean(-1)
                line[f"coverage_{kind_name}"] = f"{by_study.mean():.4f}"
                line[f"coverage_{kind_name}_error"] = f"{by_study.std() / count**0.5:.4f}"
                line[f"half_width_{kind_name}"] = f"{np.median((high - low)[index][:, kind]) / 2:.5f}"
            yield line


def main() -> None:
    """Train all heads, and write a line for each data set, metric and trick."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--output", type=Path, default=Path("docs/evidence/folds.csv"))
    parser.add_argument("--cache", type=Path, required=True, help="folder for vectors and samples, which are made once")
    parser.add_argument("--only", nargs="+", default=["eda_pc", "thucnews_titles"], help="data sets")
    parser.add_argument("--designs", nargs="+", default=list(DESIGNS), choices=list(DESIGNS))
    arguments = parser.parse_args()
    lines = []
    for name, design in product(arguments.only, arguments.designs):
        rows = read_rows(arguments.data, name, arguments.cache)
        classes = int(rows.labels.max()) + 1
        truth_rows = Rows(rows.vectors[:TRUTH_ROWS], rows.labels[:TRUTH_ROWS])
        studies = list(load_studies(arguments.cache, name, design))[: arguments.samples]
        for number in range(len(studies), arguments.samples):
            generator = np.random.default_rng(number)
            selected = generator.choice(len(rows.labels) - TRUTH_ROWS, ROWS, replace=False) + TRUTH_ROWS
            sample = Rows(rows.vectors[selected], rows.labels[selected])
            studies.append(run_study(sample, truth_rows, classes, *DESIGNS[design], number))
            if (number + 1) % SAMPLES_A_SAVE == 0:
                save_studies(arguments.cache, name, design, studies)
                print(f"{name}, {design}: {number + 1} of {arguments.samples} samples", file=sys.stderr, flush=True)
        lines += list(summarize(name, design, studies))
        with arguments.output.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, lines[0])
            writer.writeheader()
            writer.writerows(lines)


if __name__ == "__main__":
    main()
