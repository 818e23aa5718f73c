"""Reads safetensors files that may come from strangers.

The format: 8 bytes with the length of a JSON header, the header, the data of
the tensors. Everything that the header claims is compared with the size of the
file before memory is taken for it; nothing in the file is ever executed.
"""

import json
import math
import os
import pathlib
from collections.abc import Iterable
from typing import IO, Any, NamedTuple

import jax.numpy as jnp
import numpy as np

_DTYPES: dict[str, Any] = {
  "F64": np.float64,
  "F32": np.float32,
  "F16": np.float16,
  "BF16": jnp.bfloat16,
  "I64": np.int64,
  "I32": np.int32,
  "I16": np.int16,
  "I8": np.int8,
  "U8": np.uint8,
  "BOOL": np.bool_,
}
# The format's own limit, bytes.
_LONGEST_HEADER = 100_000_000
# What files begin with that hold pickle: torch.save's archives and older ones.
_PICKLES = (b"PK\x03\x04", b"\x80")


class Tensor(NamedTuple):
  """A tensor as the header of a file describes it.

  Attributes:
    dtype: of its numbers, little-endian.
    shape: of the tensor.
    start: where its data begins in the file, bytes.
  """

  dtype: np.dtype
  shape: tuple[int, ...]
  start: int


class Safetensors:
  """The tensors of a file; use it in a `with` statement.

  Attributes:
    path: of the file.
    tensors: what the header says of each, by name.
    metadata: texts by name that the file holds beside its tensors.
  """

  def __init__(self, path: str | pathlib.Path):
    """Opens a file and reads its header.

    Args:
      path: of the file.

    Raises:
      ValueError: it can't be opened, or is damaged; names the file.
    """
    self.path = path
    try:
      self._file: IO[bytes] = open(path, "rb")  # noqa: SIM115
    except OSError as error:
      raise ValueError(
        f"{path}: {error.strerror}; expected a safetensors file."
      ) from None
    try:
      self.tensors, self.metadata = _read_header(self._file)
    except (ValueError, RecursionError) as error:
      self._file.close()
      raise ValueError(
        f"{path}: not a whole safetensors file ({error}); expected one that "
        "safetensors wrote."
      ) from None

  def __enter__(self) -> "Safetensors":
    return self

  def __exit__(self, *exception) -> None:
    self._file.close()

  def read(self, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Reads some of the tensors.

    Args:
      names: keys of `tensors`.

    Returns:
      {name: array}.

    Raises:
      ValueError: the file has become shorter.
    """
    arrays = {}
    for name in names:
      tensor = self.tensors[name]
      array = np.empty(tensor.shape, tensor.dtype)
      self._file.seek(tensor.start)
      data = array.reshape(-1).view(np.uint8)
      if self._file.readinto(data) != data.size:  # type: ignore[attr-defined]
        raise ValueError(f"{self.path}: {name!r} is cut off.")
      arrays[name] = array
    return arrays


def _read_header(file: IO[bytes]) -> tuple[dict[str, Tensor], dict[str, str]]:
  """The tensors of a file and its metadata, checked.

  Raises:
    ValueError: when the header is no header or claims what can't be.
  """
  size = os.fstat(file.fileno()).st_size
  beginning = file.read(8)
  if beginning.startswith(_PICKLES):
    raise ValueError(
      "it is one of PyTorch's that can run programs: where you trust it, save "
      "its tensors with safetensors.torch.save_file"
    )
  length = int.from_bytes(beginning, "little")
  if len(beginning) < 8 or length > min(size - 8, _LONGEST_HEADER):
    raise ValueError(f"{length} bytes of header in a file of {size}")
  header = json.loads(file.read(length))
  if not isinstance(header, dict):
    raise ValueError("the header is no object")
  metadata = header.pop("__metadata__", {})
  if not isinstance(metadata, dict) or not all(
    isinstance(text, str) for text in metadata.values()
  ):
    raise ValueError("its metadata are no texts")
  first, tensors, spans = 8 + length, {}, []
  for name, entry in header.items():
    tensor, stop = _parse(name, entry, first=first, size=size)
    tensors[name] = tensor
    spans.append((tensor.start, stop))
  end = first
  for start, stop in sorted(spans):
    if start != end:
      raise ValueError("tensors overlap, or there are gaps between them")
    end = stop
  if end != size:
    raise ValueError(f"its tensors end at byte {end} of {size}")
  return tensors, metadata


def _parse(
  name: str, entry: Any, *, first: int, size: int
) -> tuple[Tensor, int]:
  """A tensor and where its data ends, from its entry in the header."""
  entry = entry if isinstance(entry, dict) else {}
  shape, offsets = entry.get("shape"), entry.get("data_offsets")
  if entry.get("dtype") not in _DTYPES:
    raise ValueError(f"{name!r} has dtype {entry.get('dtype')!r}")
  if not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2:
    raise ValueError(f"{name!r} has shape {shape!r}, data_offsets {offsets!r}")
  dtype = np.dtype(_DTYPES[entry["dtype"]])
  start, stop = (first + offset for offset in offsets)
  if stop - start != math.prod(shape) * dtype.itemsize or stop > size:
    raise ValueError(
      f"{name!r} of {dtype} {shape} has bytes {start} to {stop} of {size}"
    )
  return Tensor(dtype, tuple(shape), start), stop


def _are_sizes(value: Any) -> bool:
  return isinstance(value, list) and all(
    type(number) is int and 0 <= number < 2**63 for number in value
  )
