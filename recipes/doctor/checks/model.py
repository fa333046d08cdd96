"""The model and the loss, before anything is learnt."""

import math
import re

import numpy as np
import torch
from torch import Tensor, nn

from recipes import seams
from recipes.base import Base, evaluating
from recipes.data.batch import Batch
from recipes.doctor.findings import CheckResult, Skip
from recipes.doctor.registry import check
from recipes.doctor.render import quote_names
from recipes.doctor.subject import Subject
from recipes.loop import TrainingRun
from recipes.models.anatomy import word_embeddings
from recipes.models.loading import labels_of_head

FEW, SHOWN = 16, 5
SMALLEST_DIFFERENCE = 1e-6


@check("model", cheap=True)
def sizes(subject: Subject, result: CheckResult) -> None:
    """Labels, tokens and positions that the model has room for."""
    run = subject.run
    train, outputs = run.train, run.head.out_features
    embeddings = word_embeddings(run.bare_model)
    known = embeddings.num_embeddings if isinstance(embeddings, nn.Embedding) else math.inf
    result.at(len(train), "labels")
    result.at(len(train.columns["input_ids"]), "tokens")
    if outputs != len(run.classes):
        result.fail(
            f"the head has {outputs} outputs, the data {len(run.classes)} labels.",
            "on a CPU the loss is NaN or an index is out of range, on a GPU it is a CUDA assert that names nothing",
            "let the model seam give a head with an output for each label",
        )
    largest = int(train.columns["input_ids"].max(initial=0))
    if largest >= known:
        result.fail(
            f"the tokenizer gives token {largest}, the model knows {known:g}.",
            "an index out of range",
            "a tokenizer and a model that belong together (model.name)",
        )
    longest = int(train.window_lengths.max())
    most = getattr(run.bare_model.config, "max_position_embeddings", None)
    if isinstance(most, int) and 0 < most < longest:
        result.fail(
            f"the longest input has {longest} tokens, the model reads {most}.",
            "an index out of range",
            f"data.max_length={most}",
        )


@check("model", cheap=True)
def trained_head(subject: Subject, result: CheckResult) -> None:
    """A head that comes trained: that its outputs stand for the data's labels, in their order."""
    run = subject.run
    had, classes = labels_of_head(subject.config.model), run.classes
    if had is None or _is_loaded_by_a_trick(run):
        raise Skip("the head is new, or a trick's")
    if all(re.fullmatch(r"LABEL_\d+", name) for name in had):
        raise Skip("the trained head does not say what its outputs stand for")
    result.at(len(had), "outputs of the trained head")
    theirs, ours = ([name.casefold() for name in names] for names in (had, classes))
    if len(had) != len(classes):
        result.note(f"its head has {len(had)} outputs, the data {len(classes)} labels: the model gets a new head.")
    elif sorted(theirs) == sorted(ours) and theirs != ours:
        numbers = ", ".join(f"{name!r} as {theirs.index(name.casefold())}" for name in classes[:SHOWN])
        result.warn(
            f"the trained head's outputs are {quote_names(had)}, the data's labels {quote_names(classes)}: "
            "the same in another order.",
            "training begins from wrong answers that the head is sure of, and first has to unlearn them",
            f"write the head's numbers in the column data.label={subject.config.data.label}: {numbers}",
        )
    elif theirs != ours:
        pairs = ", ".join(f"{ours!r} from {theirs!r}" for ours, theirs in zip(classes[:SHOWN], had, strict=False))
        result.note(
            f"the trained head is kept, and begins {pairs}.",
            "where these do not mean the same, it first has to unlearn what it knows",
            "look at the model's page for what its outputs stand for",
        )


@check("model", cheap=True)
def special_tokens(subject: Subject, result: CheckResult) -> None:
    """Inputs that begin and end as the model was pretrained to see them, and padding that nothing else is."""
    run = subject.run
    tokenizer, train = run.tokenizer, run.train
    result.at(len(train.offsets) - 1, "inputs")
    ids = train.columns["input_ids"]
    first = tokenizer.cls_token_id if tokenizer.cls_token_id is not None else tokenizer.bos_token_id
    begins = ids[train.offsets[:-1]]
    if first is not None and (begins != first).mean() > 0.5:
        result.warn(
            f"{(begins != first).mean():.0%} of the inputs do not begin with {tokenizer.decode([first])}.",
            "the vector that the head reads is not the one that was pretrained to stand for all of it",
            "tokenize with special tokens (the encode seam's inner function does)",
        )
    pad = tokenizer.pad_token_id
    if pad is not None and (ids == pad).any():
        result.warn(
            f"{(ids == pad).mean():.1%} of the tokens inside inputs are padding.",
            "the model reads nothing there",
            "do not pad when encoding; batches pad, and mask what they pad",
        )


