"""One avatar under two lights, neutral and smiling: `python examples/two_lights.py AVATAR sheet.png`.

AVATAR is a folder that `fitme fit` wrote, or an `avatar.safetensors`.
"""

import sys

import numpy as np
from PIL import Image

import fitme

SMILE = {"mouthSmileLeft": 0.7, "mouthSmileRight": 0.7, "cheekSquintLeft": 0.4, "cheekSquintRight": 0.4}

avatar = fitme.load_avatar(sys.argv[1])
lights = [fitme.key_light(azimuth=-60.0, elevation=10.0), fitme.key_light(azimuth=50.0, elevation=40.0)]
rows = [[fitme.render_avatar(avatar, yaw=15.0, light=light, expression=e) for light in lights] for e in ({}, SMILE)]
Image.fromarray(np.vstack([np.hstack(row) for row in rows])).save(sys.argv[2])
