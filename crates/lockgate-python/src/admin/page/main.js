// Asks the server, and puts the parts together.

const RANGES = [[300, 2, '5 min'], [900, 5, '15 min'], [3600, 20, '1 h']];
/** What usual figures and the begin of an incident are found in: an hour, or what a server has that is younger. */
const LONG = [3600, 20];
const YOUNG = [600, 2];
/** The server has the slowest requests of a range, this many: then those of the last minute are asked for, too. */
const MOST_SLOW = 100;
const state = { now: null, history: null, data: null, long: null, events: null, selection: null, range: 1, isPaused: false, down: null, failure: '', whole: null };

async function ask(target, milliseconds) {
  const abort = new AbortController(), timer = setTimeout(() => abort.abort(), milliseconds);
  try {
    const response = await fetch(target, { signal: abort.signal, cache: 'no-store', credentials: 'omit' });
    if (response.status === 404) return null;
    if (!response.ok) throw new Error(`${response.status} ${(await response.text()).trim().slice(0, 200)}`);
    return await response.json();
  } finally {
    clearTimeout(timer);
  }
}

/** The pollers whose last turn has failed, and how. */
const failures = new Map();
function showFailures() {
  const [failure] = failures.values();
  if (state.down && !failures.size) announce('The server answers again');
  state.down = failures.size ? state.down || Date.now() / 1000 : null;
  state.failure = failure || '';
}

/** Asks again and again, `pause` after each answer, unless the page is paused; at once, and in any case, when called. */
function poller(run, pause) {
  let timer = null, isRunning = false, again = false;
  const turn = async () => {
    clearTimeout(timer);
    if (isRunning) { again = true; return; }
    isRunning = true;
    again = false;
    const begun = performance.now();
    try {
      await run();
      failures.delete(turn);
    } catch (error) {
      failures.set(turn, error.name === 'AbortError' ? 'no answer in time' : error.message);
    }
    showFailures();
    isRunning = false;
    scheduleRender();
    // A large answer is asked for less often; one that has failed is asked for soon, for the page is down until then.
    timer = setTimeout(again ? turn : next, again ? 0 : Math.max(failures.has(turn) ? 2000 : pause(), Math.min(5000, 5 * (performance.now() - begun))));
  };
  const next = () => { if (state.isPaused) timer = setTimeout(next, 1000); else turn(); };
  return turn;
}

const pollNow = poller(async () => {
  // A hidden page needs no stacks, but it has to find out that the server answers again.
  if (document.hidden && !failures.has(pollNow)) return;
  const found = await ask('now', 10000);
  state.isNowAsked = true;
  if (found) {
    if (state.now && Math.abs(state.now.started - found.started) > 5) {
      announce('The server was started again');
      // After a boot of the host, ids of events begin again.
      lastEvent = 0;
      state.events = null;
      // Its points are of the instance before; the server has those that it has read from it.
      state.data = state.long = state.history = state.whole = null;
      held.result = null;
      pollHistory();
      pollLong();
    }
    state.now = found;
  }
}, () => 1000);

const pollHistory = poller(async () => {
  const [span, step] = RANGES[state.range];
  const found = await askHistory(span, step);
  if (state.selection) await pollSelection();
  else state.history = found;
  state.whole = found;
  state.isAsked = true;
  state.data = series(found);
  if (state.data && state.data.slow.length >= MOST_SLOW) {
    const last = series(await askHistory(60, 60));
    const known = new Map([...state.data.slow, ...(last ? last.slow : [])].map((request) => [request.id, request]));
    state.data.slow = [...known.values()];
  }
  if (state.data && state.selection && state.selection.to < state.data.from) state.selection = null;
  await pollEvents();
}, () => (document.hidden ? 15000 : Math.max(2000, RANGES[state.range][1] * 500)));

const pollLong = poller(async () => {
  const isYoung = state.now && state.now.now - state.now.started < YOUNG[0];
  state.long = series(await askHistory(...(isYoung ? YOUNG : LONG)));
}, () => (state.now && state.now.now - state.now.started < YOUNG[0] ? 4000 : 20000));

async function askHistory(span, step) {
  const end = serverTime();
  return ask(`history?from=${Math.floor((end - span) / step) * step}&step=${step}`, 15000);
}

/** Paths, slow and failed requests of the selected range. */
async function pollSelection() {
  const { selection } = state;
  if (!selection) return;
  const found = await ask(`history?from=${selection.from}&to=${selection.to}&step=${RANGES[state.range][1]}`, 15000);
  if (state.selection === selection) state.history = found;
}

