"""Outliers of a keyframe set, with the reasons why they are to be dropped."""

from fitme.fit.keyframes.keyframe_set import KeyframeSet
from fitme.fit.keyframes.outliers import OutlierSettings, identity_outlier, outlier


def identity_outliers(
    keyframe_set: KeyframeSet, same_person_distance: float, settings: OutlierSettings
) -> dict[str, str]:
    """Reasons by the keys of keyframes that show another person.

    :param same_person_distance: largest distance between identity embeddings of one person.
    """
    found = {key: entry.keyframe.observation.embedding for key, entry in keyframe_set.entries.items()}
    embeddings = {key: embedding for key, embedding in found.items() if embedding is not None}
    reasons = {}
    # One by one: without the worst outlier the others' median distances are smaller.
    while (key := identity_outlier(embeddings, same_person_distance, settings)) is not None:
        del embeddings[key]
        reasons[key] = "it shows another person than the other keyframes"
    return reasons


def texture_outlier(keyframe_set: KeyframeSet, settings: OutlierSettings) -> tuple[str, str] | None:
    """Key and reason of the active keyframe whose albedo disagrees most with the others', if it is an outlier and not
    too many keyframes were dropped before; None otherwise."""
    disagreements = {
        key: entry.disagreement for key, entry in keyframe_set.entries.items() if entry.disagreement is not None
    }
    key = outlier(disagreements, [entry.key for entry in keyframe_set.active], settings)
    dropped = len(keyframe_set.dropped)
    if key is None or dropped + 1 > settings.largest_share * (len(keyframe_set) + dropped):
        return None
    return key, f"its albedo differs from that of the other keyframes by {disagreements[key]:.2f} of white"
