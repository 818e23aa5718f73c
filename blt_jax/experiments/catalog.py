"""The experiments: what is compared with what.

Those of the paper and its supplement, and one of losses for long tails.
Settings are the paper's own; protocols.py says what stands in for its batch
sizes and backbones on a data set.
"""

import dataclasses
from collections.abc import Iterable

from blt_jax.experiments.experiment import Experiment, Setting

BACKBONES = (
  "efficientnet_b0",
  "resnet10",
  "resnet18",
  "resnet34",
  "resnet152",
  "densenet121",
)
_BATCHES = ("256", "128", "64", "32", "16")
_FIG3 = "paper_fig3_imagenet_lt_resnet10"
_TABLE1 = "supplement_table1_batch_size"
_TABLE2 = "supplement_table2_smaller_learning_rate_p0.5"
_TABLE3 = "supplement_table3_backbones"
_TABLE4 = "supplement_table4_variants"
_TABLE5 = "supplement_table5_places_lt"
_TABLE6 = "supplement_table6_seconds_rtx2080ti"
_STATIC = "paper_fig5c_static_generation"

# Methods that hallucinate nothing have no use for p.
_NO_P = ("plain", "sampling", "neither")


def _methods(
  methods: Iterable[str],
  root: str | None = None,
  *,
  against: str | None = None,
  **pairs: str,
) -> tuple[Setting, ...]:
  """A setting a method, its numbers under paper_results.json's `root`."""
  return tuple(
    Setting(
      method,
      _pairs(method, **pairs),
      paper=(root, method) if root else None,
      against=against if method != against else None,
    )
    for method in methods
  )


def _pairs(method: str, **pairs: str) -> dict[str, str]:
  if method in _NO_P:
    pairs.pop("p", None)
  return {"method": method, **pairs}


def _values(
  key: str, values: Iterable[str], root: str, *, against: str, **pairs: str
) -> tuple[Setting, ...]:
  """A setting a value of one parameter of BLT (main paper, Fig. 3)."""
  return tuple(
    Setting(
      value,
      {"method": "blt", **pairs, key: value},
      paper=(_FIG3, root, value),
      against=against if value != against else None,
    )
    for value in values
  )


def _table1() -> tuple[Setting, ...]:
  rates = {"base": "base_learning_rate", "small": "smaller_learning_rate"}
  return tuple(
    Setting(
      f"{rate} rate, batch {{batch}}",
      {"method": "blt", "batch": batch, "lr": rate},
      paper=(_TABLE1, path, batch),
      against="base rate, batch {batch}" if rate == "small" else None,
    )
    for rate, path in rates.items()
    for batch in _BATCHES
  )


def _table2() -> tuple[Setting, ...]:
  return tuple(
    Setting(
      "batch {batch}",
      {"method": "blt", "batch": batch, "lr": "small", "p": "0.5"},
      paper=(_TABLE2, batch),
    )
    for batch in _BATCHES
  )


def _backbones() -> tuple[Setting, ...]:
  return tuple(
    Setting(
      f"{method}, {{backbone}}",
      _pairs(method, backbone=backbone, gamma="1.0", p="0.5"),
      paper=(_TABLE3, method, backbone),
      against="sampling, {backbone}" if method == "blt" else None,
    )
    for method in ("sampling", "blt")
    for backbone in BACKBONES
  )


def _table5() -> tuple[Setting, ...]:
  plain = Setting(
    "plain",
    {"method": "plain"},
    paper=(_TABLE5, "sampling_as_printed_is_plain"),
    against="neither",
  )
  sampling = Setting(
    "sampling",
    {"method": "sampling"},
    paper=("places_lt_resnet10", "sampling"),
    against="neither",
  )
  rest = _methods(
    ("blt", "augmentations", "neither"), _TABLE5, against="neither", p="0.5"
  )
  return (plain, sampling, *rest)


def _confidences() -> tuple[Setting, ...]:
  drawn = "0.15-0.25"
  return tuple(
    Setting(
      value,
      {"method": "blt", "confidence": value},
      against=drawn if value != drawn else None,
    )
    for value in (drawn, "0.2", "0.3", "0.4", "0.5")
  )


# What is compared with BLT and combined with it, with the papers' settings.
# protocols.py has the epoch of the first drop on a data set.
_LOSSES: dict[str, dict[str, str]] = {
  "cross_entropy": {},
  "focal": {"loss": "focal"},
  "class_balanced": {"loss": "class_balanced"},
  "balanced_softmax": {"loss": "balanced_softmax"},
  "ldam_drw": {"loss": "ldam", "reweight": "first drop"},
}


def _losses() -> tuple[Setting, ...]:
  alone = [
    Setting(
      f"plain, {name}",
      {"method": "plain", **pairs},
      against="plain, cross_entropy" if pairs else None,
    )
    for name, pairs in _LOSSES.items()
  ]
  combined = [
    Setting(
      f"blt, {name}", {"method": "blt", **pairs}, against=f"plain, {name}"
    )
    for name, pairs in _LOSSES.items()
  ]
  return (*alone, *combined)


