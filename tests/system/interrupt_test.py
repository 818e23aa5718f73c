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
  assert f"{name}: the run stops after a checkpoint" in capfd.readouterr().err


def test_stop_comes_between_two_batches():
  with Watch() as watch:
    items = watch.between(range(5), "at a test")
    assert [next(items), next(items)] == [0, 1]
    os.kill(os.getpid(), signal.SIGTERM)
    _wait_for(watch)
    with pytest.raises(Interrupted, match="stopped by SIGTERM at a test; the"):
      next(items)


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
    "import hashlib, os, signal\n"
    "from blt_jax.system.interrupt import Watch\n"
    "with Watch():\n"
    "  os.kill(os.getpid(), signal.SIGINT)\n"
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
  start = time.monotonic()
  process.send_signal(signal.SIGTERM)
  _, errors = process.communicate(timeout=30)
  assert process.returncode == -signal.SIGTERM
  assert errors.startswith("SIGINT: the run stops after")
  assert time.monotonic() - start < 2
