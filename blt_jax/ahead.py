"""Hallucinating for several batches in one ascent (`perturb.every`).

On a device that waits longer for its kernels to start than for their results,
one ascent of many images takes little more time than one of few. The batches of
a group are hallucinated for with the network as it is before the first of them;
everything that is drawn at random is what each step would have drawn itself.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from blt_jax.data.pipeline import Batch as HostBatch
from blt_jax.train_step import Batch, Hallucinations, TrainState, slot_keys


def groups(
  batches: Iterable[HostBatch], size: int
) -> Iterator[list[HostBatch]]:
  """Lists of so many batches in a row, the last one of what is left."""
  group: list[HostBatch] = []
  for batch in batches:
    group.append(batch)
    if len(group) == size:
      yield group
      group = []
  if group:
    yield group


def slots_of(group: Sequence[HostBatch], size: int) -> HostBatch:
  """The slots of a group's batches, one behind the other.

  Args:
    group: 1..size batches of [devices, k, ...] slots.
    size: batches that a whole group has; what is missing becomes unused slots.

  Returns:
    The fields "source_..." as arrays [devices, size k, ...].
  """
  names = [name for name in group[0] if name.startswith("source_")]
  unused = {**group[-1], "source_used": np.zeros_like(group[-1]["source_used"])}
  whole = [*group, *[unused] * (size - len(group))]
  return {
    name: np.concatenate([batch[name] for batch in whole], axis=1)
    for name in names
  }


def hallucinate_ahead(
  state: TrainState,
  batch: Batch,
  *,
  hallucinate_fn: Callable[..., Hallucinations],
  every: int,
  axis_name: str,
) -> tuple[Hallucinations, ...]:
  """Hallucinates for the next steps at once, on one device's share.

  Args:
    state: the state before the first of the steps.
    batch: "source_..." of `every` k slots, as `slots_of` puts them together.
    hallucinate_fn: (rngs [n], state, batch) -> Hallucinations of n slots.
    every: number of steps.
    axis_name: axis over which devices are mapped.

  Returns:
    What each of the steps takes as "extra", k slots each.
  """
  num_slots = batch["source_label"].shape[0] // every
  rngs = [
    slot_keys(state.rng, state.step + ahead, num_slots, axis_name)
    for ahead in range(every)
  ]
  made = hallucinate_fn(jnp.concatenate(rngs), state, batch)
  return tuple(
    jax.tree.map(lambda a, i=i: a[i * num_slots : (i + 1) * num_slots], made)
    for i in range(every)
  )


def with_extra(batch: HostBatch, extra: Hallucinations) -> dict:
  """The batch with its slots filled: "extra" in place of the source images."""
  left_out = ("source_image", "source_extent", "source_used")
  kept = {name: a for name, a in batch.items() if name not in left_out}
  return {**kept, "extra": extra}
