// The browser's half of MutingExplorer. The masks of all choices arrive once; whatever the learner
// switches is redrawn here, without a kernel. The controls' state lives in the model, for Python.

const FORM = `
  <div class="controls">
    <fieldset class="parts"><legend></legend>
      <button type="button" name="all">all</button>
      <button type="button" name="none">none</button></fieldset>
    <fieldset class="views"><legend>Show</legend></fieldset>
    <div><label class="slider"><span>Picture <b></b></span><input type="range" name="index"></label>
      <label class="slider"><span>Opacity <b></b></span>
        <input type="range" name="opacity" max="1" step="0.01"></label></div>
  </div>
  <div class="stage"></div>
  <div class="legend"></div>
  <output></output>
  <table><caption>Scores</caption></table>
  <p></p>`;

// `words` call things by their names: `className` of the form, `title` of the switches, `one` part,
// what a switch says (`label(part)`). `extend` may add to the form; what it returns runs after each
// change, be it of the traits known here or of those named in `also`.
async function mute({ model, el }, words, also = [], extend = () => () => {}) {
  const get = (name) => model.get(name);
  const set = (name, value) => { model.set(name, value); model.save_changes(); };
  const [[count, height, width], parts, names, legend, measures, scores] =
    ["shape", "parts", "names", "legend", "measures", "scores"].map(get);
  const photos = await unpack(get("photos"));
  const masks = await inflate(get("masks")); // (picture, truth | band | choices, row, column)
  const size = height * width, every = names.length - 1;
  const number = (kept) => parts.reduce((sum, part, k) => sum + (kept.includes(part) << k), 0);
  const layer = (k) => masks.subarray((get("index") * (names.length + 2) + k) * size).subarray(0, size);

  // Native inputs, named after the trait that each of them moves.
  const form = make("form", { className: `pixelwise-muting ${words.className}`, innerHTML: FORM });
  const [switches, views, stage, key, readout, table, note] =
    [".parts", ".views", ".stage", ".legend", "output", "table", "p"].map((s) => form.querySelector(s));
  form.elements.index.max = count - 1;
  note.textContent = get("note");
  switches.querySelector("legend").textContent = words.title;
  const boxes = parts.map((value) => make("input", { type: "checkbox", name: "kept", value }));
  switches.querySelector("button").before(...boxes.map((box) => make("label", {}, box, box.value)));
  boxes.forEach((box) => { box.ariaLabel = words.label(box.value); });
  views.append(...get("views").map((value) =>
    make("label", {}, make("input", { type: "radio", name: "view", value }), value)));
  key.append(...[...legend, [null, "wrong", "#ffffff"]].map(([label, name, background]) => {
    const swatch = make("span", { className: label === null ? "swatch wrong" : "swatch" });
    swatch.style.backgroundColor = background;
    return make("span", {}, swatch, name);
  }));
  form.onsubmit = (event) => event.preventDefault();
  keepKeys(form);
  form.oninput = ({ target }) => {
    if (target.name === "kept") set("kept", parts.filter((_, k) => boxes[k].checked));
    else set(target.name, target.type === "range" ? target.valueAsNumber : target.value);
  };
  form.elements.all.ariaLabel = `keep ${names[every]}`;
  form.elements.none.ariaLabel = `keep no ${words.one}`;
  form.elements.all.onclick = () => set("kept", parts);
  form.elements.none.onclick = () => set("kept", []);

  // Three pictures side by side, `scale` canvas pixels to each of their own.
  const scale = Math.max(1, Math.round(384 / width)), small = make("canvas", { width, height });
  const panels = [0, 1, 2].map(() => {
    const canvas = make("canvas", { role: "img", width: scale * width, height: scale * height });
    const title = make("figcaption", {});
    stage.append(make("figure", {}, title, canvas));
    return { canvas, title, pen: canvas.getContext("2d") };
  });
  const colors = new Uint32Array(256);
  for (const [label, , hex] of legend) colors[label] = pack(hex);

  function draw({ pen }, k) {
    const [mask, truth, band] = [k, 0, 1].map(layer), nearOnly = get("view") === "boundary errors";
    const errors = get("view") !== "classes" && k > 0; // the truth has none: it keeps its colours
    const image = new ImageData(width, height), pixels = new Uint32Array(image.data.buffer);
    const hatch = new Path2D();
    for (let p = 0; p < size; p++) {
      if (nearOnly && !band[p]) pixels[p] = OUTSIDE;
      else if (!errors) pixels[p] = colors[mask[p]];
      else if (truth[p] !== VOID && mask[p] !== truth[p]) {
        const x = (p % width) * scale, y = Math.floor(p / width) * scale;
        pixels[p] = WRONG;
        hatch.moveTo(x, y + scale); // diagonals of neighbouring pixels join
        hatch.lineTo(x + scale, y);
      }
    }
    small.getContext("2d").putImageData(image, 0, 0);
    compose(pen, photos[get("index")], small, get("opacity"), errors);
    Object.assign(pen, { lineWidth: 0.24 * scale, strokeStyle: "black" }); // an extension may draw in white
    pen.stroke(hatch);
    if (errors) return;
    Object.assign(pen, { lineWidth: 1, globalAlpha: get("opacity") });
    pen.stroke(outline(mask, width, scale, 0.5));
    pen.globalAlpha = 1;
  }

  function update() {
    const picture = get("index"), chosen = number(get("kept"));
    for (const input of ["index", "opacity", "view"]) form.elements[input].value = get(input);
    for (const [k, box] of boxes.entries()) box.checked = get("kept").includes(parts[k]);
    const { index, opacity } = form.elements;
    index.ariaValueText = `${picture} (0 to ${count - 1})`;
    opacity.ariaValueText = `${Math.round(100 * get("opacity"))} %`;
    for (const slider of [index, opacity])
      slider.parentNode.querySelector("b").textContent = slider.ariaValueText;

    const score = (which, m, line = picture) => scores[which][line][m]?.toFixed(3) ?? "–";
    const row = (...cells) => make("tr", {}, ...cells);
    const head = (textContent, scope, colSpan = 1) => make("th", { textContent, scope, colSpan });
    const corner = () => make("td", {}); // an empty header would be read out
    const columns = [picture, count].flatMap((line) => [[every, line], [chosen, line]]);
    table.replaceChildren(table.caption,
      row(corner(), head(`picture ${picture}`, "colgroup", 2), head(`all ${count} pictures`, "colgroup", 2)),
      row(corner(), ...columns.map((_, i) => head(i % 2 ? "chosen" : names[every], "col"))),
      ...measures.map((measure, m) => row(head(measure, "row"),
        ...columns.map(([which, line]) => make("td", { textContent: score(which, m, line) })))));
    readout.textContent = `Chosen: ${names[chosen]}. ` +
      `${measures[2]}: ${score(chosen, 2)}; with ${names[every]}: ${score(every, 2)}.`;

    const m = get("view") === "boundary errors" ? 2 : 0;
    const shown = [["truth", 0], [names[every], every + 2], [`chosen: ${names[chosen]}`, chosen + 2]];
    for (const [i, [title, k]] of shown.entries()) {
      panels[i].title.textContent = title;
      panels[i].canvas.ariaLabel = `Picture ${picture}, ${title}; ${get("view")}, ` +
        `opacity ${opacity.ariaValueText}${k ? `, ${measures[m]} ${score(k - 2, m)}` : ""}.`;
      draw(panels[i], k);
    }
    after();
  }

  const after = await extend({ form, boxes, panels, photos, scale, layer, number, get, set });
  for (const name of ["index", "kept", "view", "opacity", ...also]) model.on(`change:${name}`, update);
  el.append(form);
  update();
}

