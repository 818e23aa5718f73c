"""What users get wrong on the command line: one line, and a non-zero exit."""

import os
import pathlib
import subprocess
import sys

import absl.flags
import numpy as np
import pytest
from PIL import Image

from blt_jax import cli, library
from blt_jax.config import SCHEMA
from blt_jax.report import command as report_command
from blt_jax.system import command_line

ROOT = pathlib.Path(__file__).resolve().parents[1]
DIGITS = "--config=configs/digits_lt.py"


@pytest.fixture
def lists(tmp_path):
  """A root with eight small images in two classes, and good lists of them."""
  root = tmp_path / "images"
  root.mkdir()
  for number in range(8):
    pixels = np.full((8, 8, 3), 30 * number, np.uint8)
    Image.fromarray(pixels).save(root / f"{number}.png")
  lines = [f"{number}.png {number % 2}\n" for number in range(8)]
  (root / "train.txt").write_text("".join(lines[:6]))
  for name in ("val", "test"):
    (root / f"{name}.txt").write_text("".join(lines[6:]))
  return root


def _list_flags(root):
  return (
    "--config=configs/image_list.py:batch=2",
    "--config.num_devices=1",
    f"--config.dataset.root={root}",
    "--config.dataset.train_list=train.txt",
    "--config.dataset.validation_list=val.txt",
    "--config.dataset.test_list=test.txt",
    "--config.dataset.image_size=8",
    "--config.dataset.resize_size=8",
    "--config.model.backbone=small_resnet10",
  )


@pytest.fixture
def refused(tmp_path, command_lines):
  """Gives the single line on stderr of a command that must fail at once."""

  def run(*arguments):
    workdir = tmp_path / "work"
    finished = command_lines.run([*arguments, f"--workdir={workdir}"], ROOT)
    assert finished.code != 0
    assert "Traceback" not in finished.stderr
    lines = finished.stderr.strip().splitlines()
    assert len(lines) == 1, finished.stderr
    assert lines[0].startswith("error: ")
    assert not workdir.exists()
    return lines[0]

  return run


@pytest.mark.parametrize(
  "arguments, culprit",
  [
    ((), "--config is missing; --mode=train needs --config=configs/NAME.py"),
    (("--config=configs/nope.py",), "nope.py"),
    ((DIGITS, "--config.stage2.epoch=3"), "epoch"),
    ((DIGITS, "--config.stage2.epochs=abc"), "stage2.epochs is 'abc'"),
    ((DIGITS, "--config.stage2.backbone_rate=nan"), "backbone_rate is nan"),
    ((f"{DIGITS}:method=magic",), "method is 'magic'; expected one of plain"),
    ((DIGITS, "--mode=fly"), "value should be one of <train|evaluate|"),
    ((DIGITS, "--speed=9"), "Unknown command line flag 'speed'"),
    ((DIGITS, "stray"), "unexpected argument 'stray'"),
    (("--mode=evaluate",), "holds no config.json"),
    (
      ("--mode=report", "--workdirs=runs/none"),
      "--output is missing; a report of several runs needs --output=DIR",
    ),
    (
      (f"{DIGITS}:batch=33",),
      "config.stage1.batch_size is 33; expected a multiple of the 4 devices",
    ),
    (
      (f"{DIGITS}:batch=400",),
      "batch_size is 400; expected at most the 389 training images",
    ),
    (
      (DIGITS, "--config.num_devices=5"),
      "config.num_devices is 5; expected at most the 4 devices",
    ),
  ],
)
def test_bad_flags_end_with_one_line(refused, arguments, culprit):
  assert culprit in refused(*arguments)


def test_each_mode_has_a_row_of_the_flags_that_it_uses():
  assert command_line.USED_FLAGS.keys() == cli.MODES.keys()
  defined = {flag.name for flag in absl.flags.FLAGS.get_flags_for_module(cli)}
  used = {name for names in command_line.USED_FLAGS.values() for name in names}
  assert used == defined - {"mode"}


def test_missing_data_root_is_named(tmp_path, refused):
  flags = _list_flags(tmp_path / "nowhere")
  assert str(tmp_path / "nowhere") in refused(*flags)


@pytest.mark.parametrize(
  "line, culprit",
  [
    ("0.png\n", "train.txt:2"),
    ("0.png one\n", "train.txt:2"),
    ("0.png -1\n", "train.txt:2"),
    ("missing.png 1\n", "missing.png"),
    ("../0.png 1\n", "train.txt:2"),
    ("1.png 3\n", "has the labels 3 and 1"),
    ("more.png 3\n", "class 2"),
  ],
)
def test_bad_list_names_line_file_or_class(refused, lists, line, culprit):
  good = (lists / "train.txt").read_text().splitlines(keepends=True)
  (lists / "more.png").write_bytes((lists / "1.png").read_bytes())
  (lists / "train.txt").write_text("".join([good[0], line, *good[1:]]))
  assert culprit in refused(*_list_flags(lists))


def test_label_of_validation_out_of_range_names_its_line(refused, lists):
  (lists / "val.txt").write_text("0.png 0\n1.png 7\n")
  assert "val.txt:2" in refused(*_list_flags(lists))


def test_help_lists_the_flags(command_lines):
  finished = command_lines.run(["--help"], ROOT)
  for flag in ("--config:", "--mode:", "--workdir:", "--[no]dry_run:"):
    assert flag in finished.stdout
  assert "python main.py --mode=evaluate --workdir=" in finished.stdout


def test_help_with_a_configuration_lists_every_field(command_lines):
  finished = command_lines.run([f"{DIGITS}:p=0.7", "--help"], ROOT)
  assert finished.code == 0
  for name in SCHEMA:
    assert f"  --config.{name}=" in finished.stdout
  assert "--config.perturb.p=0.7\n    Share of a batch" in finished.stdout


def test_help_and_flag_errors_do_not_wait_for_jax():
  program = (
    "import sys, main\n"
    "try:\n  main.run()\n"
    "finally:\n  print('jax' in sys.modules)\n"
  )
  for flags in (["--help"], [DIGITS, "--config.stage2.epoch=3"]):
    finished = subprocess.run(
      [sys.executable, "-c", program, *flags],
      cwd=ROOT,
      stdout=subprocess.PIPE,
      text=True,
    )
    assert finished.stdout.endswith("False\n")


def test_package_that_is_missing_is_named_with_its_extra():
  program = "import sys; sys.modules['absl'] = None; import main"
  finished = subprocess.run(
    [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True
  )
  assert finished.returncode == 1
  assert finished.stderr == (
    "error: the package absl is not installed; expected what "
    '`pip install ".[train]"` installs.\n'
  )


@pytest.fixture
def written(monkeypatch):
  """The folders that a report is written to."""
  folders = []

  def write_report(workdirs, folder):
    folders.append(folder)
    return folder / "report.html"

  monkeypatch.setattr(report_command, "write_report", write_report)
  return folders


def test_report_is_written_where_it_is_missing_or_older_than_the_results(
  tmp_path, written
):
  results, report = tmp_path / "results.json", tmp_path / "report.html"
  results.touch()
  library._write_report(tmp_path)
  assert written == [tmp_path]
  report.touch()
  library._write_report(tmp_path)
  assert len(written) == 1
  os.utime(report, (1, 1))
  library._write_report(tmp_path)
  assert len(written) == 2


def test_report_that_can_not_be_written_is_said_in_one_line(tmp_path, capsys):
  library._write_report(tmp_path)
  out = capsys.readouterr().out
  assert out.startswith("left out: the report: --workdir=")
  assert out.count("\n") == 1
