// The browser's half of ScribbleSegmenter: it draws strokes and shows the mask; Python reads photos
// and segments. Nothing is asked before the last answer has come, and then only the newest strokes.

const PATIENCE = 3000; // milliseconds until the kernel is missed
const MOST = 9e6; // bytes of a photo: at 10 MiB, Jupyter closes the connection
const SQUARE = 8, SQUARES = ["#d7d7d7", "#f5f5f5"].map(pack); // as in Python
const VIEW_NAMES = { overlay: () => "labels over the photo", "cut-out": (first) => `cut-out of ${first}` };
const FORM = `
  <div class="stage"><canvas role="application" tabindex="0"></canvas>
    <output></output><p class="place"></p></div>
  <div class="side">
    <fieldset class="labels"><legend>Draw</legend></fieldset>
    <label class="slider"><span>Brush <b></b></span><input type="range" name="brush"></label>
    <div class="buttons"><button type="button" name="undo">undo</button>
      <button type="button" name="clear">clear</button></div>
    <fieldset class="views"><legend>Show</legend></fieldset>
    <label class="slider"><span>Opacity <b></b></span><input type="range" name="opacity" max="1" step="0.05"></label>
    <label class="upload"><span>Your own photo</span><input type="file" name="file" accept="image/*"></label>
    <p class="note" role="status"></p>
    <p class="help">Drag over the photo to draw. Or focus it: arrow keys move the cursor (with Shift ten
      pixels), Space or Enter puts the brush down and lifts it, digits choose the label. Python does the segmenting: it needs a running kernel.</p>
  </div>`;

