// The browser's half of CRFPlayground. Python computes; at most one request is on its way to it, and
// what moves meanwhile goes together with the next. Tuned settings are at hand without a kernel.

const PATIENCE = 1500; // milliseconds
const OPACITY = 0.6, MENDED = 1, SPOILT = 2, FALSE = 3;
const DECADE = 20; // places of a slider from 1 to 10: as many steps from 0.4 to 4 as from 8 to 80
const FAINTEST = -20; // place of the least weight, 0.1; the place before it is "off"
const FORM = `
  <div class="controls">
    <div>
      <label><span>Network</span><select name="source"></select></label>
      <label><span>Picture</span><input type="range" name="index"><b></b></label>
      <label><span>Iterations</span><input type="range" name="iterations" max="10"><b></b></label>
      <fieldset class="views"><legend>Show before and after as</legend></fieldset>
      <button type="button" name="tuned">tuned for this network</button>
      <button type="button" name="off">no CRF</button>
    </div>
    <div>
      <fieldset class="appearance"><legend>Appearance: near, and of like colour</legend></fieldset>
      <fieldset class="smoothness"><legend>Smoothness: near</legend></fieldset>
    </div>
  </div>
  <div class="stage"></div>
  <div class="legend classes"></div>
  <div class="legend changes"></div>
  <div class="facts"><div class="energy" role="img"></div><div><output></output><dl></dl></div></div>`;
const SLIDERS = [ // in the order of crf.Params
  ["appearance", "weight", ""], ["appearance", "distance (sxy)", " px"], ["appearance", "colour (srgb)", " levels"],
  ["smoothness", "weight", ""], ["smoothness", "distance (sxy)", " px"],
];

const fixed = (value, digits) => // a proper minus, and none before a zero
  value.toFixed(digits).replace(/^-(?=[0.]*$)/, "").replace("-", "−");
const times = (step) => `${step} iteration${step === 1 ? "" : "s"}`;
const same = (a, b) => a.every((value, i) => value === b[i]);

function worth(place, [low, high]) { // two digits of what a slider's place stands for
  if (!low && place < FAINTEST) return 0;
  return Math.min(Math.max(Number((10 ** (place / DECADE)).toPrecision(2)), low), high);
}

function placeOf(value, low) {
  if (!value) return FAINTEST - 1;
  return Math.max(Math.round(DECADE * Math.log10(value)), low ? -Infinity : FAINTEST);
}

function curve(energies, step) { // as SVG: dots joined by lines, a ring around the present step
  const [left, right, top, bottom] = [64, 408, 26, 168], last = energies.length - 1;
  const [low, high] = [Math.min(...energies), Math.max(...energies)];
  const rough = Math.max(high - low, 0.01) / 3, power = 10 ** Math.floor(Math.log10(rough));
  const gap = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const floor = Math.floor(low / gap), roof = Math.max(Math.ceil(high / gap), floor + 1);
  const x = (i) => left + ((right - left) * i) / last;
  const y = (energy) => bottom - ((bottom - top) * (energy / gap - floor)) / (roof - floor);
  const digits = Math.max(0, -Math.floor(Math.log10(gap) + 1e-9));
  const marks = Array.from({ length: roof - floor + 1 }, (_, i) => (floor + i) * gap).map((energy) =>
    `<path class="grid" d="M${left} ${y(energy)}H${right}"/>` +
    `<text class="tick" x="${left - 8}" y="${y(energy) + 4}">${fixed(energy, digits)}</text>`);
  const dots = energies.map((energy, i) => `<circle cx="${x(i)}" cy="${y(energy)}" r="3.5"/>` +
    `<text x="${x(i)}" y="${bottom + 20}">${i}</text>`);
  const line = energies.map((energy, i) => `${i ? "L" : "M"}${x(i)} ${y(energy)}`).join("");
  return `<svg viewBox="0 0 420 206" aria-hidden="true"><text class="title" x="0" y="12">Free energy, nats per pixel</text>
    ${marks.join("")}<path class="line" d="${line}"/>${dots.join("")}
    <circle class="ring" cx="${x(step)}" cy="${y(energies[step])}" r="8"/>
    <text x="${(left + right) / 2}" y="204">iteration</text></svg>`;
}

