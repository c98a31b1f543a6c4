// Loads the page again when another version of the application serves. Injected by `lockgate dev --refresh`.
(() => {
  "use strict";
  if (window.top !== window || window.lockgateRefresh) return;
  window.lockgateRefresh = true;

  const script = document.currentScript;
  const base = script.src.replace(/refresh\.js.*$/, "");
  const generation = script.dataset.generation;
  const isError = script.dataset.page === "error";
  const isSafe = script.dataset.method === "GET";
  const KEY = "lockgate.refresh";
  // A page that is loaded again more often than this within the time has a version that does not stay.
  const MOST_LOADS = 8, WITHIN = 10000;

  let source = null;
  let isLeaving = false;

  function read() {
    try { return JSON.parse(sessionStorage.getItem(KEY)) || {}; } catch { return {}; }
  }

  function write(state) {
    try { sessionStorage.setItem(KEY, JSON.stringify(state)); } catch { /* Storage is switched off. */ }
  }

  function connect() {
    if (source || isLeaving || document.hidden) return;
    source = new EventSource(base + "refresh");
    source.onmessage = (event) => { if (event.data !== generation) leave(); };
  }

  function disconnect() {
    if (source) source.close();
    source = null;
  }

  // The new version has been announced, and may serve some milliseconds later.
  async function leave() {
    if (isLeaving) return;
    isLeaving = true;
    disconnect();
    for (let attempt = 0; attempt < 200; attempt++) {
      try {
        const response = await fetch(base + "version", { cache: "no-store" });
        if (response.ok && (await response.text()) !== generation) return isSafe ? load() : offer();
      } catch { /* The server restarts. */ }
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
    isLeaving = false;
    connect();
  }

  function load() {
    const before = read();
    const now = Date.now();
    const loads = (before.loads || []).filter((time) => now - time < WITHIN);
    if (loads.length >= MOST_LOADS) {
      console.warn("lockgate: the page was loaded again too often; load it yourself");
      return;
    }
    // A page of an error is shorter: the place is that of the page before it.
    const keeps = isError && before.page === location.href;
    write({
      page: location.href,
      x: keeps ? before.x : window.scrollX,
      y: keeps ? before.y : window.scrollY,
      loads: [...loads, now],
    });
    // The browser would restore the place in the page of the error.
    history.scrollRestoration = "manual";
    location.reload();
  }

  // A form is not sent again without a question.
  function offer() {
    const button = document.createElement("button");
    button.textContent = "A new version serves: send the form again";
    Object.assign(button.style, {
      position: "fixed", bottom: "1rem", right: "1rem", zIndex: "2147483647", padding: "0.6rem 1rem",
      font: "14px system-ui, sans-serif", color: "#fff", background: "#1d4ed8", border: "0",
      borderRadius: "6px", cursor: "pointer",
    });
    button.addEventListener("click", () => location.reload());
    document.body.append(button);
  }

  function restore() {
    const state = read();
    if (isError || state.page !== location.href || state.y === undefined) return;
    const { x, y, loads } = state;
    write({ loads });
    window.scrollTo(x, y);
    // Images may have made the page longer.
    window.addEventListener("load", () => { if (window.scrollY < y) window.scrollTo(x, y); }, { once: true });
    // Not before: the browser would still restore its own place.
    window.addEventListener("pagehide", () => { if (!isLeaving) history.scrollRestoration = "auto"; }, { once: true });
  }

  // A hidden page holds no connection: browsers open only six to one server over HTTP/1.
  document.addEventListener("visibilitychange", () => (document.hidden ? disconnect() : connect()));
  window.addEventListener("pagehide", disconnect);
  window.addEventListener("pageshow", connect);
  restore();
  connect();
})();
