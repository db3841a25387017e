// Painter: draws what is out of date, one after the other, what is looked at first; of several wishes the last counts.

import { moved, slerp } from "./latents.js";
import { paint, toPixels } from "./picture.js";
import { isStyle } from "./view.js";

// Small pictures that are drawn at once, so that the large one waits for no more.
const AT_ONCE = 4;

export class Painter {
  #generator;
  #network;
  #latents;
  #canvases;
  #tell;
  #view;
  #stale = { picture: false, ends: false, draws: Infinity };
  #isBusy = false;

  // What the large canvas shows: the latent, or the moved style, that it is made of, and its bytes [H, W, C].
  origin;
  pixels;

  constructor(generator, network, latents, canvases, tell) {
    this.#generator = generator;
    this.#network = network;
    this.#latents = latents;
    this.#canvases = canvases;
    this.#tell = tell;
  }

  show(view, text) {
    const before = this.#view;
    const isAnother = (...keys) => !before || keys.some((key) => before.view[key] !== view[key]);
    if (isAnother("label", "truncation", "psi", "seed")) this.#stale.draws = 0;
    if (isAnother("label", "truncation", "psi", "a", "b")) this.#stale.ends = true;
    this.#stale.picture = true;
    this.#canvases.picture.ariaBusy = true;
    this.#view = { view, text };
    this.#work();
  }

  async #work() {
    if (this.#isBusy) return;
    this.#isBusy = true;
    try {
      for (let step; (step = this.#next()); ) {
        await step.call(this, this.#view);
        await new Promise(requestAnimationFrame);
      }
    } catch (error) {
      this.#tell(error);
    } finally {
      this.#isBusy = false;
    }
  }

  #next() {
    if (this.#stale.picture) return this.#drawPicture;
    if (this.#stale.ends) return this.#drawEnds;
    return this.#stale.draws < this.#generator.shown ? this.#drawDraws : null;
  }

  async #drawPicture({ view, text }) {
    this.#stale.picture = false;
    const [a, b] = await Promise.all([view.a, view.b].map((end) => this.#latents.one(end, view.truncation)));
    const [origin, values] = await this.#made(slerp(a, b, view.position), view);
    this.origin = origin;
    this.pixels = toPixels(values, this.#generator);
    paint(this.#canvases.picture, this.pixels, this.#generator);
    this.#canvases.picture.dataset.view = text;
    this.#canvases.picture.ariaBusy = this.#stale.picture;
  }

  // What a latent is moved to along the directions, as a latent or as a style, and the picture of that.
  async #made(latent, view) {
    const directions = await this.#latents.directionsOf(view.label);
    if (isStyle(view, this.#generator)) {
      const style = moved(await this.#network.style(latent, view), directions, view.offsets);
      return [style, await this.#network.draw(style)];
    }
    const origin = moved(latent, directions, view.offsets);
    return [origin, await this.#network.make(origin, view)];
  }

  async #drawEnds({ view }) {
    this.#stale.ends = false;
    for (const end of ["a", "b"]) {
      await this.#drawSmall([this.#canvases[end]], await this.#latents.one(view[end], view.truncation), view);
    }
  }

  async #drawDraws({ view }) {
    const first = this.#stale.draws;
    const canvases = this.#canvases.draws.slice(first, first + AT_ONCE);
    this.#stale.draws = first + AT_ONCE;
    const all = await this.#latents.ofSeed(view.seed, view.truncation);
    const size = this.#generator.latent_size;
    await this.#drawSmall(canvases, all.slice(first * size, (first + canvases.length) * size), view);
  }

  async #drawSmall(canvases, latents, view) {
    const values = await this.#network.make(latents, view);
    const length = values.length / canvases.length;
    canvases.forEach((canvas, index) => {
      const own = values.subarray(index * length, (index + 1) * length);
      paint(canvas, toPixels(own, this.#generator), this.#generator);
    });
  }
}
