"""Runs are trained once each, whoever asks; failures do not end the rest."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

from blt_jax.config import check_config
from blt_jax.experiments import run_status, train_runs
from blt_jax.experiments.plan import PlannedRun
from blt_jax.workdir import directory
from configs import digits_lt

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Stands in for main.py: notes that it was called, then does as it is told.
FAKE = """
import json, pathlib, sys, time
flags = dict(argument[2:].split("=", 1) for argument in sys.argv[1:])
workdir = pathlib.Path(flags["workdir"])
with open("calls", "a") as file:
  file.write(workdir.name + " " + flags.get("config.stage1.reuse", "-") + "\\n")
content = json.loads(flags["content"])
content["stage1"]["reuse"] = flags.get("config.stage1.reuse", "")
(workdir / "config.json").write_text(json.dumps(content))
print("begun", flush=True)
if flags["does"] == "wait":
  time.sleep(100)
if flags["does"] == "fail":
  sys.exit("error: the loss is nan\\n")
time.sleep(float(flags["seconds"]))
(workdir / "results.json").write_text("{}")
"""

# Trains the runs that runs.json describes, in a process of its own.
DRIVER = """
import json, pathlib, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # As the command does.
sys.path.insert(0, sys.argv[1])
import train_runs_test
from blt_jax.experiments import train_runs
runs = json.load(open("runs.json"))
runs = [train_runs_test.make_run(**each) for each in runs]
try:
  print(train_runs.train_all(runs, poll=0.05))
except KeyboardInterrupt:
  print("interrupted")
"""


def make_run(name, *, seed=0, does="work", seconds=0.0, folder="runs"):
  """A planned run of the program above; equal seeds share their stage 1."""
  content = digits_lt.get_config(f"seed={seed}").to_dict()
  content["method"] = name
  return PlannedRun(
    name=name,
    workdir=pathlib.Path(folder) / name,
    config=check_config(content),
    flags=(
      f"--content={json.dumps(content)}",
      f"--does={does}",
      f"--seconds={seconds}",
    ),
  )


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
  (tmp_path / "main.py").write_text(FAKE)
  (tmp_path / "calls").touch()
  monkeypatch.chdir(tmp_path)


def _calls():
  """(run, stage 1 that it took over) of every training, in order."""
  lines = pathlib.Path("calls").read_text().splitlines()
  return [tuple(line.split(" ")) for line in lines]


def _wait_for(condition):
  for _ in range(600):
    if condition():
      return
    time.sleep(0.05)
  raise AssertionError("nothing happened for 30 seconds")


def _driver(runs):
  pathlib.Path("runs.json").write_text(json.dumps(runs))
  return subprocess.Popen(
    [sys.executable, "-c", DRIVER, str(ROOT / "tests/experiments")],
    env={**os.environ, "PYTHONPATH": str(ROOT)},
    stdout=subprocess.PIPE,
    text=True,
  )


def test_second_run_takes_stage_1_over_from_the_first():
  runs = [make_run("a"), make_run("b"), make_run("c", seed=1)]
  assert train_runs.train_all(runs) == []
  assert _calls() == [("a", "-"), ("b", "runs/a"), ("c", "-")]


def test_finished_runs_are_not_trained_again(capsys):
  runs = [make_run("a"), make_run("b")]
  train_runs.train_all(runs[:1])
  train_runs.train_all(runs)
  train_runs.train_all(runs)
  assert _calls() == [("a", "-"), ("b", "runs/a")]
  assert "1 runs to train, 1 are finished" in capsys.readouterr().out


def test_interrupted_run_goes_on_with_the_stage_1_that_it_began_with():
  runs = [make_run("a"), make_run("b")]
  train_runs.train_all(runs)
  for run in runs:
    (run.workdir / directory.RESULTS).unlink()
  train_runs.train_all(runs)
  assert _calls()[2:] == [("a", "-"), ("b", "runs/a")]


def test_failure_is_told_with_its_last_line_and_the_others_go_on(capsys):
  runs = [make_run("a", does="fail"), make_run("b"), make_run("c")]
  (failure,) = train_runs.train_all(runs)
  assert failure == train_runs.Failure(
    "a", pathlib.Path("runs/a/log.txt"), "error: the loss is nan"
  )
  assert _calls() == [("a", "-"), ("b", "-"), ("c", "runs/b")]
  assert "[1/3] a: failed after 0:00:0" in capsys.readouterr().out


def test_output_goes_to_the_log_of_the_run():
  train_runs.train_all([make_run("a")])
  assert pathlib.Path("runs/a/log.txt").read_text() == "begun\n"


def test_run_of_another_configuration_is_refused_before_any_training():
  train_runs.train_all([make_run("a")])
  with pytest.raises(ValueError, match=r"runs/a is of another.*seed \(0 there"):
    train_runs.train_all([make_run("b"), make_run("a", seed=5)])
  assert len(_calls()) == 1


def test_run_that_another_process_holds_is_left_to_it():
  held, other = make_run("a"), make_run("b", seed=1)
  with run_status.lock(held) as lock:
    assert lock is not None
    assert run_status.is_locked(held)
    thread = threading.Thread(
      target=train_runs.train_all, args=([held, other],), kwargs={"poll": 0.05}
    )
    thread.start()
    _wait_for(lambda: run_status.is_finished(other))
    assert _calls() == [("b", "-")]
    directory.claim(held.workdir, held.config)
    (held.workdir / directory.RESULTS).write_text("{}")
  thread.join(timeout=30)
  assert not thread.is_alive()
  assert _calls() == [("b", "-")]


def test_run_waits_for_the_stage_1_that_another_process_trains():
  trainer, waiting, other = make_run("a"), make_run("b"), make_run("c", seed=1)
  with run_status.lock(trainer):
    thread = threading.Thread(
      target=train_runs.train_all,
      args=([trainer, waiting, other],),
      kwargs={"poll": 0.05},
    )
    thread.start()
    _wait_for(lambda: run_status.is_finished(other))
    directory.claim(trainer.workdir, trainer.config)
    (trainer.workdir / directory.RESULTS).write_text("{}")
  thread.join(timeout=30)
  assert _calls() == [("c", "-"), ("b", "runs/a")]


def test_two_processes_share_the_work_and_train_nothing_twice():
  runs = [
    {"name": f"{number}{seed}", "seed": seed, "seconds": 0.2}
    for number in range(3)
    for seed in range(2)
  ]
  drivers = [_driver(runs), _driver(runs)]
  for driver in drivers:
    output, _ = driver.communicate(timeout=60)
    assert output.splitlines()[-1] == "[]"
  names = [name for name, _ in _calls()]
  assert sorted(names) == sorted(each["name"] for each in runs)
  assert sum(reuse == "-" for _, reuse in _calls()) == 2


def test_interrupt_ends_the_training_too():
  driver = _driver([{"name": "a", "does": "wait"}])
  log = pathlib.Path("runs/a/log.txt")
  _wait_for(lambda: log.exists() and log.read_text())
  driver.send_signal(signal.SIGINT)
  output, _ = driver.communicate(timeout=30)
  assert output.splitlines()[-1] == "interrupted"
  assert not run_status.is_locked(make_run("a"))


def test_training_keeps_its_lock_when_who_started_it_is_killed():
  driver = _driver([{"name": "a", "seconds": 1.5}])
  log = pathlib.Path("runs/a/log.txt")
  _wait_for(lambda: log.exists() and log.read_text())
  driver.kill()
  driver.communicate(timeout=30)
  run = make_run("a")
  assert run_status.is_locked(run)
  train_runs.train_all([run], poll=0.05)
  assert _calls() == [("a", "-")]
