"""Fit of one person from Python: frames in, avatar out, to go on with at any time."""

import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

import numpy as np
from threadpoolctl import threadpool_limits

from fitme.api.defaults import DEFAULT_SECONDS
from fitme.api.keyframes import add_choice, begun_fitter, reference_embedding, settings_with_focal
from fitme.arrays import UInt8Array
from fitme.avatar import Avatar
from fitme.errors import InputError
from fitme.fit.fitter import IncrementalFitter, Progress
from fitme.fit.settings import FitSettings
from fitme.fit.state import FitState
from fitme.ingest.candidates import Candidate, gather
from fitme.ingest.person_tracking import PersonTracker
from fitme.ingest.selection import choose
from fitme.reflectance.packaged_models import packaged_generator
from fitme.render.devices import DeviceName
from fitme.render.rasterizer import check_device
from fitme.shape.model_file import load_default_model
from fitme.stage import Stage
from fitme.track.factory import DEFAULT_NETWORKS, dlib_embedder
from fitme.track.settings import NetworkSettings, TrackerSettings

Source = str | Path | UInt8Array
"""A photo, a folder of photos, a video, or an image (H, W, 3) uint8 sRGB."""


class Fit:
    """Fit of one person, which can be refined, extended by further images, saved and resumed.

    Not thread-safe. `close`, or the end of a `with` block, releases the networks; the avatar stays readable.
    """

    def __init__(
        self,
        settings: FitSettings | None = None,
        *,
        networks: NetworkSettings = DEFAULT_NETWORKS,
        tracker: TrackerSettings | None = None,
        device: DeviceName = "cpu",
        state: FitState | None = None,
    ) -> None:
        """
        :param settings: of the fit, as in `configs/fit.yaml`.
        :param networks: choice of the landmark and identity networks.
        :param device: where heads are rendered and the generator is optimised: `cpu`, or `cuda` with nvdiffrast.
        :param state: a stored fit to go on with; see `resume_fit`.
        :raises BackendError: the device cannot be used.
        """
        if device != "cpu":
            check_device(device)
        self._device = device
        self._settings = settings or FitSettings()
        self._networks, self._tracker = networks, tracker or TrackerSettings()
        self._model = load_default_model()
        self._fitter = None if state is None else self._begin(state, self._settings)
        self.skipped: dict[str, str] = {}
        """Reason, by name, of each image that was left out."""
        self.warnings: list[str] = []
        """Warnings about the choice of the person."""

    def add(self, *sources: Source) -> int:
        """Add images of the person: the best frames of photos, folders of photos, videos or arrays.

        :returns: number of keyframes added.
        :raises InputError: a source is missing, damaged, or no image.
        :raises NoFaceError: no image shows one face, or none shows the person of the images added before.
        """
        with _one_blas_thread():
            return self._add(sources)

    def _add(self, sources: Iterable[Source]) -> int:
        candidates = [candidate for index, source in enumerate(sources) for candidate in _candidates(source, index)]
        reference = reference_embedding(() if self._fitter is None else self._fitter.keyframes, self._networks)
        person = PersonTracker(self._model, reference, self._networks, self._tracker)
        choice = choose(person, candidates)
        self.skipped |= person.skipped
        self.warnings += person.warnings
        if not choice.keyframes:
            raise person.nobody()
        if self._fitter is None:
            self._fitter = self._begin(None, settings_with_focal(self._settings, choice.keyframes))
        return add_choice(self._fitter, choice, self._networks, dlib_embedder(), self._model)

    def refine(self, seconds: float = DEFAULT_SECONDS, on_progress: Progress | None = None) -> Avatar:
        """Refine for about `seconds`, or until the fit has converged and all expression correctives are extracted.

        :param on_progress: called with the stage reached and the share of the work that is done, [0, 1].
        :raises InputError: no images were added.
        """
        fitter, deadline = self._begun(), time.monotonic() + seconds
        with _one_blas_thread():
            fitter.refine(seconds, on_progress)
            fitter.finish_correctives(lambda: time.monotonic() < deadline)
            return fitter.avatar()

    @property
    def avatar(self) -> Avatar:
        """The avatar so far. InputError before the first call of `refine`."""
        return self._begun().avatar()

    @property
    def stage(self) -> Stage:
        """The furthest stage reached."""
        return Stage.WAITING if self._fitter is None else self._fitter.stage

    @property
    def converged(self) -> bool:
        """Whether nothing is left to refine until further images are added."""
        return self._fitter is not None and self._fitter.converged and not self._fitter.correctives_pending

    def save(self, folder: str | Path) -> None:
        """Commit the fit to the session in `folder`, which is created if it is missing; `resume_fit` goes on with it.

        :raises InputError: before the first call of `refine`.
        :raises StoreError: the session cannot be written, or another process writes it.
        """
        # Zarr takes half a second to import, and most fits keep no session.
        from fitme.session.store import SessionStore

        state = self._begun().state()
        with SessionStore(Path(folder)) as store:
            store.write_round(state)

    def close(self) -> None:
        """Release the networks."""
        if self._fitter is not None:
            self._fitter.close()

    def __enter__(self) -> "Fit":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _begun(self) -> IncrementalFitter:
        if self._fitter is None:
            raise InputError("There is nothing to fit: add images first.")
        return self._fitter

    def _begin(self, state: FitState | None, settings: FitSettings) -> IncrementalFitter:
        # Tuning changes the generator, so each fit has its own.
        generator = packaged_generator(settings.reflectance_model)
        return begun_fitter(state, self._model, generator, settings, dlib_embedder(), self._device)


def fit_avatar(
    *sources: Source,
    seconds: float = DEFAULT_SECONDS,
    on_progress: Progress | None = None,
    settings: FitSettings | None = None,
    device: DeviceName = "cpu",
) -> Fit:
    """Fit an avatar to images of one person; `Fit.avatar` of the result is the avatar.

    :param sources: photos, folders of photos, videos, or images (H, W, 3) uint8 sRGB.
    :param seconds: time of refinement; a fit that converges ends earlier.
    :param on_progress: called with the stage reached and the share of the work that is done, [0, 1].
    :param device: `cpu`, or `cuda` with nvdiffrast.
    :raises InputError: a source is missing, damaged, or no image.
    :raises BackendError: the device cannot be used.
    :raises NoFaceError: no image shows one face, well lit and not too small.
    """
    begun = Fit(settings, device=device)
    begun.add(*sources)
    begun.refine(seconds, on_progress)
    return begun


def resume_fit(folder: str | Path, settings: FitSettings | None = None) -> Fit:
    """Go on with the fit that `Fit.save`, `fitme fit --session` or the service stored in `folder`.

    :raises InputError: there is no such session, or it holds no fit yet.
    :raises StoreError: the session is damaged, or another process writes it.
    """
    from fitme.session.store import SessionStore

    path = Path(folder)
    if not path.is_dir():
        raise InputError(f"{path}: there is no such session; name a folder that Fit.save wrote")
    with SessionStore(path) as store:
        state = store.read()
    if state is None:
        raise InputError(f"{path}: the session holds no fit yet")
    return Fit(settings, state=state)


def _one_blas_thread() -> threadpool_limits:
    """Context in which NumPy multiplies on the calling thread. The fit's many small products gain nothing from more,
    and threads that wait for each other by spinning cost minutes as soon as another process uses the processor."""
    return threadpool_limits(1, user_api="blas")


def _candidates(source: Source, index: int) -> Iterable[Candidate]:
    if isinstance(source, np.ndarray):
        return [Candidate(Path(f"image {index}"), None, 0, source)]
    return gather([Path(source)])
