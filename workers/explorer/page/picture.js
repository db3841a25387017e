// Picture: from what a network makes to what a canvas shows and a PNG holds.

// Float [C, H, W] in [-1, 1] -> bytes [H, W, C]; a clamped array rounds as the server does, half to even.
export function toPixels(values, { channels, height, width }) {
  const area = height * width;
  const pixels = new Uint8ClampedArray(channels * area);
  for (let channel = 0; channel < channels; channel++) {
    for (let at = 0; at < area; at++) pixels[at * channels + channel] = (values[channel * area + at] + 1) * 127.5;
  }
  return pixels;
}

export function paint(canvas, pixels, { channels, height, width }) {
  const shown = new ImageData(width, height);
  for (let at = 0; at < height * width; at++) {
    for (let channel = 0; channel < 3; channel++) {
      shown.data[4 * at + channel] = pixels[at * channels + (channels < 3 ? 0 : channel)];
    }
    shown.data[4 * at + 3] = channels === 4 ? pixels[4 * at + 3] : 255;
  }
  Object.assign(canvas, { width, height });
  canvas.getContext("2d").putImageData(shown, 0, 0);
}

const COLOUR_TYPES = { 1: 0, 3: 2, 4: 6 };

// A PNG of bytes [H, W, C]. A canvas could write one too, but not the colours of what is transparent: it keeps them
// multiplied by alpha.
export async function pngOf(pixels, { channels, height, width }) {
  const rows = new Uint8Array(height * (1 + width * channels));
  for (let row = 0; row < height; row++) {
    // The byte before each row says that it is not filtered.
    rows.set(pixels.subarray(row * width * channels, (row + 1) * width * channels), row * (1 + width * channels) + 1);
  }
  const header = new DataView(new ArrayBuffer(13));
  header.setUint32(0, width);
  header.setUint32(4, height);
  header.setUint8(8, 8);
  header.setUint8(9, COLOUR_TYPES[channels]);
  const deflated = new Blob([rows]).stream().pipeThrough(new CompressionStream("deflate"));
  const packed = await new Response(deflated).arrayBuffer();
  const signature = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);
  const chunks = [chunk("IHDR", header.buffer), chunk("IDAT", packed), chunk("IEND", new ArrayBuffer(0))];
  return new Blob([signature, ...chunks], { type: "image/png" });
}

function chunk(kind, content) {
  const bytes = new Uint8Array(12 + content.byteLength);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, content.byteLength);
  bytes.set(new TextEncoder().encode(kind), 4);
  bytes.set(new Uint8Array(content), 8);
  view.setUint32(8 + content.byteLength, crc32(bytes.subarray(4, 8 + content.byteLength)));
  return bytes;
}

function crc32(bytes) {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}

// A latent, or a style, as a .npy file, float32 [1, N], which `ganctl sample` takes.
export function npyOf(origin) {
  const said = `{'descr': '<f4', 'fortran_order': False, 'shape': (1, ${origin.length}), }`;
  // The header and the ten bytes before it end at a multiple of 64, with a line's end.
  const header = said.padEnd(Math.ceil((said.length + 11) / 64) * 64 - 11) + "\n";
  const start = Uint8Array.of(0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, header.length & 0xff, header.length >> 8);
  return new Blob([start, header, origin], { type: "application/octet-stream" });
}