@check("model", cheap=True)
def finite(subject: Subject, result: CheckResult) -> None:
    """Numbers all the way: weights, then what each module makes of some rows."""
    run = subject.run
    broken = [name for name, each in run.bare_model.named_parameters() if not torch.isfinite(each).all()]
    result.at(sum(1 for _ in run.bare_model.parameters()), "weights")
    if broken:
        result.fail(
            f"{len(broken)} weights hold what is no number, first {broken[0]}.",
            "every loss is NaN",
            "load the pretrained weights anew",
        )
        return
    forward = subject.forward
    result.at(len(forward.batch), "rows, forward")
    if forward.broken:
        where, ids = forward.broken
        result.fail(
            f"what {where} makes of {len(ids) or 'some'} rows is no number.",
            "every loss is NaN",
            "; ".join(
                [
                    f"look into {where}",
                    *(f"in 16 bits try without {name}" for name in seams.tricks_around("accelerator", run.tricks)),
                ]
            ),
            sorted(set(ids)),
        )
    elif not torch.isfinite(forward.logits).all():
        result.fail("the logits are no numbers.", "every loss is NaN", "look into the head")


@check("model", cheap=True)
def loss_at_start(subject: Subject, result: CheckResult) -> None:
    """The loss of a new head, near that of knowing nothing but how many classes there are, for each class."""
    run = subject.run
    batch, logits = subject.forward.batch, subject.forward.logits
    result.at(len(batch), "rows")
    targets = batch.targets.to(logits)
    with torch.no_grad():
        plain = _row_losses(logits, targets, run.multi_label)
    weights = batch.weights > 0
    if not torch.isfinite(plain[weights]).all():
        wrong = [batch.ids[row] for row in _places(~torch.isfinite(plain) & weights)]
        names = sorted({str(_label_of(run, name)) for name in wrong})
        result.fail(
            f"the loss is no number on {len(wrong)} of {len(batch)} rows, all labelled {', '.join(names)}.",
            "every update with one of them is lost",
            "give the head an output for each label",
            wrong,
        )
        return
    expected = math.log(2) if run.multi_label else math.log(len(run.classes))
    found = float(plain[weights].mean())
    spread = float(logits.std(0).mean())
    of_class = {} if run.multi_label else _class_losses(run, plain, batch)
    dearest, worst = max(of_class.items(), key=lambda item: item[1], default=("", 0.0))
    told = f", most on rows of {dearest!r} ({worst:.3f})" if of_class else ""
    result.note(f"{found:.3f}{told}; {expected:.3f} is that of answering every class alike.")
    most, is_new = 1.5 * expected + 0.3, _has_new_head(run)
    if found > most:
        result.warn(
            f"the loss of an untrained model is {found:.2f}, that of answering every class alike {expected:.2f}.",
            "the head begins sure of what it does not know, and the first updates only unlearn that",
            "begin with a head of small weights (leave out what changes the head or doubles its activation)",
        )
    elif worst > most and is_new:
        result.warn(
            f"the loss of an untrained model is {worst:.2f} on rows of {dearest!r}, that of answering every class "
            f"alike {expected:.2f}.",
            f"the head begins sure that nothing is {dearest!r}",
            "begin with a head whose biases are 0 (leave out what changes the head)",
        )
    elif found < 0.5 * expected and is_new:
        result.warn(
            f"the loss of an untrained model is {found:.2f}, far below {expected:.2f}.",
            "the label stands in the input",
            "look at the decoded inputs: does a trick or a column give the label away?",
        )
    shares = logits.sum(1)
    if not run.multi_label and (logits >= 0).all() and torch.allclose(shares, torch.ones_like(shares), atol=1e-3):
        result.fail(
            "what the model calls logits are probabilities: they are above 0 and sum to 1.",
            "the loss can hardly fall, since it takes them for logits",
            "leave out the softmax at the end of the model",
        )
    if spread < SMALLEST_DIFFERENCE and len(batch) > 1:
        result.warn(
            "the logits are the same for every row.",
            "the answer is constant whatever the text",
            "look whether the encoder's output reaches the head",
        )


