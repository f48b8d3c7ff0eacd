"""Keyframes and expression frames of a fit, made of tracked frames."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from fitme.arrays import Float32Array
from fitme.fit.alignment.focal_prior import FocalPrior, focal_prior_of
from fitme.fit.fitter import IncrementalFitter
from fitme.fit.keyframe import Keyframe
from fitme.fit.settings import FitSettings
from fitme.fit.state import FitState
from fitme.fit.texture.expression_distance import expression_gram, farthest_expressions
from fitme.ingest.person_tracking import TrackedFrame
from fitme.ingest.selection import EXPRESSION_FRAMES, Choice
from fitme.reflectance.generator import ReflectanceGenerator
from fitme.render.devices import DeviceName
from fitme.shape.morphable_model import MorphableModel
from fitme.track.factory import identity_embedder
from fitme.track.identity import DlibEmbedder
from fitme.track.settings import NetworkSettings

KEY_BYTES = 8
"""Bytes of a keyframe's key, which is hexadecimal."""


def frame_key(tracked_frame: TrackedFrame) -> str:
    """Key of a frame: digest of its pixels, so that a fit never holds an image twice."""
    return hashlib.blake2b(tracked_frame.frame.image.tobytes(), digest_size=KEY_BYTES).hexdigest()


def expression_frame_of(tracked_frame: TrackedFrame, networks: NetworkSettings) -> Keyframe:
    """Frame for the fit, without the embedding of a network other than dlib's, which the fit compares."""
    frame, observation = tracked_frame.frame, tracked_frame.observation
    if networks.identity != "dlib":
        observation = replace(observation, embedding=None)
    return Keyframe(frame_key(tracked_frame), frame.image, observation, frame.timestamp_s)


def keyframe_of(tracked_frame: TrackedFrame, networks: NetworkSettings, embedder: DlibEmbedder) -> Keyframe:
    """Keyframe with an embedding of dlib's network, which the tracker computes only periodically."""
    keyframe = expression_frame_of(tracked_frame, networks)
    if keyframe.observation.embedding is not None:
        return keyframe
    embedding = embedder.embed(keyframe.image, keyframe.observation.landmarks)
    return replace(keyframe, observation=replace(keyframe.observation, embedding=embedding))


def reference_embedding(keyframes: Sequence[Keyframe], networks: NetworkSettings) -> Float32Array | None:
    """Mean identity embedding (D,) of the keyframes' person by the chosen network; None without any.

    Keyframes hold embeddings of dlib's network; another network's are computed.
    """
    if networks.identity == "dlib":
        held = [entry.observation.embedding for entry in keyframes]
        embeddings = [embedding for embedding in held if embedding is not None]
    else:
        embedder = identity_embedder(networks)
        embeddings = [embedder.embed(entry.image, entry.observation.landmarks) for entry in keyframes]
    return np.mean(embeddings, 0).astype(np.float32) if embeddings else None


def settings_with_focal(settings: FitSettings, chosen: Sequence[TrackedFrame]) -> FitSettings:
    """The settings, with the median focal length of the images' metadata as prior; where they name none, with a prior
    from the size of the faces."""
    if not chosen:
        return settings
    solver = settings.alignment.solver
    noted = [entry.frame.focal for entry in chosen if entry.frame.focal is not None]
    if noted:
        prior = FocalPrior(float(np.median(noted)), solver.focal_log_sigma)
    else:
        default = FocalPrior(solver.focal_prior, solver.focal_log_sigma)
        observations = [entry.observation for entry in chosen]
        prior = focal_prior_of(observations, default, settings.alignment.camera_distance)
    solver = replace(solver, focal_prior=prior.focal, focal_log_sigma=prior.log_sigma)
    return replace(settings, alignment=replace(settings.alignment, solver=solver))


def begun_fitter(
    state: FitState | None,
    model: MorphableModel,
    generator: ReflectanceGenerator,
    settings: FitSettings,
    embedder: DlibEmbedder,
    device: DeviceName,
) -> IncrementalFitter:
    """Fitter that begins, or continues `state`."""
    if state is None:
        return IncrementalFitter(model, generator, settings, embedder, device)
    return IncrementalFitter.from_state(state, model, generator, settings, embedder, device)


def add_choice(
    fitter: IncrementalFitter,
    choice: Choice,
    networks: NetworkSettings,
    embedder: DlibEmbedder,
    model: MorphableModel,
) -> int:
    """Add the frames of a choice that the fitter does not hold; returns the number of keyframes added."""
    held = {keyframe.key for keyframe in fitter.keyframes}
    new = {frame_key(entry): entry for entry in choice.keyframes if frame_key(entry) not in held}
    if not held and choice.least_covered is not None:
        fitter.set_uncovered_face(choice.least_covered.frame.image, choice.least_covered.observation)
    for entry in new.values():
        fitter.add_keyframe(keyframe_of(entry, networks, embedder))
    add_expression_frames(fitter, [expression_frame_of(entry, networks) for entry in choice.expression_frames], model)
    return len(new)


def add_expression_frames(fitter: IncrementalFitter, frames: Iterable[Keyframe], model: MorphableModel) -> None:
    """Add expression frames, and keep at most `EXPRESSION_FRAMES`, by farthest-point sampling of expressions."""
    held = {frame.key for frame in (*fitter.keyframes, *fitter.expression_frames)}
    for frame in frames:
        if frame.key not in held:
            held.add(frame.key)
            fitter.add_expression_frame(frame)
    added = fitter.expression_frames
    if len(added) > EXPRESSION_FRAMES:
        expressions = np.stack([frame.observation.expression for frame in added]).astype(np.float64)
        kept = farthest_expressions(expressions, expression_gram(model).double().numpy(), EXPRESSION_FRAMES)
        for index in set(range(len(added))) - set(kept):
            fitter.remove_expression_frame(added[index].key)