async function render({ model, el }) {
  const get = (name) => model.get(name);
  const set = (state) => { Object.entries(state).forEach((pair) => model.set(...pair)); model.save_changes(); };
  const names = get("names"), palette = get("colors");

  const form = make("form", { className: "pixelwise-scribble", innerHTML: FORM });
  const [canvas, readout, place, note] = ["canvas", "output", ".place", ".note"].map((s) => form.querySelector(s));
  const { brush, opacity, file, undo, clear } = form.elements;
  const radios = (box, name, entries) => form.querySelector(box).append(...entries.map(([value, ...inside]) =>
    make("label", {}, make("input", { type: "radio", name, value }), ...inside)));
  radios(".labels", "label", names.map((name, i) => {
    const swatch = make("span", { className: "swatch", textContent: i + 1, ariaHidden: true });
    swatch.style.background = palette[i];
    return [i, swatch, name];
  }));
  radios(".views", "view", get("views").map((view) => [view, VIEW_NAMES[view](names[0])]));
  [brush.min, brush.max] = get("widths");
  form.onsubmit = (event) => event.preventDefault();
  keepKeys(form);
  form.onkeydown = (event) => {
    const label = Number(event.key) - 1;
    if (label in names && !event.ctrlKey && !event.metaKey && !event.altKey) set({ label });
  };
  form.oninput = ({ target }) => {
    if (target === file) return;
    const { name, type, value } = target;
    set({ [name]: type === "range" ? target.valueAsNumber : name === "label" ? Number(value) : value });
  };

  // What is drawn here, on which photo, and what Python has been told of it.
  let strokes = get("strokes"), past = [], sent = strokes, number = get("picture")[3], mask = null, shares;
  let width, height, scale, photo, cursor, drawing = null; // drawing: the stroke under the brush
  const waiting = new Set(); // for "mask" or "photo"
  let late = null, timer; // late: what was not there in time

  function expect(what) {
    waiting.add(what);
    late = null;
    clearTimeout(timer);
    timer = setTimeout(() => {
      late = ["photo", "mask"].find((one) => waiting.has(one));
      waiting.delete("photo"); // it may be lost, and strokes need not wait for it
      ask();
      update();
    }, PATIENCE);
  }
  function arrived(what) {
    waiting.delete(what);
    if (late === what) late = null;
  }
  function ask() { // what changes meanwhile is sent when the answer has come
    if (waiting.size || JSON.stringify(strokes) === JSON.stringify(sent)) return;
    expect("mask");
    sent = strokes;
    set({ strokes, asked: [get("asked")[0] + 1, number] });
  }
  function change(to) {
    past.push(strokes);
    strokes = to;
    ask();
    update();
  }
  undo.onclick = () => {
    strokes = past.pop();
    ask();
    update();
  };
  clear.onclick = () => change([]);
  file.onchange = async () => {
    const [chosen] = file.files;
    if (!chosen) return;
    file.value = ""; // so that the same file may be chosen again
    const megabytes = (Math.ceil(chosen.size / 1e5) / 10).toFixed(1);
    note.textContent = chosen.size <= MOST ? "" : `Not taken: this photo has ${megabytes} MB, and Jupyter ` +
      `carries ${MOST / 1e6} MB at most. Save it smaller, as JPEG or with fewer pixels, and choose it again.`;
    if (chosen.size > MOST) return;
    expect("photo");
    update();
    model.send({}, undefined, [await chosen.arrayBuffer()]);
  };

  // The picture, `scale` canvas pixels to each of its own.
  const pen = canvas.getContext("2d"), small = make("canvas", {});
  let edge, built, frame = 0; // built: the mask and the view that `small` and `edge` show

  async function open() {
    const picture = get("picture"), [rows, columns, bytes] = picture, [bitmap] = await unpack([bytes]);
    if (get("picture") !== picture) return; // overtaken
    [height, width, photo] = [rows, columns, bitmap];
    scale = Math.max(1, Math.round(768 / width));
    Object.assign(canvas, { width: scale * width, height: scale * height });
    Object.assign(small, { width, height });
    built = [];
    cursor = [height >> 1, width >> 1];
  }

  function trace(path, coats) {
    for (const [lineWidth, strokeStyle] of coats) {
      Object.assign(pen, { lineWidth, strokeStyle, lineCap: "round", lineJoin: "round" });
      pen.stroke(path);
    }
  }

  function drawStroke([label, thickness, points]) { // its number at its start: colours are not all
    const [[y, x], ...rest] = points.map((point) => point.map((at) => (at + 0.5) * scale));
    const path = new Path2D();
    path.moveTo(x, y);
    path.lineTo(x, y);
    for (const [row, column] of rest) path.lineTo(column, row);
    trace(path, [[6, "black"], [3, "white"], [0, palette[label]]].map(([more, color]) => [thickness * scale + more, color]));
    Object.assign(pen, { font: "bold 22px sans-serif", textAlign: "center", textBaseline: "middle", lineWidth: 5,
      strokeStyle: "black", fillStyle: "white" });
    pen.strokeText(label + 1, x, y);
    pen.fillText(label + 1, x, y);
  }

  function build(cut) { // slow, so only when another mask, view or photo is there
    if (built[0] === mask && built[1] === cut) return;
    built = [mask, cut];
    const image = new ImageData(width, height), pixels = new Uint32Array(image.data.buffer);
    const tints = palette.map(pack), sides = cut ? mask?.map((label) => Math.min(label, 1)) : mask;
    edge = outline(sides ?? [], width, scale);
    for (let p = 0; mask && p < mask.length; p++) {
      const y = Math.floor(p / width), x = p % width, label = mask[p];
      if (!cut) pixels[p] = tints[label];
      else if (label) pixels[p] = SQUARES[(Math.floor(y / SQUARE) + Math.floor(x / SQUARE)) % 2];
    }
    small.getContext("2d").putImageData(image, 0, 0);
  }

  function draw() { // once a frame, however much changes
    frame ||= requestAnimationFrame(paint);
  }
  function paint() {
    frame = 0;
    if (!photo) return; // another one is on its way
    const cut = get("view") === "cut-out";
    build(cut);
    compose(pen, photo, small, cut ? 1 : get("opacity"), false);
    trace(edge, [[4, "black"], [2, "white"]].slice(0, cut ? 1 : 2));
    if (!cut) strokes.forEach(drawStroke);
    if (drawing) drawStroke(drawing);
    if (document.activeElement === canvas) {
      const [y, x] = cursor.map((at) => (at + 0.5) * scale), radius = (get("brush") * scale) / 2 + 3;
      const path = new Path2D();
      path.arc(x, y, radius, 0, 7);
      for (const [dx, dy] of Object.values(ARROWS)) {
        path.moveTo(x + dx * radius, y + dy * radius);
        path.lineTo(x + dx * (radius + 8), y + dy * (radius + 8));
      }
      trace(path, [[5, "black"], [2, "white"]]);
    }
  }

  function describe() {
    const [, , told] = get("answer"), kernel = "this needs a running kernel";
    let state = told || (mask ? "Segmented." : "");
    if (late === "photo") state = `The photo is not read yet: ${kernel}.`;
    else if (late) state = `Not segmented yet: ${kernel}.`;
    else if (waiting.has("photo")) state = "Reading the photo …";
    else if (waiting.has("mask")) state = "Segmenting …";
    if (drawing) state += " The brush is down.";
    const count = strokes.length, drawn = `${count} ${count === 1 ? "stroke" : "strokes"}`;
    const said = `${drawn}. ${state}`;
    if (readout.textContent !== said) readout.textContent = said; // or it is read out again
    place.textContent = `Cursor at row ${cursor[0]}, column ${cursor[1]}.`;
    canvas.ariaLabel = `Photo of ${height} × ${width} pixels, ${VIEW_NAMES[get("view")](names[0])}. ${drawn}. ` +
      `Mask: ${shares}. ${state} Now drawing ${names[get("label")]}, ${get("brush")} pixels wide. ` +
      `${place.textContent} Arrow keys move it.`;
  }

  function update() {
    for (const name of ["label", "brush", "view", "opacity"]) form.elements[name].value = get(name);
    brush.ariaValueText = `${get("brush")} pixels`;
    opacity.ariaValueText = `${Math.round(100 * get("opacity"))} %`;
    for (const slider of [brush, opacity]) slider.parentNode.querySelector("b").textContent = slider.ariaValueText;
    undo.disabled = !past.length;
    clear.disabled = !strokes.length;
    opacity.disabled = get("view") === "cut-out";
    describe();
    draw();
  }

  // A stroke under the pointer, or under the cursor between two presses of Space.
  function begin() { // not on a photo that is about to go
    if (photo) drawing = [get("label"), get("brush"), [cursor]];
  }
  function finish() {
    const stroke = drawing;
    drawing = null;
    if (stroke) change([...strokes, stroke]);
  }
  function move(row, column) {
    const to = [clamp(row, height - 1), clamp(column, width - 1)];
    if (String(to) === String(cursor)) return;
    cursor = to;
    drawing?.[2].push(to);
    update();
  }
  canvas.onkeydown = (event) => {
    if (event.key in ARROWS) {
      const [dx, dy] = ARROWS[event.key].map((d) => d * (event.shiftKey ? 10 : 1));
      move(cursor[0] + dy, cursor[1] + dx);
    } else if (event.key === " " || event.key === "Enter") {
      if (event.repeat) return;
      if (drawing) finish();
      else begin();
      update();
    } else return;
    event.preventDefault(); // or the page scrolls
  };
  const follow = ({ clientX, clientY }) => {
    const { left, top, width: w, height: h } = canvas.getBoundingClientRect();
    move(Math.floor(((clientY - top) / h) * height), Math.floor(((clientX - left) / w) * width));
  };
  canvas.onpointerdown = (event) => {
    if (event.button) return;
    canvas.setPointerCapture(event.pointerId);
    finish(); // of the keyboard
    follow(event);
    begin();
    update();
  };
  canvas.onpointermove = (event) => { if (event.buttons) follow(event); };
  canvas.onpointerup = canvas.onpointercancel = finish;
  canvas.onfocus = update;
  canvas.onblur = () => { finish(); update(); };

  async function hear() {
    const answer = get("answer"), [request, packed] = answer;
    const found = packed.byteLength ? await inflate(packed) : null;
    if (get("answer") !== answer) return; // overtaken
    const share = (i) => found.reduce((sum, label) => sum + (label === i), 0) / found.length;
    mask = found;
    shares = mask ? names.map((name, i) => `${name} ${Math.round(100 * share(i))} %`).join(", ") : "none";
    if (request === get("asked")[0]) arrived("mask");
    ask();
    update();
  }
  function adopt() { // strokes that Python set
    if (get("strokes") === sent) return;
    [strokes, past, sent] = [get("strokes"), [], get("strokes")];
    update();
  }
  async function exchange() { // another photo, on which nothing is drawn yet, here as in Python
    [strokes, past, sent, number] = [[], [], [], get("picture")[3]];
    [mask, photo, drawing] = [null, null, null];
    update();
    await open();
    await hear();
  }
  model.on("change:picture", exchange);
  model.on("change:strokes", adopt);
  model.on("change:answer", hear);
  model.on("change:note", () => {
    note.textContent = get("note")[1];
    arrived("photo");
    ask();
    update();
  });
  for (const name of ["label", "brush", "view", "opacity"]) model.on(`change:${name}`, update);
  note.textContent = get("note")[1] ?? "";
  await open();
  await hear();
  el.append(form);
}

export default { render };
