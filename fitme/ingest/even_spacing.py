"""Indices spread evenly over a sequence of images."""


def even_indices(count: int, wanted: int) -> list[int]:
    """At most `wanted` ascending indices below `count`, at the middles of equal intervals."""
    wanted = min(count, wanted)
    return [int((i + 0.5) * count / wanted) for i in range(wanted)]


def split_holdout(count: int, fraction: float, at_least: int = 5) -> tuple[list[int], list[int]]:
    """Split of the indices below `count` into those for the fit and held-out ones, spread evenly.

    `fraction` in [0, 1) of them are held out, and at least `at_least` if that leaves as many for the fit; one always
    remains for the fit. With fraction 0 nothing is held out.
    """
    if not 0.0 <= fraction < 1.0:
        raise ValueError(f"fraction must be in [0, 1), not {fraction}")
    if fraction == 0.0:
        return list(range(count)), []
    wanted = round(count * fraction)
    if count >= 2 * at_least:
        wanted = max(wanted, at_least)
    held_out = even_indices(count, min(wanted, max(count - 1, 0)))
    chosen = set(held_out)
    return [index for index in range(count) if index not in chosen], held_out