let lastEvent = 0;
async function pollEvents() {
  let found = await ask(`events?after=${lastEvent}`, 10000);
  if (!found) { if (state.whole && state.whole.events) state.events = state.whole.events; return; }
  // A server that was started again counts from the beginning.
  if (found.last < lastEvent) {
    lastEvent = 0;
    found = await ask('events?after=0', 10000);
    state.events = null;
  }
  if (!found) return;
  lastEvent = found.last;
  state.events = [...(state.events || []), ...found.events].slice(-1000);
}

const held = { result: null, at: 0 };
const skew = { seconds: 0 };
/** The server's clock. */
function serverTime() {
  return Date.now() / 1000 + skew.seconds;
}

let isScheduled = false;
function scheduleRender() {
  if (isScheduled) return;
  isScheduled = true;
  const once = () => {
    if (!isScheduled) return;
    isScheduled = false;
    render();
  };
  requestAnimationFrame(once);
  // A hidden page has no frames, but its title still changes.
  setTimeout(once, 250);
}

function render() {
  const { now, selection } = state;
  if (now) skew.seconds = state.seen === now ? skew.seconds : now.now - Date.now() / 1000;
  state.seen = now;
  document.body.classList.toggle('first', !state.down && !(state.isAsked && state.isNowAsked));
  const result = state.down && now == null ? null : steady(diagnose(state), held, now ? now.now : serverTime());
  document.body.classList.toggle('stale', Boolean(state.down));
  showLink();
  showHeadline(result);
  showFigures(state);
  showChart(state.data, state.events, selection);
  showRunning(state);
  showSlow(state);
  showErrors(state);
  showActivities(state);
  showPaths(state);
  showEvents(state);
  showWorkers(state);
  showActions(state);
  showRest(state);
  showNumbers(state);
  drawFlame();
}

function showHeadline(result) {
  const { now, down } = state;
  if (down) {
    const lost = { level: 'bad', kind: 'off', text: 'no answer from the server' };
    showState({ level: 'bad', title: `No answer from the admin listener since ${clock(down)} (${state.failure}); trying again${now ? '. What follows is from before' : ''}`, since: down, place: result && result.place, change: null, list: [], worst: lost }, state);
  } else if (now || state.data) showState(result, state);
  const level = down ? 'bad' : result ? result.level : 'wait';
  const title = byId('headline').textContent;
  const name = { bad: '■ ', warn: '▲ ' }[level] || '';
  const shortTitle = shortened(`${name}${title}`, 80);
  if (document.title !== shortTitle) {
    document.title = shortTitle;
    drawIcon(level);
  }
}

function showLink() {
  const { now, down, isPaused } = state, link = byId('link');
  link.dataset.state = down ? 'down' : isPaused ? 'paused' : now ? 'live' : 'wait';
  const time = now ? `${clock(now.now)} ${zoneName()}` : '';
  setText(byId('link-text'), down ? `no answer since ${clock(down)}` : isPaused ? `paused at ${time}` : now ? time : 'connecting');
  if (!now) return;
  setText(byId('version'), now.version);
  byId('version').title = `pid ${now.pid}`;
  setText(byId('uptime'), `up ${duration(now.now - now.started)} · ${now.readiness}${now.maintenance === 'auto' ? '' : ` · maintenance ${now.maintenance}`}`);
}

let announced = 0;
function announce(text) {
  setText(byId('announce'), text);
  clearTimeout(announced);
  announced = setTimeout(() => setText(byId('announce'), ''), 8000);
}

function searchFor(text) {
  const box = byId('search');
  box.value = box.value === text ? '' : text;
  view.search = box.value.trim().toLowerCase();
  render();
}

function choose(parent, names, current, change) {
  parent.replaceChildren(...names.map((name, n) => el('button', { type: 'button', 'aria-pressed': String(n === current), onclick: (event) => {
    for (const button of parent.children) button.setAttribute('aria-pressed', String(button === event.currentTarget));
    change(n);
  } }, name)));
}

// The theme is the system's unless it was chosen here.
const THEMES = ['', 'light', 'dark'];
function showTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  byId('theme').setAttribute('aria-label', `Theme: ${theme || 'as the system'}`);
  readColours();
  scheduleRender();
}

function stored(name, value) {
  // Storage may be forbidden; then the choice lasts as long as the page.
  try {
    if (value === undefined) return localStorage.getItem(`lockgate-${name}`) || '';
    localStorage.setItem(`lockgate-${name}`, value);
  } catch { /* as above */ }
  return '';
}

