// What is wrong, the figures, and the lists of what runs and has run.

/** The most rows of a list that are shown at first, and at most. */
const FIRST_ROWS = 8;
const MOST_ROWS = 160;
const opened = new Set();

/** The answers to an operator's five questions, in that order. */
function showState(result, state) {
  const section = byId('state');
  section.dataset.level = result.level;
  setText(byId('headline'), result.title);
  const { now } = state, { place, worst } = result;
  const time = now ? now.now : Date.now() / 1000;
  const [who, why] = verdict(place, now);
  const events = (state.events || []).filter((event) => isChange(event) && (result.since == null || event.time <= result.since));
  const last = events[events.length - 1], { change } = result;
  const before = change && result.since - change.time > 0.5 ? `, ${duration(result.since - change.time)} before` : '';
  const changed = change ? [capital(eventWords(change)), `${clock(change.time, time)}${before}`]
    : worst && last ? ['Nothing shortly before', `last: ${eventWords(last)}, ${clock(last.time, time)}`] : last ? [capital(eventWords(last)), `${clock(last.time, time)}, ${duration(time - last.time)} ago`] : ['Nothing that is recorded', ''];
  const frame = place && place.frame, isPast = result.isPast;
  const slow = worst && OF_REQUESTS.includes(worst.kind);
  const facts = [
    ['What', worst ? capital({ slow: 'slow responses', overload: 'overload', queue: 'waiting for threads', errors: 'failing responses', old: 'a request that does not end', full: 'no free thread', timeouts: 'requests run too long', died: 'a worker died', reload: 'a failed reload', off: 'no answer' }[worst.kind] || worst.kind) : 'Nothing', place && slow ? `most in ${place.label || 'threads without a request'}` : ''],
    ['Since', result.since == null ? '–' : clock(result.since, time), result.since == null ? '' : `${duration(time - result.since)} ago`],
    ['Which code', frame ? [frame.function, placeOf(frame)].filter(Boolean).join(', ') : '–', frame && frame.source ? { code: frame.source } : ''],
    ['What changed', ...changed],
    ['Is it us?', slow && !isPast ? capital(who) : '–', slow && !isPast ? why : ''],
  ];
  sync(byId('facts'), facts, ([name]) => name, ([name]) => el('div', {}, el('dt', {}, name), el('dd', {}, el('b'), el('small'))), (node, [, text, detail]) => {
    const [strong, small] = node.lastChild.children;
    setText(strong, text);
    strong.title = text;
    small.classList.toggle('mono', Boolean(detail && detail.code));
    setText(small, detail && detail.code ? detail.code : detail);
    small.title = small.textContent;
  });
  const also = result.list.slice(0, 4);
  if (result.list.length > 4) also.push({ level: 'note', text: `and ${result.list.length - 4} more` });
  sync(byId('also'), also, (one, n) => one.text.slice(0, 60), () => el('li'), (node, one) => {
    node.dataset.level = one.level;
    setText(node, `${capital(one.text)}${one.since == null ? '' : `${one.detail ? '' : ','} ${['died', 'reload'].includes(one.kind) ? 'at' : 'since'} ${clock(one.since, time)}`}${one.detail || ''}`);
    node.title = one.text;
  });
}

