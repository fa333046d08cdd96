"""Checks of the model and the loss before training."""

import math
import re
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from recipes import seams
from recipes.base import Base, evaluating
from recipes.data.batch import Batch
from recipes.doctor.alone import describe_settings, step_tricks, weaken
from recipes.doctor.findings import CheckResult, Skip
from recipes.doctor.registry import check
from recipes.doctor.render import quote_names
from recipes.doctor.subject import Subject
from recipes.loop import TrainingRun
from recipes.models.inputs import count_embeddings
from recipes.models.loading import labels_of_head
from recipes.runs.space import describe_bytes, estimate, free_bytes
from recipes.trick import Trick

FEW_ROWS, SHOWN = 16, 5
SMALLEST_DIFFERENCE = 1e-6
LARGEST_GAP = 1e-5
"""Between the sum of a row's targets and 1."""


@check("model", cheap=True)
def sizes(subject: Subject, result: CheckResult) -> None:
    """The model has outputs and embeddings for all labels and tokens."""
    run = subject.run
    train, outputs = run.train, run.head.out_features
    vocabulary = count_embeddings(run.bare_model) or math.inf
    result.add_inspected(len(train), "labels")
    result.add_inspected(len(train.columns["input_ids"]), "tokens")
    if outputs != len(run.classes):
        result.fail(
            f"the head has {outputs} outputs, the data {len(run.classes)} labels.",
            "on a CPU the loss is NaN or an index is out of range, on a GPU a CUDA assert without an explanation",
            "give the head an output for each label (seam `model`)",
        )
    largest = int(train.columns["input_ids"].max(initial=0))
    if largest >= vocabulary:
        result.fail(
            f"the tokenizer gives token id {largest}, the model has {vocabulary:g} embeddings.",
            "an index out of range",
            "use the tokenizer of the model (model.name)",
        )


@check("model", cheap=True)
def disk_space(subject: Subject, result: CheckResult) -> None:
    """The checkpoints, the model and the predictions fit on the disk."""
    run, config = subject.run, subject.config
    rows = len(run.validation) + sum(map(len, subject.splits.hidden_splits().values()))
    weights = sum(each.nbytes for each in run.bare_model.state_dict().values())
    trained = sum(each.nbytes for each in run.parameters if each.requires_grad)
    need = estimate(config, weights, trained, run.total_updates, rows, len(run.classes))
    folder = subject.folder or run.folder
    free = free_bytes(folder)
    result.add_inspected(1, "disk")
    if need.most > free:
        smaller = "checkpoint.keep=1, " if config.checkpoint.keep > 1 else ""
        smaller += "checkpoint.save_model=false, " if config.checkpoint.save_model else ""
        result.fail(
            f"{folder}: {describe_bytes(need.most)} are needed while the run trains ({config.checkpoint.keep + 1} "
            f"checkpoints of {describe_bytes(need.checkpoint)}), {describe_bytes(need.result)} when it is finished, "
            f"and {describe_bytes(free)} are free.",
            "the disk fills and the run stops midway",
            f"free some space, {smaller}or another disk with hydra.run.dir=<folder>",
        )


@check("model", cheap=True)
def pretrained_head(subject: Subject, result: CheckResult) -> None:
    """The outputs of a pretrained head stand for the data's labels, in the same order."""
    run = subject.run
    head_labels, classes = labels_of_head(subject.config.model), run.classes
    if head_labels is None or _is_loaded_by_a_trick(run):
        raise Skip("the head is new, or loaded by a trick")
    if all(re.fullmatch(r"LABEL_\d+", name) for name in head_labels):
        raise Skip("the pretrained head has no names for its outputs")
    result.add_inspected(len(head_labels), "outputs of the pretrained head")
    folded_head, folded_classes = ([name.casefold() for name in names] for names in (head_labels, classes))
    if len(head_labels) != len(classes):
        result.note(
            f"the pretrained head has {len(head_labels)} outputs, the data {len(classes)} labels: it is replaced."
        )
    elif sorted(folded_head) == sorted(folded_classes) and folded_head != folded_classes:
        numbers = ", ".join(f"{name!r} as {folded_head.index(name.casefold())}" for name in classes[:SHOWN])
        result.warn(
            f"the pretrained head's outputs are {quote_names(head_labels)}, the data's labels {quote_names(classes)}: "
            "the same in another order.",
            "training begins from confident wrong predictions, which the model first has to unlearn",
            f"write the head's numbers in the column data.label={subject.config.data.label}: {numbers}",
        )
    elif folded_head != folded_classes:
        pairs = ", ".join(
            f"{label!r} from {output!r}" for label, output in zip(classes[:SHOWN], head_labels, strict=False)
        )
        result.note(
            f"the pretrained head is reused, and initializes {pairs}.",
            "where these labels do not correspond, the model first has to unlearn the old ones",
            "check on the model's page what its outputs stand for",
        )


