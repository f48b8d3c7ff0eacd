"""Clip to a relit turntable: `python examples/clip_to_turntable.py me.mp4 turntable.mp4 [SECONDS]`."""

import sys

import fitme

clip, turntable, *rest = sys.argv[1:]
with fitme.fit_avatar(clip, seconds=float(rest[0]) if rest else 50.0) as fit:
    print(f"stage {fit.stage}, {len(fit.skipped)} frames left out")
    fitme.write_turntable(fit.avatar, turntable)
