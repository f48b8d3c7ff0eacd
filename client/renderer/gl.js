/** WebGL2: programs with their uniforms by name, and the typed errors of the renderer. */

/** The browser has no WebGL2, or none now: draw on the server instead. */
export class WebGL2Missing extends Error {
  code = "no_webgl2";

  constructor() {
    super("this browser cannot draw with WebGL2: use a newer one, or allow hardware acceleration");
  }
}

/** A shader that this browser's driver refuses. */
export class ShaderError extends Error {
  code = "bad_shader";
}

/**
 * @param {WebGL2RenderingContext} gl
 * @param {number} kind
 * @param {string} source
 */
function compiled(gl, kind, source) {
  const shader = /** @type {WebGLShader} */ (gl.createShader(kind));
  gl.shaderSource(shader, source);
  gl.compileShader(shader);
  return shader;
}

/** A linked program; uniforms are set by name, and those that the compiler removed are skipped. */
export class Program {
  /** @type {Map<string, WebGLUniformLocation>} */
  #uniforms = new Map();

  /**
   * @param {WebGL2RenderingContext} gl
   * @param {string} vertex
   * @param {string} fragment
   */
  constructor(gl, vertex, fragment) {
    this.gl = gl;
    this.program = /** @type {WebGLProgram} */ (gl.createProgram());
    const shaders = [compiled(gl, gl.VERTEX_SHADER, vertex), compiled(gl, gl.FRAGMENT_SHADER, fragment)];
    for (const shader of shaders) gl.attachShader(this.program, shader);
    gl.linkProgram(this.program);
    if (!gl.getProgramParameter(this.program, gl.LINK_STATUS) && !gl.isContextLost()) {
      const logs = shaders.map((shader) => gl.getShaderInfoLog(shader)).concat(gl.getProgramInfoLog(this.program));
      throw new ShaderError(logs.filter(Boolean).join("\n"));
    }
    for (const shader of shaders) gl.deleteShader(shader);
    const count = gl.isContextLost() ? 0 : gl.getProgramParameter(this.program, gl.ACTIVE_UNIFORMS);
    for (let index = 0; index < count; index++) {
      const active = gl.getActiveUniform(this.program, index);
      const location = active && gl.getUniformLocation(this.program, active.name);
      if (active && location) this.#uniforms.set(active.name.replace("[0]", ""), location);
    }
  }

  use() {
    this.gl.useProgram(this.program);
  }

  /** @param {string} name @param {number} value */
  int(name, value) {
    this.gl.uniform1i(this.#uniforms.get(name) ?? null, value);
  }

  /** @param {string} name @param {number} value */
  float(name, value) {
    this.gl.uniform1f(this.#uniforms.get(name) ?? null, value);
  }

  /** @param {string} name @param {Float32Array} values */
  floats(name, values) {
    this.gl.uniform1fv(this.#uniforms.get(name) ?? null, values);
  }

  /** @param {string} name @param {ArrayLike<number>} values */
  vec2(name, values) {
    this.gl.uniform2fv(this.#uniforms.get(name) ?? null, Float32Array.from(values));
  }

  /** @param {string} name @param {ArrayLike<number>} values */
  vec3(name, values) {
    this.gl.uniform3fv(this.#uniforms.get(name) ?? null, Float32Array.from(values));
  }

  /** @param {string} name @param {ArrayLike<number>} values */
  vec4(name, values) {
    this.gl.uniform4fv(this.#uniforms.get(name) ?? null, Float32Array.from(values));
  }

  /** @param {string} name @param {ArrayLike<number>} rows nine numbers, row by row */
  mat3(name, rows) {
    this.gl.uniformMatrix3fv(this.#uniforms.get(name) ?? null, true, Float32Array.from(rows));
  }

  /** @param {string} name @param {Float32Array} columns sixteen numbers, column by column */
  mat4(name, columns) {
    this.gl.uniformMatrix4fv(this.#uniforms.get(name) ?? null, false, columns);
  }
}
