"""Normal equations of a light's robust least squares, compiled: one pass over the samples."""

import numpy as np

from fitme.arrays import Float32Array, Float64Array
from fitme.render.cpu.kernel import relaxed_kernel

BLOCK = 256
"""Samples that are summed in single precision."""


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
    design = np.empty((3, columns, BLOCK), np.float32)
    residual = np.empty((3, BLOCK), np.float32)
    squared = np.empty(BLOCK, np.float32)
    share = np.empty(BLOCK, np.float32)
    scaled = np.empty(BLOCK, np.float32)
    zero = np.float32(0.0)
    for begin in range(0, count, BLOCK):
        size = min(BLOCK, count - begin)
        # The design of a block, samples innermost; its residuals under the light, and then under `center`.
        squared[:] = zero
        for c in range(3):
            for b in range(size):
                residual[c, b] = color[begin + b, c]
            for k in range(columns):
                row, level = design[c, k], np.float32(light[k, c])
                for b in range(size):
                    row[b] = albedo[begin + b, c] * diffuse[begin + b, k] + specular[begin + b, k]
                    residual[c, b] -= row[b] * level
            for b in range(size):
                squared[b] += residual[c, b] * residual[c, b]
                residual[c, b] = color[begin + b, c]
            for k in range(columns):
                row, level = design[c, k], np.float32(center[k, c])
                for b in range(size):
                    residual[c, b] -= row[b] * level
        for b in range(size):
            robust = np.float32(1.0) / (np.float32(1.0) + squared[b] / np.float32(squared_scale))
            share[b] = weight[begin + b] * robust * robust
        # Sums over the block in single precision, over blocks in double.
        for c in range(3):
            energy = zero
            for b in range(size):
                energy += share[b] * albedo[begin + b, c] * albedo[begin + b, c]
            power[c] += energy
            for j in range(columns):
                row = design[c, j]
                explained = zero
                for b in range(size):
                    scaled[b] = share[b] * row[b]
                    explained += scaled[b] * residual[c, b]
                side[c, j] += explained
                for k in range(j, columns):
                    other = design[c, k]
                    product = zero
                    for b in range(size):
                        product += scaled[b] * other[b]
                    matrix[c, j, k] += product
    for c in range(3):
        for j in range(columns):
            for k in range(j):
                matrix[c, j, k] = matrix[c, k, j]
    return matrix, side, power
