"""Runs the commands of the README, on the digits where its data are absent.

What a command is run with beside its own flags makes it small; a command that
is not listed here fails the test.
"""

import re
import shlex

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from tests import command_line

README = (command_line.ROOT / "README.md").read_text()
SMALL = (
  "--config.stage1.epochs=1",
  "--config.stage2.epochs=0",
  "--config.num_devices=1",
)
DIGITS = (
  *SMALL,
  "--config.stage1.batch_size=64",
  "--config.stage2.batch_size=64",
  "--config.dataset.source=digits",
  "--config.dataset.profile=exponential",
  "--config.dataset.max_per_class=120",
  "--config.dataset.imbalance=24",
  "--config.dataset.validation_per_class=20",
  "--config.dataset.image_size=8",
  "--config.dataset.resize_size=8",
  "--config.model.backbone=small_resnet10",
)
# Beginning of a command -> what to add.
COMMANDS = {
  "--config=configs/image_folder.py": SMALL,
  "--mode=predict --workdir": (),
  "--mode=export": (),
  "--mode=predict --model": (),
  "--config=configs/imagenet_lt.py": DIGITS,
  "--config=configs/cifar10_lt.py": DIGITS,
  "--mode=evaluate": (),
  "--mode=check_data": DIGITS,
  "--mode=report --workdir=": (),
  "--mode=report --workdirs=": (),
  # The runs of an experiment are trained in experiment_test.py.
  "--mode=experiment --experiment=table4": ("--dry_run",),
  "--mode=experiment --experiment=all": (),
}
# Run by others: `make test` runs this, examples_test.py the examples.
ELSEWHERE = (
  "make demo",
  "make test",
  "PYTHONPATH=. python examples/flax_linen.py",
  "pip install .",
)


def commands():
  lines = re.findall(r"^    (python main\.py .*)$", README, re.M)
  return [line.removeprefix("python main.py ") for line in lines]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Where the commands find DIR, PHOTOS, configs/ and each other's runs."""
  folder = tmp_path_factory.mktemp("commands")
  (folder / "configs").symlink_to(command_line.ROOT / "configs")
  digits = load_digits()
  for label, count in ((0, 60), (1, 40), (2, 12)):
    images = folder / "DIR" / f"digit {label}"
    images.mkdir(parents=True)
    for number, pixels in enumerate(digits.images[digits.target == label]):
      if number < count:
        grey = Image.fromarray(np.clip(pixels * 16, 0, 255).astype(np.uint8))
        grey.save(images / f"{number:02d}.png")
  (folder / "PHOTOS").symlink_to(folder / "DIR" / "digit 2")
  runs = folder / "runs"
  runs.mkdir()
  for name in ("digits_lt", "a"):
    (runs / name).symlink_to("mine")
  (runs / "b").symlink_to("cifar10_lt,method=neither,seed=1")
  return folder


@pytest.fixture(scope="module")
def outputs(folder, tmp_path_factory):
  """{command: Finished} of all commands, run in the README's order."""
  program = command_line.CommandLine(tmp_path_factory.mktemp("output"))
  finished = {}
  for command in commands():
    extra = next(
      flags for begin, flags in COMMANDS.items() if command.startswith(begin)
    )
    finished[command] = program.run(
      [*shlex.split(command), *extra], folder, seconds=240
    )
  program.close()
  return finished


def test_every_command_of_the_readme_is_known():
  for command in commands():
    assert any(command.startswith(begin) for begin in COMMANDS), command
  for command in re.findall(
    r"^    ((?:make|pip|blt-jax|\.venv).*)$", README, re.M
  ):
    assert command in ELSEWHERE, command
  for command in ELSEWHERE:
    assert command in README


def test_commands_of_the_readme_end_well(outputs):
  assert len(outputs) >= len(COMMANDS)
  for command, finished in outputs.items():
    assert finished.code == 0, f"{command}\n{finished.stderr[-2000:]}"


@pytest.mark.usefixtures("outputs")
def test_what_the_commands_leave(folder):
  lines = (folder / "predictions.csv").read_text().splitlines()
  assert len(lines) == 1 + len(list((folder / "PHOTOS").iterdir()))
  for path in (
    "exported/model.safetensors",
    "exported/README.md",
    "runs/mine/report.html",
    "runs/imagenet_lt/results.json",
    "runs/both/report.html",
  ):
    assert (folder / path).stat().st_size, path
