"""The experiments: which settings each of them compares.

Those of the paper and its supplement, and one of losses for long tails. Batch
sizes and backbones are the paper's; protocols.py says what takes their place on
each data set.
"""

import dataclasses
from collections.abc import Iterable

from blt_jax.experiments import settings
from blt_jax.experiments.settings import Setting


@dataclasses.dataclass(frozen=True)
class Experiment:
  """What one `--experiment=NAME` trains and draws.

  Attributes:
    name: of the command line.
    title: what it shows, in a line.
    source: where it stands in the paper.
    settings: in the order of the table.
    figure: key of figures.FIGURES, None for none.
    table: "accuracy" or "time".
    dataset: the data set of the paper's numbers.
    note: what a reader has to know about the settings, or "".
  """

  name: str
  title: str
  source: str
  settings: tuple[Setting, ...]
  figure: str | None = None
  table: str = "accuracy"
  dataset: str = "imagenet_lt"
  note: str = ""


def _ablation(
  key: str, title: str, *values: str, held: str, against: str, **pairs: str
) -> Experiment:
  """An experiment on one parameter of BLT; see `settings.values_of`."""
  return Experiment(
    key,
    title,
    "main paper, Fig. 3",
    settings.values_of(key, values, held=held, against=against, **pairs),
    figure="accuracy",
  )


_TABLE3_NOTE = (
  "The paper's row of BLT with ResNet-10 is its bar of gamma 1 and p 0.5, so "
  "gamma is 1 and p 0.5 for all rows."
)

