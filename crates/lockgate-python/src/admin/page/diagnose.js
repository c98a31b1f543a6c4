// What is wrong now, since when, where, and what changed before it, in words.

const CHANGES = { start: 'the start', reload_done: 'a reload', reload_failed: 'a failed reload', reload_begun: 'a reload', rolled_back: 'a rollback', worker_died: 'a worker’s death', maintenance: 'maintenance' };
/** How long before a change of the figures its cause may be. */
const CAUSE_SECONDS = 150;

function isChange(event) {
  return event.kind in CHANGES || event.kind.startsWith('upgrade') || event.kind.startsWith('certificate') || event.kind.includes('purge');
}

/** The most recent change at or before `since`, if it is near. Figures lag by a step, so it may be a bit later. */
function changeBefore(events, since, slack) {
  const near = (events || []).filter((event) => isChange(event) && event.time <= since + slack && event.time >= since - CAUSE_SECONDS);
  return near.length ? near[near.length - 1] : null;
}

/** An event in a few words: what it was, with its number if it has one. */
function eventWords(event) {
  const number = /\breload (\d+)\b|\breload #(\d+)/.exec(event.text || '');
  if (number && event.kind.startsWith('reload')) return `${event.kind === 'reload_failed' ? 'failed reload' : 'reload'} ${number[1] || number[2]}`;
  if (event.kind === 'worker_died' && event.worker != null) return `the death of worker ${event.worker}`;
  return CHANGES[event.kind] || event.kind.replaceAll('_', ' ');
}

/**
 * The findings, the worst first: {level, text, since, kind}. `data` is the shown history, `long` an hour of it.
 * Each finding is a claim about the last seconds: 5, or as many as a few requests took to come.
 */
function findings(now, data, long, events) {
  const found = [];
  const add = (level, kind, text, start, detail, label) => found.push({ level, kind, text, since: start, detail: detail || '', label });
  const recent = recently(data);
  const base = usual(long) || usual(data);
  const start = (isBad) => {
    const fine = since(data, isBad);
    const coarse = long ? since(long, isBad) : null;
    return coarse != null && (fine == null || coarse < data.from) ? coarse : fine;
  };
  serverFindings(now, add, events);
  if (recent) {
    const refused = recent.lostBy[1] + recent.lostBy[2];
    const overloaded = recent.total > 0 && refused / recent.total > 0.005;
    if (overloaded) {
      const why = recent.lostBy[1] >= recent.lostBy[2] ? 'the queue is full' : 'no thread became free within queue_timeout';
      add('bad', 'overload', 'overload', start((row) => row.lostBy[1] + row.lostBy[2] > 0), `: ${percent(refused / recent.total)} of requests get 503 because ${why}`);
    }
    if (recent.lostBy[3] > 0) add(recent.lostBy[3] > recent.total / 50 ? 'bad' : 'warn', 'timeouts', `${count(recent.lostBy[3])} requests have exceeded request_timeout in ${duration(recent.seconds)}`, start((row) => row.lostBy[3] > 0));
    const share = recent.total ? recent.failed / recent.total : 0;
    if (!overloaded && recent.failed >= 3 && share > Math.max(0.01, 4 * ((base && base.share) || 0))) {
      const isBad = (row) => row.total > 0 && row.failed / row.total > share / 4;
      add(share > 0.05 ? 'bad' : 'warn', 'errors', `${percent(share)} of responses are 5xx`, start(isBad));
    }
    if (base && base.p95 && recent.p95 && recent.answered >= 3 && recent.p95 > Math.max(2.5 * base.p95, base.p95 + 0.05)) {
      const isBad = (row) => row.p95 != null && row.p95 > Math.max(2 * base.p95, base.p95 + 0.04);
      add(recent.p95 > 1 || (recent.p95 > 0.25 && recent.p95 > 10 * base.p95) ? 'bad' : 'warn', 'slow', `p95 ${duration(recent.p95)} (usually ${duration(base.p95)})`, start(isBad));
    }
    const late = lateFinding(now, base);
    if (late && !found.some((one) => one.kind === 'slow')) add('warn', 'slow', late.text, late.since);
    const path = slowPath(data, long);
    if (path && !found.some((one) => one.kind === 'slow')) add('warn', 'slow', `${path.label} takes ${duration(path.seconds)}`, path.since, '', path.label);
    if (recent.wait > 0.05 && !overloaded && !(base && base.wait && recent.wait < 3 * base.wait)) {
      add(recent.wait > 0.5 ? 'bad' : 'warn', 'queue', `requests wait ${duration(recent.wait)} for a thread (p95)`, start((row) => row.wait > 0.025));
    }
    if (recent.threads && recent.running != null && recent.running / recent.threads > 0.97 && !found.some((one) => ['overload', 'queue', 'slow'].includes(one.kind))) {
      add('warn', 'full', `all ${count(recent.threads)} threads are busy`, start((row) => row.threads && row.running / row.threads > 0.95));
    }
  }
  // A WebSocket may be as old as it likes.
  const threads = ((now && now.threads) || []).filter((thread) => !thread.websocket);
  const oldest = threads.length ? Math.max(...threads.map((thread) => thread.age)) : 0;
  if (oldest > 30) {
    const one = threads.find((thread) => thread.age === oldest);
    add(threads.filter((thread) => thread.age > 30).length > 2 ? 'bad' : 'warn', 'old', `${one.label} has been running for ${duration(oldest)}`, now.now - oldest);
  }
  certificateFindings(now, add);
  return byEffect(found);
}

