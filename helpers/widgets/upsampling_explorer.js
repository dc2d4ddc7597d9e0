// The browser's half of UpsamplingExplorer: every method is one matrix, a row of weights on the
// cells per output pixel. Random kernels come from Python once; all else is computed here.

const SIDE = 6, CELLS = SIDE * SIDE, TINY = 1e-6;
const TRANSPOSED = "transposed convolution", RESIZE = "resize, then convolve", SHUFFLE = "pixel shuffle";
const PAINT = [" ", "Enter"], ERASE = ["Delete", "Backspace"];
const CIVIDIS = [[0, 34, 78], [66, 78, 108], [125, 124, 120], [187, 175, 113], [254, 232, 56]];
const WHITE = [255, 255, 255], BLUE = [86, 180, 233];
const DRAWINGS = { clear: () => 0, "one dot": (y, x) => +(y === 2 && x === 2),
  edge: (y, x) => +(x < SIDE / 2), flat: () => 1 };
const slider = (name, text, step) => `<label class="slider"><span>${text}</span>
  <input type="range" name="${name}" step="${step}"><b></b></label>`;
const map = (name) => `<figure><figcaption>${name}</figcaption>
  <canvas role="application" tabindex="0" width="720" height="720"></canvas><p></p><div class="legend"></div></figure>`;
const FORM = `
  <fieldset class="input"><legend>Input</legend>
    <canvas role="application" tabindex="0" width="720" height="720"></canvas>
    <div class="drawings"></div></fieldset>
  <fieldset class="settings"><legend>Controls</legend>
    <label><span>Method</span><select name="method"></select></label>
    ${slider("kernel", "Kernel", 1)}${slider("stride", "Stride", 1)}
    <label><span>First weights</span><select name="init"></select></label>
    ${slider("ink", "Ink", 0.1)}</fieldset>
  <div class="maps">${map("Output")}${map("Overlap: cells per pixel")}</div>
  <output>Draw on the input: drag, or focus it and use arrow keys, Space to paint, Delete to erase.
    Then point at a pixel of the output, or focus it and use arrow keys.</output>`;

const range = (count) => Array.from({ length: count }, (_, i) => i);
const total = (list) => list.reduce((sum, value) => sum + value, 0);
const ends = (list) => [Math.min(...list), Math.max(...list)];
const distinct = (list) => [...new Set(list)].sort((a, b) => a - b);
const number = (value) => (Math.abs(value) < 0.005 ? 0 : value).toFixed(2).replace("-", "−");
const span = (list) => [...new Set(ends(list).map(number))].join(" to ");
const places = (what, list) => {
  const [low, high] = ends(list);
  return low === high ? `${what} ${low}` : `${what}s ${low} to ${high}`;
};

function matrix({ method, kernel: k, stride: s, init }, noise) {
  const between = (place) => { // the two cells beside it, each with its share
    const at = clamp(place, SIDE - 1), i = Math.floor(at);
    return [[i, 1 - at + i], [i + 1, at - i]].filter(([, share]) => share);
  };
  const taps = (cell) => range(k).map((tap) => [cell(tap), tap]) // cells, each with the tap it meets
    .filter(([i]) => Number.isInteger(i) && i >= 0 && i < SIDE);
  const before = (k - 1) >> 1, crop = Math.max(0, Math.ceil((k - s) / 2));
  const line = { // for pixel p of a row or of a column
    nearest: (p) => [[Math.floor(p / s), 1]],
    bilinear: (p) => between((p + 0.5) / s - 0.5),
    "bilinear, align_corners": (p) => between((p * (SIDE - 1)) / (s * SIDE - 1)),
    [TRANSPOSED]: (p) => taps((tap) => (p + crop - tap) / s),
    [RESIZE]: (p) => taps((tap) => Math.floor((p + tap - before) / s)),
    [SHUFFLE]: (p) => taps((tap) => Math.floor(p / s) + tap - before),
  }[method];
  const tent = (tap) => 1 - Math.abs(tap - (k - 1) / 2) / s, gain = (method === TRANSPOSED ? s : 1) / k;
  const weight = {
    none: (v, u) => v * u,
    ones: () => (method === TRANSPOSED ? 1 : 1 / k ** 2),
    bilinear: (v, u) => tent(v) * tent(u),
    ICNR: (v, u) => gain * noise[k - 1][0][v][u],
    random: (v, u, y, x) => gain * noise[k - 1][method === SHUFFLE ? (y % s) * s + (x % s) : 0][v][u],
  }[init];
  return range((SIDE * s) ** 2).map((p) => {
    const y = Math.floor(p / (SIDE * s)), x = p % (SIDE * s), row = Array(CELLS).fill(0);
    for (const [i, v] of line(y)) for (const [j, u] of line(x)) row[i * SIDE + j] += weight(v, u, y, x);
    return row;
  });
}

