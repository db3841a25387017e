// View: all that is chosen on the page, and how the part of the address behind # says it.

const MOST_SEED = 2n ** 63n - 1n;
export const MOST_OFFSET = 5;

export function isSeed(text) {
  return /^\d{1,19}$/.test(text) && BigInt(text) <= MOST_SEED;
}

// What is shown at first. A picture is the number of one of the latents of a seed; `end` is the one that a click on a
// picture replaces. Seeds are texts: they are larger than numbers that JavaScript holds exactly.
export function firstView(generator) {
  return {
    seed: "0",
    a: { seed: "0", number: 0 },
    b: { seed: "0", number: 1 },
    end: "a",
    position: 0,
    label: generator.classes.length ? generator.classes[0].label : null,
    truncation: null,
    psi: null,
    offsets: new Array(generator.directions).fill(0),
  };
}

// Whether the picture is made of a style that was moved, which no latent gives.
export function isStyle(view, generator) {
  return generator.has_styles && view.offsets.some((offset) => offset);
}

export function viewText(view) {
  const parts = [`seed=${view.seed}`, `a=${view.a.seed}.${view.a.number}`, `b=${view.b.seed}.${view.b.number}`];
  parts.push(`end=${view.end}`, `at=${view.position}`);
  if (view.label !== null) parts.push(`class=${view.label}`);
  if (view.truncation !== null) parts.push(`truncation=${view.truncation}`);
  if (view.psi !== null) parts.push(`psi=${view.psi}`);
  if (view.offsets.some((offset) => offset)) parts.push(`offsets=${view.offsets.join(",")}`);
  return parts.join("&");
}

// The view that a text says; what it does not say, or says of another generator, is as at first.
export function parseView(text, generator) {
  const said = new URLSearchParams(text);
  const view = firstView(generator);
  const seed = said.get("seed") ?? "";
  const position = number(said.get("at"), 0, 1);
  const truncation = number(said.get("truncation"), 0.01, 100);
  const label = generator.classes.find((each) => String(each.label) === said.get("class"));
  const offsets = (said.get("offsets") ?? "").split(",").map((each) => number(each, -MOST_OFFSET, MOST_OFFSET));
  if (isSeed(seed)) view.seed = seed;
  for (const end of ["a", "b"]) view[end] = drawn(said.get(end), generator.shown) ?? view[end];
  if (said.get("end") === "b") view.end = "b";
  if (position !== null) view.position = position;
  if (label) view.label = label.label;
  if (generator.has_styles) view.psi = number(said.get("psi"), -2, 2);
  else view.truncation = truncation;
  view.offsets = view.offsets.map((none, index) => offsets[index] ?? none);
  return view;
}

function number(text, least, most) {
  const value = text ? Number(text) : NaN;
  return value >= least && value <= most ? value : null;
}

function drawn(text, shown) {
  const [seed, index] = (text ?? "").split(".");
  const found = number(index, 0, shown - 1);
  return isSeed(seed) && Number.isInteger(found) ? { seed, number: found } : null;
}
