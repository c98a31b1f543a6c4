
"use strict";
// Search, zoom, keys and details of the flame graph that this script is in. The graph can be read without it.
(() => {
  const root = document.currentScript.ownerSVGElement;
  const isAlone = document.documentElement === root;
  const ROW = 19;
  const LETTER = 7.23;

  const html = (tag, attributes, ...children) => {
    const element = document.createElementNS("http://www.w3.org/1999/xhtml", tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  };
  const svg = (tag, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };

  // Frames stand in the file before those that they have called.
  const read = (graph) => {
    const path = [];
    const frames = [];
    for (const element of graph.querySelectorAll("svg.f")) {
      const title = element.querySelector("title");
      const [label, ...details] = title.textContent.split("\n");
      // The tooltip of this script takes its place.
      title.remove();
      const depth = Math.round(parseFloat(element.getAttribute("y")) / ROW);
      const frame = {
        element,
        label,
        details,
        depth,
        x: parseFloat(element.getAttribute("x")),
        width: parseFloat(element.getAttribute("width")),
        parent: path[depth - 1],
        children: [],
        text: element.querySelector("text"),
      };
      frame.parent?.children.push(frame);
      path.length = depth;
      path.push(frame);
      frames.push(frame);
      element.frame = frame;
    }
    return { element: graph, frames, zoomed: frames[0], at: null, rows: 1 + Math.max(0, ...frames.map((f) => f.depth)) };
  };
  const graphs = {
    wall: read(root.querySelector(":scope > .graph.wall")),
    cpu: read(root.querySelector(":scope > .graph.cpu")),
  };
  const top = parseFloat(graphs.wall.element.getAttribute("y"));
  const current = () => graphs[root.getAttribute("data-measure")];

  const measureButton = (name, text) =>
    html("button", { type: "button", title: "c: change", onclick: () => show(name) }, text);
  const buttons = { wall: measureButton("wall", "Wall time"), cpu: measureButton("cpu", "CPU time") };
  if (!graphs.cpu.frames.length) buttons.cpu.setAttribute("disabled", "");
  const input = html("input", {
    type: "search",
    placeholder: "Search (/)",
    "aria-label": "Search for functions, files and requests",
    oninput: () => find(input.value),
  });
  const matched = html("span", { role: "status" });
  const reset = html("button", { type: "button", title: "Escape", disabled: "", onclick: () => zoom(null) }, "Zoom out");
  const details = html("div", { class: "details", role: "status" });
  const HINT =
    "Click or Enter: zoom in. Escape: zoom out. Arrows: move. /: search. c: wall or CPU time. t: dark or light.";
  const panel = html(
    "div",
    { class: "panel" },
    html(
      "div",
      { class: "row" },
      html("div", { class: "row", role: "group", "aria-label": "Measure" }, buttons.wall, buttons.cpu),
      input,
      matched,
      reset,
      html("button", { type: "button", title: "t", onclick: () => changeTheme() }, "Dark or light"),
    ),
    details,
  );
  const place = svg("foreignObject", { x: "1%", y: top - 8, width: "98%", height: 40 });
  place.append(panel);
  root.append(place);
  const tip = html("div", { class: "tip" });
  const floating = svg("foreignObject", { class: "floating", width: 1, height: 1 });
  floating.append(tip);

  const lay = () => {
    const graph = current();
    const head = top - 8 + Math.ceil(panel.getBoundingClientRect().height) + 10;
    place.setAttribute("height", head - top + 8);
    graph.element.setAttribute("y", head);
    root.setAttribute("height", head + graph.rows * ROW + 12);
    const zoomed = graph.zoomed;
    if (!zoomed) return;
    const pixels = root.getBoundingClientRect().width * 0.98 || 1000;
    const above = new Set();
    for (let frame = zoomed.parent; frame; frame = frame.parent) above.add(frame);
    const scale = 100 / zoomed.width;
    for (const frame of graph.frames) {
      let x = (frame.x - zoomed.x) * scale;
      let width = frame.width * scale;
      const isAbove = above.has(frame);
      if (isAbove) {
        x = 0;
        width = 100;
      }
      // Rounding leaves neighbours a hair inside.
      const isInside = isAbove || (x > -1e-4 && x + width < 100 + 1e-4 && frame.depth >= zoomed.depth);
      const list = frame.element.classList;
      list.toggle("hidden", !isInside || (width * pixels) / 100 < 0.3);
      list.toggle("above", isAbove);
      if (!isInside) continue;
      frame.element.setAttribute("x", `${x}%`);
      frame.element.setAttribute("width", `${width}%`);
      write(frame, Math.floor(((width * pixels) / 100 - 8) / LETTER));
    }
  };

  // As much of the name as there is room for: the place of a function goes first.
  const write = (frame, room) => {
    let label = frame.label;
    if (label.length > room && frame.element.matches(".own, .package, .python")) {
      label = label.slice(0, label.lastIndexOf(" ("));
    }
    if (label.length > room) label = room > 2 ? `${label.slice(0, room - 1)}…` : "";
    if (label && !frame.text) {
      frame.text = svg("text", { x: 4, y: 13 });
      frame.element.append(frame.text);
    }
    if (frame.text && frame.text.textContent !== label) frame.text.textContent = label;
  };

  const show = (measure) => {
    root.setAttribute("data-measure", measure);
    for (const [name, button] of Object.entries(buttons)) button.setAttribute("aria-pressed", name === measure);
    find(input.value);
    reset.disabled = current().zoomed === current().frames[0];
    move(null);
    lay();
  };

  const zoom = (frame) => {
    const graph = current();
    graph.zoomed = frame ?? graph.frames[0];
    reset.disabled = graph.zoomed === graph.frames[0];
    if (frame && graph.at) move(frame);
    lay();
  };

  const find = (text) => {
    const graph = current();
    const wanted = text.trim().toLowerCase();
    let part = 0;
    let count = 0;
    for (const frame of graph.frames) {
      const isHit = wanted !== "" && frame.depth > 0 && frame.label.toLowerCase().includes(wanted);
      frame.isCounted = isHit || Boolean(frame.parent?.isCounted);
      frame.element.classList.toggle("hit", isHit);
      count += isHit;
      // A frame below one that was found is a part of it.
      if (isHit && !frame.parent?.isCounted) part += frame.width;
    }
    graph.element.classList.toggle("found", wanted !== "");
    matched.textContent = wanted && (count ? `${part.toFixed(1)} % in ${count} frame${count > 1 ? "s" : ""}` : "not found");
  };

  const move = (frame) => {
    const graph = current();
    graph.at?.element.classList.remove("at");
    graph.at = frame;
    frame?.element.classList.add("at");
    details.textContent = frame ? `${frame.label}: ${frame.details.join("; ")}` : HINT;
    if (frame) frame.element.scrollIntoView?.({ block: "nearest" });
  };

  const isShown = (frame) => frame && !frame.element.classList.contains("hidden");
  const neighbour = (frame, step) => {
    const siblings = (frame.parent?.children ?? []).filter(isShown);
    return siblings[siblings.indexOf(frame) + step];
  };
  const largest = (frame) => frame.children.filter(isShown).sort((a, b) => b.width - a.width)[0];

  const changeTheme = () => {
    const isDark =
      root.getAttribute("data-theme") === "dark" ||
      (!root.hasAttribute("data-theme") && matchMedia("(prefers-color-scheme: dark)").matches);
    root.setAttribute("data-theme", isDark ? "light" : "dark");
  };

  const press = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const graph = current();
    if (event.target === input || event.target.localName === "button") {
      if (event.key === "Escape" && event.target === input) {
        input.value = "";
        find("");
        graph.element.focus();
      }
      if (event.target === input || event.key === "Enter" || event.key === " ") return;
    }
    const at = graph.at ?? graph.zoomed;
    const actions = {
      ArrowDown: () => move(graph.at ? (largest(at) ?? at) : at),
      ArrowUp: () => move(at?.parent ?? at),
      ArrowLeft: () => move(neighbour(at, -1) ?? at),
      ArrowRight: () => move(neighbour(at, 1) ?? at),
      Home: () => move(graph.frames[0]),
      Enter: () => zoom(at),
      Escape: () => zoom(null),
      "/": () => input.focus(),
      c: () => graphs.cpu.frames.length && show(graph === graphs.wall ? "cpu" : "wall"),
      t: changeTheme,
    };
    if (!Object.hasOwn(actions, event.key) || !graph.frames.length) return;
    event.preventDefault();
    actions[event.key]();
  };

  const point = (event) => {
    const frame = event.target.closest?.("svg.f")?.frame;
    if (!frame) return floating.remove();
    const bounds = root.getBoundingClientRect();
    const room = Math.min(520, bounds.width - 16);
    tip.textContent = [frame.label, ...frame.details].join("\n");
    floating.setAttribute("width", room);
    floating.setAttribute("height", 400);
    if (!floating.isConnected) root.append(floating);
    const { width, height } = tip.getBoundingClientRect();
    const x = Math.max(4, Math.min(event.clientX - bounds.left + 12, bounds.width - width - 8));
    let y = event.clientY - bounds.top + 18;
    if (event.clientY + 18 + height > innerHeight || y + height > bounds.height) y -= height + 30;
    floating.setAttribute("x", x);
    floating.setAttribute("y", Math.max(0, y));
    floating.setAttribute("width", Math.ceil(width) + 2);
    floating.setAttribute("height", Math.ceil(height) + 2);
  };

  for (const { element } of Object.values(graphs)) {
    element.setAttribute("tabindex", "0");
    element.addEventListener("click", (event) => {
      const frame = event.target.closest?.("svg.f")?.frame;
      if (!frame) return;
      move(frame);
      zoom(frame);
    });
    element.addEventListener("pointermove", point);
    element.addEventListener("pointerleave", () => floating.remove());
  }
  (isAlone ? document : root).addEventListener("keydown", press);
  addEventListener("resize", lay);
  root.setAttribute("data-live", "");
  show(root.getAttribute("data-measure"));
})();
