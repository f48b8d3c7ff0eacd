/** A part of the avatar with what is known of it on the GPU. */

import { CorrectiveBlend } from "./correctives.js";
import { PartMesh } from "./mesh.js";
import { Texture } from "./textures.js";

/** @typedef {import("./mesh.js").Part} Part */
/** @typedef {import("./materials.js").Material} Material */
/** @typedef {import("./buffers.js").PartBuffers} PartBuffers */
/** @typedef {import("./targets.js").BlendTarget} BlendTarget */
/** @typedef {import("./correctives.js").Correctives} Correctives */

/** A part as it is drawn. */
export class DrawnPart {
  /** @type {PartBuffers | null} */
  buffers = null;
  /** Its vertices have to be computed. */
  moved = true;
  /** Its albedo has to be blended. */
  repainted = true;

  /**
   * @param {Part} part
   * @param {Material} material
   * @param {DrawnPart} [before] part that it replaces: correctives stay, and textures unless the material is another
   */
  constructor(part, material, before) {
    this.part = part;
    this.material = material;
    this.mesh = new PartMesh(part, material.shininess);
    /** @type {Map<string, Texture>} */
    this.textures = new Map(Object.entries(material.textures).map(([slot, format]) => {
      const kept = before?.material === material ? before.textures.get(slot) : undefined;
      return [slot, kept ?? new Texture(format)];
    }));
    /** @type {CorrectiveBlend | null} */
    this.blend = before?.blend ?? null;
    /** @type {BlendTarget | null} */
    this.blended = before?.blended ?? null;
  }

  /** Whether its vertices depend on the expression. */
  get expressive() {
    return Boolean(this.part.morphs ?? this.part.eyeballs ?? this.part.turnsWith);
  }

  /** @param {string} slot */
  texture(slot) {
    const texture = this.textures.get(slot);
    if (!texture) throw new RangeError(`a part of ${this.part.material} has no texture ${slot}`);
    return texture;
  }

  /** @param {Correctives | null} correctives of a part with a `diffuse` texture */
  setCorrectives(correctives) {
    this.blended?.delete();
    this.blended = null;
    this.blend = correctives && new CorrectiveBlend(correctives);
    this.repainted = true;
  }

  /**
   * Compute vertices and shares of correctives at an expression.
   * @param {ArrayLike<number>} expression (52)
   * @param {DrawnPart} [followed] part, already morphed, that this one's vertices are bound to
   */
  morph(expression, followed) {
    this.moved ||= followed?.moved ?? false;
    if (this.moved) this.mesh.morph(expression, followed?.mesh.positions);
    if (this.blend?.update(expression)) this.repainted = true;
  }

  /** The context and all that was on the GPU is lost. */
  lose() {
    this.buffers = null;
    this.blended = null;
    this.moved = true;
    this.repainted = true;
    for (const texture of this.textures.values()) texture.lose();
  }

  /** @param {WebGL2RenderingContext} gl */
  delete(gl) {
    this.buffers?.delete();
    this.blended?.delete();
    for (const texture of this.textures.values()) texture.delete(gl);
  }
}

/**
 * @param {ReadonlyMap<string, DrawnPart>} parts
 * @param {string} name
 * @throws {RangeError} if there is no part of this name
 */
export function partNamed(parts, name) {
  const drawn = parts.get(name);
  if (!drawn) throw new RangeError(`there is no part ${name}`);
  return drawn;
}