@check("model", cheap=True)
def special_tokens(subject: Subject, result: CheckResult) -> None:
    """Inputs begin (or end, as in xlnet) with the special token of pretraining, and contain no padding."""
    run = subject.run
    tokenizer, train = run.tokenizer, run.train
    result.add_inspected(len(train.offsets) - 1, "inputs")
    ids = train.columns["input_ids"]
    first = tokenizer.cls_token_id if tokenizer.cls_token_id is not None else tokenizer.bos_token_id
    is_missing = (ids[train.offsets[:-1]] != first) & (ids[train.offsets[1:] - 1] != first)
    # A tokenizer that adds no such token, as that of gpt2, goes with a head that needs none.
    if first in tokenizer("").input_ids and is_missing.mean() > 0.5:
        result.warn(
            f"{is_missing.mean():.0%} of the inputs do not begin with {tokenizer.decode([first])}.",
            "the head reads a vector that was not pretrained to represent the input",
            "tokenize with special tokens (the encode seam's inner function does)",
        )
    pad = tokenizer.pad_token_id
    if pad is not None and (ids == pad).any():
        result.warn(
            f"{(ids == pad).mean():.1%} of the tokens inside inputs are padding.",
            "these tokens carry no information",
            "do not pad when encoding; batches are padded and masked when they are collated",
        )


@check("model", cheap=True)
def finite_values(subject: Subject, result: CheckResult) -> None:
    """Weights, and the output of each module for some rows, are free of NaN and inf."""
    run = subject.run
    non_finite = subject.non_finite_weights
    result.add_inspected(sum(1 for _ in run.bare_model.parameters()), "weights")
    if non_finite:
        result.fail(
            f"{len(non_finite)} parameters contain NaN or inf, first {non_finite[0]}.",
            "every loss is NaN",
            "load other weights (model.name), or leave out the trick that sets them",
        )
        return
    forward = subject.forward
    result.add_inspected(len(forward.batch), "rows, forward")
    if forward.non_finite:
        module, ids = forward.non_finite
        remedies = [f"check the module {module}"]
        # Half precision overflows where 32 bits do not.
        remedies += [f"in 16 bits, try without {name}" for name in seams.tricks_around("accelerator", run.tricks)]
        result.fail(
            f"the output of {module} for {len(ids) or 'some'} rows contains NaN or inf.",
            "every loss is NaN",
            "; ".join(remedies),
            sorted(set(ids)),
        )
    elif not torch.isfinite(forward.logits).all():
        result.fail("the logits contain NaN or inf.", "every loss is NaN", "check the head")


