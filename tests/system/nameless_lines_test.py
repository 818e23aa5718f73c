"""The filter of libjpeg's lines, and who hears them."""

import ctypes
import os
import pty
import signal
import subprocess
import sys

import pytest

import blt_jax.cli  # noqa: F401, it must not change what the program has.
from blt_jax.data import lazy_tensorflow
from blt_jax.system import nameless_lines
from blt_jax.system.line_filter import Filter
from tests.command_line import ROOT

BAD = b"Corrupt JPEG data: bad Huffman code\n"
LIKE_IT = (
  b"Corrupt JPEG data\n"
  b"corrupt JPEG data: lower\n"
  b"a/1.jpg: Corrupt JPEG data: bad Huffman code\n"
  b"Premature\rPremature end\rInvalid SOS\n"
  b"\n\r\nCorr"
)
TEXT = b"first\n" + BAD + BAD + b"Improper call to JPEG library in state 9\n"
NOTE = b"note: Corrupt JPEG data: bad Huffman code!\n"


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_one_note_stands_for_all_lines_whatever_the_pieces(size):
  lines = Filter(b"note: %s!\n")
  text = TEXT + LIKE_IT
  pieces = (text[i : i + size] for i in range(0, len(text), size))
  passed = b"".join(map(lines.feed, pieces)) + lines.rest()
  assert passed == b"first\n" + NOTE + LIKE_IT


def test_a_line_is_passed_on_as_soon_as_it_can_not_be_libjpegs():
  lines = Filter(NOTE)
  assert lines.feed(b"epoch 1: 45 %") == b"epoch 1: 45 %"
  assert lines.feed(b"Corrupt JPEG data: ") == b"Corrupt JPEG data: "
  assert lines.feed(b"\rCor") == b"\r"
  assert lines.feed(b"e 3 is hot") == b"Core 3 is hot"
  assert lines.feed(b"\n") == b"\n"
  assert lines.feed(BAD[:-1]) == b""
  assert lines.feed(b"." * 200) == BAD[:-1] + b"." * 200


def run(program, *, before=(), **options):
  """Runs lines of Python in a process of its own, behind another command."""
  program = (
    "import os, sys, ctypes, signal\n"
    "from blt_jax.system import nameless_lines\n" + program
  )
  return subprocess.run(
    [*before, sys.executable, "-c", program],
    cwd=ROOT,
    timeout=30,
    check=False,
    **{"stderr": subprocess.PIPE, **options},
  )


@pytest.mark.parametrize(
  "end, code",
  [
    ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
    ("ctypes.CDLL(None).abort()", -signal.SIGABRT),
    ("os._exit(4)", 4),
    ("sys.exit(3)", 3),
  ],
)
def test_last_words_are_kept_however_a_process_ends(end, code):
  finished = run(
    "nameless_lines.start()\n"
    f"os.write(2, {TEXT + b'last words, Corr'!r})\n"
    f"{end}\n"
  )
  assert finished.returncode == code
  first, note, rest = finished.stderr.split(b"\n")
  assert first == b"first"
  assert note.startswith(b"note: a JPEG file is damaged (libjpeg: Corrupt JPEG")
  assert note.count(b"Corrupt") == 1
  assert rest == b"last words, Corr"


def test_a_crash_with_a_trace_keeps_its_trace():
  finished = run(
    "import faulthandler; faulthandler.enable()\n"
    "nameless_lines.start()\n"
    "ctypes.string_at(0)\n"
  )
  assert finished.returncode == -signal.SIGSEGV
  assert b"Fatal Python error: Segmentation fault" in finished.stderr


def test_python_keeps_the_terminal():
  own, programs = pty.openpty()
  run(
    "import logging; handler = logging.StreamHandler()\n"
    "nameless_lines.start()\n"
    "print(sys.stderr.isatty(), os.isatty(2), sys.stderr.name,"
    " handler.stream is sys.stderr, file=sys.stderr)\n",
    stderr=programs,
  )
  os.close(programs)
  assert os.read(own, 1000) == b"True False <stderr> True\r\n"
  os.close(own)


def test_without_stderr_nothing_is_started():
  finished = run(
    "nameless_lines.start()\nprint(sys.stderr)\n",
    before=["sh", "-c", 'exec "$0" "$@" 2>&-'],
    stdout=subprocess.PIPE,
    stderr=None,
  )
  assert (finished.returncode, finished.stdout) == (0, b"None\n")


def test_the_filter_goes_on_after_signals():
  reading, output = os.pipe()
  process, writing = nameless_lines._start_filter(output=output)
  os.close(output)
  os.write(writing, b"it runs\n")
  assert os.read(reading, 100) == b"it runs\n"
  assert os.getsid(process.pid) == process.pid  # Out of reach of a Ctrl-C.
  for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    process.send_signal(number)
  os.write(writing, b"still\n")
  assert os.read(reading, 100) == b"still\n"
  os.close(writing)
  assert process.wait(10) == 0
  os.close(reading)


def test_a_reader_that_is_gone_does_not_stop_the_writer():
  reading, output = os.pipe()
  process, writing = nameless_lines._start_filter(output=output)
  os.close(output)
  os.close(reading)
  for _ in range(100):
    os.write(writing, b"line\n" * 1000)  # More than pipes hold.
  os.close(writing)
  assert process.wait(10) == 0


def test_a_library_leaves_its_host_s_descriptors_alone():
  assert lazy_tensorflow.before_import == []


def test_a_listener_hears_damage_and_prints_the_rest(capfd):
  write = ctypes.CDLL(None).write
  with nameless_lines.Listener() as listener:
    os.write(2, b"before\n")
    assert listener.listen()
    position = listener.position()
    assert position == 0
    for text in (b"other\n", BAD, b"Premature end of JPEG file\n"):
      write(2, text, len(text))
    assert listener.damage(position) == BAD.decode().strip()
    assert listener.damage(listener.position()) == ""
    assert capfd.readouterr().err == "before\n"
  os.write(2, b"after\n")
  assert capfd.readouterr().err == "other\nafter\n"


def test_a_crash_while_listening_keeps_the_last_words():
  finished = run(
    "listener = nameless_lines.Listener()\n"
    "listener.listen()\n"
    "print('Python', file=sys.stderr)\n"
    f"os.write(2, {TEXT!r} + b'last words')\n"
    "ctypes.CDLL(None).abort()\n"
  )
  assert finished.returncode == -signal.SIGABRT
  assert finished.stderr == b"Python\nfirst\nlast words"
