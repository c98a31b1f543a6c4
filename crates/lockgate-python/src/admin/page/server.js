// Workers, reloads, events, limits, the cache and certificates.

/** As `serving`, and while a reload runs also whether it has started the worker. */
function stateOf(worker, reload) {
  const isRunning = reload && reload.begun > reload.ended;
  return isRunning ? `${worker.state}, ${worker.uptime <= reload.seconds ? 'new' : 'old'}` : worker.state;
}

function showWorkers(state) {
  const { now } = state, workers = (now && now.workers) || [];
  showReload(now);
  const parts = new Map();
  for (const worker of workers) {
    const part = stateOf(worker, now.reload);
    parts.set(part, (parts.get(part) || 0) + 1);
  }
  setText(byId('workers-note'), [...parts].map(([part, number]) => `${number} ${part}`).join('; '));
  const full = workers.filter((worker) => threadsOf(worker) && worker.threads_busy >= threadsOf(worker)).length;
  byId('cells').setAttribute('aria-label', `${plural(workers.length, 'worker')}, ${full} with all threads busy`);
  sync(byId('cells'), workers, (worker) => worker.slot, () => el('i'), (node, worker) => {
    const limit = threadsOf(worker), share = limit ? worker.threads_busy / limit : 0;
    node.dataset.state = worker.state;
    node.style.background = `color-mix(in srgb, var(${share > 0.9 ? '--class-server' : '--running'}) ${Math.round(share * 100)}%, var(--panel))`;
    node.title = `worker ${worker.slot}, pid ${worker.pid}, ${worker.state}: ${worker.threads_busy} of ${limit} threads busy`;
  });
  const found = workers.filter((worker) => matches(view.search, `worker ${worker.slot}`, worker.pid, worker.state));
  const shown = found.length ? found : workers;
  table(byId('workers'), [['Worker'], ['State'], ['Threads', 'n'], ['Waiting', 'n'], ['CPU', 'n'], ['Memory', 'n medium'], ['Age', 'n medium']], shown, (worker) => worker.slot, () => ['', '', '', '', '', '', ''], (tds, worker) => {
    setText(tds[0], worker.slot);
    tds[0].title = `pid ${worker.pid}`;
    setText(tds[1], stateOf(worker, now.reload));
    setText(tds[2], `${worker.threads_busy}/${threadsOf(worker)}`);
    setText(tds[3], count(worker.requests_waiting));
    setText(tds[4], worker.cpu == null ? '–' : percent(worker.cpu));
    setText(tds[5], bytes(worker.memory));
    setText(tds[6], duration(worker.uptime));
  }, now ? 'No worker serves.' : 'Not known yet.');
}

function showReload(now) {
  const box = byId('reload'), reload = now && now.reload;
  if (!reload) { fill(box, 'none', () => []); return; }
  const isRunning = reload.begun > reload.ended;
  if (isRunning) {
    fill(box, 'running', () => [el('p'), el('progress', { 'aria-label': 'Workers of the new generation that are ready' })]);
    setText(box.firstChild, `Reload ${reload.begun} (${reload.state}): ${reload.ready} of ${reload.wanted} workers are ready after ${duration(reload.seconds)}; the last one took ${duration(reload.last_seconds)}`);
    box.lastChild.max = reload.wanted || 1;
    box.lastChild.value = reload.ready;
  } else if (reload.state === 'failed') {
    fill(box, `failed ${reload.ended} ${reload.why}`, () => [el('p', {}, `Reload ${reload.ended} has failed after ${duration(reload.last_seconds)}; the workers before it still serve:`), el('pre', { tabindex: 0, 'aria-label': 'Why the reload has failed', role: 'region' }, reload.why)]);
  } else {
    fill(box, `${reload.state} ${reload.ended}`, () => el('p', { class: 'dim' }, reload.state === 'never' ? 'No reload yet.' : `Reload ${reload.ended} is ${reload.state}; it took ${duration(reload.last_seconds)}.`));
  }
}

const EVENT_MARKS = { error: '■', warning: '▲' };

function showEvents(state) {
  const { events, selection, data } = state;
  const range = selection || (data && { from: data.from, to: Infinity });
  const all = (events || []).filter((event) => !range || (event.time >= range.from && event.time < range.to));
  const found = all.filter((event) => matches(view.search, event.text, event.kind, event.level)).slice(-MOST_ROWS).reverse();
  const node = byId('events');
  setText(byId('events-note'), all.length ? `${all.length}${view.search ? `, ${found.length} found` : ''}, ${rangeWords(state)}` : '');
  if (!found.length) {
    fill(node, 'empty', () => el('li', { class: 'empty' }, !events ? 'Not recorded.' : `None ${rangeWords(state)}.`));
    return;
  }
  if (node.signature) { node.signature = null; node.replaceChildren(); }
  sync(node, found, (event) => event.id, (event) => {
    const [first, ...rest] = String(event.text).split('\n');
    const item = el('li', {}, el('time', { datetime: new Date(event.time * 1000).toISOString() }), el('span', { class: 'level', role: 'img', 'aria-label': event.level }, EVENT_MARKS[event.level] || '●'), el('div', { class: 'text' }, el('b', {}, event.kind.replaceAll('_', ' ')), ` ${first}`, rest.length ? el('details', {}, el('summary', {}, plural(rest.length, 'more line')), el('pre', {}, rest.join('\n'))) : null));
    item.dataset.level = event.level;
    return item;
  }, (item, event) => setText(item.firstChild, clock(event.time, state.now && state.now.now)));
}

