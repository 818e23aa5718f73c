"""Advice about a data set with too few images, without a tail or a head."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from blt_jax.data import longtail
from blt_jax.data.text import printable

# A split with fewer few-shot images than this gets a remark.
_ENOUGH = 100
_NAMED = 3


def notes(
  counts: Mapping[str, np.ndarray],
  class_names: Sequence[str],
  *,
  many_above: int,
  few_up_to: int,
  hallucinated: np.ndarray | None,
  confusing: bool,
) -> list[str]:
  """Remarks and advice; a data set that has what BLT needs gets none.

  Args:
    counts: images of each class, int [C], in "training", "validation" and
      "test"; without "test" where the validation images are the test.
    class_names: [C].
    many_above: see longtail.shot_groups.
    few_up_to: see longtail.shot_groups.
    hallucinated: bool [C], classes to hallucinate for; None if the method does
      not hallucinate.
    confusing: whether the target classes come from the validation's confusion.

  Returns:
    Sentences for the user, one string a remark.
  """
  groups = longtail.shot_groups(
    counts["training"], many_above=many_above, few_up_to=few_up_to
  )
  measured = {part: n for part, n in counts.items() if part != "training"}
  blind = hallucinated if confusing else None
  return [
    *_groups(
      counts["training"],
      class_names,
      groups=groups,
      few_up_to=few_up_to,
      hallucinated=hallucinated,
    ),
    *_unmeasured(measured, class_names, blind=blind),
    *_small_tail(measured, groups["few"]),
    *_no_test(counts),
    *_alike(class_names),
  ]


def standard_error(images: np.ndarray) -> float:
  """Largest standard error of a mean of per-class accuracies, in points.

  100 / K * sqrt(sum_c p (1 - p) / m_c) at p = 1 / 2, where it is largest: K
  classes with m_c images each, drawn independently.

  Args:
    images: int [K], m_c >= 1.

  Returns:
    Percentage points.
  """
  return float(50.0 / len(images) * np.sqrt(np.sum(1.0 / images)))


def _groups(
  counts: np.ndarray,
  class_names: Sequence[str],
  *,
  groups: Mapping[str, np.ndarray],
  few_up_to: int,
  hallucinated: np.ndarray | None,
) -> Iterator[str]:
  """Remarks if no class is few-shot, or if every class is."""
  limit = f"up to {few_up_to} training images (config.dataset.few_up_to)"
  smallest, largest = int(np.argmin(counts)), int(np.argmax(counts))
  if hallucinated is not None and not np.any(hallucinated):
    few = int(counts[smallest])
    raised = f"config.dataset.few_up_to to {few} or more"
    if groups["many"][smallest]:
      raised += " and config.dataset.many_above likewise"
    yield (
      f"no class is few-shot, {limit}; the smallest, "
      f"{printable(class_names[smallest])}, has {few}. Nothing is "
      f"hallucinated: raise {raised}, or train with method=neither"
    )
  elif np.all(groups["few"]) and counts[smallest] < counts[largest]:
    yield (
      f"every class is few-shot, {limit}; the largest, "
      f"{printable(class_names[largest])}, has {int(counts[largest])}. To tell "
      "head from tail, lower config.dataset.few_up_to"
    )


def _unmeasured(
  measured: Mapping[str, np.ndarray],
  class_names: Sequence[str],
  *,
  blind: np.ndarray | None,
) -> Iterator[str]:
  """Remarks on classes without an image in a split."""
  without: dict[tuple[int, ...], list[str]] = {}
  for part, images in measured.items():
    missing = tuple(np.flatnonzero(images == 0).tolist())
    if missing:
      without.setdefault(missing, []).append(part)
  for missing, parts in without.items():
    few = list(missing[:_NAMED])
    named = ", ".join(printable(class_names[c]) for c in few)
    more = ", ..." if len(missing) > _NAMED else ""
    text = (
      f"{len(missing)} of {len(class_names)} classes have no "
      f"{' and no '.join(parts)} image ({named}{more}): the accuracies leave "
      "them out"
    )
    if "validation" in parts and blind is not None:
      unseen = int(blind[list(missing)].sum())
      if unseen:
        who = "them" if unseen == len(missing) else f"{unseen} of them"
        text += f", and as no confusion is seen, none is hallucinated for {who}"
    yield text


def _small_tail(
  measured: Mapping[str, np.ndarray], few: np.ndarray
) -> Iterator[str]:
  """Remarks on few-shot accuracies that rest on few images.

  Splits with the same numbers of images share a remark.
  """
  small: dict[tuple[int, ...], list[str]] = {}
  for part, images in measured.items():
    members = images[few & (images > 0)]
    if 0 < members.sum() < _ENOUGH:
      small.setdefault(tuple(members.tolist()), []).append(part)
  for sizes, parts in small.items():
    number, each = len(sizes), " each" if len(parts) > 1 else ""
    yield (
      f"{' and '.join(parts)} of the few-shot classes: {sum(sizes)} images of "
      f"{number} classes{each}. One image moves their accuracy by up to "
      f"{100.0 / number / min(sizes):.1f} points, and its standard error is up "
      f"to {standard_error(np.array(sizes)):.1f}: smaller differences tell "
      "nothing. Measure on more images, or average over several splits"
    )


def _no_test(counts: Mapping[str, np.ndarray]) -> Iterator[str]:
  if "test" not in counts:
    yield (
      "the test images are the validation images, by which the best epoch is "
      "chosen: its test accuracy flatters"
    )


def _alike(class_names: Sequence[str]) -> Iterator[str]:
  """Classes whose names differ in upper and lower case alone."""
  first: dict[str, str] = {}
  pairs = []
  for name in class_names:
    other = first.setdefault(name.casefold(), name)
    if other != name:
      pairs.append((other, name))
  if pairs:
    one, two = map(printable, pairs[0])
    yield (
      f"{len(pairs)} of {len(class_names)} classes have the name of another in"
      f" other letters ({one}, {two}): if they are one class, put their images"
      " together"
    )
