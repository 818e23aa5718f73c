"""Losses alone and with BLT, on the small CIFAR-10-LT of docs/results.md.

    .venv/bin/python -m benchmarks.cifar10_lists --root=DIR
    .venv/bin/python -m benchmarks.losses --root=DIR --output=runs/losses \
        --seeds=0,1,2

Each loss of docs/losses.md, with its defaults, is trained with method=plain
(natural sampling, nothing hallucinated) and with method=blt. LDAM has the
squashing-cosine classifier in both. Every run is an ordinary `main.py` command,
which is printed; finished runs are not run again. The table, of the test images
after the last epoch, goes to losses.md in the output folder: mean and standard
deviation over the seeds, in percent.

48 runs of 10 to 20 minutes on 2 cores with three seeds; --rows and --methods
make parts of it. --field=stage2.epochs=10 changes a field of every run.
"""

import ast
import json
import pathlib
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections
from absl import app, flags

from blt_jax import workdir as workdirs
from blt_jax.config_check import check_config
from configs import cifar10_lt

GROUPS = ("overall", "many", "medium", "few")
METHODS = ("plain", "blt")

PROTOCOL: dict[str, Any] = {
  "dataset.source": "image_list",
  "dataset.train_list": "train.txt",
  "dataset.test_list": "test.txt",
  "dataset.max_per_class": 1000,
  "dataset.validation_per_class": 50,
}

_LDAM = {"model.loss": "ldam", "model.classifier": "squashing_cosine"}
ROWS: dict[str, dict[str, Any]] = {
  "cross_entropy": {},
  "posthoc": {"model.posthoc_tau": 1.0},
  "focal": {"model.loss": "focal"},
  "class_balanced": {"model.loss": "class_balanced"},
  # With tau = 1 logit_adjustment is the same.
  "balanced_softmax": {"model.loss": "balanced_softmax"},
  "logit_adjustment_2": {
    "model.loss": "logit_adjustment",
    "model.logit_adjustment_tau": 2.0,
  },
  "ldam": _LDAM,
  # The last fifth of stage 2, as in the paper; stage 1 is over before.
  "ldam_drw": {**_LDAM, "model.reweight_epoch": 44},
}
"""Fields of each row of the table."""

_ROOT = flags.DEFINE_string("root", "", "Folder with the lists.")
_OUTPUT = flags.DEFINE_string("output", "runs/losses", "Folder of the runs.")
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds of each run.")
_ROWS = flags.DEFINE_list("rows", list(ROWS), "Which losses.")
_METHODS = flags.DEFINE_list(
  "methods", list(METHODS), "Alone, with BLT or both."
)
_FIELDS = flags.DEFINE_multi_string(
  "field", [], "Field of every run: section.field=value; may be repeated."
)


def main(_: list[str]) -> None:
  """Trains what is missing, then writes the table."""
  fields = {**PROTOCOL, "dataset.root": _ROOT.value, **parse(_FIELDS.value)}
  results = measure(
    pathlib.Path(_OUTPUT.value),
    rows=_ROWS.value,
    methods=_METHODS.value,
    seeds=[int(seed) for seed in _SEEDS.value],
    fields=fields,
  )
  text = table(results)
  (pathlib.Path(_OUTPUT.value) / "losses.md").write_text(text)
  print(f"\n{text}", end="")


def parse(pairs: Sequence[str]) -> dict[str, Any]:
  """{field: value} of `section.field=value` pairs.

  Raises:
    ValueError: when a pair has no equals sign.
  """
  fields = {}
  for pair in pairs:
    name, equals, value = pair.partition("=")
    if not equals:
      raise ValueError(f"--field={pair}; expected section.field=value.")
    try:
      fields[name] = ast.literal_eval(value)
    except (SyntaxError, ValueError):
      fields[name] = value
  return fields


def measure(
  output: pathlib.Path,
  *,
  rows: Sequence[str],
  methods: Sequence[str],
  seeds: Sequence[int],
  fields: Mapping[str, Any],
) -> dict[tuple[str, str], list[dict]]:
  """Trains what is missing.

  Args:
    output: folder of the runs.
    rows: names of ROWS.
    methods: names of configs.common.METHODS.
    seeds: of each run.
    fields: {"section.field": value} of every run.

  Returns:
    {(method, row): what results.json of each seed holds}.

  Raises:
    ValueError: for an unknown row or method, a bad field, or a folder that
      holds a run of other fields.
    subprocess.CalledProcessError: when a run fails.
  """
  for row in rows:
    if row not in ROWS:
      raise ValueError(f"--rows={row}; expected some of {', '.join(ROWS)}.")
  runs = [(method, row) for row in rows for method in methods]
  for method, row in runs:
    check_config(make_config(method, 0, {**fields, **ROWS[row]}))
  return {
    (method, row): [
      _result(
        output / f"{method},{row},seed={seed}",
        method,
        seed,
        {**fields, **ROWS[row]},
      )
      for seed in seeds
    ]
    for method, row in runs
  }


def make_config(
  method: str, seed: int, fields: Mapping[str, Any]
) -> ml_collections.ConfigDict:
  """The configuration that a run's command stands for."""
  config = cifar10_lt.get_config(f"method={method},seed={seed}")
  config.update_from_flattened_dict(fields)
  return config


def _result(
  workdir: pathlib.Path, method: str, seed: int, fields: Mapping[str, Any]
) -> dict:
  """What results.json of a run holds, trained if need be."""
  config = make_config(method, seed, fields)
  results = workdirs.own_results(workdir, config)
  if results:
    return results
  command = [
    sys.executable,
    "main.py",
    f"--config=configs/cifar10_lt.py:method={method},seed={seed}",
    *(f"--config.{name}={value}" for name, value in fields.items()),
    f"--workdir={workdir}",
  ]
  print(" ".join(command), flush=True)
  workdir.mkdir(parents=True, exist_ok=True)
  with (workdir / "log.txt").open("a") as log:
    subprocess.run(command, check=True, stdout=log, stderr=log)
  return json.loads((workdir / workdirs.RESULTS).read_text())


def table(results: Mapping[tuple[str, str], Sequence[dict]]) -> str:
  """Markdown: a row for each loss and method, a column for each shot group.

  Args:
    results: {(method, row): what results.json of each seed holds}.
  """
  lines = [
    "| loss | method | seeds | " + " | ".join(GROUPS) + " |",
    "|---|---|---|" + "---|" * len(GROUPS),
  ]
  for (method, row), runs in results.items():
    tested = [run["last"]["test"] for run in runs]
    cells = [_cell([test[group] for test in tested]) for group in GROUPS]
    lines.append(f"| {row} | {method} | {len(runs)} | {' | '.join(cells)} |")
  return "\n".join(lines) + "\n"


def _cell(values: Sequence[float | None]) -> str:
  """Mean and standard deviation; a group without classes has none."""
  numbers = [value for value in values if value is not None]
  if not numbers:
    return "-"
  spread = f" ± {statistics.stdev(numbers):.1f}" if len(numbers) > 1 else ""
  return f"{statistics.mean(numbers):.1f}{spread}"


if __name__ == "__main__":
  app.run(main)
