"""Photo to GLB: `python examples/photo_to_glb.py me.jpg me.glb [SECONDS]`."""

import sys

import fitme

photo, glb, *rest = sys.argv[1:]
seconds = float(rest[0]) if rest else 20.0
with fitme.fit_avatar(photo, seconds=seconds, on_progress=lambda stage, share: print(f"{stage} {share:.0%}")) as fit:
    fitme.write_glb(fit.avatar, glb)
