"""The settings that experiments compare, with the paper's numbers of them."""

import dataclasses
from collections.abc import Iterable, Mapping

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
TABLE4 = "supplement_table4_variants"
TABLE5 = "supplement_table5_places_lt"
TABLE6 = "supplement_table6_seconds_rtx2080ti"
STATIC = "paper_fig5c_static_generation"

# Methods that hallucinate nothing have no use for p.
_NO_P = ("plain", "sampling", "neither")


@dataclasses.dataclass(frozen=True)
class Setting:
  """One row of a table, or one point of a figure.

  Attributes:
    label: its name in tables and figures; {batch} and {backbone} stand for what
      the data set has in place of the paper's.
    variant: pairs of a configuration's variant, without the seed.
    paper: path of its numbers in paper_results.json, None if not printed.
    against: label of the setting that it is compared with, None for none.
  """

  label: str
  variant: Mapping[str, str]
  paper: tuple[str, ...] | None = None
  against: str | None = None


def methods(
  methods: Iterable[str],
  root: str | None = None,
  *,
  against: str | None = None,
  **pairs: str,
) -> tuple[Setting, ...]:
  """A setting for each method; its numbers are below `root`, if any."""
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


def values_of(
  key: str, values: Iterable[str], *, held: str, against: str, **pairs: str
) -> tuple[Setting, ...]:
  """A setting for each value of a parameter of BLT (main paper, Fig. 3)."""
  return tuple(
    Setting(
      value,
      {"method": "blt", **pairs, key: value},
      paper=(_FIG3, f"{key} ({held})", value),
      against=against if value != against else None,
    )
    for value in values
  )


def table1() -> tuple[Setting, ...]:
  """Batch sizes, each with the base rate and the smaller one."""
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


def table2() -> tuple[Setting, ...]:
  """Batch sizes with the smaller rate and p = 0.5."""
  return tuple(
    Setting(
      "batch {batch}",
      {"method": "blt", "batch": batch, "lr": "small", "p": "0.5"},
      paper=(_TABLE2, batch),
    )
    for batch in _BATCHES
  )


def backbones() -> tuple[Setting, ...]:
  """Six backbones with sampling alone and with BLT."""
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


def table5() -> tuple[Setting, ...]:
  """What hallucinations are compared with on Places-LT."""
  plain = Setting(
    "plain",
    {"method": "plain"},
    paper=(TABLE5, "sampling_as_printed_is_plain"),
    against="neither",
  )
  sampling = Setting(
    "sampling",
    {"method": "sampling"},
    paper=("places_lt_resnet10", "sampling"),
    against="neither",
  )
  rest = methods(
    ("blt", "augmentations", "neither"), TABLE5, against="neither", p="0.5"
  )
  return (plain, sampling, *rest)


def confidences() -> tuple[Setting, ...]:
  """Confidences that the ascent has to reach."""
  drawn = "0.15-0.25"
  return tuple(
    Setting(
      value,
      {"method": "blt", "confidence": value},
      against=drawn if value != drawn else None,
    )
    for value in (drawn, "0.2", "0.3", "0.4", "0.5")
  )


# The losses that are compared and combined with BLT, with their papers'
# settings. protocols.py has the epoch of the first drop on a data set.
_LOSSES: dict[str, dict[str, str]] = {
  "cross_entropy": {},
  "focal": {"loss": "focal"},
  "class_balanced": {"loss": "class_balanced"},
  "balanced_softmax": {"loss": "balanced_softmax"},
  "ldam_drw": {"loss": "ldam", "reweight": "first drop"},
}


def losses() -> tuple[Setting, ...]:
  """Each loss alone and with BLT."""
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


def extra_images() -> tuple[Setting, ...]:
  """What hallucinations are compared with in the main paper's Fig. 3."""
  found = methods(
    ("blt", "augmentations", "neither", "sampling"), against="neither", p="0.5"
  )
  return tuple(
    dataclasses.replace(each, paper=(_FIG3, "extra images", each.label))
    for each in found
  )
