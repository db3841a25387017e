// Network: the generator, run by ONNX Runtime in WebAssembly.

import * as ort from "./ort.wasm.bundle.min.mjs";

const name = "ort-wasm-simd-threaded.wasm";
ort.env.wasm.wasmPaths = { wasm: new URL(name, import.meta.url).href };
// Several would share memory, which a browser allows few pages; pictures of small GANs take milliseconds with one.
ort.env.wasm.numThreads = 1;

export async function openNetwork(bytes, latentSize) {
  const options = { executionProviders: ["wasm"] };
  const session = await ort.InferenceSession.create(new Uint8Array(bytes), options).catch((error) => {
    throw new Error(`The generator cannot be run here: ${error.message}`);
  });
  return new Network(session, latentSize);
}

class Network {
  #session;
  #latentSize;

  constructor(session, latentSize) {
    this.#session = session;
    this.#latentSize = latentSize;
  }

  // Latents, one after the other, to pictures float [N, C, H, W] in [-1, 1]; a label is for those that have classes, psi
  // for those that have styles.
  async make(latents, { label, psi }) {
    const count = latents.length / this.#latentSize;
    const inputs = { latents: new ort.Tensor("float32", latents, [count, this.#latentSize]) };
    if (label !== null) inputs.labels = new ort.Tensor("int64", new BigInt64Array(count).fill(BigInt(label)), [count]);
    if (this.#session.inputNames.includes("psi")) {
      inputs.psi = new ort.Tensor("float32", new Float32Array(count).fill(psi ?? 1), [count]);
    }
    const { images } = await this.#session.run(inputs);
    return images.data;
  }
}
