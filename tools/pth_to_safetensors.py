"""Turns a PyTorch checkpoint (.pth) into safetensors, which blt_jax reads.

    python tools/pth_to_safetensors.py model.pth backbone.safetensors

Needs torch and safetensors. Only tensors and plain containers are loaded
(`weights_only=True`): a file that holds anything else is refused, since loading
it could run a program. A checkpoint is often a dictionary of state dicts, such
as the authors' of BLT, whose "state_dict_best" has "feat_model" and
"classifier"; without --key the script lists what there is.

    python tools/pth_to_safetensors.py final_model_checkpoint.pth \
        backbone.safetensors --key=state_dict_best.feat_model
    python main.py --config=configs/imagenet_lt.py \
        --config.model.pretrained=backbone.safetensors
"""

import argparse
import sys
from collections.abc import Mapping
from typing import Any

# What DataParallel puts in front of the names.
_PREFIX = "module."


def state_dicts(content: Any, key: str = "") -> dict[str, dict[str, Any]]:
  """Every dictionary of tensors in a checkpoint, by its dotted key."""
  import torch

  if not isinstance(content, Mapping):
    return {}
  tensors = {
    str(name).removeprefix(_PREFIX): value
    for name, value in content.items()
    if isinstance(value, torch.Tensor)
  }
  found = {key: tensors} if tensors else {}
  for name, value in content.items():
    found.update(state_dicts(value, f"{key}.{name}" if key else str(name)))
  return found


def without_layers(
  tensors: Mapping[str, Any], prefixes: list[str]
) -> dict[str, Any]:
  """The tensors whose names begin with none of the prefixes, contiguous."""
  return {
    name: tensor.contiguous()
    for name, tensor in tensors.items()
    if not name.startswith(tuple(prefixes))
  }


def main() -> None:
  """The command line."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("source", help="the .pth file")
  parser.add_argument("target", help="the .safetensors file to write")
  parser.add_argument("--key", help="which state dict, such as a.b")
  parser.add_argument(
    "--drop",
    action="append",
    default=[],
    metavar="PREFIX",
    help="leave out tensors whose names begin so, e.g. a layer of the authors' "
    "own; can be given several times",
  )
  options = parser.parse_args()
  try:
    import torch
    from safetensors.torch import save_file
  except ImportError as error:
    sys.exit(f"error: {error}; needed: pip install torch safetensors")

  try:
    content = torch.load(options.source, map_location="cpu", weights_only=True)
  except Exception as error:
    sys.exit(f"error: {options.source} can't be loaded as weights: {error}")
  found = state_dicts(content)
  key = options.key
  if key is None and len(found) == 1:
    (key,) = found
  if key not in found:
    names = "\n".join(f"  --key={k}  ({len(found[k])} tensors)" for k in found)
    sys.exit(
      f"error: {options.source} has no state dict {key!r}; there are:\n{names}"
      if key is not None or len(found) > 1
      else f"error: {options.source} holds no tensors."
    )
  tensors = without_layers(found[key], options.drop)
  save_file(tensors, options.target)
  print(f"{options.target}: {len(tensors)} tensors")


if __name__ == "__main__":
  main()
