/** Vertex buffers of one part on the GPU. */

import { FIXED_FLOATS, MOVING_FLOATS } from "./mesh.js";

const FLOAT_BYTES = 4;
/** Attributes as `VERTEX` of `shading_glsl.js` numbers them: location, size, offset in floats. */
const MOVING = Object.freeze([[0, 3, 0], [1, 3, 3], [2, 3, 6], [3, 1, 9]]);
const FIXED = Object.freeze([[4, 2, 0], [5, 2, 2]]);

export class PartBuffers {
  /**
   * @param {WebGL2RenderingContext} gl
   * @param {import("./mesh.js").PartMesh} mesh
   */
  constructor(gl, mesh) {
    this.gl = gl;
    this.mesh = mesh;
    this.vertexArray = gl.createVertexArray();
    this.buffers = [gl.createBuffer(), gl.createBuffer(), gl.createBuffer()];
    const [moving, fixed, indices] = this.buffers;
    gl.bindVertexArray(this.vertexArray);
    gl.bindBuffer(gl.ARRAY_BUFFER, moving);
    gl.bufferData(gl.ARRAY_BUFFER, mesh.moving, gl.DYNAMIC_DRAW);
    this.#describe(MOVING, MOVING_FLOATS);
    gl.bindBuffer(gl.ARRAY_BUFFER, fixed);
    gl.bufferData(gl.ARRAY_BUFFER, mesh.fixed, gl.STATIC_DRAW);
    this.#describe(FIXED, FIXED_FLOATS);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, indices);
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, mesh.indices, gl.STATIC_DRAW);
    gl.bindVertexArray(null);
  }

  /** Upload the vertices of another expression. */
  update() {
    const { gl } = this;
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[0]);
    gl.bufferSubData(gl.ARRAY_BUFFER, 0, this.mesh.moving);
  }

  drawAll() {
    this.#draw(0, this.mesh.indices.length);
  }

  /** All triangles that cast shadows. */
  drawCasting() {
    const first = 3 * this.mesh.shadowlessCount;
    this.#draw(first, this.mesh.indices.length - first);
  }

  /** All but the lining of the mouth. */
  drawOuter() {
    this.#draw(0, this.mesh.indices.length - 3 * this.mesh.liningCount);
  }

  drawLining() {
    this.#draw(this.mesh.indices.length - 3 * this.mesh.liningCount, 3 * this.mesh.liningCount);
  }

  delete() {
    for (const buffer of this.buffers) this.gl.deleteBuffer(buffer);
    this.gl.deleteVertexArray(this.vertexArray);
  }

  /** @param {number} first @param {number} count corners */
  #draw(first, count) {
    if (count === 0) return;
    const { gl } = this;
    gl.bindVertexArray(this.vertexArray);
    gl.drawElements(gl.TRIANGLES, count, gl.UNSIGNED_INT, first * FLOAT_BYTES);
    gl.bindVertexArray(null);
  }

  /** @param {readonly number[][]} attributes @param {number} floats of a vertex */
  #describe(attributes, floats) {
    for (const [location, size, offset] of attributes) {
      this.gl.enableVertexAttribArray(location);
      this.gl.vertexAttribPointer(location, size, this.gl.FLOAT, false, floats * FLOAT_BYTES, offset * FLOAT_BYTES);
    }
  }
}