const KEYS = [
  ['/', 'search in all lists'], ['Esc', 'clear the search, the selection'], ['← →', 'move on the time line (when it has the focus)'],
  ['Shift ← →', 'select a range, which filters the lists below'], ['[ ]', 'event before, event after'], ['t', 'to the time line'], ['1 2 3', '5 min, 15 min, 1 h'],
  ['p', 'pause'], ['f', 'profile'], ['u', 'times in UTC'], ['d', 'theme'], ['?', 'this help'],
];
const WORDS = [
  ['p95', '95 of 100 requests took less time than this.'], ['usually', 'The lower third of the last hour, so that an incident does not become usual.'],
  ['Thread time', 'How long threads were seen in requests of a path: ten requests of 1 s are 10 s.'],
  ['Own code', 'The most recent frame in a file that belongs neither to Python nor to an installed package.'],
  ['GIL', 'Python’s lock: one thread of a worker runs Python code at a time.'],
  ['Slow requests', 'Those that took longer than slow_request (1 s without it); the server keeps their samples.'],
];

function showHelp() {
  const dialog = byId('help-dialog');
  const list = (pairsOf) => el('dl', {}, ...pairsOf.flatMap(([term, text]) => [el('dt', {}, term), el('dd', {}, text)]));
  dialog.replaceChildren(el('h2', { id: 'help-title' }, 'Keys and words'), list(KEYS), el('h3', {}, 'Words'), list(WORDS),
    el('p', { class: 'dim' }, 'Workers are asked for stacks twice a second at most, and only while this page is visible. A rectangle on the time line is a number of requests that took that long: the darker (in the dark theme: the brighter), the more.'),
    el('p', { class: 'actions' }, el('button', { type: 'button', class: 'main', onclick: () => dialog.close() }, 'Close')));
  dialog.showModal();
}

function setRange(n) {
  state.range = n;
  state.selection = null;
  [...byId('ranges').children].forEach((button, at) => button.setAttribute('aria-pressed', String(at === n)));
  pollHistory();
}

function setPaused(isPaused) {
  state.isPaused = isPaused;
  byId('pause').setAttribute('aria-pressed', String(isPaused));
  setText(byId('pause'), isPaused ? 'Go on' : 'Pause');
  render();
  if (!isPaused) { pollNow(); pollHistory(); }
}

function nextTheme() {
  const next = THEMES[(THEMES.indexOf(stored('theme') || document.documentElement.dataset.theme || '') + 1) % THEMES.length];
  stored('theme', next);
  showTheme(next);
}

function pageKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]')) return;
  const isTyping = event.target.matches('input, select, textarea');
  if (event.key === 'Escape' && event.target.id === 'search') { searchFor(byId('search').value); event.target.blur(); return; }
  if (isTyping) return;
  const keys = {
    '/': () => byId('search').focus(), '?': showHelp, p: () => setPaused(!state.isPaused), d: nextTheme, f: startProfile,
    t: () => byId('chart').focus(), u: () => { clocks.isUtc = !clocks.isUtc; render(); },
    Escape: () => { searchFor(byId('search').value); state.selection = null; state.history = state.whole; render(); },
  };
  RANGES.forEach((_, n) => { keys[String(n + 1)] = () => setRange(n); });
  if (keys[event.key]) { event.preventDefault(); keys[event.key](); }
}

function start() {
  choose(byId('ranges'), RANGES.map(([, , name]) => name), state.range, setRange);
  choose(byId('grouping'), ['By place', 'By request'], 0, (n) => { view.grouping = n ? 'request' : 'place'; render(); });
  byId('legend').replaceChildren(...[['--class-server', '5xx, p95'], ['--class-client', '4xx'], ['--class-redirect', '3xx'], ['--class-ok', '2xx'], ['--ink', 'p50']].map(([tone, name]) => {
    const mark = el('i');
    mark.style.background = `var(${tone})`;
    return el('li', {}, mark, name);
  }), el('li', {}, '● ▲ ■ events: information, warning, error'));
  byId('search').addEventListener('input', (event) => { view.search = event.target.value.trim().toLowerCase(); render(); });
  byId('pause').addEventListener('click', () => setPaused(!state.isPaused));
  byId('theme').addEventListener('click', nextTheme);
  byId('help').addEventListener('click', showHelp);
  byId('numbers').addEventListener('toggle', () => showNumbers(state));
  byId('profile-start').addEventListener('click', startProfile);
  byId('profile-seconds').addEventListener('change', (event) => setText(byId('profile-start'), `Profile for ${event.target.value} s`));
  byId('profile-weight').addEventListener('change', () => { if (flame.profile) buildFlame(); });
  document.addEventListener('keydown', pageKey);
  document.addEventListener('visibilitychange', () => { if (!document.hidden) { pollNow(); pollHistory(); } });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => { readColours(); scheduleRender(); });
  new ResizeObserver(() => drawFlame()).observe(byId('profile'));
  startChart((range) => {
    state.selection = range;
    if (!range) state.history = state.whole;
    render();
    if (range) pollHistory();
  });
  showTheme(stored('theme'));
  render();
  pollNow();
  pollHistory();
  pollLong();
}

start();
