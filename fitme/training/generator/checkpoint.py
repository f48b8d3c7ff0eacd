"""Checkpoints of a training run: folders of pieces that fit the size limits of file hosts.

::

    checkpoint-000500/
        index.json              step, settings, structure of the state, size and SHA-256 of every piece
        piece-0000.safetensors  flattened tensors; one that is larger than a piece continues in the next
        ...

A checkpoint is written under another name and renamed when every byte is on the disk; only then is the previous one
removed. Whatever ends a run, power cut or full disk, the newest complete checkpoint is left to resume from.
"""

import dataclasses
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from fitme.atomic_file import PARTIAL_SUFFIX, partial_path
from fitme.errors import ModelFileError

FORMAT = 1
PIECE_BYTES = 15_000_000
"""Largest size of the tensors in a piece; with its header a piece stays below 16 MB."""
PARTS_PER_PIECE = 4096
"""Largest number of parts in a piece, so that the header stays small."""
INDEX_NAME = "index.json"
PREVIOUS_SUFFIX = ".previous"
_FOLDER_NAME = re.compile(r"checkpoint-(\d{6,})(\.previous)?")
_TENSOR, _DICT, _LIST, _TUPLE = "tensor", "dict", "list", "tuple"

Json = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Content of a checkpoint."""

    step: int
    config_text: str
    """Settings of the run, as they were given to `save_checkpoint`."""
    state: dict[str, Any]
    """State as it was given to `save_checkpoint`, tensors on the CPU."""


def save_checkpoint(folder: Path, state: dict[str, Any], step: int, config_text: str) -> Path:
    """Write the checkpoint of a step into `folder`, then remove the previous ones; the checkpoint's own folder.

    :param state: nested dictionaries (keys: text or integers), lists and tuples of tensors on any device and of plain
        values (None, bool, int, float, str). Restored to the bit.
    :raises ModelFileError: if it cannot be written, as on a full disk; the previous checkpoints are untouched.
    """
    tensors: list[Tensor] = []
    structure = _encode(state, tensors)
    path = folder / f"checkpoint-{step:06d}"
    partial = partial_path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(folder)
        partial.mkdir()
        pieces = [_write_piece(partial, number, parts) for number, parts in enumerate(_pieces(tensors))]
        body: Json = {
            "format": FORMAT,
            "step": step,
            "config": config_text,
            "pieces": pieces,
            "tensors": [{"dtype": _dtype_name(t.dtype), "shape": list(t.shape)} for t in tensors],
            "state": structure,
        }
        _write_file(partial / INDEX_NAME, json.dumps({**body, "sha256": _digest(body)}).encode())
        _sync_folder(partial)
        if path.exists():
            path.rename(path.with_name(path.name + PREVIOUS_SUFFIX))
        partial.rename(path)
        _sync_folder(folder)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        earlier = latest_checkpoint(folder)
        size = sum(t.numel() * t.element_size() for t in tensors)
        kept = f"{earlier.name} is untouched" if earlier else "there is none before it"
        raise ModelFileError(
            f"{path}: the checkpoint cannot be written ({error.strerror or error}); {kept}. Make room for"
            f" {size / 1e6:.0f} MB and start again to resume"
        ) from error
    for other in folder.iterdir():
        match = _FOLDER_NAME.fullmatch(other.name)
        if match and other != path and int(match[1]) <= step:
            shutil.rmtree(other, ignore_errors=True)
    return path


def latest_checkpoint(folder: Path) -> Path | None:
    """Newest complete checkpoint in `folder`; None if there is none."""
    found = _checkpoints(folder)
    return found[-1] if found else None


def load_checkpoint(path: Path) -> Checkpoint:
    """Read and verify a checkpoint's folder.

    :raises ModelFileError: with the name of the missing or damaged piece, and the remedy.
    """
    index = _read_index(path)
    flat = [torch.empty(t["shape"], dtype=_dtype(t["dtype"], path)).reshape(-1) for t in index["tensors"]]
    filled = [0] * len(flat)
    for piece in index["pieces"]:
        for name, part in _read_piece(path / piece["name"], piece).items():
            number, start = (int(text) for text in name.split("."))
            flat[number][start : start + len(part)] = part
            filled[number] += len(part)
    if any(count != len(t) for count, t in zip(filled, flat, strict=True)):
        raise ModelFileError(f"{path / INDEX_NAME} names too few pieces: {_ADVICE}")
    tensors = [t.reshape(entry["shape"]) for t, entry in zip(flat, index["tensors"], strict=True)]
    return Checkpoint(int(index["step"]), str(index["config"]), _decode(index["state"], tensors))


def settings_text(settings: Any) -> str:  # noqa: ANN401 -- any dataclass
    """Dataclass of settings as YAML for `config_text`. Fields with `repr=False` are left out: they may change when a
    run is resumed."""
    return yaml.safe_dump(_plain(settings), sort_keys=False, default_flow_style=None)


def require_same_settings(path: Path, found: str, wanted: str) -> None:
    """Compare the settings of a checkpoint with those of a run, both from `settings_text`.

    :raises ModelFileError: with the list of the settings that differ.
    """
    ours, theirs = _flatten(yaml.safe_load(wanted)), _flatten(yaml.safe_load(found))
    differing = [
        f"{name}: {theirs.get(name, 'nothing')} there, {ours.get(name, 'nothing')} here"
        for name in sorted({*ours, *theirs})
        if ours.get(name) != theirs.get(name)
    ]
    if differing:
        raise ModelFileError(
            f"{path} belongs to a run with other settings ({'; '.join(differing)}): use its settings, or another folder"
        )


_ADVICE = "remove the folder to start anew, or bring the piece back from a copy"


def _encode(value: Any, tensors: list[Tensor]) -> Any:  # noqa: ANN401 -- a tree of anything
    """JSON value of a state; its tensors are appended to `tensors`."""
    if isinstance(value, Tensor):
        tensors.append(value.detach())
        return {_TENSOR: len(tensors) - 1}
    if isinstance(value, dict):
        if any(type(key) not in (int, str) for key in value):
            raise TypeError(f"keys of a checkpoint must be text or integers, not {list(value)}")
        return {_DICT: [[key, _encode(item, tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        kind = _LIST if isinstance(value, list) else _TUPLE
        return {kind: [_encode(item, tensors) for item in value]}
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise TypeError(f"a checkpoint holds tensors and plain values, not {type(value).__name__}")


def _decode(value: Any, tensors: list[Tensor]) -> Any:  # noqa: ANN401
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == _TENSOR:
        return tensors[content]
    if kind == _DICT:
        return {key: _decode(item, tensors) for key, item in content}
    items = [_decode(item, tensors) for item in content]
    return items if kind == _LIST else tuple(items)


def _pieces(tensors: list[Tensor]) -> Iterator[dict[str, Tensor]]:
    """Parts by "tensor.first element", one dimension each, at most a piece's size together."""
    parts: dict[str, Tensor] = {}
    room = PIECE_BYTES
    for number, tensor in enumerate(tensors):
        flat = tensor.reshape(-1)
        start = 0
        while start < len(flat) or (start == 0 and len(flat) == 0):
            count = min(len(flat) - start, room // tensor.element_size())
            if (count == 0 and len(flat) > 0) or len(parts) == PARTS_PER_PIECE:
                yield parts
                parts, room = {}, PIECE_BYTES
                continue
            # A copy: `save` refuses parts that share memory.
            parts[f"{number}.{start}"] = flat[start : start + count].cpu().clone()
            room -= count * tensor.element_size()
            start += max(count, 1)
    if parts:
        yield parts


def _write_piece(folder: Path, number: int, parts: dict[str, Tensor]) -> Json:
    """Write a piece and return its entry in the index."""
    data = save(parts)
    name = f"piece-{number:04d}.safetensors"
    _write_file(folder / name, data)
    return {"name": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _write_file(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_index(path: Path) -> Json:
    """Index of a checkpoint, checked against its own digest."""
    name = path / INDEX_NAME
    try:
        index = json.loads(name.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelFileError(f"{name} is missing or damaged ({error}): {_ADVICE}") from error
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        raise ModelFileError(f"{name} is of another format than {FORMAT}: resume with the release that wrote it")
    if index.pop("sha256", None) != _digest(index):
        raise ModelFileError(f"{name} is damaged (its digest differs): {_ADVICE}")
    return index


def _read_piece(path: Path, entry: Json) -> dict[str, Tensor]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"{path} is missing or unreadable ({error.strerror}): {_ADVICE}") from error
    if len(data) != entry["bytes"]:
        raise ModelFileError(f"{path} holds {len(data)} bytes instead of {entry['bytes']}: {_ADVICE}")
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise ModelFileError(f"{path} is damaged (its digest differs): {_ADVICE}")
    try:
        return load(data)
    except SafetensorError as error:
        raise ModelFileError(f"{path} is not a safetensors file ({error}): {_ADVICE}") from error


def _digest(body: Json) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _dtype(name: str, path: Path) -> torch.dtype:
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype):
        raise ModelFileError(f"{path / INDEX_NAME} has tensors of type {name}, which this release of torch lacks")
    return dtype


def _checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first. One that was being replaced by another of its step counts until the other is
    complete."""
    if not folder.is_dir():
        return []
    found = []
    for path in folder.iterdir():
        match = _FOLDER_NAME.fullmatch(path.name)
        if match and (path / INDEX_NAME).is_file():
            found.append((int(match[1]), match[2] is None, path))
    return [path for *_, path in sorted(found)]


def _remove_leftovers(folder: Path) -> None:
    """Remove files of interrupted writes, and replaced checkpoints whose successor is complete."""
    for path in folder.glob(f"checkpoint-*{PARTIAL_SUFFIX}"):
        shutil.rmtree(path)
    for path in folder.glob(f"checkpoint-*{PREVIOUS_SUFFIX}"):
        successor = path.with_name(path.name.removesuffix(PREVIOUS_SUFFIX))
        if successor.exists():
            shutil.rmtree(path)
        else:
            path.rename(successor)


def _plain(value: Any) -> Any:  # noqa: ANN401
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value) if f.repr}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def _flatten(value: Any, name: str = "") -> dict[str, Any]:  # noqa: ANN401
    """Values by dotted name; lists of plain values stay whole."""
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        items = dict(enumerate(value)).items()
    else:
        return {name: value}
    parts = [_flatten(item, f"{name}.{key}" if name else str(key)) for key, item in items]
    return {key: item for part in parts for key, item in part.items()}