@check("model", cheap=True)
def initial_loss(subject: Subject, result: CheckResult) -> None:
    """The loss of a new head is close to that of a uniform prediction, overall and for each class."""
    subject.require_finite_values()
    run = subject.run
    batch, logits = subject.forward.batch, subject.forward.logits
    result.add_inspected(len(batch), "rows")
    targets = batch.targets.to(logits)
    with torch.no_grad():
        plain = _row_losses(logits, targets, run.multi_label)
    weights = batch.weights > 0
    if not torch.isfinite(plain[weights]).all():
        wrong = [batch.ids[row] for row in _indices(~torch.isfinite(plain) & weights)]
        names = sorted({str(_label_of(run, name)) for name in wrong})
        result.fail(
            f"the loss is NaN or inf on {len(wrong)} of {len(batch)} rows, all labelled {', '.join(names)}.",
            "every update with one of these rows is skipped",
            "give the head an output for each label",
            wrong,
        )
        return
    expected = math.log(2) if run.multi_label else math.log(len(run.classes))
    actual = float(plain[weights].mean())
    deviation = float(logits.std(0).mean())
    class_losses = {} if run.multi_label else _class_losses(run, plain, batch)
    worst_class, worst = max(class_losses.items(), key=lambda item: item[1], default=("", 0.0))
    detail = f", highest on rows of {worst_class!r} ({worst:.3f})" if class_losses else ""
    result.note(f"the loss is {actual:.3f}{detail}; a uniform prediction has {expected:.3f}.")
    most, is_new = 1.5 * expected + 0.3, _has_new_head(run)
    if actual > most:
        result.warn(
            f"the loss of an untrained model is {actual:.2f}, that of a uniform prediction {expected:.2f}.",
            "the head begins with confident wrong predictions, and the first updates only unlearn them",
            "initialize the head with small weights (leave out the trick that changes it, or its activation)",
        )
    elif worst > most and is_new:
        result.warn(
            f"the loss of an untrained model is {worst:.2f} on rows of {worst_class!r}, that of a uniform prediction "
            f"{expected:.2f}.",
            f"the head begins with predictions that exclude {worst_class!r}",
            "initialize the head with biases of 0 (leave out the trick that changes it)",
        )
    elif actual < 0.5 * expected and is_new:
        result.warn(
            f"the loss of an untrained model is {actual:.2f}, far below {expected:.2f}.",
            "the input contains the label",
            "check the decoded inputs: does a trick or a column leak the label?",
        )
    sums = logits.sum(1)
    if not run.multi_label and (logits >= 0).all() and torch.allclose(sums, torch.ones_like(sums), atol=1e-3):
        result.fail(
            "the model returns probabilities as logits: they are above 0 and sum to 1.",
            "the loss can hardly fall, since it expects logits",
            "leave out the softmax at the end of the model",
        )
    if deviation < SMALLEST_DIFFERENCE and len(batch) > 1:
        result.warn(
            "the logits are the same for every row.",
            "the prediction does not depend on the text",
            "check that the encoder's output reaches the head",
        )


@check("model", cheap=True)
def loss_minimum(subject: Subject, result: CheckResult) -> None:
    """The loss, with every trick in it, is lowest for the true label."""
    run = subject.run
    result.add_inspected(len(run.classes), "classes")
    problem = _problem_of_loss(run, run.seams.loss)
    if problem is None or _has_no_part_of_labels(run):
        return
    message, consequence, remedy = problem
    harmful: list[Trick] = []
    base = Base(run).loss
    if _problem_of_loss(run, base) is None:
        for name, trick in step_tricks(run).items():
            if _problem_of_loss(run, seams.compose("loss", base, {name: trick}, run)):
                harmful.append(trick)
    if harmful:
        names = " and ".join(describe_settings(trick, subject.config) for trick in harmful)
        message = f"with {names}, {message}"
        remedy = "; ".join(weaken(trick, subject.config) for trick in harmful)
    result.fail(message, consequence, remedy)


def _has_no_part_of_labels(run: TrainingRun) -> bool:
    """Whether a term that a trick adds is all of the objective, such as that of a teacher."""
    targets = torch.eye(len(run.classes), device=run.accelerator.device, dtype=torch.get_default_dtype())
    has_term = any(trick.slots.get("objective") == "term" for trick in run.tricks.values())
    return has_term and not run.seams.loss(torch.zeros_like(targets), targets).any()


