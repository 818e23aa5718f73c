"""`--mode=compare` as users call it, with the smallest real runs."""

import json
import pathlib
import shlex

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
# The digits at 8 pixels, 1 + 1 epochs of 6 steps.
SMALL = (
  "--mode=compare",
  "--config=configs/digits_lt.py:batch=64,p=0.05",
  "--methods=neither,blt",
  "--config.stage1.epochs=1",
  "--config.stage2.epochs=1",
  "--config.dataset.image_size=8",
  "--config.dataset.resize_size=8",
  "--config.num_devices=1",
  # As the runs of run_experiments_test.py, whose compiled programs these share.
  "--config.optimizer.rate_batch_size=0",
)


@pytest.fixture(scope="module")
def call(command_lines):
  """Lines on stdout of a command that ends with an exit code."""

  def run(*arguments, code=0):
    finished = command_lines.run(arguments, ROOT, seconds=300, one_block=True)
    assert finished.code == code, finished.stdout + finished.stderr
    return finished.stdout.splitlines()

  return run


@pytest.fixture(scope="module")
def trained(call, tmp_path_factory):
  """(folder, lines that the comparison printed)."""
  output = tmp_path_factory.mktemp("compare") / "output"
  return output, call(*SMALL, f"--output={output}")


def test_comparison_trains_the_methods_and_chooses_one(trained):
  output, lines = trained
  assert lines[0] == "2 runs to train, 0 are finished"
  assert [line.split(" ")[1] for line in lines[1:3]] == [
    "neither,seed=0:",
    "blt,seed=0:",
  ]
  assert lines[3].split()[:3] == ["method", "validation", "overall"]
  assert lines[-1] == str(output / "compare.md")
  content = json.loads((output / "compare.json").read_text())
  chosen = content["chosen"]
  assert lines[7].startswith(f"chosen: {chosen} (validation overall ")
  assert content["go_on"][0] in lines
  assert f"runs/{chosen},seed=0" in content["go_on"][0]


def test_numbers_are_those_of_the_runs(trained):
  output = trained[0]
  content = json.loads((output / "compare.json").read_text())
  for method in ("neither", "blt"):
    path = output / f"runs/{method},seed=0/results.json"
    best = json.loads(path.read_text())["best"]
    for split in ("validation", "test"):
      for group, value in best[split].items():
        found = content["methods"][method][split].get(group)
        if found:
          assert found["mean"] == pytest.approx(value), (method, split, group)


def test_second_method_took_stage_1_over(trained):
  config = trained[0] / "runs/blt,seed=0/config.json"
  reuse = json.loads(config.read_text())["stage1"]["reuse"]
  assert reuse.endswith("runs/neither,seed=0")


def test_page_says_what_was_compared(trained):
  text = (trained[0] / "compare.md").read_text()
  for part in (
    "# 2 methods on digits_lt",
    "- Command: `python main.py --mode=compare ",
    "- Images: 389 to train on, in 10 classes of 120 to 5",
    "- one seed: the intervals are of the images alone",
    "on test, blt against neither",
  ):
    assert part in text, part


def test_same_command_again_trains_nothing(call, trained):
  output, before = trained
  logs = sorted(output.rglob("log.txt"))
  texts = [log.read_text() for log in logs]
  lines = call(*SMALL, f"--output={output}")
  assert lines == before[3:]
  assert [log.read_text() for log in logs] == texts


def test_dry_run_measures_steps_and_prints_commands(call, trained):
  output = trained[0]
  lines = call(
    *SMALL,
    "--methods=neither",
    "--seeds=0,1",
    "--dry_run",
    f"--output={output}",
  )
  assert lines[0] == "# neither: seeds 0, 1"
  assert lines[1] == "# 1 epochs + 1 epochs"
  assert lines[2] == "# 1/2 neither,seed=0: finished"
  assert lines[4].startswith("# 2/2 neither,seed=1: about 0:")
  assert lines[6].startswith("# 1 runs to train, 1 finished: about 0:")
  assert lines[7].startswith("# measured: neither: ")
  assert " ms a step of stage 1, " in lines[7]
  assert shlex.split(lines[5])[:3] == [
    "python",
    "main.py",
    "--config=configs/digits_lt.py:batch=64,p=0.05,method=neither,seed=1",
  ]
  assert not (output / "runs/neither,seed=1").exists()


@pytest.mark.parametrize(
  "arguments, culprit",
  [
    (("--output=out",), "--config is missing; --mode=compare needs --config="),
    (("--config=configs/digits_lt.py",), "--output is missing; --mode=compare"),
    ((SMALL[1], "--output=out"), "--methods is missing; --mode=compare"),
    ((*SMALL[1:], "--output=out", "--seeds=x"), "--seeds=x: expected whole"),
    (
      (*SMALL[1:], "--output=out", "--folds=1"),
      "--folds=1: expected 2 or more",
    ),
    (
      (*SMALL[1:], "--output=out", "--config.seed=3"),
      "--config.seed is given, but the experiment sets it",
    ),
    (
      (*SMALL[1:], "--output=out", "--workdir=x"),
      "--workdir is not used by --mode=compare",
    ),
  ],
)
def test_bad_flags_end_with_one_line(command_lines, arguments, culprit):
  finished = command_lines.run(["--mode=compare", *arguments], ROOT)
  assert finished.code == 1
  (line,) = finished.stderr.strip().splitlines()
  assert line.startswith("error: ")
  assert culprit in line
