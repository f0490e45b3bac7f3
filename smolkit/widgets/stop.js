// The stop button in the page. What it promises: it never says "stopped" without the guardian's word, it says so
// when nobody answers, and a press that nobody heard yet is one press, however often it is repeated.

const UNHEARD_MS = 1000;           // after this an unanswered press is told as such
const AGAIN_MS = 250;              // an unanswered press is sent again; the kernel knows it by its number
const QUIET_MS = 3000;             // without any word from the kernel the state on the button is old
const ONE_PRESS_MS = 700;          // a double click is one press: it must not let a raised arm fall
const SILENT = "The notebook does not answer: pull the power, or run “smolkit stop” in a terminal. " +
  "(If it has ended, the guardian stops the arm by itself within 0.6 s.)";
const EDITORS = "textarea, select, [contenteditable=''], [contenteditable=true], .cm-editor, .xterm, " +
  "input:not([type=button]):not([type=checkbox]):not([type=radio]):not([type=range])";

function render({ model, el }) {
  const make = (tag, name, parent, words = "") => {
    const node = document.createElement(tag);
    node.className = `smolkit-stop-${name}`;
    node.textContent = words;
    parent.append(node);
    return node;
  };
  const box = make("div", "box", el);
  const stop = make("button", "press", box);
  const side = make("div", "side", box);
  const state = make("div", "state", side);
  const why = make("div", "why", side);
  const rearm = make("button", "rearm", side, "arm again …");
  const sure = make("span", "sure", side);
  const yes = make("button", "yes", sure, "the cause is gone: torque on");
  const no = make("button", "no", sure, "no");
  const silent = make("div", "silent", el, SILENT);
  stop.classList.add("smolkit-stop");
  state.setAttribute("role", "status");
  silent.setAttribute("role", "alert");
  stop.title = "Click, or press the space bar anywhere outside an editor";
  rearm.title = "After a stop: torque on again where the arm stands";

  let unheard = null;              // the press that waits for an answer: {id, do, sent, since}
  let last = 0, news = performance.now(), greeted = false, greetings = 0;

  // Two ways to the kernel. In JupyterLab a comm of its own has a subshell of its own, so a slow callback of
  // another widget cannot delay it; elsewhere the widget's own messages are all there is.
  const kernel = model.widget_manager?.kernel;
  let line = null;
  if (kernel?.createComm) {
    line = kernel.createComm("smolkit.stop");
    line.onMsg = message => hear(message.content.data);
    line.open({ button: model.get("number") });
  }
  const number = () => `${Date.now()} ${Math.random()}`;
  const send = message => {
    const told = { ...message, button: model.get("number") };
    try { line?.send(told); } catch (error) { line = null; }
    try { model.send(told); } catch (error) { /* a dead kernel: the clock below tells */ }
  };
  const draw = tick => {
    const now = performance.now();
    const lost = unheard ? now - unheard.since > UNHEARD_MS : now - news > QUIET_MS;
    const over = model.get("over");
    const mayHold = model.get("state") === "lost";        // also said of a closed arm: it may hold, and fall, any time
    const word = model.get("lets_go") ? "LET GO" : "STOP";
    stop.innerHTML = "";
    make("b", "word", stop, word);
    make("small", "hint", stop, word === "STOP" ? "or the space bar" : "a raised arm falls");
    stop.setAttribute("aria-label", word === "STOP" ? "Stop the arm" : "Torque off: a raised arm falls");
    stop.classList.toggle("smolkit-lets-go", model.get("lets_go"));
    stop.disabled = over;
    silent.hidden = !lost || over;
    box.dataset.state = over && !mayHold ? "closed" : lost && !over ? "unknown" : model.get("state");
    state.textContent = over ? (mayHold ? model.get("words") : "closed") : lost ? "not known" : unheard ? "asking the arm to stop …" : model.get("words");
    why.textContent = (over ? !mayHold : lost) ? "" : model.get("why");
    rearm.hidden = !model.get("rearms") || lost || over || !sure.hidden;
    if (!model.get("rearms") || lost || over) sure.hidden = true;
  };
  const hear = message => {
    if (message.heard === undefined) return;
    news = performance.now();
    greeted = true;
    if (unheard && message.heard === unheard.id) unheard = null;
    draw();
  };
  const press = () => {
    const now = performance.now();
    if (model.get("over") || (!unheard && now - last < ONE_PRESS_MS)) return;
    last = now;
    if (!unheard) unheard = { id: number(), do: model.get("lets_go") ? "let go" : "stop", since: now, sent: now };
    send({ id: unheard.id, do: unheard.do });
    sure.hidden = true;
    draw();
  };
  const clock = setInterval(() => {
    const now = performance.now();
    if (unheard && now - unheard.sent > AGAIN_MS) {
      // Where comms have no subshell, a running cell is in the way: ask the server to interrupt it.
      if (unheard.sent === unheard.since) kernel?.interrupt?.().catch(() => {});
      unheard.sent = now;
      send({ id: unheard.id, do: unheard.do });
    }
    // The first message opens the subshell, and goes the slow way itself: so greet until one is answered.
    const greets = !greeted && (++greetings < 10 || greetings % 20 === 0);
    if (greets && !model.get("over")) send({ id: "hello", do: "hello" });
    draw();
  }, AGAIN_MS);

  const space = event => {
    if (event.code !== "Space" || event.ctrlKey || event.metaKey || event.altKey || model.get("over")) return;
    if (event.target.closest?.(EDITORS)) return;
    event.preventDefault();        // no scrolling, and no click on the button that has the focus
    if (event.type !== "keydown" || event.repeat) return;
    const arms = (event.smolkitArms ??= new Set());        // one press, also where an arm has two buttons
    if (!arms.has(model.get("arm"))) press();
    arms.add(model.get("arm"));
  };
  document.addEventListener("keydown", space, true);
  document.addEventListener("keyup", space, true);
  stop.addEventListener("click", press);
  rearm.addEventListener("click", () => { sure.hidden = false; rearm.hidden = true; });
  no.addEventListener("click", () => { sure.hidden = true; draw(); });
  yes.addEventListener("click", () => { sure.hidden = true; send({ id: number(), do: "arm again" }); draw(); });
  const changed = () => { news = performance.now(); draw(); };
  model.on("change", changed);
  model.on("msg:custom", hear);
  sure.hidden = true;
  draw();
  return () => {
    clearInterval(clock);
    document.removeEventListener("keydown", space, true);
    document.removeEventListener("keyup", space, true);
    model.off("change", changed);
    model.off("msg:custom", hear);
    line?.close?.();
  };
}
export default { render };