def _problem_of_loss(run: TrainingRun, loss_of_rows: Callable[[Tensor, Tensor], Tensor]) -> tuple[str, str, str] | None:
    """What is wrong with a loss: message, consequence and remedy; None if nothing is."""
    count, multi_label = len(run.classes), run.multi_label
    targets = torch.eye(count, device=run.accelerator.device, dtype=torch.get_default_dtype())
    logits = 2 * targets - 1 if multi_label else targets

    def loss(scale: float, logits: Tensor) -> Tensor:
        with torch.no_grad():
            row_losses: Tensor = loss_of_rows(scale * logits, targets)
            return row_losses.float()

    # With smoothed targets, very confident predictions have a high loss, so the compared logits are moderate.
    # A single class has no other row to take the logits of.
    others = logits.roll(1, 0) if count > 1 else -logits
    right, shifted, uniform = loss(3, logits), loss(3, others), loss(0, logits)
    # With a label more and one less, most of many classes are still right; all of them are wrong with the other sign.
    wrong = loss(-3, logits) if multi_label else shifted
    # Given logits, the loss of ever more confident right predictions goes on falling; given probabilities, it stalls.
    confident, most_confident = loss(20, logits), loss(40, logits)
    start = float(uniform.mean())
    if not (torch.isfinite(loss(1000, logits)).all() and torch.isfinite(loss(1000, others)).all()):
        return (
            "the loss of large logits is NaN or inf.",
            "training fails as soon as the model is confident",
            "use logits, not probabilities, in the loss, and log_softmax, not log(softmax)",
        )
    if not (right < torch.minimum(uniform, shifted)).all() or not (uniform < wrong).all():
        return (
            f"the loss is {float(right.mean()):.3f} for right logits, {start:.3f} for uniform and "
            f"{float(wrong.mean()):.3f} for wrong ones.",
            "training moves away from the labels",
            "check the sign of the loss, and which column is which class",
        )
    if float(confident.mean()) > 0.2 * start and float((most_confident - confident).abs().mean()) < 0.01 * start:
        return (
            f"the loss gets probabilities where it expects logits: it is still {float(confident.mean()):.3f} for "
            f"the most confident right prediction, and {start:.3f} for a uniform one.",
            "it can hardly fall",
            "leave out the softmax (or sigmoid) before the loss; cross-entropy takes logits",
        )
    return None


@check("model", cheap=True)
def targets(subject: Subject, result: CheckResult) -> None:
    """After every trick, rows have weights, and targets that sum to one."""
    run = subject.run
    batch = run.seams.batches(run.train, 0)[0]
    result.add_inspected(len(batch), "rows")
    known = batch.weights > 0
    if not known.any():
        result.fail(
            "no row of the first batch has any weight.",
            "the loss is 0 and the model learns nothing",
            "leave out the trick that forms the batches (seam `batches`), or give its rows a weight above 0",
        )
        return
    if run.multi_label:
        return
    passed_on = _innermost_targets(run, batch)
    for which, matrix in (("of the first batch", batch.targets), ("that reach the loss", passed_on)):
        sums = matrix.sum(1)
        wrong = _indices(known & ((sums - 1).abs() > LARGEST_GAP))
        if wrong:
            result.fail(
                f"the targets {which} do not sum to 1 in {len(wrong)} of {len(batch)} rows, but to "
                f"{float(sums[wrong[0]]):.3g}.",
                "the loss is on another scale for these rows",
                "leave out the trick that changes them (seam `batches` or `loss`), or divide each row by its sum",
                [batch.ids[row] for row in wrong],
            )
            return


def _innermost_targets(run: TrainingRun, batch: Batch) -> Tensor:
    """The targets that the tricks on the loss pass on; the batch's own where a trick replaces the loss."""
    recorded = [batch.targets]

    def record(logits: Tensor, targets: Tensor) -> Tensor:
        recorded.append(targets)
        return Base(run).loss(logits, targets)

    device = run.accelerator.device
    # Weights of classes are in the targets that such a trick passes on, so these do not sum to 1.
    tricks = {name: trick for name, trick in run.tricks.items() if trick.slots.get("loss") != "weighting"}
    with torch.no_grad():
        logits = torch.zeros_like(batch.targets, device=device)
        seams.compose("loss", record, tricks, run)(logits, batch.targets.to(device))
    return recorded[-1].to(batch.targets.device)


