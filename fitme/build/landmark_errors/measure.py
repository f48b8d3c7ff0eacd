"""Measures the errors of MediaPipe's landmarks: `python -m fitme.build.landmark_errors.measure --views FOLDER`.

Synthetic heads are rendered and their landmarks detected (`synthetic_views`; a second a person, a quarter of an hour in
all, resumable from the folder), then the factors of the errors are found (`factor_analysis`; minutes). Reads the
default model and generator; writes `fitme/fit/alignment/landmark_errors.npz`, deterministically.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from fitme.arrays import Float64Array, Int64Array
from fitme.build.landmark_errors.factor_analysis import ErrorViews, Factors, find_factors, infer_hidden
from fitme.build.landmark_errors.synthetic_views import LandmarkRenderer, LandmarkViews
from fitme.fit.alignment.landmark_errors import (
    DEFAULT_ERRORS_PATH,
    DIRECTION_TERMS,
    LandmarkErrors,
    direction_terms,
    pixels_per_metre,
)
from fitme.reflectance.packaged_models import packaged_generator
from fitme.sampling import farthest_points
from fitme.shape.expressions import MIRRORED_EXPRESSION
from fitme.shape.landmark_groups import SURFACE_LANDMARK_COUNT
from fitme.shape.model_file import load_default_model
from fitme.shape.morphable_model import MorphableModel

PEOPLE = 850
PEOPLE_PER_FILE = 50
LANDMARK_COUNT = 130
"""Number of landmarks that are used. The others lie between them and err with them: they would add little information,
and the rest of their errors would not be independent."""
IDENTITY_COUNT = 40
"""Number of identity coefficients that errors are regressed on; all others move landmarks by less than 0.3 mm."""
PERSON_FACTORS, FRAME_FACTORS = 24, 32
ROUNDS = 14
RIDGE = 30.0
"""Penalty on the known factors' weights, which are scaled to millimetres of what each moves the landmarks by."""
DIRECTION_SCALE = 10.0
"""Scale of the direction terms, in the units of `RIDGE`."""
FIRST_LANDMARK = 1
"""First of the chosen landmarks: the tip of the nose."""
SEED = 478
MILLIMETRES = 1000.0


def measure(model: MorphableModel, views: LandmarkViews, rounds: int = ROUNDS) -> LandmarkErrors:
    """Landmark errors from synthetic views and their mirror images."""
    places = model.landmarks(model.mean[None])[0, :SURFACE_LANDMARK_COUNT].double().numpy()
    chosen = spread_landmarks(places, LANDMARK_COUNT)
    errors = relative_errors(model, views, places)
    mirrored_views, mirrored_errors = mirrored(model, views, errors, places)
    both = concatenated(views, mirrored_views)
    identity_scale, expression_scale = _reach(model, chosen)
    used = np.flatnonzero(both.expression.any(0) & (expression_scale > 0.0))
    known = np.concatenate(
        [
            DIRECTION_SCALE * direction_terms(both.rotation),
            (both.identity[both.person] * identity_scale)[:, :IDENTITY_COUNT],
            # Errors caused by expressions are regressed out, so that frames' own factors do not resemble smiles.
            (both.expression * expression_scale)[:, used],
        ],
        1,
    )
    chosen_views = ErrorViews(np.concatenate([errors, mirrored_errors])[:, chosen], both.rotation, known, both.person)
    ridge = np.full(known.shape[1], RIDGE)
    factors = find_factors(chosen_views, ridge, PERSON_FACTORS, FRAME_FACTORS, rounds, SEED)
    return LandmarkErrors(
        chosen,
        places[chosen],
        DIRECTION_SCALE * factors.known[..., :DIRECTION_TERMS],
        factors.known[..., DIRECTION_TERMS : DIRECTION_TERMS + IDENTITY_COUNT] * identity_scale[:IDENTITY_COUNT],
        factors.person,
        factors.frame,
        factors.sigma,
        np.array(_turn_growth(chosen_views, factors)),
    )


def relative_errors(model: MorphableModel, views: LandmarkViews, places: Float64Array) -> Float64Array:
    """(N, 468, 2) detected minus true landmarks, metres on a head of the mean's size, view axes."""
    rows = []
    for view in range(views.count):
        identity = torch.from_numpy(views.identity[views.person[view]])
        with torch.no_grad():
            vertices = model.vertices(identity[None], torch.from_numpy(views.expression[view])[None])
            points = model.landmarks(vertices)[0, :SURFACE_LANDMARK_COUNT].double().numpy()
        placed = points @ views.rotation[view].T + views.translation[view]
        true = views.camera(view).project(torch.from_numpy(placed)).numpy()
        pixels = views.pixels[view, :SURFACE_LANDMARK_COUNT].astype(np.float64)
        scale = pixels_per_metre(places, pixels, views.rotation[view])
        rows.append((pixels - true) * (1.0, -1.0) / scale)
    return np.stack(rows)


