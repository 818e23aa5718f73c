"""`--mode=experiment` as users call it, with the smallest real runs."""

import json
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import time

import pytest

from tests.marks import long_test

ROOT = pathlib.Path(__file__).resolve().parents[2]
# The digits at 8 pixels, 1 + 2 epochs of 6 steps with so few slots that the
# ascent is compiled for one width. The network has one block.
SMALL = (
  "--mode=experiment",
  "--experiment=fig3",
  "--config.stage1.epochs=1",
  "--config.stage2.epochs=2",
  "--config.stage1.batch_size=64",
  "--config.stage2.batch_size=64",
  "--config.dataset.image_size=8",
  "--config.dataset.resize_size=8",
  "--config.num_devices=1",
  "--config.perturb.p=0.05",
)
NAMES = ("neither,seed=0", "blt,seed=0")
# compare_test.py trains by the same engine.
of_trained_runs = long_test("trains two runs")


@pytest.fixture(scope="module")
def call(command_lines):
  """(lines on stdout, stderr) of a command that ends with an exit code."""

  def run(*arguments, code=0):
    finished = command_lines.run(arguments, ROOT, seconds=300, one_block=True)
    assert finished.code == code, finished.stdout + finished.stderr
    return finished.stdout.splitlines(), finished.stderr

  return run


@pytest.fixture(scope="module")
def planned(call, tmp_path_factory):
  """(folder, lines of the dry run before any training)."""
  output = tmp_path_factory.mktemp("experiment") / "output"
  return output, call(*SMALL, "--dry_run", f"--output={output}")[0]


@pytest.fixture(scope="module")
def trained(call, planned):
  """(folder, lines that the training printed)."""
  output = planned[0]
  return output, call(*SMALL, f"--output={output}")[0]


def test_dry_run_makes_nothing_and_prints_the_commands(planned):
  output, lines = planned
  assert not output.exists()
  assert lines[0] == "# fig3 on digits_lt, seeds 0"
  assert lines[1] == "# 1 epochs + 2 epochs"
  assert lines[2].startswith("# 1/2 neither,seed=0: time unknown until a run")
  assert lines[4].startswith("# 2/2 blt,seed=0: time unknown until a run")
  assert lines[6].startswith("# 2 runs to train, 0 finished: time unknown")
  neither, blt = (shlex.split(lines[place]) for place in (3, 5))
  runs = f"{output}/runs/digits_lt"
  assert neither[:3] == [
    "python",
    "main.py",
    "--config=configs/digits_lt.py:method=neither,seed=0",
  ]
  assert f"--config.stage1.reuse={runs}/neither,seed=0" in blt
  assert blt[-1] == f"--workdir={runs}/blt,seed=0"


@of_trained_runs
def test_training_ends_with_a_report_and_its_figure(trained):
  output, lines = trained
  folder = output / "digits_lt/fig3"
  assert lines[0] == "2 runs to train, 0 are finished"
  assert [line.split(" ")[1] for line in lines[1:3]] == [
    f"{name}:" for name in NAMES
  ]
  assert lines[3:] == [str(folder / "report.md")]
  for name in ("report.md", "figure.png", "figure.svg"):
    assert (folder / name).stat().st_size > 100


@of_trained_runs
def test_report_says_where_its_numbers_come_from(trained):
  report = (trained[0] / "digits_lt/fig3/report.md").read_text()
  assert report.startswith("# fig3 on digits_lt: ")
  for text in (
    "- Command: `python main.py --mode=experiment --experiment=fig3 ",
    "- Trained on: 1 x cpu",
    "- Versions: Python ",
    "- Seeds: 0",
    "- Schedule: 1 epochs + 2 epochs",
    "not comparable with digits_lt's",
    "Last epoch: `blt` against `neither`: many ",
    "Best epoch on validation: `blt` against `neither`: many ",
    "(figure.png)",
  ):
    assert text in report


@of_trained_runs
def test_table_holds_what_the_runs_found(trained):
  output = trained[0]
  table = (output / "digits_lt/fig3/report.md").read_text()
  for name in NAMES:
    path = output / "runs/digits_lt" / name / "results.json"
    test = json.loads(path.read_text())["last"]["test"]
    cells = " | ".join(
      f"{test[group]:.1f}" for group in ("many", "medium", "few", "overall")
    )
    assert f"| {name.split(',')[0]} | 1 | {cells} | - | - |" in table


