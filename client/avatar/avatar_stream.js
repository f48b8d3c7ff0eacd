/** The avatar of a session put together from its pieces, and given to the renderer: the whole first, then what changes. */

import { parsePiece, pieceArrays } from "../server/pieces.js";
import { LENS_ALBEDO } from "../renderer/reflection.js";
import { encodedByte } from "../renderer/scene.js";

/** @typedef {import("../server/pieces.js").Piece} Piece */
/** @typedef {Record<string, import("../server/pieces.js").Values>} Arrays */

/** Changes that are not complete yet are applied after this time: on a slow network the next ones never end. */
const PATIENCE_MS = 1000;
const HEAD = "head";
const HAIR = "hair";
const FRAME = "glasses";
const LENSES = "lenses";

/**
 * 8-bit values of a map before its tiles have come: the grey head's.
 * @type {Readonly<Record<string, readonly number[]>>}
 */
const UNKNOWN_TEXELS = Object.freeze({ diffuse: [180, 180, 180], specular: [77], normals: [128, 128, 255] });

/**
 * What the stream needs of a renderer: `client/renderer/renderer.js`.
 * @typedef {object} AvatarTarget
 * @property {(part: any) => void} setPart
 * @property {(name: string) => void} removePart
 * @property {(name: string, positions: Float32Array) => void} setPositions
 * @property {(name: string, slot: string, source: any) => void} setTexture
 * @property {(name: string, slot: string, x: number, y: number, source: any) => void} setTextureRegion
 * @property {(name: string, correctives: any) => void} setCorrectives
 */

/** @typedef {{piece: Piece, arrays?: Arrays, image?: ImageBitmap, deltas?: Int8Array, pattern?: ImageBitmap}} Decoded */

export class AvatarStream {
  /** @type {Record<string, any> | null} state of the avatar as drawn: stage, light and more, see `docs/wire.md` */
  state = null;
  /** Bytes of all pieces. */
  bytes = 0;
  #name = "";
  #version = -1;
  #hasHead = false;
  /** @type {string[]} names of the parts that are lashes */
  #lashes = [];
  /** Height of the parts' maps below the head's, over its. */
  #strip = 0;
  /** @type {Promise<Decoded> | null} */
  #model = null;
  /** @type {Map<string, Promise<Decoded>>} pieces that have come since the last change */
  #batch = new Map();
  /** @type {Map<string, number>} size of each map as drawn */
  #sizes = new Map();
  /** @type {Map<string, Decoded>} slots that are put together from several pieces */
  #parts = new Map();
  #timer = 0;
  /** Changes are applied one after the other. */
  #work = Promise.resolve();
  /** Pieces of an avatar that has been left are dropped. */
  #generation = 0;

  /**
   * @param {AvatarTarget} target
   * @param {(digest: string) => Promise<ArrayBuffer>} load a piece that is everybody's
   * @param {(state: Record<string, any>) => void} onChanged called after every change of the avatar
   * @param {(error: unknown) => void} onError a piece could not be read or loaded
   */
  constructor(target, load, onChanged, onError) {
    this.target = target;
    this.load = load;
    this.onChanged = onChanged;
    this.onError = onError;
  }

  /** What the page has, for the address of its next websocket; null before it has a whole avatar. */
  get held() {
    return this.#version < 0 ? null : `${this.#name}.${this.#version}`;
  }

  /** Resolves once what has come so far is applied, but for pieces after the last complete version. */
  get settled() {
    return this.#work;
  }

