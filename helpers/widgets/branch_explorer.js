// The browser's half of BranchExplorer: muting.js draws the masks; here lies what belongs to the
// chosen pixel, that is the taps of each branch, what it adds, and the classes' probabilities.

const BRANCHES = { className: "pixelwise-branches", title: "Branches kept", one: "branch", label: (name) => name };
const MARKS = [ // a shape and a colour for each place among the branches
  ["M-1-1H1V1H-1Z", "#ffffff"], ["M0-1V1M-1 0H1", "#ffb600"],
  ["M-1-1L1 1M-1 1L1-1", "#0092b6"], ["M-1 0A1 1 0 1 0 1 0A1 1 0 1 0-1 0Z", "#db49ff"],
  ["M0-1L1 1H-1Z", "#00ff92"], ["M0-1L1 0L0 1L-1 0Z", "#92926d"],
];
const FRAME = ["M-1.3-.8H1.3V.8H-1.3Z", "#db6d24"]; // image pooling, round the whole map
const PROBE = `
  <figure><figcaption>Where the branches look</figcaption>
    <canvas role="application" tabindex="0"></canvas>
    <p>Each tap reads one cell of the encoder's map, which has seen a wide window of its own.
      Hatched: beyond the map, where the taps read zeros.</p></figure>
  <div><output></output>
    <table><caption>Probability of each class at this pixel</caption></table>
    <ul></ul></div>`;
const signed = (value) => (Math.abs(value) < 0.005 ? "0.00" : `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`);

const icon = ([shape, color]) => make("span", { className: "mark", innerHTML: `
  <svg viewBox="-1.8 -1.8 3.6 3.6" fill="none" aria-hidden="true"><path d="${shape}" stroke="#000" stroke-width="0.85"/>
  <path d="${shape}" stroke="${color}" stroke-width="0.4"/></svg>` });

