// The page: its controls, what they choose and the address that keeps it.

import { bytesOf, Latents } from "./latents.js";
import { openNetwork } from "./network.js";
import { Painter } from "./painter.js";
import { npyOf, pngOf } from "./picture.js";
import { firstView, isSeed, isStyle, MOST_OFFSET, parseView, viewText } from "./view.js";

const LEG_S = 3;
// Browsers refuse an address that changes many times a second.
const ADDRESS_MS = 250;
const part = (id) => document.getElementById(id);

function tell(error) {
  part("trouble").textContent = error.message;
  part("trouble").hidden = false;
}

async function open() {
  const generator = JSON.parse(new TextDecoder().decode(await bytesOf("description.json")));
  introduce(generator);
  const network = await openNetwork(await Promise.all(generator.graphs.map(bytesOf)), generator.latent_size);
  new Page(generator, network);
}

// All texts are put in as texts: what a stranger wrote is no markup.
function introduce(generator) {
  document.title = `${generator.job} - explore`;
  part("job").textContent = generator.job;
  part("about").textContent = generator.about;
  if (generator.reservation) part("reservation").textContent = `Reservation: ${generator.reservation}.`;
  part("reservation").hidden = !generator.reservation;
  const { width, height } = generator;
  document.documentElement.style.setProperty("--width", width);
  document.documentElement.style.setProperty("--height", height);
  document.documentElement.classList.toggle("has-alpha", generator.channels === 4);
}

class Page {
  #generator;
  #latents;
  #painter;
  #view;
  #sliders;
  #draws;
  #waiting;
  #isPlaying = false;

  constructor(generator, network) {
    this.#generator = generator;
    this.#latents = new Latents(generator.latent_size);
    this.#sliders = Array.from({ length: generator.directions }, (_, row) => this.#addDirection(row));
    this.#draws = Array.from({ length: generator.shown }, (_, number) => this.#addDraw(number));
    this.#addClasses(generator.classes);
    part("styles").hidden = !generator.has_styles;
    part("truncated").hidden = generator.has_styles; // which normalise their latents: it would change nothing
    this.#listen();
    const canvases = {
      picture: part("picture"),
      a: part("end-a").querySelector("canvas"),
      b: part("end-b").querySelector("canvas"),
      draws: this.#draws.map((button) => button.querySelector("canvas")),
    };
    this.#painter = new Painter(generator, network, this.#latents, canvases, tell);
    this.#show(parseView(location.hash.slice(1), generator));
  }