  /**
   * A websocket has opened: another avatar begins, or the same one goes on.
   * @param {{avatar: string, model: string}} hello
   */
  begin({ avatar, model }) {
    if (avatar === this.#name) return;
    this.reset();
    this.#name = avatar;
    this.#model = this.#loadPiece(model);
    this.#model.catch(() => undefined); // reported when the head is made
  }

  /** Forget the avatar. */
  reset() {
    this.#generation += 1;
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#name = "";
    this.#version = -1;
    this.state = null;
    this.#batch.clear();
    this.#sizes.clear();
    this.#parts.clear();
    for (const name of this.#lashes) this.target.removePart(name);
    this.#lashes = [];
    if (this.#hasHead) this.target.removePart(HEAD);
    this.target.removePart(HAIR);
    this.#hasHead = false;
  }

  /**
   * @param {ArrayBuffer} message
   * @throws {import("../server/messages.js").ProtocolError} if it is no piece
   */
  push(message) {
    const piece = parsePiece(message);
    this.bytes += message.byteLength;
    const decoded = this.#decode(piece);
    decoded.catch(() => undefined); // reported when it is applied
    this.#batch.set(`${piece.kind} ${piece.number} ${piece.tile}`, decoded);
    if (piece.complete) this.#flush(piece.version);
    else this.#timer ||= Number(setTimeout(() => this.#flush(null), PATIENCE_MS));
  }

  /** @param {number | null} version that is complete with these pieces */
  #flush(version) {
    clearTimeout(this.#timer);
    this.#timer = 0;
    const generation = this.#generation;
    const pieces = [...this.#batch.values()];
    this.#batch.clear();
    this.#work = this.#work.then(async () => {
      try {
        const [decoded, model] = await Promise.all([Promise.all(pieces), this.#model]);
        if (generation !== this.#generation || !model?.arrays) return;
        for (const one of decoded) this.#apply(one, /** @type {Required<Decoded>} */ (model));
        if (version !== null) this.#version = version;
        if (this.state) this.onChanged(this.state);
      } catch (error) {
        if (generation === this.#generation) this.onError(error);
      }
    });
  }

  /** @param {string} digest @returns {Promise<Decoded>} */
  async #loadPiece(digest) {
    return this.#decode(parsePiece(await this.load(digest)));
  }

  /** @param {Piece} piece @returns {Promise<Decoded>} */
  async #decode(piece) {
    const { header, payload, kind } = piece;
    if (header.arrays) {
      const arrays = await pieceArrays(piece);
      const pattern = header.pattern ? (await this.#loadPiece(header.pattern)).image : undefined;
      return { piece, arrays, pattern };
    }
    if (!header.media) return { piece };
    const image = await createImageBitmap(new Blob([payload], { type: header.media }), {
      premultiplyAlpha: "none",
      colorSpaceConversion: "none",
    });
    return kind === "corrective_map" ? { piece, deltas: signedCodes(image) } : { piece, image };
  }

  /**
   * @param {Decoded} decoded
   * @param {Required<Decoded>} model
   */
  #apply(decoded, model) {
    const { piece, arrays, image } = decoded;
    const { kind, header } = piece;
    if (kind === "neutral" && arrays) this.#setHead(/** @type {Float32Array} */ (arrays.vertices), model);
    else if (kind === "tile" && image) this.#setTile(header, image);
    else if (kind === "state") this.#setState(header);
    else if (kind !== "neutral" && kind !== "tile") this.#parts.set(`${kind} ${piece.number}`, decoded);
    if (kind === "glasses") this.#setGlasses();
    if (kind === "hair" || kind === "hair_texture") this.#setHair();
  }

  /**
   * @param {Float32Array} positions (V * 3)
   * @param {Required<Decoded>} model
   */
  #setHead(positions, { arrays, piece }) {
    if (this.#hasHead) return this.target.setPositions(HEAD, positions);
    this.#hasHead = true;
    const { header } = piece;
    const wide = (/** @type {string} */ name) => Uint32Array.from(arrays[name]);
    this.#strip = header.strip ?? 0;
    this.target.setPart({
      name: HEAD,
      material: "skin",
      positions,
      triangles: wide("triangles"),
      uv: arrays.uv,
      uvTriangles: wide("uvTriangles"),
      morphs: {
        starts: arrays.morphStarts,
        vertices: arrays.morphVertices,
        deltas: arrays.morphOffsets,
        scale: header.morphStep,
      },
      eyeballs: { left: wide("leftEye"), right: wide("rightEye") },
      eyes: (header.eyes ?? []).map((/** @type {string} */ side) => ({
        side,
        vertices: wide(`${side}EyePart`),
        ball: wide(`${side}Eye`),
        upper: wide(`${side}UpperLid`), upperWeights: arrays[`${side}UpperLidWeights`],
        lower: wide(`${side}LowerLid`), lowerWeights: arrays[`${side}LowerLidWeights`],
      })),
      occlusion: arrays.occlusion,
      shininess: Float32Array.from(arrays.shininess),
      casting: arrays.casting,
      mouth: {
        lips: wide("lips"), weights: arrays.lipWeights, inside: arrays.mouthInside, openShare: arrays.mouthOpenShare,
        lining: wide("mouthLining"),
      },
    });
    this.#lashes = header.lashes ?? [];
    for (const name of this.#lashes) this.#setLashes(name, arrays, header);
    return undefined;
  }

  /**
   * @param {string} name
   * @param {Arrays} arrays of the model
   * @param {Record<string, any>} header
   */
  #setLashes(name, arrays, { lashColor, arrays: described }) {
    const [height, width] = described.find((/** @type {any} */ array) => array.name === "lashCoverage").shape;
    const texels = new Uint8Array(width * height * 4);
    for (let texel = 0; texel < width * height; texel++)
      texels.set([...lashColor, arrays.lashCoverage[texel]], texel * 4);
    const starts = Uint32Array.from(arrays[`${name}.starts`]);
    this.target.setPart({
      name,
      material: "lashes",
      positions: new Float32Array(3 * (starts.length - 1)),
      triangles: Uint32Array.from(arrays[`${name}.triangles`]),
      uv: arrays[`${name}.uv`],
      uvTriangles: Uint32Array.from(arrays[`${name}.uvTriangles`]),
      bound: {
        to: HEAD,
        targets: Uint32Array.from({ length: starts.length - 1 }, (_, vertex) => vertex),
        starts,
        vertices: arrays[`${name}.vertices`],
        weights: arrays[`${name}.weights`],
        offsets: arrays[`${name}.offsets`],
      },
      textures: { albedo: { width, height, data: texels } },
    });
  }

  /**
   * @param {Record<string, any>} header
   * @param {ImageBitmap} image
   */
  #setTile({ map, size, height = size, x, y }, image) {
    if (!this.#hasHead || !(map in UNKNOWN_TEXELS)) return; // a map that this page does not draw
    if (this.#sizes.get(map) !== size) {
      this.#sizes.set(map, size);
      const texel = UNKNOWN_TEXELS[map];
      const data = Uint8Array.from({ length: size * height * texel.length }, (_, index) => texel[index % texel.length]);
      this.target.setTexture(HEAD, map, { width: size, height, data });
    }
    this.target.setTextureRegion(HEAD, map, x, y, image);
  }

  /** @param {Record<string, any>} state */
  #setState(state) {
    this.state = state;
    if (!state.hair && this.#parts.delete("hair 0")) this.target.removePart(HAIR);
    if (!state.glasses && this.#parts.delete("glasses 0")) {
      this.target.removePart(FRAME);
      this.target.removePart(LENSES);
    }
    const table = this.#parts.get("correctives 0")?.arrays;
    const maps = Array.from({ length: state.correctives }, (_, index) => this.#parts.get(`corrective_map ${index}`));
    if (state.correctives === 0) {
      if (this.#parts.delete("correctives 0")) this.target.setCorrectives(HEAD, null);
    } else if (table && maps.every((map) => map?.deltas)) {
      const deltas = new Int8Array(maps.reduce((all, map) => all + (map?.deltas?.length ?? 0), 0));
      let offset = 0;
      for (const map of maps) {
        deltas.set(/** @type {Int8Array} */ (map?.deltas), offset);
        offset += map?.deltas?.length ?? 0;
      }
      const scales = Float32Array.from(maps, (map) => map?.piece.header.scale);
      this.target.setCorrectives(HEAD, { ...table, size: maps[0]?.piece.header.size, deltas, scales, share: 1 / (1 + this.#strip) });
    }
  }

  #setGlasses() {
    const { arrays, piece } = this.#parts.get("glasses 0") ?? {};
    if (!arrays || !piece) return;
    const count = arrays.colors.length / 3;
    const mesh = (/** @type {string} */ name) => ({
      positions: arrays[`${name}.vertices`],
      normals: arrays[`${name}.normals`],
      triangles: Uint32Array.from(arrays[`${name}.triangles`]),
      uv: Float32Array.from({ length: 2 * arrays[`${name}.columns`].length },
        (_, index) => (index % 2 ? 0.5 : (arrays[`${name}.columns`][index >> 1] + 0.5) / count)),
    });
    this.target.setPart({
      name: FRAME,
      material: "frame",
      ...mesh("frame"),
      textures: { albedo: { width: count, height: 1, data: arrays.colors } },
    });
    if (!piece.header.meshes.includes("lenses")) return this.target.removePart(LENSES);
    const shade = encodedByte(LENS_ALBEDO);
    const data = Uint8Array.of(shade, shade, shade, Math.round(255 * piece.header.opacity));
    this.target.setPart({
      name: LENSES, material: "lenses", ...mesh("lenses"), textures: { albedo: { width: 1, height: 1, data } },
    });
    return undefined;
  }

  #setHair() {
    const [mesh, texture] = [this.#parts.get("hair 0"), this.#parts.get("hair_texture 0")];
    if (!mesh?.arrays || !texture?.image) return;
    const { vertices, normals, strands, uv, triangles } = mesh.arrays;
    this.target.setPart({
      name: HAIR,
      material: "hair",
      positions: vertices,
      triangles: Uint32Array.from(triangles),
      uv,
      normals,
      strands,
      textures: { albedo: texture.image, ...(mesh.pattern ? { pattern: mesh.pattern } : {}) },
    });
  }
}

/**
 * Differences of a corrective map, -127 to 127, RGB: its codes are 128 more.
 * @param {ImageBitmap} image
 */
function signedCodes(image) {
  const canvas = new OffscreenCanvas(image.width, image.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) throw new Error("this browser gives no canvas to read an image with");
  context.drawImage(image, 0, 0);
  const { data } = context.getImageData(0, 0, image.width, image.height);
  const codes = new Int8Array(image.width * image.height * 3);
  for (let texel = 0; texel < image.width * image.height; texel++) {
    for (let channel = 0; channel < 3; channel++) codes[3 * texel + channel] = data[4 * texel + channel] - 128;
  }
  image.close();
  return codes;
}
