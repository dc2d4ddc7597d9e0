// The browser's half of ReceptiveFieldExplorer. Boxes and paths are computed here, without a kernel;
// only the heat of a trained network is Python's: it answers whenever picture, network or pixel move.

const AXES = ["kernel", "stride", "dilation"], SHARES = [0.5, 0.95], PATIENCE = 1500; // milliseconds
const TINT = "255 158 0", FLOOR = 0.0455;
const VEIL = 0.45, HOLE = 0.7, PALE = 0.2, STRONG = 0.85; // opacities, as in Python
const FORM = `
  <div class="stage"><canvas role="application" tabindex="0"></canvas><div class="legend"></div><output></output></div>
  <div class="side">
    <label><span>Who looks</span><select name="source"></select></label>
    <label><span>Picture <b></b></span><input type="range" name="index"></label>
    <fieldset class="show"><legend>Show</legend></fieldset>
    <fieldset class="stack"><legend>Layers, the first on top</legend>
      <table><thead><tr></tr></thead><tbody></tbody></table>
      <button type="button" name="add">add a layer</button>
      <div class="presets" role="group" aria-label="ready-made stacks"></div></fieldset>
    <dl></dl>
  </div>`;

const percent = (share) => `${Number((100 * share).toPrecision(share < 0.0995 ? 2 : 3))} %`;
const pixels = (value) => `${value.toFixed(1)} px`;

const reachOf = ([kernel, , dilation]) => dilation * (kernel - 1); // half of it is padded, at the low end

function countPaths(layers) { // along one axis and without borders; low, high: the field of cell 0
  let paths = new Float64Array([1]), jump = 1, low = 0;
  for (const layer of layers) {
    const [kernel, stride, dilation] = layer, step = dilation * jump;
    const wider = new Float64Array(paths.length + (kernel - 1) * step);
    for (let tap = 0; tap < kernel; tap++)
      for (let i = 0; i < paths.length; i++) wider[i + tap * step] += paths[i];
    low -= Math.floor(reachOf(layer) / 2) * jump;
    [paths, jump] = [wider, jump * stride];
  }
  let seen = 0, gap = 0, last = 0, most = 0;
  for (let i = 0; i < paths.length; i++) if (paths[i]) {
    seen += 1;
    gap = Math.max(gap, i - last - 1);
    last = i;
    most = Math.max(most, paths[i]);
  }
  return { layers, paths, jump, low, high: low + paths.length - 1, gap, most, covered: (seen / paths.length) ** 2 };
}

function place({ layers, jump, low, high }, at, length) { // the cell nearest to `at`, on one axis
  const cells = [length];
  for (const layer of layers)
    cells.push(Math.max(1, Math.floor((cells.at(-1) - 1 - (reachOf(layer) % 2)) / layer[1]) + 1));
  const cell = clamp(Math.round((at - (low + high) / 2) / jump), cells.at(-1) - 1);
  let counts = new Float64Array(cells.at(-1));
  counts[cell] = 1;
  for (let k = layers.length - 1; k >= 0; k--) { // back to the image; paths through padding end
    const [kernel, stride, dilation] = layers[k], wider = new Float64Array(cells[k]);
    const padding = Math.floor(reachOf(layers[k]) / 2);
    counts.forEach((count, i) => {
      for (let tap = 0; tap < kernel; tap++) {
        const read = i * stride + tap * dilation - padding;
        if (read >= 0 && read < cells[k]) wider[read] += count;
      }
    });
    counts = wider;
  }
  return { counts, centre: cell * jump + (low + high) / 2, low: clamp(low + cell * jump, length),
    high: clamp(high + 1 + cell * jump, length) };
}