@check("model")
def gradients(subject: Subject, result: CheckResult) -> None:
    """Every weight that is trained gets a gradient, and none that is frozen does."""
    with subject.restore_after() as run:
        run.optimizer.zero_grad()
        batch = subject.batch(_sample_lengths(subject))
        run.seams.gradient(batch)
        named = dict(run.bare_model.named_parameters())
        trained = {id(each) for group in run.optimizer.param_groups for each in group["params"]}
        result.add_inspected(len(named), "weights")
        # A pooler that the classifier does not read, and embeddings of tokens that do not occur, get no gradient.
        without = [
            name
            for name, each in named.items()
            if each.requires_grad and id(each) in trained and (each.grad is None or not each.grad.any())
        ]
        frozen = [name for name, each in named.items() if not each.requires_grad and each.grad is not None]
        outside = [name for name, each in named.items() if each.requires_grad and id(each) not in trained]
        bad = [name for name, each in named.items() if each.grad is not None and not torch.isfinite(each.grad).all()]
        total = sum(float(each.grad.norm()) ** 2 for each in named.values() if each.grad is not None) ** 0.5
    if bad:
        result.fail(
            f"the gradient of {len(bad)} weights contains NaN or inf, first {bad[0]}.",
            "the first update sets them to NaN",
            "check for a square root, a logarithm or a division at 0 in the terms that tricks add to the loss",
        )
    if total == 0:
        result.fail(
            "no weight gets a gradient.",
            "the model learns nothing",
            "check whether the loss is detached, or the labels do not enter it",
        )
    elif len(without) > 0.1 * len(named):
        result.warn(
            f"{len(without)} of {len(named)} weights get no gradient, first {without[0]}.",
            "these parts of the model are not trained",
            "check whether they are detached, or unused",
        )
    if outside:
        result.warn(
            f"{len(outside)} trainable weights are in no group of the optimizer, first {outside[0]}.",
            "they are not trained",
            "create the optimizer after the last change to the model",
        )
    if frozen:
        result.warn(
            f"{len(frozen)} frozen weights got a gradient, first {frozen[0]}.",
            "memory and time are wasted",
            "freeze before the first pass",
        )


@check("model")
def frozen_weights(subject: Subject, result: CheckResult) -> None:
    """Frozen weights are the loaded ones, not newly initialized."""
    run = subject.run
    frozen = {name: each for name, each in run.bare_model.named_parameters() if not each.requires_grad}
    if not frozen:
        raise Skip("no weight is frozen")
    result.add_inspected(len(frozen), "frozen weights")
    loading = {name: trick for name, trick in run.tricks.items() if trick.slots.get("model") == "load"}
    loaded = dict(seams.compose("model", Base(run).model, loading, run)().named_parameters())
    changed = [name for name in frozen if name in loaded and not torch.equal(frozen[name].cpu(), loaded[name])]
    if changed:
        freezing = [f"tricks.{name}" for name, trick in run.tricks.items() if trick.slots.get("model") == "freeze"]
        settings = f" ({', '.join(freezing)})" if freezing else ""
        result.warn(
            f"{len(changed)} of {len(frozen)} frozen weights differ from the loaded ones, first {changed[0]}.",
            "newly initialized weights are never trained, and the layers above them read noise",
            f"freeze only layers that keep their loaded weights{settings}",
        )