/** The tiles: name, value, detail, level and what the value is about. */
function figuresOf(state) {
  const { long, now, selection } = state, data = ofInstance(state.data, now);
  // The same seconds as those of the first line.
  const recent = selection ? data && summary(data, selection.from, selection.to) : recently(data), base = usual(long) || usual(data);
  const span = recent ? `Of ${duration(recent.seconds)} until ${clock(recent.to)}` : '';
  const level = (value, normal, floor) => (value != null && normal != null && value > Math.max(floor, normal * 2.5) ? 'warn' : '');
  const was = (value, text) => (value == null ? '' : `usually ${text(value)}`);
  const workers = (now && now.workers) || [];
  const busy = selection || !now ? recent && recent.running : sum(workers.map((w) => w.threads_busy));
  const all = selection || !now ? recent && recent.threads : sum(workers.map(threadsOf));
  const waiting = selection || !now ? recent && recent.waiting : sum(workers.map((w) => w.requests_waiting));
  const failed = recent && recent.total ? recent.failed / recent.total : null;
  const refused = recent ? recent.lostBy[FAILURES.indexOf('queue_full')] + recent.timedOut : 0;
  const wait = recent && (recent.isWaitOverTimeout ? '>\u00a0queue_timeout' : recent.wait != null && recent.wait <= 0.001 ? '<\u00a01\u00a0ms' : duration(recent.wait));
  const items = [
    ['Requests', recent ? `${count(recent.rate)}/s` : '–', refused ? `${count(refused / recent.seconds)}/s refused` : base ? was(base.rate, (v) => `${count(v)}/s`) : '', ''],
    ['Errors', percent(failed), recent && recent.lost ? `${count(recent.lost)} lost or refused` : base && failed != null ? was(base.share, percent) : '', failed > 0.05 ? 'bad' : failed > 0.01 ? 'warn' : ''],
    ['Duration p50', duration(recent && recent.p50), base ? was(base.p50, duration) : '', base ? level(recent && recent.p50, base.p50, 0.05) : ''],
    ['Duration p95', duration(recent && recent.p95), base ? was(base.p95, duration) : '', base ? level(recent && recent.p95, base.p95, 0.05) : ''],
    ['Wait for a thread p95', wait || '–', recent && recent.timedOut ? `${count(recent.timedOut)} timed out` : waiting ? `${count(waiting)} wait now` : 'none waits', recent && (recent.isWaitOverTimeout || recent.wait > 0.05) ? 'warn' : '', 'of requests that got a thread; those that timed out in the queue count as queue_timeout'],
    ['Threads busy', all ? `${count(busy)} of ${count(all)}` : '–', all ? percent(busy / all) : '', all && busy / all > 0.9 ? 'warn' : ''],
    ['CPU', recent && recent.cpu != null ? `${round(recent.cpu, recent.cpu < 10 ? 2 : 0)}\u00a0cores` : '–', base ? was(base.cpu, (v) => round(v, v < 10 ? 2 : 0)) : '', ''],
    ['Memory', bytes(recent && recent.memory), recent && recent.connections != null ? `${count(recent.connections)} connections` : '', ''],
  ];
  return items.map(([name, value, detail, tone, about]) => [name, value, detail, tone, [span, about].filter(Boolean).join(', ')]);
}

function showFigures(state) {
  sync(byId('figures'), figuresOf(state), ([name]) => name, ([name]) => el('div', {}, el('dt', {}, name), el('dd'), el('dd', { class: 'usual' })), (node, [, value, detail, tone, about]) => {
    node.dataset.level = tone;
    node.title = about;
    setText(node.children[1], value);
    setText(node.children[2], detail);
  });
}

/** A list of entries that open; those that were open stay so. */
function rows(parent, kind, labels, items, keyOf, update) {
  parent.classList.remove('groups', 'requests', 'slows', 'failures');
  parent.classList.add(kind);
  if (parent.kind !== kind) { parent.replaceChildren(); parent.kind = kind; }
  const all = items.length ? [{ isHead: true }, ...items] : [];
  sync(parent, all, (item) => (item.isHead ? 'head' : keyOf(item)), (item) => {
    if (item.isHead) return el('div', { class: 'labels', 'aria-hidden': 'true' }, ...labels.map(([name, classes]) => el('span', { class: classes }, name)));
    const key = `${kind} ${keyOf(item)}`;
    const node = el('details', { ontoggle: () => { if (node.open) opened.add(key); else opened.delete(key); if (node.again) node.again(); } }, el('summary'), el('div', { class: 'more-inside' }));
    node.open = opened.has(key);
    return node;
  }, (node, item) => {
    if (item.isHead) return;
    node.again = () => update(node, item);
    update(node, item);
  });
}

