"""Maps of a file that has no correctives of albedo: with the lids of closed eyes where open ones fold them.

Engines move the mesh of a file, not its maps. What open eyes show of fold and lashes would be drawn out over the whole
lid in a blink.
"""

from dataclasses import replace

import numpy as np
import torch

from fitme.avatar import Avatar
from fitme.export.portrait import expression_of
from fitme.fit.texture.skin.completion import blink_of, lid_share
from fitme.fit.texture.skin.mask import OFFSET
from fitme.fit.texture.texel_blur import low_pass
from fitme.fit.texture.unprojection import texel_table
from fitme.reflectance.maps import ReflectanceMaps
from fitme.shape.morphable_model import MorphableModel

PLAIN_SHARE, CLOSED_SHARE = 0.85, 0.5
"""Share of plain lids in the lids' albedo, the rest is what open eyes show of the fold; and share of the closed eyes'
tone in that of plain lids, the rest is the open eyes': make-up, and the shade of the fold."""
TONE_SIGMA = 0.02
"""Standard deviation of the Gaussian that leaves the tone of lids alone, as a share of the map's side."""
BLINK = {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}


def maps_with_lids(avatar: Avatar, model: MorphableModel) -> ReflectanceMaps:
    """The avatar's maps with its closed eyes' albedo on the lids; its maps as they are without correctives."""
    if avatar.correctives is None:
        return avatar.maps
    table = texel_table(model, avatar.maps.diffuse.shape[1])
    lid = lid_share(table, blink_of(model))
    opened, closed = (
        table.from_map(maps.diffuse[0].numpy()) for maps in (avatar.maps, avatar.maps_with(expression_of(BLINK)))
    )
    tone = np.exp(low_pass(table, np.log(opened + OFFSET), lid, TONE_SIGMA)) - OFFSET
    plain = CLOSED_SHARE * closed + (1.0 - CLOSED_SHARE) * tone
    change = table.to_map((PLAIN_SHARE * lid * (plain - opened)).astype(np.float32))
    return replace(avatar.maps, diffuse=avatar.maps.diffuse + torch.from_numpy(change)[None])
