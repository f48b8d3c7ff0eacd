"""Normal equations of a light's robust least squares, compiled: one pass over the samples."""

import numpy as np

from fitme.arrays import Float32Array, Float64Array
from fitme.render.cpu.kernel import relaxed_kernel


@relaxed_kernel
def light_equations(
    diffuse: Float32Array,
    specular: Float32Array,
    color: Float32Array,
    albedo: Float32Array,
    weight: Float32Array,
    center: Float64Array,
    light: Float64Array,
    squared_scale: float,
) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Normal matrices (3, K, K), right sides (3, K) and weighted squared albedo (3,) of the channels of a light (K, 3).

    The model of a colour is (albedo * diffuse + specular) @ light. The unknown is the difference from `center`, so that
    no rounding moves what `center` explains.

    :param diffuse: (N, K) factors on albedo and light; specular: (N, K) factors on the light alone.
    :param color: (N, 3); albedo: (N, 3); weight: (N,).
    :param center: (K, 3) light about which the equations are.
    :param light: (K, 3) light by whose residuals samples are down-weighted (Geman-McClure).
    :param squared_scale: square of the residual beyond which they are; infinite for none.
    """
    count, columns = diffuse.shape
    matrix = np.zeros((3, columns, columns))
    side = np.zeros((3, columns))
    power = np.zeros(3)
    design = np.empty((3, columns))
    for n in range(count):
        squared = 0.0
        for c in range(3):
            predicted = 0.0
            for k in range(columns):
                design[c, k] = albedo[n, c] * diffuse[n, k] + specular[n, k]
                predicted += design[c, k] * light[k, c]
            squared += (color[n, c] - predicted) ** 2
        robust = 1.0 / (1.0 + squared / squared_scale)
        share = weight[n] * robust * robust
        if share == 0.0:
            continue
        for c in range(3):
            unmodelled = float(color[n, c])
            for k in range(columns):
                unmodelled -= design[c, k] * center[k, c]
            for j in range(columns):
                scaled = share * design[c, j]
                side[c, j] += scaled * unmodelled
                for k in range(j, columns):
                    matrix[c, j, k] += scaled * design[c, k]
            power[c] += share * albedo[n, c] * albedo[n, c]
    for c in range(3):
        for j in range(columns):
            for k in range(j):
                matrix[c, j, k] = matrix[c, k, j]
    return matrix, side, power