/** Gives a summary its cells, made once. */
function cells(node, make) {
  if (!node.firstChild.childElementCount) node.firstChild.append(...make());
  return node.firstChild.children;
}

function frameText(node, frame) {
  const [name, where, source] = node.children;
  setText(name, frame ? frame.function : '–');
  setText(where, frame ? ` ${placeOf(frame)}` : '');
  if (source) setText(source, (frame && frame.source) || '');
  node.title = frame ? `${frame.function}, ${withLine(frame.file, frame.line)}${frame.source ? `\n${frame.source}` : ''}` : '';
}

const frameCell = (withSource) => el('span', { class: 'place cut' }, el('b'), el('span', { class: 'dim' }), withSource ? el('code') : null);

function activityText(node, text) {
  const found = activity(text);
  node.style.setProperty('--tone', `var(${found.tone})`);
  setText(node, found.short);
  node.title = found.words;
}

function stackOf(frames) {
  return el('ol', { class: 'stack', 'aria-label': 'Stack, the most recent call first' }, ...(frames || []).map((frame) => el('li', { class: isOwn(frame.file) ? 'own' : null }, el('b', {}, frame.function), ` ${withLine(frame.file, frame.line)}`, frame.source ? el('code', {}, frame.source) : null)));
}

function pairs(list) {
  return el('p', { class: 'pairs' }, ...list.filter(([, value]) => value != null && value !== '').map(([name, value]) => el('span', {}, `${name} `, el('b', {}, value))));
}

function requestPairs(request) {
  return pairs([['', `${request.method || ''} ${request.target || ''}`.trim()], ['worker', request.worker], ['pid', request.pid], ['thread', request.thread], ['client', request.client], ['request id', request.request_id]]);
}

const view = { grouping: 'place', search: '', isAll: {} };

function threadMatches(thread) {
  const frame = ownFrame(thread.frames);
  return matches(view.search, thread.label, thread.target, thread.activity, thread.client, thread.request_id, `worker ${thread.worker}`, frame && frame.function, frame && frame.file);
}

function showRunning(state) {
  const { now } = state;
  const all = (now && now.threads) || [];
  const threads = all.filter(threadMatches);
  const hasFrames = all.some((thread) => thread.frames && thread.frames.length);
  const note = !all.length ? '' : `${plural(all.length, 'request')}${view.search ? `, ${threads.length} found` : ''}${hasFrames ? '' : '; their stacks are not known'}${state.selection ? '; now, not in the selected range' : ''}`;
  setText(byId('running-note'), note);
  const parent = byId('running');
  if (!threads.length) {
    empty(parent, !now ? 'Not known yet.' : all.length ? 'No running request matches the search.' : 'No thread runs a request.');
    setText(byId('running-more'), '');
    return;
  }
  if (view.grouping === 'place') {
    const found = groups(threads);
    const shown = limited('running', found, 'place');
    rows(parent, 'groups', [['Threads'], ['Doing'], ['Own code'], ['Request']], shown, (group) => group.key, (node, group) => updateGroup(node, group, threads.length));
  } else {
    const sorted = [...threads].sort((a, b) => b.age - a.age);
    rows(parent, 'requests', [['Age', 'right'], ['Request'], ['Doing'], ['Own code'], ['Worker', 'right']], limited('running', sorted, 'request'), (thread) => `${thread.pid} ${thread.thread} ${thread.request_id || thread.target}`, updateThread);
  }
}

/** The first entries, or all of them up to a bound, with a button that shows more. */
function limited(id, items, word) {
  const most = view.isAll[id] ? MOST_ROWS : FIRST_ROWS;
  const line = byId(`${id}-more`), hasMore = items.length > FIRST_ROWS;
  const text = view.isAll[id] ? `Show ${FIRST_ROWS}` : items.length <= MOST_ROWS ? `Show all ${items.length}` : `Show ${MOST_ROWS} of ${items.length}`;
  fill(line, hasMore ? text : '', () => (hasMore ? el('button', { type: 'button', class: 'link', onclick: () => { view.isAll[id] = !view.isAll[id]; render(); } }, text) : []));
  return items.slice(0, most);
}

