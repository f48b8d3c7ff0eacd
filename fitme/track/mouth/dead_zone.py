"""Dead zone of a measured amount: none below it, all from twice as much on, smooth between."""


def beyond_dead_zone(amount: float, zone: float) -> float:
    """An amount of either sign, less what within a dead zone counts as none."""
    if abs(amount) <= zone:
        return 0.0
    share = min(abs(amount) / max(zone, 1e-9) - 1.0, 1.0)
    return amount * share * share * (3.0 - 2.0 * share)
