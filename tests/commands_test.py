"""Runs the commands of the README and of docs/, on the digits in small.

What a command is run with beside its own flags makes it small; a command that
is not listed here fails the test. Those of docs/data.md are run always, those
of the other pages with BLT_LONG_TESTS, and otherwise only parsed.
"""

import collections
import csv
import re
import shlex
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file
from sklearn.datasets import load_digits

from blt_jax.models import create_model, torch_names, torch_network
from tests import command_line, loopback_hub
from tests.damaged_jpegs import DAMAGED
from tests.marks import long_test
from tests.small_run import one_block

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
  # Which has no files, so that these would be refused.
  "--config.dataset.root=",
  "--config.dataset.manual_dir=",
  "--config.dataset.train_list=",
  "--config.dataset.validation_list=",
  "--config.dataset.test_list=",
  "--config.dataset.class_names=",
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
  "--config=configs/finetune.py": (
    *SMALL,
    "--config.model.pretrained=small_resnet10.safetensors",
  ),
  "--mode=check_data --config=configs/image_folder.py": (),
  "--mode=evaluate --workdir=runs/mine": (),
  "--mode=predict --workdir": (),
  "--mode=export": (),
  "--mode=predict --model": (),
  "--config=configs/imagenet_lt.py": DIGITS,
  "--config=configs/cifar10_lt.py": DIGITS,
  "--mode=evaluate": (),
  "--mode=check_data": DIGITS,
  "--mode=report --workdir=": (),
  "--mode=report --workdirs=": (),
  # compare_test.py trains.
  "--mode=compare": ("--dry_run", "--methods=neither", *SMALL),
  # The runs of an experiment are trained in run_experiments_test.py.
  "--mode=experiment --experiment=table4": ("--dry_run",),
  "--mode=experiment --experiment=all": (),
}
# Of docs/, in the order of trying.
PAGES_COMMANDS = {
  "--config=configs/image_folder.py --config.model.pretrained=timm:": (
    *DIGITS,
    "--config.model.pretrained=resnet50.safetensors",
  ),
  "--config=configs/finetune.py": (
    *DIGITS,
    "--config.model.pretrained=resnet50.safetensors",
  ),
  "--config=configs/lift.py": (
    *DIGITS,
    "--config.dataset.five_crop=False",
    "--config.model.pretrained=resnet50.safetensors",
    "--config.model.train=all",
  ),
  "--config=": DIGITS,
  "--mode=predict": (),
  "--mode=export --workdir": (),
  "--mode=evaluate": (),
  "--mode=experiment": ("--dry_run",),
  "--mode=compare --config=configs/finetune.py": (
    "--dry_run",
    "--config.model.pretrained=resnet50.safetensors",
    "--config.model.backbone=small_resnet10",
  ),
  "--mode=compare": ("--dry_run",),
  "--mode=report": (),
}
# Of docs/data.md.
DATA_COMMANDS = {
  "--config=configs/image_folder.py:backbone=": (
    *SMALL,
    "--config.model.backbone=small_resnet10",
    "--config.dataset.image_size=16",
    "--config.dataset.resize_size=18",
  ),
  "--config=": SMALL,
  "--mode=check_data": (),
  "--mode=evaluate": (),
  "--mode=predict": (),
}
PLACES = {
  "NAME": "table4",
  "RUN": "runs/digits_lt",
  "--devices=D": "--devices=2",
  "[--together]": "--together",
}
# Beginning of a line of docs/ -> where it is tried, or why it can't be.
PAGES_ELSEWHERE = {
  "JAX_COORDINATOR_ADDRESS=": "processes_test.py",
  "for process in 0 1": "processes_test.py",
  "XLA_FLAGS=": "processes_test.py",
  "srun ": "no SLURM here; processes_test.py has its variables",
  "cd DIR && mkdir train": "archives of ImageNet",
  "tar -xf ILSVRC2012_img_train": "archives of ImageNet",
  "for f in train/*.tar": "archives of ImageNet",
  "python3 -m venv onnx": "installs from the network",
  "onnx/bin/python": "export_test.py, where jax2onnx is installed",
  "python tools/pth_to_safetensors.py": "pytorch_test.py",
  "make .venv": "the gate",
  "pip install torch": "installs from the network",
  "python benchmarks/pytorch_small_cifar10_lt.py": "PyTorch, which isn't here",
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


def page_lines(pattern="*.md"):
  """Lines of docs/ that are commands, continued ones as one."""
  lines = []
  for page in sorted((command_line.ROOT / "docs").glob(pattern)):
    text = page.read_text().replace("\\\n", " ")
    short = re.search(r'^    M="(.*)"$', text, re.M)
    if short:
      text = text.replace(short[0], "")
    for line in re.findall(r"^    (.*)$", text, re.M):
      if short:
        line = line.replace("$M", short[1])
      for place, value in PLACES.items():
        line = re.sub(re.escape(place) + r"(?!\w)", lambda _, v=value: v, line)
      line = re.sub(r",\s+", ",", line.partition(" #")[0])
      lines.append(" ".join(line.split()))
  begin = r"(\.venv/|[A-Z_]+=\S+ \S|onnx/|(python3?|make|pip|srun|cd|tar|for) )"
  return [line for line in dict.fromkeys(lines) if re.match(begin, line)]


def page_commands(program, pattern="*.md"):
  """What follows `python program` on the lines of docs/ that have it."""
  return [
    command[1]
    for line in page_lines(pattern)
    if (
      command := re.fullmatch(
        rf"(?:\.venv/bin/)?python {program}[ .](.*)", line
      )
    )
  ]


def extra_of(command, table):
  """What a command is run with beside its own flags; None if unknown."""
  return next(
    (flags for begin, flags in table.items() if command.startswith(begin)), None
  )


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
  (folder / "LABELLED").symlink_to(folder / "DIR")
  with one_block():
    shapes = torch_names.torch_shapes("small_resnet10")
  weights = loopback_hub.weights(shapes, classes=3)
  (folder / "small_resnet10.safetensors").write_bytes(weights)
  runs = folder / "runs"
  runs.mkdir()
  for name in ("digits_lt", "a"):
    (runs / name).symlink_to("mine")
  (runs / "b").symlink_to("cifar10_lt,method=neither,seed=1")
  (runs / "c").symlink_to("imagenet_lt")
  return folder


@pytest.fixture(scope="module")
def data_folder(folder, tmp_path_factory):
  """Where the commands of docs/data.md find photos, tables and lists.

  Three photos have damaged pixels.
  """
  data = tmp_path_factory.mktemp("data")
  (data / "configs").symlink_to(command_line.ROOT / "configs")
  photos = folder / "DIR"
  for name in ("photos", "more_photos", "moved"):
    shutil.copytree(photos, data / name)
  (data / "unlabelled").symlink_to(photos / "digit 2")
  paths = sorted(path.relative_to(photos) for path in photos.rglob("*.png"))
  rows = [(path, path.parent.name, i) for i, path in enumerate(paths)]
  with open(data / "labels.csv", "w") as table:
    table.write("path,label,split,group\n")
    for path, name, i in rows:
      split = ("train", "train", "train", "val", "test")[i % 5]
      table.write(f"{path},{name},{split},{name} {i % 5}\n")
  with open(data / "lesions.tsv", "w") as table:
    table.write("lesion_id\timage_id\tdx\n")
    for path, name, i in rows:
      table.write(f"L{i // 3}\t{path.with_suffix('')}\t{name}\n")
  for k, name in enumerate(("train.txt", "test.txt")):
    lines = [f"{path} {path.parent.name[-1]}\n" for path, _, i in rows[k::2]]
    (data / name).write_text("".join(lines))
  for (path, _, _), kind in zip(rows, ("ones", "cut", "restart"), strict=False):
    (data / "photos" / path).write_bytes(DAMAGED[kind][0])
  pixels = [np.asarray(Image.open(photos / path)) for path, _, _ in rows]
  np.savez(
    data / "arrays.npz",
    train_images=np.repeat(np.stack(pixels)[..., None], 3, axis=-1),
    train_labels=[int(name[-1]) for _, name, _ in rows],
  )
  return data


@pytest.fixture(scope="module")
def outputs(folder, command_lines):
  """{command: Finished} of all commands, run in the README's order."""
  return {
    command: command_lines.run(
      [*shlex.split(command), *extra_of(command, COMMANDS)],
      folder,
      seconds=240,
      one_block=True,
    )
    for command in commands()
  }


def test_every_command_of_the_readme_is_known():
  for command in commands():
    assert extra_of(command, COMMANDS) is not None, command
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
    "evaluated.csv",
    "exported/README.md",
    "runs/mine/report.html",
    "runs/imagenet_lt/results.json",
    "runs/both/report.html",
  ):
    assert (folder / path).stat().st_size, path