@check("model", cheap=True)
def loss_of_the_right_answer(subject: Subject, result: CheckResult) -> None:
    """A loss, with every trick in it, that is smallest for the right answer."""
    run = subject.run
    count, multi_label = len(run.classes), run.multi_label
    targets = torch.eye(count, device=run.accelerator.device, dtype=torch.get_default_dtype())
    logits = 2 * targets - 1 if multi_label else targets

    def loss(scale: float, answered: Tensor) -> Tensor:
        with torch.no_grad():
            found: Tensor = run.seams.loss(scale * answered, targets)
            return found.float()

    # Smoothed targets make sure answers dear, so what is compared is not too sure.
    right, wrong, unsure = loss(3, logits), loss(3, logits.roll(1, 0)), loss(0, logits)
    sure, surer = loss(20, logits), loss(40, logits)
    result.at(count, "classes")
    start = float(unsure.mean())
    if not (torch.isfinite(loss(1000, logits)).all() and torch.isfinite(loss(1000, logits.roll(1, 0))).all()):
        result.fail(
            "the loss of sure logits is no number.",
            "training ends as soon as the model is sure",
            "take logits, not probabilities, into the loss, and log_softmax, not log(softmax)",
        )
    elif not (right < unsure).all() or not (unsure < wrong).all():
        result.fail(
            f"the loss is {float(right.mean()):.3f} for right logits, {start:.3f} for unsure and "
            f"{float(wrong.mean()):.3f} for wrong ones.",
            "training moves away from the labels",
            "mind the sign of the loss, and which column is which class",
        )
    elif float(sure.mean()) > 0.2 * start and float((surer - sure).abs().mean()) < 0.01 * start:
        result.fail(
            f"the loss gets probabilities where it wants logits: of the surest right answer it is still "
            f"{float(sure.mean()):.3f}, unsure {start:.3f}.",
            "it can hardly fall",
            "leave out the softmax (or sigmoid) before the loss; cross-entropy takes logits",
        )


@check("model", cheap=True)
def targets(subject: Subject, result: CheckResult) -> None:
    """Targets and weights as every trick leaves them: rows that count, and shares that sum to one."""
    run = subject.run
    batch = subject.batch(subject.rows)
    result.at(len(batch), "rows")
    sums = batch.targets.sum(1)
    known = batch.weights > 0
    if not run.multi_label and not torch.allclose(sums[known], torch.ones_like(sums[known]), atol=1e-5):
        wrong = _places(known & ((sums - 1).abs() > 1e-5))
        result.fail(
            f"the targets of {len(wrong)} rows do not sum to 1.",
            "the loss is on another scale for them",
            "give each row a distribution over the classes",
            [batch.ids[row] for row in wrong],
        )
    if not known.any():
        result.fail("no row has any weight.", "the loss is 0 and nothing is learnt", "give rows a weight above 0")


@check("model")
def gradients(subject: Subject, result: CheckResult) -> None:
    """Every weight that is trained gets a gradient, and none that is frozen does."""
    with subject.kept() as run:
        run.optimizer.zero_grad()
        batch = subject.batch(_few(subject))
        run.seams.gradient(batch)
        named = dict(run.bare_model.named_parameters())
        trained = {id(each) for group in run.optimizer.param_groups for each in group["params"]}
        result.at(len(named), "weights")
        # A pooler that the classifier does not read, and rows of embeddings that do not occur, are no fault.
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
            f"the gradient of {len(bad)} weights is no number, first {bad[0]}.",
            "the first update destroys them",
            "look for a root, a logarithm or a division at 0 in what the tricks add to the loss",
        )
    if total == 0:
        result.fail(
            "no weight gets a gradient.",
            "nothing is learnt",
            "look whether something detaches the loss, or gives the labels no way into it",
        )
    elif len(without) > 0.1 * len(named):
        result.warn(
            f"{len(without)} of {len(named)} weights get no gradient, first {without[0]}.",
            "these parts of the model stay as they are",
            "look whether they are detached, or not used",
        )
    if outside:
        result.warn(
            f"{len(outside)} weights that could be trained are in no group of the optimizer, first {outside[0]}.",
            "they stay as they are",
            "make the optimizer after the model has its last shape",
        )
    if frozen:
        result.warn(
            f"{len(frozen)} frozen weights got a gradient, first {frozen[0]}.",
            "memory and time for nothing",
            "freeze before the first pass",
        )


@check("model")
def frozen_weights(subject: Subject, result: CheckResult) -> None:
    """Frozen weights that are those that were loaded."""
    run = subject.run
    held = {name: each for name, each in run.bare_model.named_parameters() if not each.requires_grad}
    if not held:
        raise Skip("no weight is frozen")
    result.at(len(held), "frozen weights")
    loading = {name: trick for name, trick in run.tricks.items() if trick.slots.get("model") == "load"}
    loaded = dict(seams.compose("model", Base(run).model, loading, run)().named_parameters())
    changed = [name for name in held if name in loaded and not torch.equal(held[name].cpu(), loaded[name])]
    if changed:
        freezing = [f"tricks.{name}" for name, trick in run.tricks.items() if trick.slots.get("model") == "freeze"]
        settings = f" ({', '.join(freezing)})" if freezing else ""
        result.warn(
            f"{len(changed)} of {len(held)} frozen weights are not those that were loaded, first {changed[0]}.",
            "what was drawn anew is never trained, and what is above it has to read noise",
            f"freeze fewer layers than are left as they were{settings}",
        )


