// The browser's half of MaskOverlay. Pictures arrive once; whatever the learner moves is redrawn
// here, without a kernel. The controls' state lives in the model: Python can read and set it.

const NUMBERS = ["index", "curtain", "opacity"], TEXTS = ["left", "right", "view"];
const FORM = `
  <div class="stage">
    <label class="slider"><span>Picture <b></b></span><input type="range" name="index"></label>
    <div class="sides"><label>Left <select name="left"></select></label>
      <label>Right <select name="right"></select></label></div>
    <canvas role="application" tabindex="0"></canvas>
    <label class="slider under"><input type="range" name="curtain" max="1" step="0.01">
      <span>Curtain <b></b></span></label>
    <label class="slider"><span>Opacity <b></b></span>
      <input type="range" name="opacity" max="1" step="0.01"></label>
    <output>Point at the picture, or focus it and press arrow keys. Drag to move the curtain.</output>
  </div>
  <div class="side">
    <fieldset class="views"><legend>Show</legend></fieldset>
    <fieldset class="classes"><legend>Classes</legend>
      <button type="button" name="all" aria-label="show all classes">all</button>
      <button type="button" name="none" aria-label="show no class">none</button></fieldset>
    <table><caption>Scores of this picture</caption></table>
  </div>`;

async function render({ model, el }) {
  const get = (name) => model.get(name);
  const set = (name, value) => { model.set(name, value); model.save_changes(); };
  const [[count, height, width], choices, legend] = ["shape", "choices", "legend"].map(get);
  const photos = await unpack(get("photos"));
  const masks = await inflate(get("masks")); // (picture, truth | models | boundary band, row, column)
  const size = height * width, names = Object.fromEntries(legend);
  const layer = (k) => masks.subarray((get("index") * choices.length + k) * size).subarray(0, size);
  const mask = (side) => (get(side) === "image" ? null : layer(choices.indexOf(get(side)) - 1));

  // Native inputs, named after the trait that each of them moves.
  const form = make("form", { className: "pixelwise-overlay", innerHTML: FORM });
  const [canvas, views, classes, table, readout] = ["canvas", ".views", ".classes", "table", "output"]
    .map((selector) => form.querySelector(selector));
  form.elements.index.max = count - 1;
  for (const side of ["left", "right"])
    form.elements[side].append(...choices.map((name) => new Option(name)));
  views.append(...get("views").map((value) =>
    make("label", {}, make("input", { type: "radio", name: "view", value }), value)));
  const boxes = legend.map(([, value]) => make("input", { type: "checkbox", name: "class", value }));
  classes.append(...boxes.map((box, i) => {
    const swatch = make("span", { className: "swatch" });
    swatch.style.background = legend[i][2];
    return make("label", {}, box, swatch, box.value);
  }));
  form.onsubmit = (event) => event.preventDefault();
  keepKeys(form);
  form.oninput = ({ target }) => {
    if (target.name === "class") set("hidden", boxes.filter((b) => !b.checked).map((b) => b.value));
    else set(target.name, target.type === "range" ? target.valueAsNumber : target.value);
  };
  form.elements.all.onclick = () => set("hidden", []);
  form.elements.none.onclick = () => set("hidden", boxes.map((box) => box.value));

  // The picture, `scale` canvas pixels to each of its own.
  const scale = Math.max(1, Math.round(640 / width));
  Object.assign(canvas, { width: scale * width, height: scale * height });
  const pen = canvas.getContext("2d"), small = make("canvas", { width, height });
  let cursor = null; // [column, row] under inspection

  function stroke(trace, ...coats) {
    pen.beginPath();
    trace();
    for (const [lineWidth, strokeStyle] of coats) {
      Object.assign(pen, { lineWidth, strokeStyle });
      pen.stroke();
    }
  }

  function draw() {
    const { height: h } = canvas, cut = Math.round(get("curtain") * width), edge = cut * scale;
    const left = mask("left"), right = mask("right"), truth = layer(0), band = layer(choices.length - 1);
    const errors = get("view") !== "classes", nearOnly = get("view") === "boundary errors";
    const colors = new Uint32Array(256); // 0, transparent, for classes that are switched off
    for (const [label, name, hex] of legend)
      if (!get("hidden").includes(name)) colors[label] = pack(hex);
    const image = new ImageData(width, height), pixels = new Uint32Array(image.data.buffer);
    const wrong = [];
    for (let p = 0; p < size; p++) {
      const side = p % width < cut ? left : right, said = side?.[p], meant = truth[p];
      if (!errors) pixels[p] = side ? colors[said] : 0;
      else if (nearOnly && !band[p]) pixels[p] = OUTSIDE;
      else if (side && meant !== VOID && said !== meant && (colors[meant] || colors[said])) {
        pixels[p] = WRONG;
        wrong.push([(p % width) * scale, Math.floor(p / width) * scale]);
      }
    }
    small.getContext("2d").putImageData(image, 0, 0);
    compose(pen, photos[get("index")], small, get("opacity"), errors);
    stroke(() => { // diagonals of neighbouring pixels join into a hatch
      for (const [x, y] of wrong) { pen.moveTo(x, y + scale); pen.lineTo(x + scale, y); }
    }, [1.2, "black"]);
    stroke(() => { // the curtain and its handle
      pen.moveTo(edge, 0);
      pen.lineTo(edge, h);
      pen.moveTo(edge + 10, h / 2);
      pen.arc(edge, h / 2, 10, 0, 7);
    }, [6, "black"], [3, "white"]);
    if (cursor) stroke(() => pen.rect(...cursor.map((c) => c * scale - 2), scale + 4, scale + 4),
      [6, "black"], [3, "white"]);
  }

  function readOut() {
    const [x, y] = cursor, p = y * width + x, truth = layer(0)[p];
    const said = [...new Set([get("left"), get("right")])].filter((name) => name in get("scores"));
    readout.textContent = [`Row ${y}, column ${x}`, `truth: ${names[truth]}`, ...said.map((name) => {
      const label = layer(choices.indexOf(name) - 1)[p];
      return `${name}: ${names[label]}${truth === VOID ? "" : label === truth ? " ✓" : " ✗ wrong"}`;
    })].join(" · ");
  }

  function update() {
    for (const name of [...NUMBERS, ...TEXTS]) form.elements[name].value = get(name);
    for (const box of boxes) box.checked = !get("hidden").includes(box.value);
    for (const name of NUMBERS) {
      const slider = form.elements[name], percent = `${Math.round(100 * get(name))} %`;
      slider.ariaValueText = name === "index" ? `${get(name)} (0 to ${count - 1})` : percent;
      slider.parentNode.querySelector("b").textContent = slider.ariaValueText;
    }
    const cells = (texts) => texts.map((textContent) => make("td", { textContent }));
    const head = (textContent, scope) => make("th", { textContent, scope });
    const scores = (name) => get("scores")[name]?.[get("index")] ?? get("measures").map(() => null);
    table.replaceChildren(table.caption, make("tr", {}, make("td", {}), ...get("measures").map((name) => head(name, "col"))),
      ...["left", "right"].map(get).map((name) => make("tr", {}, head(name, "row"),
        ...cells(scores(name).map((score) => score?.toFixed(3) ?? "–")))));
    const { opacity, curtain } = form.elements;
    canvas.ariaLabel = `Picture ${get("index")}, ${get("view")}, opacity ${opacity.ariaValueText}. ` +
      `Curtain at ${curtain.ariaValueText}: left of it ${get("left")}, right of it ${get("right")}. ` +
      `Hidden: ${get("hidden").join(", ") || "no class"}.`;
    draw();
    if (cursor) readOut();
  }

  const look = (x, y) => { cursor = [clamp(x, width - 1), clamp(y, height - 1)]; update(); };
  canvas.onkeydown = (event) => {
    if (!(event.key in ARROWS)) return;
    event.preventDefault(); // or the page scrolls
    const [dx, dy] = ARROWS[event.key].map((d) => d * (event.shiftKey ? 10 : 1));
    const [x, y] = cursor ?? [width >> 1, height >> 1];
    look(x + dx, y + dy);
  };
  canvas.onpointerdown = canvas.onpointermove = (event) => {
    if (event.type === "pointerdown") canvas.setPointerCapture(event.pointerId);
    const { left, top, width: w, height: h } = canvas.getBoundingClientRect();
    const [x, y] = [(event.clientX - left) / w, (event.clientY - top) / h];
    if (event.buttons) set("curtain", Math.round(100 * clamp(x, 1)) / 100);
    look(Math.floor(x * width), Math.floor(y * height));
  };
  for (const name of [...NUMBERS, ...TEXTS, "hidden"]) model.on(`change:${name}`, update);
  el.append(form);
  update();
}

export default { render };
