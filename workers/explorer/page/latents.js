// Latents: those of a seed and directions, which come from the server, walks between them and steps along directions.

// Closer than this to 0 or to pi an angle has no direction of its own.
const LEAST_ANGLE = 1e-6;
const MOST_KEPT = 32;

export class Latents {
  #size;
  #kept = new Map();

  constructor(size) {
    this.#size = size;
  }

  // All latents of a seed that are shown, one after the other in a Float32Array.
  ofSeed(seed, truncation) {
    const query = truncation === null ? `seed=${seed}` : `seed=${seed}&truncation=${truncation}`;
    return this.#asked(`latents?${query}`, (bytes) => new Float32Array(bytes));
  }

  // The directions of most effect for a class, or without one: of each its vector and its effect.
  directionsOf(label) {
    const query = label === null ? "" : `?label=${label}`;
    return this.#asked(`directions${query}`, (bytes) => JSON.parse(new TextDecoder().decode(bytes)));
  }

  // What the server answers, as `read` reads it; the last answers are kept.
  #asked(name, read) {
    if (!this.#kept.has(name)) {
      if (this.#kept.size >= MOST_KEPT) this.#kept.delete(this.#kept.keys().next().value);
      const found = bytesOf(name).then(read);
      this.#kept.set(name, found);
      found.catch(() => this.#kept.delete(name));
    }
    return this.#kept.get(name);
  }

  async one(draw, truncation) {
    const all = await this.ofSeed(draw.seed, truncation);
    return all.subarray(draw.number * this.#size, (draw.number + 1) * this.#size);
  }
}

export async function bytesOf(name) {
  const answer = await fetch(name).catch(() => {
    throw new Error("ganctl does not answer. Where it has ended, start it again and open the address that it prints.");
  });
  if (!answer.ok) throw new Error((await answer.text()).trim());
  return answer.arrayBuffer();
}

// The point `share` of the way from one latent to another, as `ganctl interpolate` walks: along the great circle
// (Shoemake 1985), its length between those of the ends; straight where there is no one great circle.
export function slerp(start, end, share) {
  const [startLength, endLength] = [norm(start), norm(end)];
  const angle = startLength && endLength ? angleBetween(start, startLength, end, endLength) : 0;
  if (angle < LEAST_ANGLE || Math.PI - angle < LEAST_ANGLE) {
    return Float32Array.from(start, (value, index) => (1 - share) * value + share * end[index]);
  }
  const length = (1 - share) * startLength + share * endLength;
  const from = (length * Math.sin((1 - share) * angle)) / (Math.sin(angle) * startLength);
  const to = (length * Math.sin(share * angle)) / (Math.sin(angle) * endLength);
  return Float32Array.from(start, (value, index) => from * value + to * end[index]);
}

// A latent, or a style, moved along each direction by its offset.
export function moved(latent, directions, offsets) {
  const sums = Float64Array.from(latent);
  directions.forEach(({ vector }, row) => {
    if (offsets[row]) vector.forEach((value, index) => (sums[index] += offsets[row] * value));
  });
  return Float32Array.from(sums);
}

function norm(values) {
  return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
}

// More exact than the arc cosine for vectors that are nearly parallel or opposite (Kahan 2006).
function angleBetween(a, aLength, b, bLength) {
  let [apart, together] = [0, 0];
  for (let index = 0; index < a.length; index++) {
    const [u, v] = [a[index] / aLength, b[index] / bLength];
    apart += (u - v) ** 2;
    together += (u + v) ** 2;
  }
  return 2 * Math.atan2(Math.sqrt(apart), Math.sqrt(together));
}