function empty(parent, text) {
  parent.kind = null;
  if (parent.childElementCount !== 1 || parent.firstChild.className !== 'empty') parent.replaceChildren(el('p', { class: 'empty' }));
  setText(parent.firstChild, text);
}

function updateGroup(node, group, total) {
  const found = cells(node, () => [el('span', { class: 'bars' }, el('b', { class: 'right' }), el('span', { class: 'track', 'aria-hidden': 'true' }, el('i'))), el('span', { class: 'activity cut' }), frameCell(true), el('span', { class: 'cut' })]);
  setText(found[0].firstChild, group.threads.length);
  const fillBar = found[0].lastChild.firstChild, tone = activity(group.activity).tone;
  fillBar.style.width = `${(group.threads.length / total) * 100}%`;
  fillBar.style.background = `var(${tone})`;
  activityText(found[1], group.activity);
  frameText(found[2], group.frame);
  setText(found[3], group.labels.size > 1 ? `${group.label} and ${group.labels.size - 1} more` : group.label);
  found[3].title = [...group.labels].map(([label, times]) => `${times} × ${label}`).slice(0, 20).join('\n');
  if (!node.open) { fill(node.lastChild, '', () => []); return; }
  const oldest = group.threads.slice(0, 12);
  fill(node.lastChild, JSON.stringify([group.key, oldest.map((t) => [t.thread, t.age])]), () => [
    pairs([['doing', activity(group.activity).words], ['requests', [...group.labels].slice(0, 6).map(([label, times]) => `${times} × ${label}`).join(', ')]]),
    stackOf(group.threads[0].frames),
    el('table', { class: 'table' }, el('thead', {}, el('tr', {}, ...['Age', 'Request', 'Worker', 'Client'].map((name) => el('th', { scope: 'col' }, name)))),
      el('tbody', {}, ...oldest.map((t) => el('tr', {}, el('td', { class: 'n' }, duration(t.age)), el('td', {}, `${t.method} ${t.target}`), el('td', {}, t.worker), el('td', {}, t.client))))),
  ]);
}

function updateThread(node, thread) {
  const found = cells(node, () => [el('b', { class: 'right' }), el('span', { class: 'cut' }), el('span', { class: 'activity cut' }), frameCell(false), el('span', { class: 'right dim medium' })]);
  setText(found[0], duration(thread.age));
  setText(found[1], thread.label || `${thread.method} ${thread.target}`);
  found[1].title = `${thread.method} ${thread.target}`;
  activityText(found[2], thread.activity);
  frameText(found[3], ownFrame(thread.frames));
  setText(found[4], thread.worker);
  fill(node.lastChild, node.open ? JSON.stringify(thread.frames) : '', () => (node.open ? [requestPairs(thread), pairs([['doing', activity(thread.activity).words]]), stackOf(thread.frames)] : []));
}

function showSlow(state) {
  const { history, selection } = state, parent = byId('slow');
  const all = ((history && history.slow) || []).filter((one) => !selection || (one.began < selection.to && one.began + one.seconds > selection.from));
  const found = all.filter((one) => matches(view.search, one.label, one.target, one.client, one.request_id, `worker ${one.worker}`, ...(one.samples || []).flatMap((sample) => [sample.activity, (ownFrame(sample.frames) || {}).function])));
  found.sort((a, b) => b.is_running - a.is_running || b.seconds - a.seconds);
  setText(byId('slow-note'), all.length ? `${all.length}${view.search ? `, ${found.length} found` : ''}, ${rangeWords(state)}; each keeps the samples that were taken of it` : '');
  if (!found.length) {
    empty(parent, !history || !history.slow ? 'Not recorded.' : all.length ? 'No slow request matches the search.' : `None ${rangeWords(state)}.`);
    setText(byId('slow-more'), '');
    return;
  }
  rows(parent, 'slows', [['Took', 'right'], ['Began'], ['Request'], ['Mostly'], ['Own code']], limited('slow', found), (one) => one.id, (node, one) => updateSlow(node, one, state));
}