async function probe({ form, boxes, panels, photos, scale, layer, number, get, set }) {
  const [[, height, width], parts, legend, names, rates, cell, [rows, columns], step] =
    ["shape", "parts", "legend", "names", "rates", "cell", "cells", "sample"].map(get);
  const samples = await inflate(get("samples")); // (picture, choice, class, row, column)
  const classes = legend.filter(([label]) => label !== VOID);
  const blocks = { row: Math.ceil((height - step / 2) / step), column: Math.ceil((width - step / 2) / step) };
  const marks = rates.map((rate, k) => (rate === null ? FRAME : MARKS[k]));
  const margin = Math.min(cell * Math.max(...rates) + cell / 2, Math.max(height, width) / 2);

  const view = make("div", { className: "probe", innerHTML: PROBE });
  const [canvas, readout, table, taps] =
    ["canvas", "output", "table", "ul"].map((selector) => view.querySelector(selector));
  canvas.width = scale * (width + 2 * margin);
  canvas.height = scale * (height + 2 * margin);
  form.querySelector("output").after(view);
  const adds = boxes.map((box, k) => {
    const bar = make("i", {}), value = make("span", {});
    box.after(icon(marks[k]));
    box.parentNode.append(make("span", { className: "adds" }, bar), value);
    return { bar, value };
  });
  const heading = make("div", {});
  form.querySelector(".parts legend").after(heading);

  const place = (label) => legend.find((entry) => entry[0] === label)[1];
  const probability = (choice, label) => {
    const at = (get("index") * names.length + choice) * classes.length + label;
    const [y, x] = ["row", "column"].map((name) => Math.floor(get(name) / step));
    return samples[(at * blocks.row + y) * blocks.column + x] / 255;
  };

  function choose(x, y) {
    for (const [name, at] of [["column", x], ["row", y]])
      set(name, clamp(Math.floor(at / step), blocks[name] - 1) * step + step / 2);
  }
  for (const { canvas: target, edge } of [{ canvas, edge: margin }, ...panels.map((panel) => ({ ...panel, edge: 0 }))])
    target.onpointerdown = target.onpointermove = (event) => {
      if (!event.buttons) return;
      target.setPointerCapture(event.pointerId);
      const { left, top, width: shown } = target.getBoundingClientRect();
      choose(...[event.clientX - left, event.clientY - top].map((d) => (d / shown) * (width + 2 * edge) - edge));
    };
  canvas.onkeydown = (event) => {
    if (!(event.key in ARROWS)) return;
    const [dx, dy] = ARROWS[event.key];
    choose(get("column") + dx * step, get("row") + dy * step);
    event.preventDefault(); // or the page scrolls
  };

  function trace(pen, path, color, width, thick = 2.2) { // on black, to show on any ground
    for (const [strokeStyle, lineWidth] of [["#000", thick * width], [color, width]]) {
      Object.assign(pen, { strokeStyle, lineWidth });
      pen.stroke(path);
    }
  }

  function drawTaps() { // returns how many of each branch's taps lie inside the map
    const pen = canvas.getContext("2d"), size = scale * clamp(0.28 * cell, 5), line = 0.75 * scale;
    const map = [columns * cell, rows * cell];
    pen.resetTransform();
    pen.fillStyle = "#4a4a4a";
    pen.fillRect(0, 0, canvas.width, canvas.height);
    const hatch = new Path2D();
    for (let x = -canvas.height; x < canvas.width; x += 6 * scale) {
      hatch.moveTo(x, 0);
      hatch.lineTo(x + canvas.height, canvas.height);
    }
    Object.assign(pen, { strokeStyle: "#5c5c5c", lineWidth: 0.6 * scale });
    pen.stroke(hatch);
    pen.translate(scale * margin, scale * margin);
    pen.fillStyle = "#aaa"; // the map may be larger than the photo
    pen.fillRect(0, 0, ...map.map((side) => scale * side));
    pen.imageSmoothingEnabled = false;
    pen.drawImage(photos[get("index")], 0, 0, scale * width, scale * height);
    const here = [get("column"), get("row")].map((at) => Math.floor(at / cell));
    return parts.map((name, k) => {
      if (!get("kept").includes(name)) return null;
      const [shape, color] = marks[k], path = new Path2D();
      if (rates[k] === null) {
        path.rect(0, 0, ...map.map((side) => scale * side));
        trace(pen, path, color, 2 * line);
        return rows * columns;
      }
      const offsets = rates[k] ? [-1, 0, 1] : [0], grow = rates[k] ? size : (scale * cell) / 2;
      let inside = 0;
      for (const dy of offsets) for (const dx of offsets) {
        const at = [here[0] + dx * rates[k], here[1] + dy * rates[k]];
        const within = at[0] >= 0 && at[0] < columns && at[1] >= 0 && at[1] < rows;
        const [x, y] = at.map((i) => scale * (i + 0.5) * cell), mark = new Path2D();
        mark.addPath(new Path2D(shape), new DOMMatrix([grow, 0, 0, grow, x, y]));
        inside += within;
        pen.setLineDash(within ? [] : [2 * line, 1.5 * line]);
        trace(pen, mark, color, line, within ? 2.2 : 1);
      }
      pen.setLineDash([]);
      return inside;
    });
  }

  function ring(pen, x, y, radius) {
    const path = new Path2D();
    path.arc(x, y, radius, 0, 2 * Math.PI);
    trace(pen, path, "#fff", 0.7 * scale, 2.4);
  }

  return function update() {
    const [row, column] = ["row", "column"].map(get), kept = get("kept");
    const chosen = number(kept), every = names.length - 1, pixel = row * width + column;
    const [truth, whole, now] = [0, every + 2, chosen + 2].map((k) => layer(k)[pixel]);
    const inside = drawTaps();
    ring(canvas.getContext("2d"), scale * (column + 0.5), scale * (row + 0.5), scale);
    for (const { pen } of panels) ring(pen, scale * (column + 0.5), scale * (row + 0.5), 3 * scale);

    heading.textContent = `What each adds here to “${place(now)}”`;
    for (const [k, { bar, value }] of adds.entries()) {
      const gain = probability(chosen | (1 << k), now) - probability(chosen & ~(1 << k), now);
      value.textContent = signed(gain);
      Object.assign(bar.style, { width: `${50 * Math.abs(gain)}%`, left: `${50 + 50 * Math.min(gain, 0)}%` });
      bar.className = gain < 0 ? "less" : "more";
      boxes[k].ariaDescription = `adds ${signed(gain)} to the probability of ${place(now)} at the chosen pixel`;
    }

    const tell = (choice, label) => `${place(label)} ${probability(choice, label).toFixed(2)}`;
    readout.textContent = `Row ${row}, column ${column}: truth ${place(truth)}; ` +
      `all branches: ${tell(every, whole)}; chosen: ${tell(chosen, now)}.`;
    const head = (textContent) => make("th", { textContent, scope: "col" });
    const bars = (values) => make("td", { className: "bars" }, ...values.map((value) => {
      const bar = make("i", {});
      bar.style.width = `${100 * value}%`;
      return bar;
    }));
    table.replaceChildren(table.caption,
      make("tr", {}, make("td", {}), make("td", {}), head("all"), head("chosen")),
      ...classes.map(([label, name]) => {
        const values = [every, chosen].map((choice) => probability(choice, label));
        return make("tr", {}, make("th", { textContent: name, scope: "row" }), bars(values),
          ...values.map((value) => make("td", { textContent: value.toFixed(2) })));
      }));

    const lines = parts.map((name, k) => inside[k] === null ? null : `${name}: ${
      rates[k] === null ? `the mean of all ${inside[k]} cells`
        : `${inside[k]} of ${rates[k] ? 9 : 1} tap${rates[k] ? "s" : ""} inside the map`}`).filter(Boolean);
    taps.replaceChildren(...(lines.length ? lines : ["no branch is kept"]).map((line) => make("li", {}, line)));
    canvas.ariaLabel = `Picture ${get("index")}. ${readout.textContent} ` +
      `${lines.join("; ") || "No branch is kept"}. Arrow keys move the pixel.`;
  };
}

export default { render: (widget) => mute(widget, BRANCHES, ["row", "column"], probe) };