@check("model")
def invariance(subject: Subject, result: CheckResult) -> None:
    """A row's answer depends on its text, and neither on padding nor on the other rows of its batch."""
    run = subject.run
    if run.train.window_offsets is not None:
        raise Skip("rows are read in windows")
    rows = _few(subject)
    whole = subject.batch(rows)
    if len(whole) < 2:
        raise Skip("there is one row only")
    result.at(len(whole), "rows")
    with evaluating(run.bare_model):
        together = run.bare_model(**whole.inputs).logits.float()
        again = run.bare_model(**whole.inputs).logits.float()
        alone = torch.cat([run.bare_model(**subject.batch(np.array([row])).inputs).logits.float() for row in rows])
    scale = max(1e-3, float(together.abs().mean()))
    if float((together - again).abs().max()) > 1e-3 * scale:
        result.fail(
            "the same rows give other logits the second time, with dropout off.",
            "no score can be repeated",
            "look for dropout, or for a draw, that does not follow model.eval()",
        )
        return
    off = (together - alone).abs().amax(1)
    if float(off.max()) > 1e-3 * scale:
        result.fail(
            f"alone, a row's logits differ by up to {float(off.max()):.3g} from those among others.",
            "answers depend on which rows happen to be predicted together, or on how much padding there is",
            "mask the padding (attention_mask), and let no layer look across rows",
            [whole.ids[row] for row in torch.argsort(-off)[:5].tolist()],
        )


@check("model")
def dropout(subject: Subject, result: CheckResult) -> None:
    """Dropout that is on while training and off while predicting."""
    run = subject.run
    places = [module for module in run.bare_model.modules() if isinstance(module, nn.Dropout) and module.p > 0]
    result.at(len(places), "places with dropout")
    modes = {module.training for module in run.bare_model.modules()}
    batch = subject.batch(_few(subject))
    if places and modes == {False}:
        result.fail("the model is in evaluation mode while it trains.", "dropout is off", "call model.train()")
        return
    with torch.no_grad():
        one, other = (run.bare_model(**batch.inputs).logits for _ in range(2))
    if places and modes == {True} and torch.equal(one, other):
        result.note(
            "dropout is set and two passes are the same.",
            "it does nothing",
            "look whether the attention implementation, or a trick, leaves it out",
        )


def _few(subject: Subject) -> np.ndarray:
    """Some rows of every length that there is."""
    by_length = subject.rows[np.argsort(subject.run.train.lengths[subject.rows], kind="stable")]
    return np.sort(by_length[np.unique(np.linspace(0, len(by_length) - 1, FEW).astype(int))])


def _places(marks: Tensor) -> list[int]:
    found: list[int] = marks.nonzero().flatten().tolist()
    return found


def _row_losses(logits: Tensor, targets: Tensor, multi_label: bool) -> Tensor:
    if multi_label:
        return nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(-1)
    shares = logits.log_softmax(1)
    if (lacking := targets.shape[1] - logits.shape[1]) > 0:  # a head with too few classes: their labels have no logit
        shares = torch.cat([shares, shares.new_full((len(logits), lacking), -math.inf)], 1)
    return -torch.where(targets > 0, targets * shares[:, : targets.shape[1]], 0.0).sum(1)


def _class_losses(run: TrainingRun, losses: Tensor, batch: Batch) -> dict[str, float]:
    """The mean loss of the rows of each class."""
    numbers = batch.targets.argmax(1).masked_fill(batch.weights == 0, -1)
    found = sorted(set(numbers[numbers >= 0].tolist()))
    return {run.classes[number]: float(losses[numbers == number].mean()) for number in found}


def _has_new_head(run: TrainingRun) -> bool:
    had = labels_of_head(run.config.model)
    return (had is None or len(had) != len(run.classes)) and not _is_loaded_by_a_trick(run)


def _is_loaded_by_a_trick(run: TrainingRun) -> bool:
    return any(trick.slots.get("model") == "load" for trick in run.tricks.values())


def _label_of(run: TrainingRun, name: str) -> object:
    return run.train.examples["label"][list(run.train.ids).index(name)]