function updateSlow(node, one, state) {
  const samples = one.samples || [], total = sum(samples.map((sample) => sample.count));
  const top = [...samples].sort((a, b) => b.count - a.count)[0];
  const spans = cells(node, () => [el('b', { class: 'right' }), el('span', { class: 'dim medium' }), el('span', { class: 'cut' }), el('span', { class: 'activity cut' }), frameCell(false)]);
  setText(spans[0], one.is_running ? `${duration(one.seconds)} …` : duration(one.seconds));
  spans[0].title = one.is_running ? 'It is running' : '';
  setText(spans[1], clock(one.began, state.now && state.now.now));
  setText(spans[2], one.label);
  spans[2].title = `${one.method} ${one.target}`;
  activityText(spans[3], top && top.activity);
  frameText(spans[4], top && ownFrame(top.frames));
  fill(node.lastChild, node.open ? JSON.stringify([one.seconds, one.is_running, total]) : '', () => (node.open ? [
    requestPairs(one),
    pairs([['began', clock(one.began, 0)], [one.is_running ? 'running for' : 'took', duration(one.seconds)], ['samples', total]]),
    ...[...samples].sort((a, b) => b.count - a.count).slice(0, 8).flatMap((sample) => [pairs([['', `${percent(sample.count / total)} of its samples: ${activity(sample.activity).words}`]]), stackOf(sample.frames)]),
  ] : []));
}

/** Failed requests by path, exception and place. */
function showErrors(state) {
  const { history } = state, parent = byId('errors');
  const all = (history && history.errors) || [];
  const found = all.filter((one) => matches(view.search, one.label, one.exception, one.message, one.request_id, one.status && `status ${one.status}`, `worker ${one.worker}`, (ownFrame(one.frames) || {}).function));
  const note = `${plural(sum(all.map((one) => one.count)), 'failed request')}${view.search ? `, ${plural(found.length, 'kind')} found` : ''}, ${rangeWords(state)}`;
  setText(byId('errors-note'), all.length ? note : '');
  if (!found.length) {
    empty(parent, !history || !history.errors ? 'Not recorded.' : all.length ? 'No error matches the search.' : `None ${rangeWords(state)}.`);
    setText(byId('errors-more'), '');
    return;
  }
  rows(parent, 'failures', [['Count', 'right'], ['Last'], ['Request'], ['Raised'], ['Own code']], limited('errors', found), errorKey, (node, one) => updateError(node, one, state));
}

function errorKey(one) {
  const frame = ownFrame(one.frames) || {};
  return JSON.stringify([one.label, one.status, one.exception, frame.file, frame.function]);
}

function updateError(node, one, state) {
  const spans = cells(node, () => [el('b', { class: 'right' }), el('span', { class: 'dim medium' }), el('span', { class: 'cut' }), el('span', { class: 'cut' }), frameCell(true)]);
  const raised = one.exception || one.message || `status ${one.status}`;
  setText(spans[0], count(one.count));
  setText(spans[1], clock(one.last, state.now && state.now.now));
  setText(spans[2], one.label);
  spans[2].title = one.label;
  setText(spans[3], raised);
  spans[3].title = one.exception && one.message ? `${one.exception}: ${one.message}` : raised;
  frameText(spans[4], ownFrame(one.frames));
  fill(node.lastChild, node.open ? JSON.stringify([one.count, one.last]) : '', () => (node.open ? [
    pairs([['', one.exception || (one.message ? '' : 'the framework has answered itself; no exception was seen')], ['', one.message]]),
    pairs([['status', one.status], ['', one.status ? '' : 'the response was complete before'], ['first', clock(one.first, 0)], ['last', clock(one.last, 0)], ['worker', one.worker], ['request id', one.request_id]]),
    stackOf(one.frames),
  ] : []));
}

function rangeWords(state) {
  const { selection, data } = state;
  if (selection) return 'in the selected range';
  return data ? `in the last ${duration(data.to - data.from)}` : 'yet';
}