/** Kinds of findings, the one with the worst effect on clients first. Only those before `died` have one now. */
const EFFECTS = ['down', 'overload', 'timeouts', 'errors', 'slow', 'old', 'queue', 'full', 'maintenance', 'draining', 'died', 'reload', 'certificate', 'renewal'];

function byEffect(found) {
  const order = { bad: 0, warn: 1, note: 2 };
  return found.sort((a, b) => order[a.level] - order[b.level] || EFFECTS.indexOf(a.kind) - EFFECTS.indexOf(b.kind));
}

/** The last 5 seconds, or up to two minutes if there were few requests: one slow one in 60 is no p95. */
function recently(data) {
  if (!data) return null;
  for (const seconds of [5, 15, 30, 60]) {
    const found = summary(data, data.to - Math.max(seconds, data.step), data.to);
    if (found && found.answered >= 60) return found;
  }
  return summary(data, data.to - Math.max(120, data.step), data.to);
}

/** Requests that have already taken much longer than is usual, before any of them ends; null if they are few. */
function lateFinding(now, base) {
  if (!now || !base || !base.p95) return null;
  const threads = (now.threads || []).filter((thread) => !thread.websocket);
  const limit = Math.max(0.5, 5 * base.p95);
  const late = threads.filter((thread) => thread.age > limit);
  if (late.length < 3 || late.length * 2 < threads.length) return null;
  return { late, text: `${late.length} of ${threads.length} running requests have taken more than ${duration(limit)} (p95 is usually ${duration(base.p95)})`, since: now.now - Math.max(...late.map((thread) => thread.age)) };
}

/** So many slow requests of a path in so many seconds are a finding. */
const SLOW_COUNT = 3;
const SLOW_SECONDS = 60;

/**
 * The path with the most time in slow requests of the last minute: requests of one path may be slow and p95 as usual. Null
 * if there is none, or each was nearly as slow in the first third of the last hour.
 */
function slowPath(data, long) {
  const before = long ? long.slow.filter((one) => one.began < long.to - 2400) : [];
  let slowest = null;
  for (const label of new Set(data.slow.map((one) => one.label))) {
    const times = (list) => list.filter((one) => one.label === label).map((one) => one.seconds);
    const recent = times(data.slow.filter((one) => one.began + one.seconds > data.to - SLOW_SECONDS));
    const seconds = median(recent), usually = times(before);
    if (recent.length < SLOW_COUNT || (usually.length >= SLOW_COUNT && seconds < 2.5 * median(usually))) continue;
    if (!slowest || sum(recent) > slowest.total) slowest = { label, seconds, total: sum(recent) };
  }
  if (!slowest) return null;
  const all = [...data.slow, ...(long ? long.slow : [])].filter((one) => one.label === slowest.label).sort((a, b) => b.began - a.began);
  let start = data.to;
  for (const one of all) {
    if (start - one.began - one.seconds > SLOW_SECONDS) break;
    start = one.began;
  }
  return { ...slowest, since: start };
}

function serverFindings(now, add, events) {
  if (!now) return;
  const workers = now.workers || [];
  const serving = workers.filter((worker) => worker.state === 'serving').length;
  if (/drain/.test(now.readiness || '')) add('warn', 'draining', 'the server is stopping: load balancers send it no requests', null);
  else if (!serving) add('bad', 'down', 'no worker serves', lastOf(events, ['worker_died', 'stop', 'start']));
  if (now.maintenance === 'on') add('warn', 'maintenance', 'maintenance is on: clients get 503', lastOf(events, ['maintenance']));
  const reload = now.reload || {};
  if (reload.state === 'failed') {
    const why = String(reload.why || '').split('\n').find((line) => line.trim()) || 'see the error log';
    add(serving ? 'warn' : 'bad', 'reload', `reload ${reload.ended} failed`, lastOf(events, ['reload_failed', 'rolled_back']), `: ${shortened(why, 90)}${serving ? '; the workers before it still serve' : ''}`);
  } else if (reload.begun > reload.ended) {
    add('note', 'reload', `reload ${reload.begun} runs: ${reload.ready} of ${reload.wanted} workers after ${duration(reload.seconds)}`, now.now - reload.seconds);
  }
  deathFinding(now, add, events);
}

