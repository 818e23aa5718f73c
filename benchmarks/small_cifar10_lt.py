"""The small CIFAR-10-LT protocol of docs/results.md: trains, makes its table.

    .venv/bin/python -m benchmarks.cifar10_lists --root=DIR
    .venv/bin/python -m benchmarks.small_cifar10_lt --root=DIR \
        --output=runs/small --variants=method=neither,method=blt --seeds=0,1,2

1000 ... 10 training images a class, 50 validation images a class from what is
left over, the official test images; small_resnet10, batch 128, 35 + 55 epochs.
Every run is an ordinary `main.py` command, which is printed. Stage 1, which is
the same for many variants, is trained once for each seed and taken over
(`stage1.reuse`), which changes no bit of the result. Finished runs are not run
again; the table is made of all that are asked for.

With --search the runs use neither the test images nor the protocol's choice of
training images. They train on another choice (search.txt, split_seed=1) and are
"tested" on selection.txt, 500 images a class that come from CIFAR-10's training
images. Settings are compared by these.
"""

import json
import pathlib
import re
import statistics
import subprocess
import sys

from absl import app, flags

GROUPS = ("many", "medium", "few", "overall")

_STAGE2_ONLY = (
  "method=",
  "p=",
  "gamma=",
  "momentum=",
  "confidence=",
  "perturb.",
  "stage2.",
)

_ROOT = flags.DEFINE_string(
  "root", None, "Folder with the lists.", required=True
)
_OUTPUT = flags.DEFINE_string("output", "runs/small", "Folder of the runs.")
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds of each variant.")
_VARIANTS = flags.DEFINE_list(
  "variants",
  ["method=neither", "method=blt"],
  "Config variants; + joins several pairs: method=blt+momentum=1. A pair with "
  "a dot overrides a field: method=blt+perturb.start_epoch=5.",
)
_FIELDS = flags.DEFINE_list(
  "fields", [], "Fields of every variant: model.hidden=0,stage2.epochs=5."
)
_SEARCH = flags.DEFINE_bool(
  "search", False, "Train on search.txt and test on selection.txt."
)


def main(_: list[str]) -> None:
  """Trains what is missing, then prints the tables."""
  runs = {
    variant: [_run(variant, int(seed)) for seed in _SEEDS.value]
    for variant in _VARIANTS.value
  }
  for which, split in (
    ("last", "test"),
    ("best", "test"),
    ("last", "validation"),
  ):
    print(f"\n{which} epoch, {split} images, top-1 in percent\n")
    print("| variant | " + " | ".join(GROUPS) + " |")
    print("|---|" + "---|" * len(GROUPS))
    for variant, results in runs.items():
      cells = [_cell([r[which][split][g] for r in results]) for g in GROUPS]
      print(f"| {variant.replace('+', ',')} | " + " | ".join(cells) + " |")


def _run(variant: str, seed: int) -> dict:
  """results.json of a variant and a seed, trained if need be."""
  workdir = _workdir(variant, seed)
  if not (workdir / "results.json").exists():
    stage1 = _stage1_of(variant, seed)
    command = _command(variant, seed, workdir, stage1)
    print(" ".join(command), flush=True)
    workdir.mkdir(parents=True, exist_ok=True)
    with (workdir / "log.txt").open("a") as log:
      subprocess.run(command, check=True, stdout=log, stderr=log)
  return json.loads((workdir / "results.json").read_text())


def _workdir(variant: str, seed: int) -> pathlib.Path:
  name = re.sub(r"[^A-Za-z0-9_=,.-]", "_", variant.replace("+", ","))
  return pathlib.Path(_OUTPUT.value) / f"{name},seed={seed}"


def _stage1_of(variant: str, seed: int) -> pathlib.Path | None:
  """A finished run of this seed that shares everything before stage 2."""
  for other in _VARIANTS.value:
    folder = _workdir(other, seed)
    if (
      other != variant
      and _before_stage2(other) == _before_stage2(variant)
      and (folder / "results.json").exists()
    ):
      # A run that took stage 1 over does not keep its end.
      config = json.loads((folder / "config.json").read_text())
      return pathlib.Path(config["stage1"]["reuse"] or folder)
  return None


def _before_stage2(variant: str) -> set[str]:
  """The pairs of a variant that stage 1 depends on, and its classifier."""
  linear = re.search("method=(plain|sampling|blt_softmax)", variant)
  pairs = {p for p in variant.split("+") if not p.startswith(_STAGE2_ONLY)}
  return pairs | ({"linear"} if linear else set())


def _command(
  variant: str, seed: int, workdir: pathlib.Path, stage1: pathlib.Path | None
) -> list[str]:
  pairs = variant.split("+")
  named = [pair for pair in pairs if "." not in pair.partition("=")[0]]
  fields = [pair for pair in pairs if "." in pair.partition("=")[0]]
  train_list, test_list, split_seed = "train.txt", "test.txt", 0
  if _SEARCH.value:
    train_list, test_list, split_seed = "search.txt", "selection.txt", 1
  command = [
    sys.executable,
    "main.py",
    f"--config=configs/cifar10_lt.py:{','.join([*named, f'seed={seed}'])}",
    "--config.dataset.source=image_list",
    f"--config.dataset.root={_ROOT.value}",
    f"--config.dataset.train_list={train_list}",
    f"--config.dataset.test_list={test_list}",
    f"--config.dataset.split_seed={split_seed}",
    "--config.dataset.max_per_class=1000",
    "--config.dataset.validation_per_class=50",
    f"--workdir={workdir}",
  ]
  command += [f"--config.{field}" for field in [*_FIELDS.value, *fields]]
  return command + ([f"--config.stage1.reuse={stage1}"] if stage1 else [])


def _cell(values: list[float]) -> str:
  spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
  return f"{statistics.mean(values):.1f}{spread}"


if __name__ == "__main__":
  app.run(main)