async function render({ model, el }) {
  let unsent = {}; // kept here too, because the echo of an earlier message sets a trait back
  const get = (name) => unsent[name] ?? model.get(name);
  const [[count, height, width], legend, changes, limits, tuned] =
    ["shape", "legend", "changes", "limits", "tuned"].map(get);
  const photos = await unpack(get("photos"));
  const truths = await inflate(get("truths"));
  const size = height * width, ranges = Object.values(limits);
  const isTuned = () => same(get("setting"), tuned[get("source")]);

  // Whatever moves waits until Python has answered what was asked before. An error there loses the
  // answer: one that is late is not waited for, and the next move asks anew.
  let late; // from this time on
  const give = (state) => Object.entries(state).forEach((pair) => model.set(...pair));
  function set(state) {
    Object.assign(unsent, state);
    give(state);
    send();
  }
  function send() {
    const open = get("request") !== get("answer")[0] && performance.now() < late;
    if (open || !Object.keys(unsent).length) return;
    const state = { ...unsent, request: get("request") + 1 };
    unsent = {};
    late = performance.now() + PATIENCE;
    give(state);
    model.save_changes();
  }

  // Native inputs, named after the trait that each of them moves.
  const form = make("form", { className: "pixelwise-crf", innerHTML: FORM });
  const [views, stage, classes, kinds, readout, energy, facts] =
    [".views", ".stage", ".classes", ".changes", "output", ".energy", "dl"].map((s) => form.querySelector(s));
  form.elements.index.max = count - 1;
  form.elements.source.append(...Object.keys(tuned).map((name) => new Option(name)));
  views.append(...get("views").map((value) =>
    make("label", {}, make("input", { type: "radio", name: "view", value }), value)));
  const sliders = SLIDERS.map(([kernel, text], place) => {
    const [low, high] = ranges[place];
    const slider = make("input", { type: "range", min: placeOf(low, low), max: Math.ceil(DECADE * Math.log10(high)) });
    slider.ariaLabel = `${kernel} ${text}`;
    slider.oninput = () => set({ setting: get("setting").with(place, worth(slider.valueAsNumber, ranges[place])) });
    form.querySelector(`.${kernel}`).append(make("label", {}, make("span", { textContent: text }), slider, make("b")));
    return slider;
  });
  form.onsubmit = (event) => event.preventDefault();
  keepKeys(form);
  form.oninput = ({ target }) => {
    if (target.name === "source") // a tuned setting follows the network
      set({ source: target.value, ...(isTuned() && { setting: tuned[target.value] }) });
    else if (target.name) set({ [target.name]: target.type === "range" ? target.valueAsNumber : target.value });
  };
  form.elements.tuned.onclick = () => set({ setting: tuned[get("source")] });
  form.elements.off.onclick = () => set({ setting: get("setting").with(0, 0).with(3, 0) });

  // Three pictures side by side, `scale` canvas pixels to each of their own.
  const scale = Math.max(1, Math.round(384 / width)), small = make("canvas", { width, height });
  const panels = [0, 1, 2].map(() => {
    const canvas = make("canvas", { role: "img", width: scale * width, height: scale * height });
    const title = make("figcaption", {});
    stage.append(make("figure", {}, title, canvas));
    return { canvas, title, pen: canvas.getContext("2d") };
  });
  const colors = new Uint32Array(256), paints = [0, ...changes.map(([, hex]) => pack(hex))];
  for (const [label, , hex] of legend) colors[label] = pack(hex);

  // `paint` gives the colour of a pixel, and whether to hatch it; `labels`, if any, get an outline.
  function draw({ pen }, index, paint, dark, labels) {
    const image = new ImageData(width, height), pixels = new Uint32Array(image.data.buffer);
    const hatch = new Path2D();
    for (let p = 0; p < size; p++) {
      const [color, hatched] = paint(p), x = (p % width) * scale, y = Math.floor(p / width) * scale;
      pixels[p] = color;
      if (!hatched) continue;
      hatch.moveTo(x, y + scale); // diagonals of neighbouring pixels join
      hatch.lineTo(x + scale, y);
    }
    small.getContext("2d").putImageData(image, 0, 0);
    compose(pen, photos[index], small, OPACITY, dark);
    pen.lineWidth = 0.24 * scale;
    pen.stroke(hatch);
    if (labels) {
      pen.lineWidth = 1;
      pen.stroke(outline(labels, width, scale, 0.5));
    }
  }

  const read = async ([source, index, setting, masks, energies, scores]) =>
    ({ source, index, setting, energies, scores, masks: await inflate(masks) });
  const starts = await Promise.all(get("starts").map(read));
  let newest = await read(get("answer").slice(1));

  function find() { // the answer for the present state, or what comes nearest to it
    const held = [newest, ...starts].filter((one) => one.source === get("source") && one.index === get("index"));
    const exact = held.find((one) => same(one.setting, get("setting")) && one.energies.length > get("iterations"));
    const { masks, energies, ...shown } = exact ?? held[0];
    const step = Math.min(get("iterations"), energies.length - 1);
    const truth = truths.subarray(shown.index * size).subarray(0, size);
    const [before, after] = [0, step].map((k) => masks.subarray(k * size).subarray(0, size));
    const kinds = before.map((was, p) => {
      if (was === after[p] || truth[p] === VOID) return 0;
      return after[p] === truth[p] ? MENDED : was === truth[p] ? SPOILT : FALSE;
    });
    const counts = [MENDED, SPOILT, FALSE].map((kind) => kinds.reduce((sum, one) => sum + (one === kind), 0));
    return { ...shown, exact: Boolean(exact), energies, step, truth, before, after, kinds, counts };
  }

  let waiting; // for the present setting; told only when Python takes its time

  function describe({ source, index, setting, exact, energies, scores, step, counts }) {
    const [mended, spoilt, others] = counts, view = get("view");
    const score = (k, m) => scores[k][m]?.toFixed(3) ?? "–";
    const said = `${mended} pixels mended, ${spoilt} spoilt, ${others} changed but wrong both times`;
    const titles = [`before: ${source}`, `after: ${times(step)} of the CRF`, "what changed"];
    const told = [`${view}; mean IoU ${score(0, 0)}`, `${view}; mean IoU ${score(step, 0)}`, said];
    panels.forEach(({ canvas, title }, i) => {
      title.textContent = titles[i];
      canvas.ariaLabel = `Picture ${index}, ${titles[i]}; ${told[i]}.`;
    });
    energy.innerHTML = curve(energies, step);
    energy.ariaLabel = "Free energy per pixel in nats, by iteration: " +
      energies.map((value, k) => `${k}: ${fixed(value, 3)}`).join(", ") + `. Shown: iteration ${step}.`;
    const list = [["Mean IoU", score(0, 0), score(step, 0)], ["IoU within 2 px of an edge", score(0, 1), score(step, 1)],
      ["Free energy per pixel", ...[0, step].map((k) => fixed(energies[k], 3))]];
    facts.replaceChildren(...list.flatMap(([term, was, is]) =>
      [make("dt", { textContent: term }), make("dd", { textContent: `${was} → ${is}` })]));
    const swatch = (hatched, background, ...text) => {
      const box = make("span", { className: hatched ? "swatch hatched" : "swatch" });
      box.style.backgroundColor = background;
      return make("span", {}, box, ...text);
    };
    const wrong = [[0, "wrong", "#ffffff"]], errors = view === "errors";
    classes.replaceChildren(...(errors ? wrong : legend).map(([, name, hex]) => swatch(errors, hex, name)));
    kinds.replaceChildren(...changes.map(([name, hex], i) =>
      swatch(i + 1 === SPOILT, hex, `${name}: `, make("b", { textContent: `${counts[i]} px` }))));
    const own = SLIDERS.map(([kernel, text, unit], i) => `${text === "weight" ? `${kernel} ` : ""}${setting[i]}${unit}`);
    const where = `${source} with ${same(setting, tuned[source]) ? "its tuned setting" : own.join(", ")}; ` +
      `picture ${index}, after ${times(step)}: ${said}.`;
    clearTimeout(waiting);
    readout.textContent = where;
    if (!exact) waiting = setTimeout(() => {
      readout.textContent = `Not inferred yet: this needs a running kernel. Still shown: ${where}`;
    }, PATIENCE);
  }

  function update() {
    for (const name of ["source", "index", "iterations", "view"]) form.elements[name].value = get(name);
    const { index, iterations } = form.elements;
    index.ariaValueText = `${get("index")} (0 to ${count - 1})`;
    iterations.ariaValueText = `${get("iterations")}`;
    sliders.forEach((slider, place) => {
      const value = get("setting")[place], [low] = ranges[place];
      slider.value = placeOf(value, low);
      slider.ariaValueText = value || low ? `${value}${SLIDERS[place][2]}` : "off";
    });
    for (const slider of [index, iterations, ...sliders]) slider.nextSibling.textContent = slider.ariaValueText;
    const { truth, before, after, kinds, ...shown } = find();
    const errors = get("view") === "errors";
    const painted = (mask) => (errors
      ? (p) => (truth[p] !== VOID && mask[p] !== truth[p] ? [WRONG, true] : [0, false])
      : (p) => [colors[mask[p]], false]);
    describe(shown);
    for (const [k, mask] of [before, after].entries())
      draw(panels[k], shown.index, painted(mask), errors, errors ? null : mask);
    draw(panels[2], shown.index, (p) => [paints[kinds[p]], kinds[p] === SPOILT], true);
    form.result = shown;
  }

  let due = false; // one drawing for traits that change together
  const redraw = () => {
    if (!due) queueMicrotask(() => { due = false; update(); });
    due = true;
  };
  for (const name of ["source", "index", "setting", "iterations", "view"]) model.on(`change:${name}`, redraw);
  model.on("change:answer", async () => {
    const answer = get("answer");
    send();
    const found = await read(answer.slice(1));
    if (answer !== get("answer")) return; // a newer one is being read
    newest = found;
    redraw();
  });
  el.append(form);
  update();
}

export default { render };
