// Runs the widgets of a page that has no kernel. Each gets the few methods of a model that it calls;
// its picture stays where it cannot start.
(() => {
  function revive(value) { // as the widget knows it: bytes are a DataView
    if (value?.base64 !== undefined)
      return new DataView(Uint8Array.from(atob(value.base64), (c) => c.charCodeAt(0)).buffer);
    if (Array.isArray(value)) return value.map(revive);
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, revive(inner)]));
  }

  function modelOf(state) {
    const listeners = {};
    return {
      get: (key) => state[key],
      set(key, value) {
        state[key] = value;
        for (const listener of listeners[`change:${key}`] ?? []) listener();
      },
      on: (event, listener) => { (listeners[event] ??= []).push(listener); },
      save_changes() {},
    };
  }

  async function start(place) {
    const { widget, state } = JSON.parse(place.querySelector("script").textContent);
    const stage = document.createElement("div");
    place.model = modelOf(revive(state));
    place.append(stage);
    await window.pixelwise[widget].render({ model: place.model, el: stage });
    place.querySelector("img")?.remove();
    place.dataset.alive = "true";
  }

  window.pixelwise.start = () => Promise.all([...document.querySelectorAll(".pixelwise-widget")].map(start));
})();
