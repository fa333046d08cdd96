"""LoRA: train low-rank changes of the encoder's linear layers, and leave its own weights frozen.

Each adapted layer computes W x + b + alpha / rank * B A x, where A is (rank, in), B is (out, rank) and 0 at first. The
layers' other weights and the embeddings are frozen; what is above the layers, a pooler and the head, is trained as
before. A saved model has the merged weights W + alpha / rank * B A, so transformers loads it like any other.

Source: Hu et al. 2021, LoRA: Low-Rank Adaptation of Large Language Models, arXiv 2106.09685 (rank 8 on query and value
    projections of RoBERTa); all linear layers rather than attention alone: Dettmers, Pagnoni, Holtzman, Zettlemoyer
    2023, QLoRA, arXiv 2305.14314. The layers are those of the package peft.
Cost: one pass. With MiniLM (22.7 M parameters) on a core, batches of 16 reviews (eda_cr): 0.48 M parameters are
    trained, with targets=attention 0.30 M. The optimizer holds 3.7 MB (attention 2.3) in place of 173, a checkpoint has
    92 MB in place of 260, and an update takes 0.88 times the CPU time (attention 0.71) of full fine-tuning.
Use when: memory for the optimizer is short, or many checkpoints are written. Avoid when: full fine-tuning fits: a pass
    costs nearly the same. With MiniLM, 500 rows of TREC and 100 updates of 16 rows the accuracy differed from that of
    full fine-tuning by -0.0160 ± 0.0683, so no difference is shown (three seeds). With seed 0 alone 0.926 full, 0.850
    with rate_factor=1, 0.910 with 3, 0.904 with 10 (docs/evidence/lora.csv).
Composes: model/attach: after weights are loaded and layers frozen. A layer that stays frozen gets no adapter; that of a
    layer that is frozen for a while waits until it is unfrozen. Excludes tricks that reinitialize layers, which would
    stay random. Averages of weights (swa, ema, soup) average A and B each, which is not the average of their product.
    Layer-wise rates are those of the adapters.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn
from torch.optim import Optimizer

from recipes import ModelContext, Run, Trick, UserError, allowed
from recipes.models.adapters import adapted_modules, add_adapters, find_targets
from recipes.runtime.randomness import key
from recipes.toolkit.rates import scale_rates


@dataclass
class Lora(Trick):
    """Freeze the encoder and train adapters of its linear layers."""

    rank: int = allowed(
        "[0, inf)",
        advised="[1, 64]",
        source="1 to 64 in Hu et al. 2021, arXiv 2106.09685",
        above="the adapters have about as many parameters as the layers, and save no memory",
    )
    """Rank of the change of each layer; 0: no adapters, and nothing is frozen."""
    alpha: float = allowed("(0, inf)")
    """The change is scaled by alpha / rank."""
    dropout: float = allowed("[0, 1)")
    """Probability with which an input of an adapter is dropped in training."""
    targets: str = allowed("linear | attention")
    """Which linear layers of the encoder get an adapter: all, or those of the attention."""

    rate_factor: float = allowed(
        "(0, inf)",
        advised="[2, 30]",
        source="5e-4 for RoBERTa in Hu et al. 2021, arXiv 2106.09685, 10 to 25 times the usual rate",
        below="adapters learn more slowly than the full weights would",
    )
    """Learning rate of the adapters, as a factor of the base rate, which the weights above the layers keep."""

    slots = {"model": "attach", "optimizer": "optimizer"}
    neutral = {"rank": 0}
    replays = True

    def excludes(self) -> Mapping[str, str]:
        """Exclude tricks that reinitialize weights, since these would be frozen."""
        return {"model/adapt": "the layers that one reinitializes would be frozen, and stay random, under the other"}

    def model(self, run: ModelContext, inner: Callable[[], nn.Module]) -> nn.Module:
        """Add the adapters, and note in the header how many layers have one."""
        model = inner()
        if not self.rank:
            return model
        try:
            targets = find_targets(model, self.targets)
        except ValueError as error:
            raise UserError(f"tricks.{self.name}: {error} whose modules it could adapt; leave it out.") from error
        if not targets:
            where, remedy = "", "freeze fewer layers if they are frozen, or "
            if self.targets == "attention":
                where, remedy = " in their attention", f"try tricks.{self.name}.targets=linear, or "
            raise UserError(
                f"tricks.{self.name}.targets={self.targets}: the layers of {type(model).__name__} have no trained "
                f"torch.nn.Linear{where}, so there is nothing to adapt; {remedy}leave {self.name} out."
            )
        torch.manual_seed(key(run.config.seeds.init, "lora"))
        try:
            add_adapters(model, targets, self.rank, self.alpha, self.dropout)
        except ImportError as error:
            raise UserError(
                f"tricks.{self.name} needs the package peft: pip install 'trickbook[lora]', or leave {self.name} out."
            ) from error
        cast(Run, run).note(f"{self.name}: {len(targets)} linear layers have an adapter; their own weights are frozen.")
        return model

    def optimizer(self, run: Run, inner: Callable[[nn.Module], Optimizer], model: nn.Module) -> Optimizer:
        """Give the adapters a rate of their own."""
        optimizer, factor_of = inner(model), dict.fromkeys(model.parameters(), 1.0)
        for _, module in adapted_modules(model):
            factor_of |= dict.fromkeys(module.parameters(), self.rate_factor)
        return scale_rates(optimizer, factor_of)
