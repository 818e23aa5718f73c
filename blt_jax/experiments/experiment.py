"""What an experiment is: settings to train, and what to draw of them."""

import dataclasses
from collections.abc import Mapping


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