def test_every_command_of_the_pages_is_known():
  mains = page_commands("main.py")
  for command in mains:
    table = {**DATA_COMMANDS, **PAGES_COMMANDS}
    assert extra_of(command, table) is not None, command
  ours = (*mains, *page_commands("-m benchmarks"))
  assert len(ours) > 20
  for line in page_lines():
    elsewhere = extra_of(line, PAGES_ELSEWHERE) is not None
    assert line.endswith(ours) != elsewhere, line
  for begin in PAGES_ELSEWHERE:
    assert any(line.startswith(begin) for line in page_lines()), begin


def test_flags_of_the_pages_are_understood(folder, command_lines):
  for command in page_commands("main.py"):
    finished = command_lines.run(
      [*shlex.split(command), "--only_check_args"], folder
    )
    assert finished.code == 0, f"{command}\n{finished.stderr[-2000:]}"


def test_commands_of_data_md_end_well(data_folder, command_lines):
  commands = page_commands("main.py", "data.md")
  assert len(commands) > 10
  notes = collections.Counter()
  for command in commands:
    flags = [*shlex.split(command), *extra_of(command, DATA_COMMANDS)]
    finished = command_lines.run(
      flags, data_folder, seconds=240, one_block=True
    )
    assert finished.code == 0, f"{command}\n{finished.stderr[-2000:]}"
    # One line of ours instead of libjpeg's, which do not name a file.
    assert "\nCorrupt JPEG" not in "\n" + finished.stderr, command
    notes[finished.stderr.count("note: a JPEG file is damaged (libjpeg: ")] += 1
  assert notes.keys() == {0, 1}
  assert notes[1] > 3  # Those that train on the photos.
  first = (data_folder / "runs/photos/splits.csv").read_text()
  again = (data_folder / "runs/again/splits.csv").read_text()
  assert first == again
  groups = {}
  with open(data_folder / "runs/lesions/splits.csv") as table:
    for row in csv.DictReader(table):
      groups.setdefault(row["group"], set()).add(row["split"])
  assert len(groups) > 30
  assert all(len(splits) == 1 for splits in groups.values())