function showRest(state) {
  const part = (name, ...content) => el('div', { tabindex: 0, role: 'region', 'aria-label': name }, el('h3', {}, name), ...content);
  const { now } = state;
  const limits = (now && now.limits && now.limits.limits) || [], cache = now && now.cache;
  const certificates = (now && now.certificates) || [], renewals = (now && now.renewals) || [];
  fill(byId('rest'), JSON.stringify([limits, cache, certificates, renewals]), () => [
    part('Rate limits', limits.length ? staticTable([['Limit'], ['Rate'], ['Refused', 'n'], ['Most often']], limits.map((limit) => [limit.name, limit.measure, `${count(limit.refused)}${limit.would_refuse ? ` (${count(limit.would_refuse)} in a dry run)` : ''}`, (limit.offenders || []).slice(0, 2).map((one) => `${one.key} ${count(one.refused)}`).join(', ') || '–'])) : el('p', { class: 'dim' }, 'None has counted a request.')),
    part('Response cache', cache ? staticTable([['Hits'], ['Entries', 'n'], ['Memory', 'n'], ['Evicted', 'n'], ['Purged', 'n']], [[`${percent(cache.hits / Math.max(1, cache.hits + cache.misses))} of ${count(cache.hits + cache.misses)}`, count(cache.entries), `${bytes(cache.bytes)} of ${bytes(cache.capacity)}`, count(cache.evicted), count(cache.purged)]]) : el('p', { class: 'dim' }, 'Off.')),
    part('Certificates', certificates.length ? staticTable([['Names'], ['Source'], ['Expires in', 'n']], certificates.map((one) => [(one.names || []).join(', '), one.source, plural(one.expires_in_days, 'day')])) : el('p', { class: 'dim' }, 'None: this server does not speak TLS.'),
      ...renewals.filter((one) => one.failures).map((one) => el('p', {}, `Renewal of ${one.name}: ${plural(one.failures, 'failure')}, ${one.last_error}`))),
  ]);
}

function staticTable(heads, lines) {
  return el('table', { class: 'table' }, el('thead', {}, el('tr', {}, ...heads.map(([name, classes]) => el('th', { scope: 'col', class: classes }, name)))),
    el('tbody', {}, ...lines.map((line) => el('tr', {}, ...line.map((text, n) => el('td', { class: heads[n][1] }, text))))));
}

function showNumbers(state) {
  if (!byId('numbers').open || !state.data) return;
  const { rows: all, step } = state.data;
  const lines = all.slice(-120).reverse().map((row) => readings(row, step));
  const heads = ['Time', 'Requests', '5xx', 'p50', 'p95', 'Queue p95', 'Threads', 'Waiting', 'CPU'];
  fill(byId('points'), `${all[all.length - 1].time} ${all.length} ${clocks.isUtc}`, () => [el('thead', {}, el('tr', {}, ...heads.map((name) => el('th', { scope: 'col' }, name)))), el('tbody', {}, ...lines.map((line) => el('tr', {}, ...line.filter(([name]) => name !== 'lost').map(([, text]) => el('td', {}, text)))))]);
}

/** What the page may do to the server, if the setting admin_actions is on; each asks first. */
const ACTIONS = [
  ['Reload', 'reload', 'Start a new generation of workers? The present one serves until the new one is ready.'],
  ['Maintenance on', 'maintenance?state=on', 'Answer all clients with 503 from now on?'],
  ['Maintenance as configured', 'maintenance?state=auto', 'Serve clients as the settings say?'],
];

function showActions(state) {
  const box = byId('actions'), isAllowed = Boolean(state.now && state.now.actions);
  box.hidden = !isAllowed;
  fill(box, String(isAllowed), () => (isAllowed ? ACTIONS.map(([name, path, question]) => el('button', { type: 'button', onclick: () => confirmAction(name, path, question) }, `${name}…`)) : []));
}

function confirmAction(name, path, question) {
  const dialog = byId('confirm-dialog'), answer = el('p', { role: 'status' });
  const act = el('button', { type: 'button', class: 'main', onclick: async () => {
    act.disabled = true;
    setText(answer, 'Asking the server …');
    try {
      const response = await fetch(`actions/${path}`, { method: 'POST', headers: { 'Lockgate-Action': '1' } });
      const text = await response.text();
      if (response.ok) { dialog.close(); announce(`${name}: the server has accepted it`); pollNow(); return; }
      setText(answer, `Refused: ${text.trim() || response.status}`);
    } catch {
      setText(answer, 'The server does not answer.');
    }
    act.disabled = false;
  } }, name);
  dialog.replaceChildren(el('h2', { id: 'confirm-title' }, name), el('p', {}, question), answer, el('p', { class: 'actions' }, el('button', { type: 'button', onclick: () => dialog.close() }, 'Cancel'), act));
  dialog.showModal();
}
