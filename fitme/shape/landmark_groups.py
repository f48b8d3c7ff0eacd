"""Named groups of MediaPipe's 478 landmarks and their relation to iBUG's 68."""

IBUG_FROM_MEDIAPIPE = (
    162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389,
    71, 63, 105, 66, 107, 336, 296, 334, 293, 301,
    168, 197, 5, 4, 75, 97, 2, 326, 305,
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87,
)  # fmt: skip
"""MediaPipe's landmark at each of iBUG's 68 places."""

FACE_OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
"""MediaPipe's outline of the face, as a polygon."""

OUTER_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
"""MediaPipe's outline of the lips, as a polygon."""

CONTOUR = tuple(index for index in FACE_OVAL if index not in (10, 338, 297, 332, 284, 67, 103, 109, 54))
"""Landmarks of cheeks and jaw: on a picture they slide along the silhouette, so a fit should trust them less."""

RIGHT_IRIS = (468, 469, 470, 471, 472)
"""The person's right: centre, then the rim at the picture's right, top, left and bottom."""

LEFT_IRIS = (473, 474, 475, 476, 477)
"""The person's left, in the same order."""

RIGHT_EYELIDS = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
"""Outline of the person's right eye's opening, as a polygon."""

LEFT_EYELIDS = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
"""Outline of the person's left eye's opening, as a polygon."""

INNER_LIPS = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)
"""Outline of the mouth's opening, as a polygon."""
