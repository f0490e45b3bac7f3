// Held keys, fingers on drawn keys, and a gamepad. Whatever is down is reported whole, ten times a second; when the
// page loses its focus, or cannot see a key's end, everything counts as released.

const REPORT_MS = 100;

function render({ model, el }) {
  const area = document.createElement("div");
  area.className = "smolkit-keys";
  area.tabIndex = 0;
  area.setAttribute("role", "application");
  area.setAttribute("aria-label", model.get("label"));
  area.setAttribute("data-lm-suppress-shortcuts", "true");       // or A and D D would add and delete notebook cells
  const drawing = document.createElement("div");
  const state = document.createElement("div");
  state.className = "smolkit-keys-state";
  state.setAttribute("role", "status");
  area.append(drawing, state);
  el.append(area);

  const keys = new Set(), fingers = new Map();         // codes that are down; pointer -> code
  let padHeld = false, told = "", layout = null;
  const known = () => new Set(model.get("codes"));
  const down = () => [...new Set([...keys, ...fingers.values()])].sort();
  const clock = () => performance.timeOrigin + performance.now();
  const tell = message => { try { model.send({ ...message, sent_ms: clock() }); } catch (error) { /* a dead kernel drives nothing */ } };
  const report = () => {
    const now = down();
    drawing.querySelectorAll("[data-code]").forEach(key => key.classList.toggle("smolkit-down", now.includes(key.dataset.code)));
    area.dataset.down = told = now.join(" ");
    tell({ keys: now });
  };
  const release = () => {
    if (!keys.size && !fingers.size) return;
    keys.clear();
    fingers.clear();
    report();
  };
  const hidden = () => { if (document.hidden) { release(); releasePad(); } };
  const away = () => { release(); releasePad(); };

  area.addEventListener("keydown", event => {
    if (event.code === "Escape") return area.blur();
    if (event.ctrlKey || event.metaKey || event.altKey || event.code === "Space") return release();
    if (!known().has(event.code)) return;
    event.preventDefault();
    event.stopPropagation();
    if (event.repeat || keys.has(event.code)) return;
    keys.add(event.code);
    report();
  });
  // The end of a key is looked for everywhere: the focus may have moved on meanwhile.
  const up = event => { if (keys.delete(event.code)) report(); };
  document.addEventListener("keyup", up, true);
  area.addEventListener("blur", release);
  window.addEventListener("blur", away);
  document.addEventListener("visibilitychange", hidden);

  drawing.addEventListener("pointerdown", event => {
    const key = event.target.closest("[data-code]");
    if (!key || event.button) return;
    event.preventDefault();
    area.focus();
    fingers.set(event.pointerId, key.dataset.code);
    report();
  });
  const lift = event => { if (fingers.delete(event.pointerId)) report(); };
  for (const end of ["pointerup", "pointercancel"]) document.addEventListener(end, lift, true);

  const pads = () => model.get("pads") && document.hasFocus() ? [...(navigator.getGamepads?.() ?? [])].filter(Boolean) : [];
  const releasePad = () => { if (padHeld) { padHeld = false; tell({ axes: [], buttons: [] }); } };
  const ticking = setInterval(() => {
    if (told) report();
    const pad = pads()[0];
    const buttons = pad ? pad.buttons.map(button => button.value) : [];
    const held = [4, 5, 9].some(number => buttons[number] > 0.5);          // either shoulder button, or "start"
    if (held) { padHeld = true; tell({ axes: [...pad.axes], buttons }); } else releasePad();
    const driving = document.activeElement === area;
    const words = driving ? model.get("words") : "Click here to drive.";
    state.textContent = words + (model.get("pads") && pad ? ` Gamepad: ${pad.id.split("(")[0].trim()}; hold a shoulder button.` : "");
    area.classList.toggle("smolkit-driving", driving);
  }, REPORT_MS);

  const draw = () => {
    drawing.innerHTML = model.get("drawing");
    // The keys are places, not letters: show what this keyboard prints on them, where the browser knows.
    if (layout) drawing.querySelectorAll("[data-code]").forEach(key => {
      const letter = layout.get(key.dataset.code), cap = key.querySelector(".smolkit-cap");
      if (letter && cap) cap.textContent = letter.toUpperCase();
    });
  };
  navigator.keyboard?.getLayoutMap?.().then(map => { layout = map; draw(); }).catch(() => {});
  model.on("change:drawing", draw);
  draw();
  return () => {
    away();
    clearInterval(ticking);
    document.removeEventListener("keyup", up, true);
    window.removeEventListener("blur", away);
    document.removeEventListener("visibilitychange", hidden);
    for (const end of ["pointerup", "pointercancel"]) document.removeEventListener(end, lift, true);
    model.off("change:drawing", draw);
  };
}
export default { render };