function showActivities(state) {
  const { now, history, selection } = state;
  const slow = selection ? ((history && history.slow) || []).filter((one) => one.began < selection.to && one.began + one.seconds > selection.from) : [];
  const running = ((now && now.threads) || []).filter((thread) => !thread.websocket);
  const found = selection ? shares([], slow) : shares(running, []);
  setText(byId('activity-note'), selection ? 'samples of slow requests in the selected range' : found.length ? `of ${plural(sum(found.map((one) => one.weight)), 'running request')}` : '');
  const shown = found.slice(0, 7);
  const words = shown.map((one) => `${percent(one.share)} ${activity(one.text).words}`).join(', ');
  byId('shares').setAttribute('aria-label', words || 'No request runs');
  sync(byId('shares'), shown, (one) => one.text, () => el('i'), (node, one) => {
    node.style.width = `${one.share * 100}%`;
    node.style.background = `var(${activity(one.text).tone})`;
    node.title = `${percent(one.share)} ${activity(one.text).words}`;
  });
  table(byId('activities'), [['Doing'], ['Requests', 'n'], ['Share', 'n']], shown, (one) => one.text, () => [el('span', { class: 'activity' }), '', ''], (tds, one) => {
    const found = activity(one.text);
    tds[0].firstChild.style.setProperty('--tone', `var(${found.tone})`);
    setText(tds[0].firstChild, found.kind === 'running' ? found.words : found.short);
    setText(tds[1], one.weight);
    setText(tds[2], percent(one.share));
  }, selection ? 'No slow request was sampled in the selected range.' : running.length ? 'Stacks are not known.' : 'No thread runs a request.');
}

/** A table whose rows stay. `make` gives what the cells have, `update` gets the cells. */
function table(node, heads, items, keyOf, make, update, nothing) {
  if (node.tBodies.length === 0) node.append(el('thead', {}, el('tr', {}, ...heads.map(([name, classes]) => (name ? el('th', { scope: 'col', class: classes }, name) : el('td', { class: classes }))))), el('tbody'));
  const body = node.tBodies[0];
  node.tHead.hidden = !items.length;
  if (!items.length) {
    sync(body, [nothing], () => 'nothing', () => el('tr', {}, el('td', { colspan: heads.length, class: 'dim' })), (row, text) => setText(row.firstChild, text));
    return;
  }
  sync(body, items, keyOf, (item) => el('tr', {}, ...make(item).map((child, n) => el('td', { class: heads[n][1] }, child))), (row, item) => update(row.children, item, row));
}

function showPaths(state) {
  const { history } = state;
  const all = (history && history.paths) || [];
  const found = all.filter((one) => matches(view.search, one.label)).slice(0, 12);
  const partly = state.selection && history && history.to == null ? ', from its begin to now' : '';
  const slot = history && history.from != null && history.to != null ? `, ${clock(Math.max(history.from, state.data ? state.data.from : 0))} to ${clock(history.to)} in slots of 10 s` : '';
  setText(byId('paths-note'), all.length ? `${rangeWords(state)}${partly}${slot}` : '');
  table(byId('paths'), [['Path'], ['Share', 'n'], ['', 'bar-cell wide'], ['Thread time', 'n'], ['Slowest', 'n']], found, (one) => one.label, (one) => [el('button', { type: 'button', class: 'text', title: 'Search for it in all lists' }), '', el('span', { class: 'track', 'aria-hidden': 'true' }, el('i')), '', ''], (tds, one) => {
    setText(tds[0].firstChild, one.label);
    tds[0].firstChild.onclick = () => searchFor(one.label);
    setText(tds[1], percent(one.share));
    tds[2].firstChild.firstChild.style.width = `${one.share * 100}%`;
    setText(tds[3], duration(one.seconds));
    setText(tds[4], duration(one.slowest));
  }, !history || !history.paths ? 'Not recorded.' : all.length ? 'No path matches the search.' : 'No request was seen.');
}