_ALL = (
  Experiment(
    "fig1",
    "Images, what the gradient ascent adds, and the result",
    "supplement, Fig. 1",
    settings.methods(("blt",)),
    figure="images",
  ),
  Experiment(
    "fig3",
    "With which classes a tail class is confused, epoch by epoch",
    "supplement, Fig. 3",
    settings.methods(("neither", "blt"), against="neither"),
    figure="confused_classes",
    note="The paper's 'without long-tail augmentation' is the method neither.",
  ),
  Experiment(
    "fig4",
    "Accuracy against the confidence that the ascent has to reach",
    "supplement, Fig. 4 and section 1.3",
    settings.confidences(),
    figure="accuracy",
    note=(
      "The paper prints no numbers beside its Fig. 4. Its text: few-shot "
      "accuracy falls with the confidence, by up to 5.9 points, while many and "
      "medium rise by about 1; the constant 0.2 has 1.2 points more few-shot, "
      "1.0 less many-shot and 0.4 less medium-shot accuracy than 0.15-0.25. "
      "Its values are not printed either: 0.2, 0.3, 0.4 and 0.5 are our choice."
    ),
  ),
  Experiment(
    "table1",
    "Batch size and learning rate",
    "supplement, Table 1",
    settings.table1(),
    figure="accuracy",
  ),
  Experiment(
    "table2",
    "Batch size with the smaller learning rate and p = 0.5",
    "supplement, Table 2",
    settings.table2(),
    figure="accuracy",
  ),
  Experiment(
    "table3",
    "Six backbones",
    "supplement, Table 3",
    settings.backbones(),
    figure="accuracy",
    note=_TABLE3_NOTE,
  ),
  Experiment(
    "table4",
    "Variants of BLT: classifier, whole batch, sampler",
    "supplement, Table 4",
    settings.methods(
      ("blt", "blt_softmax", "blt_entire_batch", "blt_uniform"),
      settings.TABLE4,
      against="blt",
      p="0.5",
    ),
    figure="accuracy",
    note="The paper's row BLT is its bar of gamma 0.9 and p 0.5.",
  ),
  Experiment(
    "table5",
    "Hallucinations against augmentations, on Places-LT",
    "supplement, Table 5",
    settings.table5(),
    figure="accuracy",
    dataset="places_lt",
    note=(
      "The row printed as 'Plain model + sampling' holds the numbers of the "
      "plain model; those of sampling are taken from the main paper's Table 1."
    ),
  ),
  Experiment(
    "table6",
    "Training time with and without BLT",
    "supplement, Table 6",
    settings.methods(("sampling", "blt"), settings.TABLE6, against="sampling"),
    table="time",
  ),
  _ablation(
    "alpha",
    "Scale of the squashing-cosine classifier",
    *("15", "20", "25"),
    held="beta 0.5, gamma 1, p 0.5",
    against="20",
    gamma="1.0",
    p="0.5",
  ),
  _ablation(
    "beta",
    "Squashing constant of the classifier",
    *("0.5", "1.0", "1.5"),
    held="alpha 20, gamma 1, p 0.5",
    against="0.5",
    gamma="1.0",
    p="0.5",
  ),
  _ablation(
    "gamma",
    "How strongly the sampler balances",
    *("0.75", "0.9", "1.0", "1.1", "1.25"),
    held="alpha 20, beta 0.5, p 0.5",
    against="0.9",
    p="0.5",
  ),
  _ablation(
    "p",
    "Share of the tail draws that is hallucinated for",
    *("0", "0.1", "0.25", "0.5"),
    held="alpha 20, beta 0.5, gamma 1",
    against="0",
    gamma="1.0",
  ),
  Experiment(
    "extra_images",
    "Hallucinations against augmentations and nothing",
    "main paper, Fig. 3",
    settings.extra_images(),
    figure="accuracy",
  ),
  Experiment(
    "static",
    "Hallucinating once instead of in every batch",
    "main paper, Fig. 5c",
    settings.methods(
      ("blt", "static_targeted", "neither", "static_random"),
      settings.STATIC,
      against="neither",
      gamma="1.0",
      p="0.5",
    ),
    figure="accuracy",
    note=(
      "gamma and p are not printed with this figure; 1 and 0.5 are those of "
      "the ablations beside it."
    ),
  ),
  Experiment(
    "per_class_gain",
    "What BLT adds to the accuracy of every class",
    "main paper",
    settings.methods(
      ("sampling", "blt"), "imagenet_lt_resnet10", against="sampling", p="0.5"
    ),
    figure="per_class_gain",
  ),
  Experiment(
    "flops",
    "Accuracy against the arithmetic of an image",
    "main paper",
    settings.backbones(),
    figure="flops",
    note=_TABLE3_NOTE,
  ),
  Experiment(
    "confusion_rank",
    "Mean confusion of the tail classes against the rank of the other class",
    "main paper",
    settings.methods(("neither", "blt"), against="neither", p="0.5"),
    figure="confusion_rank",
  ),
  Experiment(
    "losses",
    "Losses for long tails, alone and with BLT",
    "not in the paper; docs/losses.md",
    settings.losses(),
    figure="accuracy",
    note=(
      "A row of blt is compared with the same loss alone. plain samples "
      "naturally and has a linear classifier, but for LDAM, whose scale is "
      "meant for cosines. balanced_softmax is logit_adjustment with tau 1. "
      "ldam_drw reweighs after the first drop of stage 2's rates. Post-hoc "
      "adjustment needs no run: --mode=evaluate --posthoc_tau=1."
    ),
  ),
)
EXPERIMENTS: dict[str, Experiment] = {each.name: each for each in _ALL}


def choose(names: Iterable[str]) -> tuple[Experiment, ...]:
  """Experiments by name, in the order asked for; "all" is every one.

  Raises:
    ValueError: for an unknown name, or none at all.
  """
  wanted: dict[str, Experiment] = {}
  for name in names:
    if name != "all" and name not in EXPERIMENTS:
      raise ValueError(
        f"--experiment={name}: expected all or some of "
        f"{', '.join(EXPERIMENTS)}."
      )
    found = EXPERIMENTS if name == "all" else {name: EXPERIMENTS[name]}
    wanted.update(found)
  if not wanted:
    raise ValueError(
      f"--experiment is missing: expected all or some of "
      f"{', '.join(EXPERIMENTS)}."
    )
  return tuple(wanted.values())