/** Seconds in which so many deaths are trouble that lasts. */
const DEATHS_SECONDS = 300;
const DEATHS = 3;

/** The last death of the last 10 minutes: a warning if it was replaced, unless deaths repeat. */
function deathFinding(now, add, events) {
  const dead = (events || []).filter((event) => ['worker_died', 'worker_not_answering'].includes(event.kind) && event.time > now.now - 600);
  if (!dead.length) return;
  const last = dead[dead.length - 1];
  const repeated = dead.filter((event) => event.time > now.now - DEATHS_SECONDS).length;
  const successor = (now.workers || []).find((worker) => worker.slot === last.worker && worker.state === 'serving' && worker.uptime < now.now - last.time + 1);
  // Its slot is not needed any more if the number of workers was changed since.
  const isMissing = !successor && last.worker != null && !(events || []).some((event) => event.kind === 'resized' && event.time >= last.time);
  const name = last.worker == null ? 'a worker' : `worker ${last.worker}`;
  const text = repeated >= DEATHS ? `${repeated} workers died in the last 5 min, the last one` : `${name} ${deathWords(last)}`;
  const [, lost] = /\b(\d+) requests? (?:was|were) in flight/.exec(last.text) || [];
  const replaced = successor ? `; replaced in ${duration(now.now - successor.uptime - last.time)}` : isMissing ? '; not replaced yet' : '';
  add(repeated >= DEATHS || isMissing ? 'bad' : 'warn', 'died', text, last.time, `${replaced}${lost ? `; ${plural(Number(lost), 'request')} lost` : ''}`);
}

/** How a worker ended: its signal or exit code, if the event names one. */
function deathWords(event) {
  if (event.kind !== 'worker_died') return 'does not answer';
  const [, signal, code] = /\bwas killed by (SIG\w+|signal \d+)|\bexited with code (\d+)/.exec(event.text) || [];
  const why = /OOM killer: the control group/.test(event.text) ? ', out of memory' : '';
  return signal ? `was killed (${signal}${why})` : code ? `exited with code ${code}` : 'died';
}

/** At most so many characters, with an ellipsis if there were more. */
function shortened(text, most) {
  return text.length > most ? `${text.slice(0, most - 1).trimEnd()}…` : text;
}

function certificateFindings(now, add) {
  for (const certificate of (now && now.certificates) || []) {
    if (certificate.expires_in_days < 14) {
      const name = (certificate.names || [])[0] || certificate.source;
      const text = certificate.expires_in_days < 0 ? `the certificate of ${name} has expired` : `the certificate of ${name} expires in ${plural(certificate.expires_in_days, 'day')}`;
      add(certificate.expires_in_days < 3 ? 'bad' : 'warn', 'certificate', text, null);
    }
  }
  for (const renewal of (now && now.renewals) || []) {
    if (renewal.failures > 0) add('warn', 'renewal', `the renewal of ${renewal.name} has failed ${renewal.failures} times: ${renewal.last_error}`, null);
  }
}

function lastOf(events, kinds) {
  const found = (events || []).filter((event) => kinds.includes(event.kind));
  return found.length ? found[found.length - 1].time : null;
}

/**
 * Where most of the running threads are: the largest group by what they wait for, and its most frequent frame. With a
 * label, only those of its requests.
 */
function dominant(now, history, from, label) {
  const isMeant = (request) => !label || request.label === label;
  let threads = ((now && now.threads) || []).filter((thread) => thread.activity && !thread.websocket && isMeant(thread));
  let source = 'threads';
  if (threads.length < 3) {
    // Too few to judge: the samples of slow requests since the incident say more.
    const slow = ((history && history.slow) || []).filter((request) => isMeant(request) && (!from || request.began >= from - 10));
    const samples = slow.flatMap((request) => (request.samples || []).flatMap((sample) => Array(Math.min(sample.count, 50)).fill({ ...sample, label: request.label, age: request.seconds })));
    if (samples.length > threads.length) { threads = samples; source = 'samples'; }
  }
  if (!threads.length) return null;
  const [top] = shares(threads);
  const inside = threads.filter((thread) => thread.activity === top.text);
  // Those that wait for the GIL are not its cause: the threads that run are.
  const runs = top.text === 'GIL' ? threads.filter((thread) => thread.activity === 'running') : [];
  // A stack may have no frame of the application: that of a thread of a library waits in Python's own code.
  const group = groups(runs.length ? runs : inside).find((one) => one.frame && isOwn(one.frame.file));
  const labels = new Map();
  for (const thread of threads) labels.set(thread.label, (labels.get(thread.label) || 0) + 1);
  const [[most]] = [...labels].sort((a, b) => b[1] - a[1]);
  return { activity: activity(top.text), count: inside.length, total: threads.length, share: top.share, frame: group ? group.frame : null, label: most, source };
}

