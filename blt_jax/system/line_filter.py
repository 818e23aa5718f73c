"""A program that passes text on, but for libjpeg's lines without a file name.

nameless_lines.py starts it by its path, as a process of its own: what a crash
of the run says last is passed on although the run is gone. It reads until the
last process that writes has ended, whatever the signals. It imports nothing of
the package, so that it starts in some milliseconds.
"""

import os
import signal
import sys
import time

# How the lines begin that libjpeg prints (its jerror.h). Of an image that is
# used although it is damaged:
DAMAGE = (
  b"Corrupt JPEG data: ",
  b"Premature end of JPEG file",
  b"Inconsistent progression sequence for component ",
  b"Invalid SOS parameters for sequential JPEG",
)
# Of an image that is complete nevertheless, and of one that is refused, which
# the readers name with the reason.
OTHERS = (
  b"Warning: unknown JFIF revision number ",
  b"Unknown Adobe color transform code ",
  b"Application transferred too few scanlines",
  b"Arithmetic table 0x",
  b"Bogus DAC ",
  b"Bogus DHT index ",
  b"Bogus DQT index ",
  b"Bogus Huffman table definition",
  b"Bogus marker length",
  b"Bogus sampling factors",
  b"Component index ",
  b"Empty JPEG image (DNL not supported)",
  b"Huffman table 0x",
  b"Improper call to JPEG library in state ",
  b"Invalid JPEG file structure: ",
  b"Invalid component ID ",
  b"Invalid progressive parameters Ss=",
  b"Maximum supported image dimension is ",
  b"Not a JPEG file: starts with 0x",
  b"Quantization table 0x",
  b"Sorry, arithmetic coding is not implemented",
  b"Too many color components: ",
  b"Unsupported JPEG data precision ",
  b"Unsupported JPEG process: SOF type 0x",
  b"Unsupported color conversion request",
  b"Unsupported marker type 0x",
)
_LONGEST = 200  # libjpeg's JMSG_LENGTH_MAX.
_NOTE = (
  b"note: a JPEG file is damaged (libjpeg: %s). Such images are used as far as "
  b"they could be decoded; --mode=check_data names those of a data set. This "
  b"is said once\n"
)
# Back to the first column of a terminal, and clears a progress bar there.
_NEW_LINE = b"\r\x1b[K"


class Filter:
  """Takes text in pieces of any size, and gives what is to be passed on."""

  def __init__(self, note: bytes):
    """`note` takes the place of the first line about damage; it has a %s."""
    self._note = note
    self._held = b""  # The beginning of a line that may be one of libjpeg's.
    self._passing = False  # Whether the beginning of a line was passed on.

  def feed(self, text: bytes) -> bytes:
    """What of a piece, and of what was held, can be passed on at once."""
    passed = []
    for part in (self._held + text).splitlines(keepends=True):
      self._held = b""
      ended = part.endswith((b"\n", b"\r"))
      if self._passing or not _may_be_libjpegs(part, ended):
        passed.append(part)
        self._passing = not ended
      elif not ended:
        self._held = part
      elif part.startswith(DAMAGE) and self._note:
        passed.append(self._note % part.strip())
        self._note = b""
    return b"".join(passed)

  def rest(self) -> bytes:
    """What was held when the text ended."""
    held, self._held = self._held, b""
    return held


def _may_be_libjpegs(part: bytes, ended: bool) -> bool:
  """Whether a line, or the beginning of one, may be one of libjpeg's."""
  if part.startswith(DAMAGE + OTHERS):
    return len(part) <= _LONGEST
  return not ended and any(line.startswith(part) for line in (*DAMAGE, *OTHERS))


def _write(text: bytes) -> None:
  """Writes to stdout; a closed terminal must not stop the run."""
  while text:
    try:
      text = text[os.write(1, text) :]
    except BlockingIOError:  # The terminal's other users may have set this.
      time.sleep(0.01)
    except OSError:
      return


def main(arguments: list[str]) -> None:
  """Passes stdin on to stdout.

  Args:
    arguments: a descriptor of a file: when stdin ends, the file is passed on
      instead, without a note. None passes stdin on as it comes.
  """
  for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
    signal.signal(number, signal.SIG_IGN)
  source, note = 0, (_NEW_LINE if os.isatty(1) else b"") + _NOTE
  if arguments:
    while os.read(0, 1):
      pass
    source, note = int(arguments[0]), b""
    os.lseek(source, 0, os.SEEK_SET)
  lines = Filter(note)
  while text := os.read(source, 1 << 16):
    _write(lines.feed(text))
  _write(lines.rest())


if __name__ == "__main__":
  main(sys.argv[1:])
