"""given.json: which images and which network a program handed to a run."""

import pathlib
import re
from collections.abc import Mapping
from typing import Any

from blt_jax.system import processes
from blt_jax.workdir import files

FILE = "given.json"
# Longest text about a network in a message.
_SHOWN = 200


def described(network: Any) -> str:
  """A network as its class and attributes, in one line."""
  # Addresses differ from process to process.
  text = re.sub(r" at 0x[0-9a-f]+", "", repr(network))
  text = re.sub(r"# (attributes|children)\n", "", text)
  return " ".join(text.split())


def check(
  workdir: pathlib.Path,
  content: Mapping[str, str],
  *,
  remedy: str = "Choose another --workdir.",
) -> None:
  """Refuses to go on with other images or another network.

  Args:
    workdir: of a run of the same configuration, which may not have begun.
    content: "images", their `fingerprint`, and "network", see `described`;
      each where it is handed in.
    remedy: a sentence that says what to do.

  Raises:
    ValueError: names what is another.
  """
  theirs = files.read_object(workdir / FILE)
  if theirs is None:
    return
  if theirs.get("images") != content.get("images"):
    raise ValueError(
      f"the images are not those that {workdir} began with, though they may "
      "have the same classes and counts: their pixels or names, their labels "
      f"or their order differ. {remedy}"
    )
  if theirs.get("network") != content.get("network"):
    raise ValueError(
      f"the network is not that which {workdir} began with: "
      f"{network(workdir)} there, {_short(content['network'])} here; expected "
      f"the same. {remedy}"
    )


def record(workdir: pathlib.Path, content: Mapping[str, str]) -> None:
  """Writes the file as a run begins."""
  if content and processes.is_first() and not (workdir / FILE).exists():
    files.write_json(workdir / FILE, dict(content))


def network(workdir: pathlib.Path) -> str:
  """The network that was handed to a run, for messages."""
  found = (files.read_object(workdir / FILE) or {}).get("network")
  return _short(found) if isinstance(found, str) else "a network"


def _short(text: str) -> str:
  return text if len(text) <= _SHOWN else text[:_SHOWN] + " ..."
