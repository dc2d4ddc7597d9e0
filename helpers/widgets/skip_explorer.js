// The browser's half of SkipExplorer: what its parts are called; muting.js does the rest.

const SKIPS = {
  className: "pixelwise-skips", title: "Skips kept, by stride", one: "skip",
  label: (stride) => `stride ${stride}`,
};

export default { render: (widget) => mute(widget, SKIPS) };
