// Network: the generator, run by ONNX Runtime in WebAssembly.

import * as ort from "./ort.wasm.bundle.min.mjs";

const name = "ort-wasm-simd-threaded.wasm";
ort.env.wasm.wasmPaths = { wasm: new URL(name, import.meta.url).href };
// Several would share memory, which a browser allows few pages; pictures of small GANs take milliseconds with one.
ort.env.wasm.numThreads = 1;

// Of the bytes of a whole generator and, where it has styles, of its half that draws of them.
export async function openNetwork([whole, half], latentSize) {
  return new Network(await open(whole), half && (await open(half)), latentSize);
}

function open(bytes) {
  return ort.InferenceSession.create(new Uint8Array(bytes), { executionProviders: ["wasm"] }).catch((error) => {
    throw new Error(`The generator cannot be run here: ${error.message}`);
  });
}

class Network {
  #whole;
  #half;
  #latentSize;

  constructor(whole, half, latentSize) {
    this.#whole = whole;
    this.#half = half;
    this.#latentSize = latentSize;
  }

  // Latents, one after the other, to pictures float [N, C, H, W] in [-1, 1]; a label is for those that have classes, psi
  // for those that have styles.
  async make(latents, view) {
    return (await this.#run(latents, view)).images.data;
  }

  // One latent to its style, float [w_size].
  async style(latent, view) {
    return (await this.#run(latent, view)).w.data;
  }

  // One style to its picture.
  async draw(style) {
    const { images } = await this.#half.run({ w: new ort.Tensor("float32", style, [1, style.length]) });
    return images.data;
  }

  #run(latents, { label, psi }) {
    const count = latents.length / this.#latentSize;
    const inputs = { latents: new ort.Tensor("float32", latents, [count, this.#latentSize]) };
    if (label !== null) inputs.labels = new ort.Tensor("int64", new BigInt64Array(count).fill(BigInt(label)), [count]);
    if (this.#whole.inputNames.includes("psi")) {
      inputs.psi = new ort.Tensor("float32", new Float32Array(count).fill(psi ?? 1), [count]);
    }
    return this.#whole.run(inputs);
  }
}