@check("model")
def batch_invariance(subject: Subject, result: CheckResult) -> None:
    """The logits of a row depend neither on padding nor on the other rows of its batch."""
    run = subject.run
    if run.train.window_offsets is not None:
        raise Skip("rows are read in windows")
    subject.require_finite_values()
    rows = _sample_lengths(subject)
    batch = subject.batch(rows)
    if len(batch) < 2:
        raise Skip("there is one row only")
    result.add_inspected(len(batch), "rows")
    if run.train.padding.width:
        result.warn(
            f"the model reads padding as text, so all rows are padded to {run.train.padding.width} tokens.",
            "each row takes as long as the longest, and other programs must pad in the same way",
            "another model, or a lower data.max_length",
        )
    with evaluating(run.bare_model):
        together = run.bare_model(**batch.inputs).logits.float()
        again = run.bare_model(**batch.inputs).logits.float()
        one_by_one = torch.cat([run.bare_model(**subject.batch(np.array([row])).inputs).logits.float() for row in rows])
    scale = max(1e-3, float(together.abs().mean()))
    if float((together - again).abs().max()) > 1e-3 * scale:
        result.fail(
            "the same rows give different logits the second time, with dropout off.",
            "scores are not reproducible",
            "check for dropout, or another random operation, that ignores model.eval()",
        )
        return
    difference = (together - one_by_one).abs().amax(1)
    if float(difference.max()) > 1e-3 * scale:
        result.fail(
            f"predicted one by one and in a batch, logits differ by up to {float(difference.max()):.3g}.",
            "predictions depend on the other rows of a batch, or on the padding",
            "mask the padding (attention_mask), and let no layer mix rows",
            [batch.ids[row] for row in torch.argsort(-difference)[:5].tolist()],
        )


@check("model")
def dropout(subject: Subject, result: CheckResult) -> None:
    """Dropout is on in training and off in prediction."""
    subject.require_finite_values()
    run = subject.run
    dropouts = [module for module in run.bare_model.modules() if isinstance(module, nn.Dropout) and module.p > 0]
    result.add_inspected(len(dropouts), "dropout modules")
    modes = {module.training for module in run.bare_model.modules()}
    batch = subject.batch(_sample_lengths(subject))
    if dropouts and modes == {False}:
        result.fail("the model is in evaluation mode during training.", "dropout is off", "call model.train()")
        return
    with torch.no_grad():
        one, other = (run.bare_model(**batch.inputs).logits for _ in range(2))
    if dropouts and modes == {True} and torch.equal(one, other):
        result.note(
            "dropout is on, but two passes give the same logits.",
            "dropout has no effect",
            "check whether the attention implementation, or a trick, bypasses it",
        )


def _sample_lengths(subject: Subject) -> np.ndarray:
    """Some rows of the sample, evenly spaced by length."""
    by_length = subject.rows[np.argsort(subject.run.train.lengths[subject.rows], kind="stable")]
    return np.sort(by_length[np.unique(np.linspace(0, len(by_length) - 1, FEW_ROWS).astype(int))])


def _indices(mask: Tensor) -> list[int]:
    indices: list[int] = mask.nonzero().flatten().tolist()
    return indices


def _row_losses(logits: Tensor, targets: Tensor, multi_label: bool) -> Tensor:
    if multi_label:
        return nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(-1)
    log_probabilities = logits.log_softmax(1)
    # With too few outputs in the head, the other labels have a probability of 0.
    missing = targets.shape[1] - logits.shape[1]
    if missing > 0:
        zeros = log_probabilities.new_full((len(logits), missing), -math.inf)
        log_probabilities = torch.cat([log_probabilities, zeros], 1)
    return -torch.where(targets > 0, targets * log_probabilities[:, : targets.shape[1]], 0.0).sum(1)


def _class_losses(run: TrainingRun, losses: Tensor, batch: Batch) -> dict[str, float]:
    """The mean loss of the rows of each class."""
    numbers = batch.targets.argmax(1).masked_fill(batch.weights == 0, -1)
    present = sorted(set(numbers[numbers >= 0].tolist()))
    return {run.classes[number]: float(losses[numbers == number].mean()) for number in present}


def _has_new_head(run: TrainingRun) -> bool:
    head_labels = labels_of_head(run.config.model)
    return (head_labels is None or len(head_labels) != len(run.classes)) and not _is_loaded_by_a_trick(run)


def _is_loaded_by_a_trick(run: TrainingRun) -> bool:
    return any(trick.slots.get("model") == "load" for trick in run.tricks.values())


def _label_of(run: TrainingRun, name: str) -> object:
    return run.train.examples["label"][list(run.train.ids).index(name)]
