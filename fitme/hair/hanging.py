"""Hair that hangs down below the chin: how far down an image shows it, and its outline there.

Below the chin a mask of the person holds shoulders and clothes as well. Hair is told from them by its colour, and by
hanging together with the hair above; its outline is the outer edge of what hangs on each side of the neck.
"""

import cv2
import numpy as np

from fitme.arrays import BoolArray, Float32Array

WIDEST = 1.5
"""Distance from the middle of the face over that of the hair above the chin up to which hair spreads below it: what is
wider are shoulders under clothes of the hair's colour."""
LEAST_SPREAD = 0.55
"""Distance from the middle of the face over its height to which hair may spread below the chin in any case."""
LEAST_SHARE = 0.06
"""Height over the face's height that hair hangs down at least below the chin, if it does."""
STRANDS = 0.02
"""Width over the face's height up to which gaps between hanging strands are closed."""


def hanging_rows(hair: BoolArray, chin_px: float, middle_px: float, face_px: float) -> int:
    """First row below the hair that hangs, in a mask of hair (H, W); the chin's if it does not hang below it.

    :param chin_px: row of the chin; middle_px: column of the face's middle; face_px: height of the face.
    """
    chin = int(np.clip(np.ceil(chin_px), 0, len(hair)))
    spread = np.where(hair, np.abs(np.arange(hair.shape[1]) + 0.5 - middle_px), 0.0).max(1)
    above = spread[:chin].max(initial=0.0)
    limit = max(WIDEST * float(above), LEAST_SPREAD * face_px)
    ends = (spread[chin:] == 0.0) | (spread[chin:] > limit)
    last = chin + (int(ends.argmax()) if ends.any() else len(ends))
    return last if last - chin >= LEAST_SHARE * face_px else chin


def hanging_person(
    person: Float32Array,
    hair: BoolArray,
    mesh: BoolArray,
    chin_px: float,
    middle_px: float,
    bottom: int,
    face_px: float,
) -> Float32Array:
    """Mask (H, W) of a person without what is not the head below the chin: there it holds the mesh's neck, and on each
    side of it all as far as hair hangs.

    :param person: (H, W) probability of the person; hair, mesh: (H, W) hair, and the head's mesh.
    :param bottom: row by `hanging_rows`.
    """
    chin = int(np.clip(np.ceil(chin_px), 0, len(person)))
    if bottom <= chin:
        return person
    width = 2 * max(round(STRANDS * face_px), 1) + 1
    strands = cv2.morphologyEx(hair.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((width, width), np.uint8)) > 0
    columns = np.arange(person.shape[1]) + 0.5
    outer = strands | mesh
    # Per row, the farthest column of hair or neck on each side of the middle; everything up to there is head.
    left = np.where(outer & (columns < middle_px), middle_px - columns, 0.0).max(1)[:, None]
    right = np.where(outer & (columns >= middle_px), columns - middle_px, 0.0).max(1)[:, None]
    within = (columns >= middle_px - left) & (columns <= middle_px + right)
    head = person.copy()
    head[chin:bottom] = np.where(within, np.maximum(person, (strands & within).astype(np.float32)), 0.0)[chin:bottom]
    head[bottom:] = np.where(mesh, 1.0, 0.0)[bottom:]
    return head
