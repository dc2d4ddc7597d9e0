// What the browser halves of the widgets share; Python puts it before each of them.

const VOID = 255;
const WRONG = pack("#ffffff"); // brighter than the darkened photo, and hatched
const OUTSIDE = 0xb0000000; // a veil over what the boundary band leaves out
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const clamp = (value, max) => Math.min(Math.max(value, 0), max);

function pack(hex) { // "#rrggbb" as one opaque pixel of an ImageData
  const [r, g, b] = [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  return ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
}

function make(tag, props, ...children) {
  const node = Object.assign(document.createElement(tag), props);
  node.append(...children);
  return node;
}

// Or letters run commands of JupyterLab. Notebook 7 sees keys before the widget does, and its arrow
// keys leave the cell: it looks away only if the very control that has the focus says so.
function keepKeys(form) {
  form.addEventListener("keydown", (event) => event.stopPropagation());
  form.addEventListener("focusin", ({ target }) => { target.dataset.lmSuppressShortcuts = true; });
}

async function inflate(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function unpack(bytes) { // the photographs, as bitmaps
  return Promise.all(bytes.map((photo) => createImageBitmap(new Blob([photo], { type: "image/webp" }))));
}

// Lines where neighbouring labels differ, since some colours are alike in grey. `shift` of half a
// canvas pixel keeps thin ones sharp.
function outline(labels, width, scale, shift = 0) {
  const path = new Path2D();
  const line = (...ends) => {
    const [x, y, u, v] = ends.map((at) => at * scale + shift);
    path.moveTo(x, y);
    path.lineTo(u, v);
  };
  for (let p = 0; p < labels.length; p++) {
    const y = Math.floor(p / width), x = p % width, below = p + width;
    if (x + 1 < width && labels[p + 1] !== labels[p]) line(x + 1, y, x + 1, y + 1);
    if (below < labels.length && labels[below] !== labels[p]) line(x, y + 1, x + 1, y + 1);
  }
  return path;
}

// Photo below, `mask` (a canvas of the photo's own size) above, both over the whole canvas.
function compose(pen, photo, mask, opacity, errors) {
  const { width, height } = pen.canvas;
  pen.imageSmoothingEnabled = false;
  pen.drawImage(photo, 0, 0, width, height);
  pen.globalAlpha = opacity;
  if (errors) {
    darken(pen);
    pen.globalAlpha = 1;
  }
  pen.drawImage(mask, 0, 0, width, height);
  pen.globalAlpha = 1;
}

function darken(pen) { // the photo turns grey and dark: colour and light are left to what is wrong
  for (const [globalCompositeOperation, fillStyle] of
    [["saturation", "grey"], ["source-over", "rgb(0 0 0 / 0.7)"]]) {
    Object.assign(pen, { globalCompositeOperation, fillStyle });
    pen.fillRect(0, 0, pen.canvas.width, pen.canvas.height);
  }
}