_TABLE3_NOTE = (
  "The paper's row of BLT with ResNet-10 is its bar of gamma 1 and p 0.5, so "
  "gamma is 1 and p 0.5 for all rows."
)

_ALL = (
  Experiment(
    "fig1",
    "Images, what the gradient ascent adds, and the result",
    "supplement, Fig. 1",
    _methods(("blt",)),
    figure="images",
  ),
  Experiment(
    "fig3",
    "With which classes a tail class is confused, epoch by epoch",
    "supplement, Fig. 3",
    _methods(("neither", "blt"), against="neither"),
    figure="confused_classes",
    note="The paper's 'without long-tail augmentation' is the method neither.",
  ),
  Experiment(
    "fig4",
    "Accuracy against the confidence that the ascent has to reach",
    "supplement, Fig. 4 and section 1.3",
    _confidences(),
    figure="accuracy_lines",
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
    _table1(),
    figure="accuracy_lines",
  ),
  Experiment(
    "table2",
    "Batch size with the smaller learning rate and p = 0.5",
    "supplement, Table 2",
    _table2(),
    figure="accuracy_lines",
  ),
  Experiment(
    "table3",
    "Six backbones",
    "supplement, Table 3",
    _backbones(),
    figure="accuracy_bars",
    note=_TABLE3_NOTE,
  ),
  Experiment(
    "table4",
    "Variants of BLT: classifier, whole batch, sampler",
    "supplement, Table 4",
    _methods(
      ("blt", "blt_softmax", "blt_entire_batch", "blt_uniform"),
      _TABLE4,
      against="blt",
      p="0.5",
    ),
    figure="accuracy_bars",
    note="The paper's row BLT is its bar of gamma 0.9 and p 0.5.",
  ),
  Experiment(
    "table5",
    "Hallucinations against augmentations, on Places-LT",
    "supplement, Table 5",
    _table5(),
    figure="accuracy_bars",
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
    _methods(("sampling", "blt"), _TABLE6, against="sampling"),
    figure="time",
    table="time",
  ),
  Experiment(
    "alpha",
    "Scale of the squashing-cosine classifier",
    "main paper, Fig. 3",
    _values(
      "alpha",
      ("15", "20", "25"),
      "alpha (beta 0.5, gamma 1, p 0.5)",
      against="20",
      gamma="1.0",
      p="0.5",
    ),
    figure="accuracy_lines",
  ),
  Experiment(
    "beta",
    "Squashing constant of the classifier",
    "main paper, Fig. 3",
    _values(
      "beta",
      ("0.5", "1.0", "1.5"),
      "beta (alpha 20, gamma 1, p 0.5)",
      against="0.5",
      gamma="1.0",
      p="0.5",
    ),
    figure="accuracy_lines",
  ),
  Experiment(
    "gamma",
    "How strongly the sampler balances",
    "main paper, Fig. 3",
    _values(
      "gamma",
      ("0.75", "0.9", "1.0", "1.1", "1.25"),
      "gamma (alpha 20, beta 0.5, p 0.5)",
      against="0.9",
      p="0.5",
    ),
    figure="accuracy_lines",
  ),
  Experiment(
    "p",
    "Share of the tail draws that is hallucinated for",
    "main paper, Fig. 3",
    _values(
      "p",
      ("0", "0.1", "0.25", "0.5"),
      "p (alpha 20, beta 0.5, gamma 1)",
      against="0",
      gamma="1.0",
    ),
    figure="accuracy_lines",
  ),
  Experiment(
    "extra_images",
    "Hallucinations against augmentations and nothing",
    "main paper, Fig. 3",
    tuple(
      dataclasses.replace(s, paper=(_FIG3, "extra images", s.label))
      for s in _methods(
        ("blt", "augmentations", "neither", "sampling"),
        against="neither",
        p="0.5",
      )
    ),
    figure="accuracy_bars",
  ),
  Experiment(
    "static",
    "Hallucinating once instead of in every batch",
    "main paper, Fig. 5c",
    _methods(
      ("blt", "static_targeted", "neither", "static_random"),
      _STATIC,
      against="neither",
      gamma="1.0",
      p="0.5",
    ),
    figure="accuracy_bars",
    note=(
      "gamma and p are not printed with this figure; 1 and 0.5 are those of "
      "the ablations beside it."
    ),
  ),
  Experiment(
    "per_class_gain",
    "What BLT adds to the accuracy of every class",
    "main paper",
    _methods(
      ("sampling", "blt"), "imagenet_lt_resnet10", against="sampling", p="0.5"
    ),
    figure="per_class_gain",
  ),
  Experiment(
    "flops",
    "Accuracy against the arithmetic of an image",
    "main paper",
    _backbones(),
    figure="flops",
    note=_TABLE3_NOTE,
  ),
  Experiment(
    "confusion_rank",
    "Mean confusion of the tail classes against the rank of the other class",
    "main paper",
    _methods(("neither", "blt"), against="neither", p="0.5"),
    figure="confusion_rank",
  ),
  Experiment(
    "losses",
    "Losses for long tails, alone and with BLT",
    "not in the paper; docs/losses.md",
    _losses(),
    figure="accuracy_bars",
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
