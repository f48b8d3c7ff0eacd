"""Named groups of MediaPipe's 478 face landmarks, and their relation to iBUG's 68. Left and right are the person's."""

from typing import Final

LANDMARK_COUNT: Final = 478
"""Landmarks of the refined mesh: 468 of the surface, then 5 of each iris."""
SURFACE_LANDMARK_COUNT: Final = 468
"""Landmarks of the surface, without the irises."""

FACE_OVAL: Final = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
"""Outline of the face in order, starting at the top of the forehead towards the person's left."""

JAW_CONTOUR: Final = (
    454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234,
)  # fmt: skip
"""The part of the outline from ear to ear below the eyes: it slides over the skin when the head turns."""

LEFT_EYE: Final = (362, 382, 381, 380, 374, 373, 390, 249, 263, 466, 388, 387, 386, 385, 384, 398)
"""Rim of the left eye: inner corner, lower lid, outer corner, upper lid."""
RIGHT_EYE: Final = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
"""Rim of the right eye: outer corner, lower lid, inner corner, upper lid."""
LEFT_IRIS: Final = (473, 474, 475, 476, 477)
"""Left iris: pupil, then four points of the rim."""
RIGHT_IRIS: Final = (468, 469, 470, 471, 472)
"""Right iris: pupil, then four points of the rim."""

OUTER_LIPS: Final = (
    61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185,
)  # fmt: skip
"""Outer rim of the lips."""
INNER_LIPS: Final = (
    78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191,
)  # fmt: skip
"""Inner rim of the lips: the opening of the mouth."""
LIP_RIMS: Final = (
    (13, 14), (82, 87), (312, 317), (81, 178), (311, 402), (80, 88), (310, 318), (191, 95), (415, 324),
)  # fmt: skip
"""Inner rims of the upper and the lower lip, one above the other, from the middle to the corners."""
MOUTH_CORNERS: Final = (61, 291)
"""Right and left corner of the mouth, on the outer rim of the lips."""
CHEEKS: Final = (50, 280, 205, 425, 101, 330)
"""Landmarks whose colours are the person's skin."""
UPPER_BROWS: Final = (70, 63, 105, 66, 107, 336, 296, 334, 293, 300)
"""Upper edges of the brows."""
NOSE_BASE: Final = 2
"""Where the septum meets the upper lip."""
LEFT_EYE_CORNERS: Final = (362, 263)
"""Inner and outer corner of the left eye."""
RIGHT_EYE_CORNERS: Final = (133, 33)
"""Inner and outer corner of the right eye."""

IBUG_FROM_MEDIAPIPE: Final = (
    162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389,
    71, 63, 105, 66, 107, 336, 296, 334, 293, 301,
    168, 197, 5, 4, 75, 97, 2, 326, 305,
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87,
)  # fmt: skip
"""MediaPipe's landmark at each of iBUG's 68 places."""