@of_trained_runs
def test_second_run_took_stage_1_over(trained):
  config = trained[0] / "runs/digits_lt/blt,seed=0/config.json"
  reuse = json.loads(config.read_text())["stage1"]["reuse"]
  assert reuse.endswith("runs/digits_lt/neither,seed=0")


@of_trained_runs
def test_same_command_again_trains_nothing(call, trained):
  output = trained[0]
  paths = sorted((output / "runs").rglob("log.txt"))
  before = [path.read_text() for path in paths]
  (output / "digits_lt/fig3/report.md").unlink()
  lines, _ = call(*SMALL, f"--output={output}")
  assert lines == [str(output / "digits_lt/fig3/report.md")]
  assert [path.read_text() for path in paths] == before
  assert len(before) == 2
  assert (output / "digits_lt/fig3/report.md").exists()


@of_trained_runs
def test_dry_run_knows_what_is_finished_and_how_long_it_takes(call, trained):
  output = trained[0]
  lines, _ = call(*SMALL, "--dry_run", "--seeds=0,1", f"--output={output}")
  states = [line for line in lines if line.startswith("# ")][2:]
  assert states[0] == "# 1/4 neither,seed=0: finished"
  assert states[1] == "# 2/4 blt,seed=0: finished"
  assert states[2].startswith("# 3/4 neither,seed=1: about 0:0")
  assert states[-1].startswith("# 2 runs to train, 2 finished: about 0:0")


def test_run_that_fails_is_named_and_the_exit_code_is_1(call, tmp_path):
  arguments = (*SMALL, "--config.num_devices=99", f"--output={tmp_path}")
  lines, _ = call(*arguments, code=1)
  assert lines[-1].startswith("failed: blt,seed=0: error: config.num_devices")
  report = (tmp_path / "digits_lt/fig3/report.md").read_text()
  assert "## Not finished\n\n- neither: neither,seed=0\n- blt: " in report


@long_test("another run")
def test_interrupt_ends_with_a_report_of_what_is_there(tmp_path):
  process = subprocess.Popen(
    [sys.executable, "main.py", *SMALL, f"--output={tmp_path}"],
    cwd=ROOT,
    env={**os.environ, "XLA_FLAGS": ""},
    stdout=subprocess.PIPE,
    text=True,
  )
  log = tmp_path / "runs/digits_lt/neither,seed=0/log.txt"
  for _ in range(1200):
    if log.exists() and "epochs on" in log.read_text():
      break
    time.sleep(0.1)
  process.send_signal(signal.SIGINT)
  output, _ = process.communicate(timeout=120)
  assert process.returncode == 130
  assert "interrupted; the same command goes on" in output
  report = (tmp_path / "digits_lt/fig3/report.md").read_text()
  assert "## Not finished\n\n- neither: neither,seed=0\n- blt: " in report


@pytest.mark.parametrize(
  "arguments, culprit",
  [
    (("--experiment=table9",), "--experiment=table9: expected all or some of"),
    ((), "--experiment is missing"),
    (("--experiment=fig1", "--dataset=mnist"), "one of <digits_lt|cifar10_lt"),
    (("--experiment=fig1", "--seeds=0,x"), "--seeds=0,x: expected whole"),
    (("--experiment=fig1", "--seeds=1,1"), "--seeds=1,1: expected one or more"),
    (
      ("--experiment=fig1", "--config=configs/digits_lt.py"),
      "--config can't be given with --mode=experiment; expected --dataset=NAME",
    ),
    (
      ("--experiment=gamma", "--config.stage2.gamma=0.5"),
      "--config.stage2.gamma is given, but the experiment sets it",
    ),
    (
      ("--experiment=fig1", "--config.perturb.step_size=-1.0"),
      "config.perturb.step_size is -1.0; expected a number of at least 0",
    ),
  ],
)
def test_bad_flags_end_with_one_line(
  tmp_path, command_lines, arguments, culprit
):
  flags = ("--mode=experiment", f"--output={tmp_path / 'x'}", *arguments)
  finished = command_lines.run(flags, ROOT)
  assert finished.code == 1
  (line,) = finished.stderr.strip().splitlines()
  assert line.startswith("error: ")
  assert culprit in line
  assert not (tmp_path / "x").exists()


def test_output_is_needed(command_lines):
  finished = command_lines.run(["--mode=experiment", "--experiment=fig1"], ROOT)
  assert finished.code == 1
  assert "--mode=experiment needs --output=DIR" in finished.stderr