  #addDirection(row) {
    const line = document.createElement("div");
    line.className = "row";
    const label = document.createElement("label");
    label.htmlFor = `direction-${row}`;
    label.append(`${row + 1}`, document.createElement("small"));
    const slider = document.createElement("input");
    Object.assign(slider, { id: label.htmlFor, type: "range", min: -MOST_OFFSET, max: MOST_OFFSET, step: 0.1 });
    slider.addEventListener("input", () => {
      this.#change({ offsets: this.#view.offsets.with(row, Number(slider.value)) });
    });
    const value = document.createElement("span");
    value.className = "value";
    value.ariaHidden = true;
    line.append(label, slider, value);
    part("directions").append(line);
    return slider;
  }

  // Directions are other ones for another class.
  async #tellEffects(label) {
    const directions = await this.#latents.directionsOf(label);
    if (label !== this.#view.label) return;
    this.#sliders.forEach((slider, row) => {
      const share = `${Math.round(100 * directions[row].effect)}%`;
      const title = `${share} of what all directions together change`;
      slider.previousElementSibling.title = title;
      slider.previousElementSibling.lastChild.textContent = share;
      slider.setAttribute("aria-label", `Direction ${row + 1}, ${title}`);
    });
  }

  #addDraw(number) {
    const button = document.createElement("button");
    button.className = "draw";
    button.setAttribute("aria-label", `Picture ${number + 1}`);
    button.append(document.createElement("canvas"));
    button.addEventListener("click", () => this.#pick({ seed: this.#view.seed, number }));
    part("draws").append(button);
    return button;
  }

  #addClasses(classes) {
    part("classes").hidden = !classes.length;
    for (const { label, name } of classes) part("class").append(new Option(name, label));
  }

  #listen() {
    const on = (id, event, act) => part(id).addEventListener(event, () => act(part(id)));
    on("class", "change", ({ value }) => this.#change({ label: Number(value) }));
    on("position", "input", ({ value }) => this.#walkTo(Number(value)));
    on("truncation", "input", ({ value, max }) => this.#change({ truncation: value === max ? null : Number(value) }));
    on("psi", "input", ({ value, max }) => this.#change({ psi: value === max ? null : Number(value) }));
    on("seed", "change", ({ value }) => this.#draw(value.trim()));
    on("draw", "click", () => this.#draw(String(crypto.getRandomValues(new Uint32Array(1))[0])));
    on("reset", "click", () => this.#change({ offsets: firstView(this.#generator).offsets }));
    on("end-a", "click", () => this.#change({ end: "a", position: 0 }));
    on("end-b", "click", () => this.#change({ end: "b", position: 1 }));
    on("play", "click", () => this.#play(!this.#isPlaying));
    on("save-picture", "click", async () => save(await pngOf(this.#painter.pixels, this.#generator), "png"));
    on("save-latent", "click", () => save(npyOf(this.#painter.origin), "npy"));
    addEventListener("hashchange", () => this.#show(parseView(location.hash.slice(1), this.#generator)));
  }

  #draw(seed) {
    if (!isSeed(seed)) {
      part("seed").setCustomValidity("A whole number from 0 to 9,223,372,036,854,775,807.");
      part("seed").reportValidity();
      return;
    }
    const plain = String(BigInt(seed)); // 007 is 7
    this.#change({ seed: plain });
    this.#pick({ seed: plain, number: 0 });
  }

  #pick(draw) {
    this.#play(false);
    const { end } = this.#view;
    this.#change({ [end]: draw, position: end === "a" ? 0 : 1 });
  }

  #walkTo(position) {
    this.#play(false);
    this.#change({ position });
  }

  #play(isPlaying) {
    this.#isPlaying = isPlaying;
    part("play").setAttribute("aria-pressed", isPlaying);
    part("play").textContent = isPlaying ? "Stop" : "Play";
    if (!isPlaying) return;
    const start = performance.now() - 1000 * LEG_S * this.#view.position;
    const step = (now) => {
      if (!this.#isPlaying) return;
      const legs = ((now - start) / 1000 / LEG_S) % 2;
      this.#change({ position: Number((legs <= 1 ? Math.max(0, legs) : 2 - legs).toFixed(3)) });
      requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  #change(changes) {
    this.#show({ ...this.#view, ...changes });
  }

  #show(view) {
    // What is being typed stays while something else changes.
    if (this.#view?.seed !== view.seed) part("seed").value = view.seed;
    part("seed").setCustomValidity("");
    const isAnotherClass = this.#view?.label !== view.label;
    this.#view = view;
    if (isAnotherClass) this.#tellEffects(view.label).catch(tell);
    this.#painter.show(view, viewText(view));
    clearTimeout(this.#waiting);
    this.#waiting = setTimeout(() => history.replaceState(null, "", `#${viewText(this.#view)}`), ADDRESS_MS);
    part("class").value = view.label;
    part("position").value = view.position;
    part("truncation").value = view.truncation ?? part("truncation").max;
    part("truncation-value").textContent = part("truncation").ariaValueText = view.truncation ?? "none";
    part("psi").value = view.psi ?? part("psi").max;
    part("psi-value").textContent = part("psi").ariaValueText = view.psi ?? "1";
    for (const end of ["a", "b"]) part(`end-${end}`).setAttribute("aria-pressed", view.end === end);
    this.#sliders.forEach((slider, row) => {
      slider.value = view.offsets[row];
      slider.nextElementSibling.textContent = view.offsets[row].toFixed(1);
    });
    part("save-latent").textContent = isStyle(view, this.#generator) ? "Save style" : "Save latent";
    const chosen = view[view.end];
    this.#draws.forEach((button, number) =>
      button.setAttribute("aria-pressed", chosen.seed === view.seed && chosen.number === number),
    );
    const [what, command] = sameCommand(view, this.#generator);
    part("what").textContent = what;
    part("command").textContent = command;
  }
}

// What `ganctl` draws the picture that is shown by, and what it is of that.
function sameCommand(view, generator) {
  const { job, classes } = generator;
  if (isStyle(view, generator)) return ["Of the saved style:", `ganctl sample ${job} --styles ${job}.npy`];
  const name = classes.find(({ label }) => label === view.label)?.name;
  const psi = view.psi === null ? "" : ` --psi ${view.psi}`;
  const sample = `ganctl sample ${job}${name === undefined ? "" : ` --class ${quoted(name)}`}${psi}`;
  const end = { 0: view.a, 1: view.b }[view.position];
  if (!end || view.offsets.some((offset) => offset)) return ["Of the saved latent:", `${sample} --latents ${job}.npy`];
  const truncation = view.truncation === null ? "" : ` --truncation ${view.truncation}`;
  return [`Picture ${end.number + 1} of:`, `${sample} --seed ${end.seed}${truncation}`];
}

// A word for a shell.
function quoted(text) {
  return /^[\w.-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

function save(blob, suffix) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `${part("job").textContent}.${suffix}`;
  link.click();
  URL.revokeObjectURL(link.href);
}

open().catch(tell);