def mirrored(
    model: MorphableModel, views: LandmarkViews, errors: Float64Array, places: Float64Array
) -> tuple[LandmarkViews, Float64Array]:
    """Mirror images of the views, and of their errors (N, L, 2)."""
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    flip = np.array([-1.0, 1.0, 1.0])
    _, partner = linear_sum_assignment(cdist(places, places * flip, "sqeuclidean"))
    basis = model.identity_basis.double().numpy()
    # Every component is its own mirror image, up to its sign.
    sign = np.sign((basis * basis[:, model.mirror.numpy()] * flip).sum((1, 2)))
    image = replace(
        views,
        identity=(views.identity * sign).astype(np.float32),
        expression=views.expression[:, list(MIRRORED_EXPRESSION)],
        rotation=flip[:, None] * views.rotation * flip,
        translation=views.translation * flip,
    )
    return image, errors[:, partner] * flip[:2]


def concatenated(first: LandmarkViews, second: LandmarkViews) -> LandmarkViews:
    """Views of both, with consecutive numbers of people."""
    return LandmarkViews(
        np.concatenate([first.identity, second.identity]),
        np.concatenate([first.person, second.person + len(first.identity)]),
        np.concatenate([first.expression, second.expression]),
        np.concatenate([first.rotation, second.rotation]),
        np.concatenate([first.translation, second.translation]),
        np.concatenate([first.focal_px, second.focal_px]),
        np.concatenate([first.pixels, second.pixels]),
    )


def spread_landmarks(places: Float64Array, count: int) -> Int64Array:
    """(count,) ascending indices of landmarks (L, 3) far from each other, by farthest-point sampling."""
    chosen = farthest_points(lambda index: np.linalg.norm(places - places[index], axis=1), FIRST_LANDMARK, count)
    return np.sort(np.array(chosen, np.int64))


def _reach(model: MorphableModel, chosen: Int64Array) -> tuple[Float64Array, Float64Array]:
    """Root mean square displacements of landmarks, mm, by a unit of each identity (K,) and expression (52,)
    coefficient."""
    _, identity, expression = (basis.double().numpy() for basis in model.landmark_model())
    identity, expression = (
        MILLIMETRES * np.sqrt((basis[:, chosen] ** 2).sum(2).mean(1)) for basis in (identity, expression)
    )
    return identity, expression


def _turn_growth(views: ErrorViews, factors: Factors) -> float:
    """Growth of the frames' own errors with the squared sine of the turn, relative to frontal views."""
    hidden = infer_hidden(views, factors)
    own = slice(factors.person.shape[2], None)
    energy = (hidden.mean[:, own] ** 2).mean(1) + hidden.covariance[:, own, own].diagonal(0, 1, 2).mean(1)
    slope, level = np.polyfit(1.0 - views.rotation[:, 2, 2] ** 2, np.sqrt(energy), 1)
    return max(0.0, float(slope / level))


def render_all(folder: Path, people: int) -> LandmarkViews:
    """Views of the first `people` people, read from the folder, or rendered and written there."""
    folder.mkdir(parents=True, exist_ok=True)
    renderer: LandmarkRenderer | None = None
    whole: LandmarkViews | None = None
    for number in range(-(-people // PEOPLE_PER_FILE)):
        file = folder / f"views_{number:03d}.npz"
        if not file.is_file():
            renderer = renderer or LandmarkRenderer(load_default_model(), packaged_generator())
            renderer.render(number * PEOPLE_PER_FILE, PEOPLE_PER_FILE).save(file)
            print(f"{file}: people {number * PEOPLE_PER_FILE} to {(number + 1) * PEOPLE_PER_FILE - 1}", flush=True)
        views = LandmarkViews.load(file)
        whole = views if whole is None else concatenated(whole, views)
    if whole is None:
        raise ValueError("errors cannot be measured without people: give --people 50 or more")
    return whole


def main() -> None:
    """Command line of the builder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--views", type=Path, required=True, help="folder for the detections on synthetic heads")
    parser.add_argument("--people", type=int, default=PEOPLE, help="how many; rounded up to fifties")
    parser.add_argument("--out", type=Path, default=DEFAULT_ERRORS_PATH, help="where to write the errors (.npz)")
    arguments = parser.parse_args()
    views = render_all(arguments.views, arguments.people)
    errors = measure(load_default_model(), views)
    errors.save(arguments.out)
    size = arguments.out.stat().st_size / MILLIMETRES
    print(
        f"{arguments.out}: {len(errors.landmarks)} landmarks from {views.count} views, {size:.0f} kB; "
        f"independent {MILLIMETRES * float(np.sqrt((errors.sigma**2).mean())):.2f} mm, "
        f"growth with the turn {float(errors.turn_growth):.2f}"
    )


if __name__ == "__main__":
    main()
