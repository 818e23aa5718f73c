"""Signals to real processes, and what a run is told of them."""

import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

from blt_jax.system import interrupt
from blt_jax.system.interrupt import NOTHING, SAVE, STOP, Interrupted, Watch

ROOT = pathlib.Path(__file__).resolve().parents[2]


def _wait_for(watch):
  deadline = time.monotonic() + 20
  while watch.signal is None:
    assert time.monotonic() < deadline
    time.sleep(0.01)


@pytest.mark.parametrize("number", interrupt.SIGNALS)
def test_signal_asks_for_a_stop(number, capfd):
  before = signal.getsignal(number)
  with Watch() as watch:
    assert watch.poll() == NOTHING
    os.kill(os.getpid(), number)
    _wait_for(watch)
    assert watch.poll() == STOP
    assert watch.poll() == STOP
  assert signal.getsignal(number) == before
  assert watch.interrupted("here").signal == number
  name = signal.Signals(number).name
  assert f"{name}: stops after a checkpoint" in capfd.readouterr().err


def test_stop_comes_between_two_batches():
  with Watch() as watch:
    items = watch.between(range(5), "at a test")
    assert [next(items), next(items)] == [0, 1]
    os.kill(os.getpid(), signal.SIGTERM)
    _wait_for(watch)
    with pytest.raises(Interrupted, match="stopped by SIGTERM at a test; the"):
      next(items)


# Says when it is in a call, which it would stay in for a minute.
COMPILING = """
import time
from blt_jax.system.interrupt import Watch

def compile(seconds):
  print("compiling", flush=True)
  time.sleep(seconds)

with Watch() as watch:
  step = watch.first_call(compile, "in stage 2 epoch 1 after step 0 of 6")
  step(60)
"""


def test_signal_while_compiling_ends_at_once():
  process = subprocess.Popen(
    [sys.executable, "-c", COMPILING],
    cwd=ROOT,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  assert process.stdout.readline() == "compiling\n"
  start = time.monotonic()
  process.send_signal(signal.SIGTERM)
  _, errors = process.communicate(timeout=30)
  assert time.monotonic() - start < 5
  assert process.returncode == 128 + signal.SIGTERM
  assert errors == (
    "stopped by SIGTERM in stage 2 epoch 1 after step 0 of 6; the same command "
    "goes on from there.\n"
  )


def test_only_the_first_call_ends_at_once():
  with Watch() as watch:
    step = watch.first_call(lambda value: value + 1, "here")
    assert step(1) == 2
    os.kill(os.getpid(), signal.SIGTERM)
    _wait_for(watch)
    assert step(2) == 3


def test_stop_before_the_first_call_comes_before_it():
  with Watch() as watch:
    os.kill(os.getpid(), signal.SIGTERM)
    _wait_for(watch)
    with pytest.raises(Interrupted, match="stopped by SIGTERM here; the same"):
      watch.first_call(pytest.fail, "here")("it was called")


def test_minutes_ask_for_a_checkpoint_once():
  watch = Watch(every_minutes=0.1 / 60)
  assert watch.poll() == NOTHING
  time.sleep(0.12)
  assert watch.poll() == SAVE
  assert watch.poll() == NOTHING
  time.sleep(0.12)
  watch.saved()  # The end of an epoch, for instance.
  assert watch.poll() == NOTHING


def test_no_minutes_never_ask():
  watch = Watch(every_minutes=0)
  time.sleep(0.01)
  assert watch.poll() == NOTHING


def test_another_thread_leaves_signals_alone():
  before = signal.getsignal(signal.SIGTERM)
  found = []

  def work():
    with Watch() as watch:
      found.append((watch.poll(), signal.getsignal(signal.SIGTERM)))

  thread = threading.Thread(target=work)
  thread.start()
  thread.join()
  assert found == [(NOTHING, before)]


def test_second_signal_ends_a_busy_process_at_once():
  # Ten seconds in C, as when a program is compiled.
  program = (
    "import hashlib\n"
    "from blt_jax.system.interrupt import Watch\n"
    "with Watch():\n"
    "  print('ready', flush=True)\n"
    "  hashlib.pbkdf2_hmac('sha256', b'a', b'b', 30_000_000)\n"
  )
  process = subprocess.Popen(
    [sys.executable, "-c", program],
    cwd=ROOT,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  assert process.stdout is not None
  assert process.stdout.readline() == "ready\n"
  process.send_signal(signal.SIGINT)
  assert process.stderr is not None
  assert process.stderr.readline().startswith("SIGINT: stops after")
  start = time.monotonic()
  process.send_signal(signal.SIGTERM)
  _, errors = process.communicate(timeout=30)
  assert process.returncode == 128 + signal.SIGTERM
  assert errors == "SIGTERM again: ends at once\n"
  assert time.monotonic() - start < 2