/** All that the top of the page says. */
function diagnose(state) {
  const { now, history, data, long } = state;
  const events = state.events || [];
  const list = findings(now, data, long, events);
  const [worst] = list.filter((one) => one.level !== 'note');
  const from = worst && worst.since;
  const place = dominant(now, history, from, worst && worst.label);
  const slack = data ? 2 * data.step : 10;
  const change = worst && from != null ? changeBefore(events, from, slack) : null;
  const result = { level: worst ? worst.level : 'fine', title: '', since: from, place, change, list: list.filter((one) => one !== worst), worst };
  if (!worst) {
    const busy = now && now.workers ? [sum(now.workers.map((w) => w.threads_busy)), sum(now.workers.map(threadsOf))] : null;
    const recent = recently(data);
    if (!recent || !recent.total) result.title = now && now.now - now.started < 120 ? `Started ${duration(now.now - now.started)} ago; no requests yet` : 'No requests';
    else result.title = `Nothing stands out: ${count(recent.rate)} requests/s, p95 ${duration(recent.p95)}${busy ? `, ${busy[0]} of ${busy[1]} threads busy` : ''}`;
    return result;
  }
  const when = from == null ? '' : ` since ${clock(from, now && now.now)}`;
  const isInstant = ['died', 'reload'].includes(worst.kind);
  const after = change && !isInstant ? `, ${Math.abs(from - change.time) < slack ? 'at' : `${duration(from - change.time)} after`} ${eventWords(change)}` : '';
  result.title = isInstant ? `${capital(worst.text)}${from == null ? '' : ` at ${clock(from, now && now.now)}`}${worst.detail}` : `${capital(worst.text)}${when}${after}${worst.detail}${placeWords(place)}`;
  return result;
}

/** Seconds for which a finding stays after it was last true: requests in step look fine between two of them. */
const HOLD_SECONDS = 8;

/** What is shown: a finding that has just gone stays for a while, and one that lasts keeps its begin. */
function steady(result, held, time) {
  const isHeld = held.result && time - held.at < HOLD_SECONDS && time >= held.at;
  if (!result.worst) return isHeld && held.result.worst.kind === 'slow' ? held.result : result;
  const last = isHeld && held.result.worst.kind === result.worst.kind ? held.result : null;
  if (last && last.since != null && result.since > last.since && result.since - last.since < 60) {
    result.title = result.title.replace(` since ${clock(result.since, time)}`, ` since ${clock(last.since, time)}`);
    result.since = last.since;
    result.change = result.change || last.change;
  }
  if (last && last.place && !result.place) {
    result.place = last.place;
    result.title += placeWords(last.place);
  }
  held.result = result;
  held.at = time;
  return result;
}

/** What most threads do, if it is one thing. */
function placeWords(place) {
  if (!place || place.share < 0.5 || place.total < 2) return '';
  const verb = { network: 'wait for', GIL: 'wait for the GIL', lock: 'wait for a lock', running: 'run Python code or C extensions', disk: 'wait for a disk', sleep: 'sleep', 'child process': 'wait for a child process' }[place.activity.kind];
  if (!verb) return '';
  const what = place.source === 'samples' ? 'samples of slow requests' : 'running requests';
  return `; ${place.count} of ${place.total} ${what} ${verb}${place.activity.kind === 'network' ? ` ${place.activity.name || 'the network'}` : ''}`;
}

function capital(text) {
  if (text.startsWith('p95')) return text;
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** Whether it is the application, or what it waits for. */
function verdict(place, now) {
  if (!place && now && now.threads && now.threads.length) return ['not known', 'the stacks of the requests are not sampled'];
  if (!place) return ['no thread runs a request', ''];
  const part = `${place.count} of ${place.total} ${place.source === 'samples' ? 'samples of slow requests' : 'running threads'}`;
  const { kind, name } = place.activity;
  if (place.share < 0.4) return ['no single thing', `${part}: ${place.activity.short}`];
  if (kind === 'network') return [name ? `not this server: ${name}` : 'the network', `${part} wait for it`];
  if (kind === 'running') return ['this application: its code runs', part];
  if (kind === 'GIL') return ['this application: the GIL', `${part} wait for it`];
  if (kind === 'lock') return ['this application: a lock', `${part} wait for it`];
  if (kind === 'disk') return ['a disk of this host', `${part} wait for it`];
  if (kind === 'sleep') return ['this application: it sleeps', part];
  if (kind === 'child process') return ['a child process', `${part} wait for it`];
  return ['the system does not say', part];
}