function checkerboard(values, s) { // the share of energy that repeats in every block, as in helpers.upsampling
  const across = values.length ** 0.5, means = Array(s * s).fill(0);
  values.forEach((v, p) => { means[(Math.floor(p / across) % s) * s + (p % s)] += v / (across / s) ** 2; });
  const [energy, pattern] = [values, means].map((list) => total(list.map((v) => v * v)) / list.length);
  return energy && (pattern - (total(means) / means.length) ** 2) / energy;
}

function render({ model, el }) {
  const get = (name) => model.get(name);
  const set = (name, value) => { model.set(name, value); model.save_changes(); };
  const methods = get("methods");

  // Native inputs, named after the trait that each of them moves.
  const form = make("form", { className: "pixelwise-upsampling", innerHTML: FORM });
  const [input, picture, overlap] = form.querySelectorAll("canvas");
  const [pictureNote, overlapNote] = form.querySelectorAll("p");
  const [legend, readout] = ["figure + figure .legend", "output"].map((selector) => form.querySelector(selector));
  for (const [name, [min, max]] of Object.entries(get("limits")))
    Object.assign(form.elements[name], { min, max });
  form.elements.method.append(...Object.keys(methods).map((name) => new Option(name)));
  form.querySelector(".drawings").append(...Object.entries(DRAWINGS).map(([textContent, cell]) => {
    const onclick = () => set("cells", range(SIDE).map((y) => range(SIDE).map((x) => cell(y, x))));
    return make("button", { type: "button", textContent, onclick });
  }));
  form.onsubmit = (event) => event.preventDefault();
  keepKeys(form);
  form.oninput = ({ target }) =>
    set(target.name, target.type === "range" ? target.valueAsNumber : target.value);

  let state, side, rows, values, counts, white; // what the traits give at present
  let cursor = null; // [input or picture, column, row]

  function compute() {
    const method = get("method"), inits = methods[method], stride = get("stride");
    const init = !inits.length ? "none" : inits.includes(get("init")) ? get("init") : "random";
    const kernel = init === "bilinear" ? 2 * stride - (stride % 2) : get("kernel");
    const cells = get("cells").flat();
    state = { method, kernel, stride, init };
    side = SIDE * stride;
    rows = matrix(state, get("noise"));
    values = rows.map((row) => total(row.map((weight, i) => weight * cells[i])));
    counts = rows.map((row) => row.filter((weight) => Math.abs(weight) > TINY).length);
    white = Math.max(1, ...values.map(Math.abs));
    form.result = { values, counts, checkerboard: checkerboard(values, stride) };
  }

  function joined() { // the cells and the pixels that the cursor connects
    if (!cursor) return { cells: [], pixels: [] };
    const [where, x, y] = cursor, own = y * (where === input ? SIDE : side) + x;
    const linked = (pixel, cell) => Math.abs(rows[pixel][cell]) > TINY;
    return where === input
      ? { cells: [own], pixels: range(rows.length).filter((pixel) => linked(pixel, own)) }
      : { cells: range(CELLS).filter((cell) => linked(own, cell)), pixels: [own] };
  }

  function paint(canvas, across, marked, color, write) {
    const pen = canvas.getContext("2d"), step = canvas.width / across;
    for (const p of range(across ** 2)) {
      const x = (p % across) * step, y = Math.floor(p / across) * step;
      pen.fillStyle = color(p);
      pen.fillRect(x, y, step, step);
      write(pen, p, x, y, step);
    }
    if (!marked.length) return;
    const [left, right] = ends(marked.map((p) => p % across));
    const [top, bottom] = ends(marked.map((p) => Math.floor(p / across)));
    for (const [lineWidth, strokeStyle] of [[14, "black"], [7, "#ff9a3c"]]) {
      Object.assign(pen, { lineWidth, strokeStyle });
      pen.strokeRect(left * step, top * step, (right - left + 1) * step, (bottom - top + 1) * step);
    }
  }

  function draw() {
    const { cells, pixels } = joined(), drawn = get("cells").flat(), most = Math.max(...counts, 1);
    const shade = (share, color) => `rgb(${color.map((c) => share * c).join(" ")})`;
    const heat = (count) => {
      const at = (4 * count) / most, i = Math.min(Math.floor(at), 3);
      return shade(1, CIVIDIS[i].map((c, j) => c + (at - i) * (CIVIDIS[i + 1][j] - c)));
    };
    paint(input, SIDE, cells, (p) => shade(drawn[p], WHITE), (pen, p, x, y, step) => {
      Object.assign(pen, { lineWidth: 3, strokeStyle: "#777" });
      pen.strokeRect(x, y, step, step);
    });
    paint(picture, side, pixels, (p) => shade(Math.abs(values[p]) / white, values[p] < -TINY ? BLUE : WHITE),
      (pen, p, x, y, step) => {
        if (values[p] >= -TINY) return;
        Object.assign(pen, { lineWidth: 3, strokeStyle: "white" });
        pen.beginPath();
        pen.moveTo(x, y + step);
        pen.lineTo(x + step, y);
        pen.stroke();
      });
    paint(overlap, side, pixels, (p) => heat(counts[p]), (pen, p, x, y, step) => {
      if (state.stride === 4 && most > 9) return; // no room for two digits: the legend has to do
      pen.fillStyle = counts[p] < 0.47 * most ? "white" : "black"; // whichever stands out more
      Object.assign(pen, { font: `${0.6 * step}px sans-serif`, textAlign: "center", textBaseline: "middle" });
      pen.fillText(counts[p], x + step / 2, y + 0.55 * step);
    });
    legend.replaceChildren(...distinct(counts).map((count) => {
      const swatch = make("span", { className: "swatch" });
      swatch.style.background = heat(count);
      return make("span", {}, swatch, count);
    }));
  }

  function describe() {
    const { method, kernel, stride, init } = state, inside = (list) => list.filter((_, p) =>
      [Math.floor(p / side), p % side].every((at) => Math.floor(at / stride) === 2));
    const why = {
      nearest: "each pixel copies one cell",
      [TRANSPOSED]: `the stride ${stride} ${kernel % stride ? "does not divide" : "divides"} the kernel ${kernel}`,
      [RESIZE]: "each pixel adds up the whole kernel, whichever cells lie under it",
      [SHUFFLE]: init === "ICNR" ? "the pixels of a block start from one and the same kernel"
        : "but each pixel of a block has a kernel of its own",
    }[method] ?? "each pixel mixes the cells beside it, in shares that add up to 1";
    const kinds = distinct(inside(counts)), flat = inside(rows.map(total));
    overlapNote.textContent = "Away from the border " +
      `${kinds.join(", ")}: ${kinds.length > 1 ? "uneven" : "even"} (${why}).`;
    const negative = values.some((v) => v < -TINY) ? "; crossed out: below 0, blue" : "";
    pictureNote.textContent = `Values ${span(values)} (black 0, white ${number(white)}${negative}). ` +
      `Checkerboard ${number(form.result.checkerboard)}. A flat input would give ${span(flat)} ` +
      `away from the border, checkerboard ${number(checkerboard(flat, stride))}.`;
    const weights = init === "none" ? "" : `, kernel ${kernel}, first weights ${init}`;
    input.ariaLabel = `Input, ${SIDE} × ${SIDE} cells, ${get("cells").flat().filter(Boolean).length} above 0. ` +
      "Arrow keys move, Space paints, Delete erases.";
    picture.ariaLabel = `Output of ${method}, stride ${stride}${weights}: ${side} × ${side} pixels. ${pictureNote.textContent}`;
    overlap.ariaLabel = `Overlap map: input cells per output pixel. ${overlapNote.textContent}`;
    if (!cursor) return;
    const { cells, pixels } = joined(), [where, x, y] = cursor;
    const area = (list, across) => (list.length === 0 ? "none"
      : `${places("row", list.map((p) => Math.floor(p / across)))}, ${places("column", list.map((p) => p % across))}`);
    readout.textContent = where === input
      ? `Input row ${y}, column ${x}: ${number(get("cells")[y][x])}. Pixels it reaches: ${area(pixels, side)}.`
      : `Output row ${y}, column ${x}: ${number(values[pixels[0]])}. Overlap ${cells.length}, cells: ${area(cells, SIDE)}.`;
  }

  function update() {
    compute();
    const { method, kernel, stride, init } = state, { elements } = form, inits = methods[method];
    if (cursor?.[0] === picture) cursor = [picture, ...cursor.slice(1).map((at) => clamp(at, side - 1))];
    const texts = { ink: get("ink").toFixed(1), stride, kernel };
    if (init === "none") texts.kernel = "not in this method";
    if (init === "bilinear") texts.kernel = `${kernel}: set by the stride`;
    for (const [name, text] of Object.entries(texts)) {
      elements[name].value = get(name);
      elements[name].ariaValueText = elements[name].parentNode.querySelector("b").textContent = text;
    }
    elements.method.value = method;
    elements.kernel.disabled = ["none", "bilinear"].includes(init);
    elements.init.disabled = init === "none";
    elements.init.replaceChildren(...(inits.length ? inits : ["none"]).map((value) => new Option(
      { none: "none in this method", ones: method === RESIZE ? "ones ÷ kernel²" : "ones" }[value] ?? value, value)));
    elements.init.value = init;
    describe();
    draw();
  }

  for (const canvas of [input, picture, overlap]) {
    const where = canvas === input ? input : picture, across = () => (canvas === input ? SIDE : side);
    const here = () => (cursor?.[0] === where ? cursor.slice(1) : [across() / 2 - 1, across() / 2 - 1]);
    const look = (...at) => { cursor = [where, ...at.map((a) => clamp(a, across() - 1))]; update(); };
    const put = (value) => {
      const [x, y] = here();
      set("cells", get("cells").map((row, i) => row.map((old, j) => (i === y && j === x ? value : old))));
    };
    canvas.onfocus = () => look(...here());
    canvas.onkeydown = (event) => {
      const [x, y] = here(), [dx, dy] = ARROWS[event.key] ?? [];
      if (event.key in ARROWS) look(x + dx, y + dy);
      else if (canvas === input && PAINT.includes(event.key)) put(get("ink"));
      else if (canvas === input && ERASE.includes(event.key)) put(0);
      else return;
      event.preventDefault(); // or the page scrolls
    };
    canvas.onpointerdown = canvas.onpointermove = (event) => {
      if (event.type === "pointerdown") canvas.setPointerCapture(event.pointerId);
      const { left, top, width } = canvas.getBoundingClientRect();
      look(...[event.clientX - left, event.clientY - top].map((d) => Math.floor((d / width) * across())));
      if (canvas === input && event.buttons) put(get("ink"));
    };
  }
  for (const name of ["cells", "ink", "method", "kernel", "stride", "init"])
    model.on(`change:${name}`, update);
  el.append(form);
  update();
}

export default { render };