@long_test("imports JAX a dozen times")
@pytest.mark.parametrize("command", page_commands("-m benchmarks"))
def test_flags_of_the_benchmarks_are_understood(command):
  """Each benchmark is run in small by a test of its own."""
  module, *flags = shlex.split(command)
  # One has argparse, which has no such flag.
  check = "--help" if module == "kills" else "--only_check_args"
  finished = subprocess.run(
    [sys.executable, "-m", f"benchmarks.{module}", *flags, check],
    cwd=command_line.ROOT,
    capture_output=True,
    text=True,
    timeout=120,
    check=False,
  )
  assert finished.returncode == 0, finished.stderr[-2000:]


@long_test("trains twenty times")
@pytest.mark.usefixtures("outputs")
def test_commands_of_the_pages_end_well(folder, command_lines, tmp_path):
  network = create_model("small_resnet10", 10)
  variables = network.init(
    jax.random.key(0), np.zeros((1, 8, 8, 3), np.float32), train=False
  )
  tensors = torch_network.network_to_torchvision("small_resnet10", variables)
  save_file(tensors, folder / "resnet50.safetensors")
  pages = set(page_commands("main.py")) - set(
    page_commands("main.py", "data.md")
  )
  for number, command in enumerate(sorted(pages)):
    flags = [*shlex.split(command), *extra_of(command, PAGES_COMMANDS)]
    if command.startswith("--config="):
      flags.append(f"--workdir={tmp_path / str(number)}")
    finished = command_lines.run(flags, folder, seconds=240)
    assert finished.code == 0, f"{command}\n{finished.stderr[-2000:]}"
