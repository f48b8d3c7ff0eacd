"""Migration of session groups of version 2 to version 3.

Version 2 had other names and no digests: groups `studied` and `tracked`, attributes `studied`, `fresh` and `agenda`,
and in the latter `alignments` and `coarse`. Sessions from before expression frames lack `studied`.
"""

from typing import Any

import numpy as np
import zarr

from fitme.session.contents import array_digest, attributes_digest, seal

GROUPS = {"studied": "expression_frames", "tracked": "track_information"}
ATTRIBUTES = {"studied": "expression_frames", "fresh": "new_keyframes", "agenda": "work_queue"}
TASKS = {"alignments": "alignment", "coarse": "coarse_inversion"}


def migrate_version_2(group: zarr.Group) -> None:
    """Bring a group of version 2 to version 3, in place.

    :raises KeyError, ValueError: if it lacks a part. What Zarr and Icechunk raise on unreadable files passes.
    """
    attributes: dict[str, Any] = group.attrs.asdict() | {"version": 3}
    for old, new in GROUPS.items():
        if old in group:
            _copy(group, old, new)
            del group[old]
    if "stage" in attributes:
        attributes.setdefault("studied", [])
        attributes = {ATTRIBUTES.get(name, name): value for name, value in attributes.items()}
        counts = attributes["work_queue"]
        attributes["work_queue"] = {TASKS.get(name, name): int(count) for name, count in counts.items()}
    digests = {}
    for path, node in group.members(max_depth=None):
        if isinstance(node, zarr.Array):
            digests[path] = array_digest(np.asarray(node[...]))
        elif node.attrs:
            digests[f"{path}/"] = attributes_digest(node.attrs.asdict())
    seal(group, attributes, digests)


def _copy(group: zarr.Group, old: str, new: str) -> None:
    """Copy a group of the root with all that it holds to another name."""
    source = group[old]
    if not isinstance(source, zarr.Group):
        raise ValueError(f"{old} is not a group")
    group.create_group(new, attributes=source.attrs.asdict())
    for path, node in sorted(source.members(max_depth=None), key=lambda member: member[0].count("/")):
        if isinstance(node, zarr.Array):
            values = np.asarray(node[...])
            chunks = tuple(max(1, size) for size in values.shape)
            group.create_array(f"{new}/{path}", data=values, chunks=chunks)
        else:
            group.create_group(f"{new}/{path}", attributes=node.attrs.asdict())