async function render({ model, el }) {
  const get = (name) => model.get(name);
  const set = (state) => { Object.entries(state).forEach((pair) => model.set(...pair)); model.save_changes(); };
  const [[count, height, width], boxes, limits] = ["shape", "boxes", "limits"].map(get);
  const photos = await unpack(get("photos"));
  const heats = {}; // the last answer about each network

  // Native inputs, named after the trait that each of them moves.
  const form = make("form", { className: "pixelwise-field", innerHTML: FORM });
  const [canvas, legend, readout, show, stack, facts] =
    ["canvas", ".legend", "output", ".show", ".stack", "dl"].map((s) => form.querySelector(s));
  const [head, body] = ["thead tr", "tbody"].map((s) => stack.querySelector(s));
  form.elements.index.max = count - 1;
  form.elements.source.append(new Option("a stack, built here", "stack"),
    ...Object.keys(boxes).map((name) => new Option(`trained: ${name}`, name)));
  for (const [value, text] of [["paths", "which pixels"], ["heat", "how much each counts"]])
    show.append(make("label", {}, make("input", { type: "radio", name: "show", value }), text));
  head.append(make("td", {}), ...AXES.map((textContent) => make("th", { textContent, scope: "col" })), make("td", {}));
  for (const [textContent, layers] of get("presets")) {
    const onclick = () => set({ layers });
    stack.querySelector(".presets").append(make("button", { type: "button", textContent, onclick }));
  }
  form.onsubmit = (event) => event.preventDefault();
  keepKeys(form);
  form.oninput = ({ target }) => {
    if (target.name) set({ [target.name]: target.type === "range" ? target.valueAsNumber : target.value });
    else if (target.value && target.checkValidity()) edit(target.place, target.axis, target.valueAsNumber);
  };
  form.addEventListener("focusout", ({ target }) => { // what was refused gives way to what holds
    if (target.type === "number") target.value = get("layers")[target.place]?.[target.axis];
  });
  form.elements.add.onclick = () => set({ layers: [...get("layers"), get("layers").at(-1)] });

  function edit(place, axis, value) {
    set({ layers: get("layers").map((old, i) => (i === place ? old.with(axis, value) : old)) });
  }

  function fill() { // the table; rows are made anew only when their number changes: focus stays
    const layers = get("layers");
    while (body.rows.length > layers.length) body.lastChild.remove();
    while (body.rows.length < layers.length) {
      const place = body.rows.length, cell = (...inside) => make("td", {}, ...inside);
      const remove = make("button", { type: "button", textContent: "×", ariaLabel: `remove layer ${place + 1}` });
      remove.onclick = () => {
        const rest = get("layers").filter((_, i) => i !== place), one = rest.length === limits.layers[0];
        const next = one ? form.elements.add : body.rows[Math.min(place, rest.length - 1)].querySelector("button");
        next.focus(); // before the last row goes, or is disabled
        set({ layers: rest });
      };
      body.append(make("tr", {}, make("th", { scope: "row", textContent: place + 1 }), ...AXES.map((name, axis) => {
        const [min, max] = limits[name];
        return cell(make("input", { type: "number", min, max, required: true, place, axis,
          ariaLabel: `layer ${place + 1}, ${name}` }));
      }), cell(remove)));
    }
    for (const input of body.querySelectorAll("input")) {
      const value = String(layers[input.place][input.axis]);
      if (input !== document.activeElement || input.valueAsNumber) input.value = value;
    }
    for (const button of body.querySelectorAll("button")) button.disabled = layers.length === limits.layers[0];
    form.elements.add.disabled = layers.length === limits.layers[1];
  }

  let counted = {}, view; // what the traits give at present

  function look() {
    const [index, source, row, column] = ["index", "source", "row", "column"].map(get);
    if (source !== "stack") {
      const [size, stride, rows, columns] = boxes[source], [[top, bottom], [left, right]] = [rows[row], columns[column]];
      const heat = heats[source]?.index === index ? heats[source] : null;
      return { box: [top, left, bottom, right], centre: [row, column], size, stride, heat };
    }
    const layers = get("layers"), counts = new Float64Array(height * width);
    if (counted.layers !== layers) counted = countPaths(layers);
    const { paths, jump, gap, most, covered } = counted;
    const [y, x] = [[row, height], [column, width]].map((axis) => place(counted, ...axis));
    for (let p = 0; p < counts.length; p++) counts[p] = y.counts[Math.floor(p / width)] * x.counts[p % width];
    const room = (y.high - y.low) * (x.high - x.low);
    return { box: [y.low, x.low, y.high, x.high], centre: [y.centre, x.centre], size: [paths.length, paths.length],
      stride: jump, paths, counts, most: most ** 2, gap, covered,
      weights: layers.reduce((sum, [kernel]) => sum + kernel ** 2, 0),
      heat: get("show") === "heat" ? spread(counts, room, y.centre, x.centre) : null };
  }

  function spread(counts, room, row, column) { // the paths, as the gradient of equal weights
    const peak = counts.reduce((a, b) => Math.max(a, b)), rings = new Map();
    let sum = 0, area = 0;
    counts.forEach((count, p) => {
      const ring = Math.hypot(Math.floor(p / width) - row, (p % width) - column);
      rings.set(ring, (rings.get(ring) ?? 0) + count);
      sum += count;
      area += count > FLOOR * peak;
    });
    const order = [...rings].sort(([a], [b]) => a - b);
    const radii = SHARES.map((share) => {
      let held = 0;
      return order.find(([, part]) => (held += part) >= share * sum * (1 - 1e-12))[0];
    });
    return { row, column, area, room, radii, levels: counts.map((count) => 255 * Math.sqrt(count / peak)) };
  }

  // The picture, `scale` canvas pixels to each of its own.
  const scale = Math.max(1, Math.round(768 / width));
  Object.assign(canvas, { width: scale * width, height: scale * height });
  const pen = canvas.getContext("2d"), small = make("canvas", { width, height });
  const [red, green, blue] = TINT.split(" ").map(Number);

  function stroke(trace, lineWidth, color, dash = []) { // on a black ground, to be seen on any photo
    pen.setLineDash(dash);
    pen.beginPath();
    trace();
    for (const coat of [[lineWidth + 3, "black"], [lineWidth, color]]) {
      [pen.lineWidth, pen.strokeStyle] = coat;
      pen.stroke();
    }
    pen.setLineDash([]);
  }

  function draw() {
    const { box: [top, left, bottom, right], centre, counts, heat, most, stride } = view;
    const shown = new ImageData(width, height), hatch = new Path2D(), warm = get("show") === "heat";
    for (let p = 0; p < width * height; p++) {
      const y = Math.floor(p / width), x = p % width, inside = y >= top && y < bottom && x >= left && x < right;
      let veil = inside ? 0 : VEIL, tint = 0;
      if (warm && heat) {
        const level = heat.levels[p] / 255;
        [veil, tint] = [HOLE * (1 - level), STRONG * level];
      } else if (!warm && counts && inside) {
        if (counts[p]) tint = PALE + ((STRONG - PALE) * Math.log(counts[p])) / Math.log(Math.max(2, most));
        else {
          veil = HOLE;
          hatch.moveTo(x * scale, (y + 1) * scale); // diagonals of neighbouring pixels join
          hatch.lineTo((x + 1) * scale, y * scale);
        }
      }
      const cover = 1 - (1 - veil) * (1 - tint), share = cover && tint / cover;
      shown.data.set([red * share, green * share, blue * share, 255 * cover].map(Math.round), 4 * p);
    }
    small.getContext("2d").putImageData(shown, 0, 0);
    compose(pen, photos[get("index")], small, 1, false);
    Object.assign(pen, { lineWidth: 0.2 * scale, strokeStyle: "#bbb" });
    pen.stroke(hatch);
    const frame = (y, x, tall, wide) => pen.rect(x * scale, y * scale, wide * scale, tall * scale);
    stroke(() => frame(top, left, bottom - top, right - left), 3, "white");
    if (warm && heat) heat.radii.forEach((radius, i) =>
      stroke(() => pen.arc((heat.column + 0.5) * scale, (heat.row + 0.5) * scale, radius * scale, 0, 7),
        2.5, "#56b4e9", i ? [10, 8] : []));
    if (counts && stride > 1)
      stroke(() => frame(...centre.map((at) => at + 0.5 - stride / 2), stride, stride), 2, "white", [4, 4]);
    stroke(() => frame(get("row"), get("column"), 1, 1), 2.5, "white");
  }

  let waiting; // for the heat of the present pixel; told only when Python takes its time

  function describe() {
    const { box: [top, left, bottom, right], size, stride, counts, heat } = view, warm = get("show") === "heat";
    const [source, row, column] = ["source", "row", "column"].map(get);
    const whole = size.includes(null), told = whole ? "the whole image" : `${size.join(" × ")} pixels`;
    const list = [["Receptive field", told], ["Stride of the output", `${stride} px`]];
    if (counts) list.push(["Weights per pair of channels", view.weights],
      ["Covered share of the square", percent(view.covered)], ["Largest gap", view.gap ? `${view.gap} px` : "none"]);
    if (warm && heat && !heat.area) list.push(["Heat", "none: no pixel moves this output"]);
    else if (warm && heat) list.push(...SHARES.map((share, i) => [`${percent(share)} of the heat within`, pixels(heat.radii[i])]),
      ["Above 4.55 % of the peak", `${heat.area} px, ${percent(heat.area / heat.room)} of the box in the image`]);
    facts.replaceChildren(...list.flatMap(([term, value]) =>
      [make("dt", { textContent: term }), make("dd", { textContent: value })]));
    const fresh = !warm || (heat && (counts || (heat.row === row && heat.column === column)));
    const lag = fresh ? "" : "The heat of this pixel needs a running kernel. " +
      (heat ? `Shown is that of row ${heat.row}, column ${heat.column}.` : "None of this picture is at hand.");
    clearTimeout(waiting);
    const cell = counts && stride > 1 ? ` Nearest output cell: centre ${view.centre.join(", ")}.` : "";
    const where = `Row ${row}, column ${column}.${cell} Box in the image: rows ${top} to ${bottom - 1}, ` +
      `columns ${left} to ${right - 1}.`;
    readout.textContent = where;
    if (lag) waiting = setTimeout(() => { readout.textContent = `${where} ${lag}`; }, PATIENCE);
    const who = counts ? `Stack of ${get("layers").length} layers` : `Trained network ${source}`;
    canvas.ariaLabel = `Picture ${get("index")}, seen by: ${who}; ${warm ? "heat" : "pixels with a path"}. ${where} ` +
      list.map((pair) => pair.join(": ")).join("; ") + ".";
    const key = [["", "box: all that the layers can reach"], ["veil", "outside"]];
    if (warm) key.splice(1, 1, ["glow", "heat, by its square root"], ["ring", "50 % of it"], ["ring dashed", "95 %"]);
    else if (counts) key.splice(1, 0, ["glow", "seen, by the log of its paths"], ["hole", "hole: no path"]);
    legend.replaceChildren(...key.map(([kind, text]) =>
      make("span", {}, make("span", { className: `swatch ${kind}` }), text)));
  }

  function update() {
    for (const name of ["index", "source", "show"]) form.elements[name].value = get(name);
    const { index } = form.elements;
    index.ariaValueText = index.parentNode.querySelector("b").textContent = `${get("index")} (0 to ${count - 1})`;
    stack.hidden = get("source") !== "stack";
    fill();
    form.result = view = look();
    describe();
    draw();
  }

  function hear([index, source, row, column, levels, area, ...radii]) {
    if (!levels) return; // nothing asked, nothing answered yet
    const { buffer, byteOffset, byteLength } = levels;
    const [rows, columns] = boxes[source].slice(2), [[top, bottom], [left, right]] = [rows[row], columns[column]];
    heats[source] = { index, row, column, area, radii, room: (bottom - top) * (right - left),
      levels: new Uint8Array(buffer, byteOffset, byteLength) };
  }

  const move = (row, column) => set({ row: clamp(row, height - 1), column: clamp(column, width - 1) });
  canvas.onkeydown = (event) => {
    if (!(event.key in ARROWS)) return;
    event.preventDefault(); // or the page scrolls
    const [dx, dy] = ARROWS[event.key].map((d) => d * (event.shiftKey ? 8 : 1));
    move(get("row") + dy, get("column") + dx);
  };
  canvas.onpointerdown = canvas.onpointermove = (event) => {
    if (event.type === "pointerdown") canvas.setPointerCapture(event.pointerId);
    if (!event.buttons) return; // or the way to the controls would move the pixel
    const { left, top, width: w, height: h } = canvas.getBoundingClientRect();
    move(Math.floor(((event.clientY - top) / h) * height), Math.floor(((event.clientX - left) / w) * width));
  };

  [...get("starts"), get("answer")].forEach(hear);
  let due = false; // one drawing for traits that change together
  const redraw = () => {
    if (!due) queueMicrotask(() => { due = false; update(); });
    due = true;
  };
  for (const name of ["index", "source", "layers", "row", "column", "show"]) model.on(`change:${name}`, redraw);
  model.on("change:answer", () => { hear(get("answer")); redraw(); });
  el.append(form);
  update();
}

export default { render };
