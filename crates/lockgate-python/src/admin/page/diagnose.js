// What is wrong now, since when, where, and what changed before it, in words.

const CHANGES = { start: 'the start', reload_done: 'a reload', reload_failed: 'a failed reload', reload_begun: 'a reload', rolled_back: 'a rollback', worker_died: 'a worker’s death', maintenance: 'maintenance' };
/** How long before a change of the figures its cause may be. */
const CAUSE_SECONDS = 150;

function isChange(event) {
  return event.kind in CHANGES || event.kind.startsWith('upgrade') || event.kind.startsWith('certificate') || event.kind.includes('purge');
}

/**
 * When a finding began, and the most recent change at or before that, if it is near. The first bad figure says only that
 * the begin is within its step: a change in that step is the begin.
 */
function beginOf(finding, events) {
  const { since, within } = finding;
  if (since == null) return { since, change: null };
  const near = (events || []).filter((event) => isChange(event) && event.time <= since + within && event.time >= since - CAUSE_SECONDS);
  const change = near.length ? near[near.length - 1] : null;
  return { since: change ? Math.max(since, change.time) : since, change };
}

/** The points since the start of the server: those before it are of another instance. */
function ofInstance(data, now) {
  if (!data || !now || !(now.started > data.from)) return data;
  const rows = data.rows.filter((row) => row.time + data.step > now.started);
  return rows.length ? { ...data, rows, from: rows[0].time } : null;
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
function findings(now, allData, allLong, events) {
  const found = [];
  const data = ofInstance(allData, now), long = ofInstance(allLong, now);
  const add = (level, kind, text, begin, detail, label) => {
    const [since, within] = Array.isArray(begin) ? begin : [begin, 0];
    found.push({ level, kind, text, since: since == null ? null : Math.max(since, now ? now.started : 0), within, detail: detail || '', label });
  };
  const recent = recently(data);
  const base = usual(allLong) || usual(allData);
  const start = (isBad) => {
    const fine = since(data, isBad);
    const coarse = long ? since(long, isBad) : null;
    return coarse != null && (fine == null || coarse < data.from) ? [coarse, long.step] : [fine, data.step];
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
      const raised = mostRaised(data);
      add(share > 0.05 ? 'bad' : 'warn', 'errors', `${percent(share)} of responses are 5xx`, start(isBad), raised ? `, mostly ${shortened(raised.exception, 60)} in ${shortened(raised.label, 60)}` : '');
    }
    const isBad = (row) => Boolean(base && base.p95) && row.p95 != null && row.p95 > Math.max(2 * base.p95, base.p95 + 0.04);
    if (base && base.p95 && recent.p95 && recent.answered >= 3 && recent.p95 > Math.max(2.5 * base.p95, base.p95 + 0.05) && !isOver(data, isBad)) {
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

/** The failures of the last minute that are most: one path and exception; null if no exception is known. */
function mostRaised(data) {
  const recent = data.errors.filter((one) => one.exception && one.last > data.to - 60);
  return recent.reduce((top, one) => (top && top.count >= one.count ? top : one), null);
}

/** Kinds of findings, the one with the worst effect on clients first. Only those before `died` have one now. */
const EFFECTS = ['down', 'overload', 'timeouts', 'errors', 'slow', 'old', 'queue', 'full', 'maintenance', 'draining', 'died', 'reload', 'certificate', 'renewal'];

function byEffect(found) {
  const order = { bad: 0, warn: 1, note: 2 };
  return found.sort((a, b) => order[a.level] - order[b.level] || EFFECTS.indexOf(a.kind) - EFFECTS.indexOf(b.kind));
}

/** Whether figures are fine again, while a window of many seconds still has those that were bad. */
function isOver(data, isBad) {
  const until = lastSign(data, isBad);
  const after = data.rows.filter((row) => until != null && row.time >= until);
  return until != null && data.to - until >= 5 && sum(after.map((row) => sum(row.durations))) >= 3;
}

/** The end of the last step that is as `isBad` says; null without any. */
function lastSign(data, isBad) {
  const bad = data.rows.filter(isBad);
  return bad.length ? bad[bad.length - 1].time + data.step : null;
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
    const last = data.slow.filter((one) => one.label === label && one.began + one.seconds > data.to - SLOW_SECONDS);
    if (hasEnded(last, data.to)) continue;
    const recent = times(last);
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

/** Whether slow requests have come to an end: none ran for twice the longest time between the ends of two of them. */
function hasEnded(requests, time) {
  const ends = requests.map((one) => one.began + one.seconds).sort((a, b) => a - b);
  const pauses = ends.slice(1).map((end, n) => end - ends[n]);
  return ends.length > 1 && time - ends[ends.length - 1] > Math.max(10, 2 * Math.max(...pauses));
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
  const dead = (events || []).filter((event) => ['worker_died', 'worker_not_answering'].includes(event.kind) && event.time > Math.max(now.now - 600, now.started - 1));
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
      add(certificate.expires_in_days < 0 ? 'bad' : 'warn', 'certificate', text, null);
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

/** Seconds after its end for which the samples of a slow request say what is wrong now. */
const SAMPLE_SECONDS = 60;
/** Findings whose cause is where the threads are. */
const OF_REQUESTS = ['slow', 'overload', 'queue', 'old', 'errors', 'full', 'timeouts'];

/** The place of a traceback: its last file and line. Null without one. */
function tracebackPlace(text) {
  const found = [...String(text || '').matchAll(/File "([^"\n]+)", line (\d+)(?:, in (.+))?(?:\n[ \t]+(\S.*))?/g)];
  if (!found.length) return null;
  const [, file, line, name, source] = found[found.length - 1];
  return { activity: activity(''), count: 0, total: 0, share: 0, frame: { file, line: Number(line), function: name || '', source }, label: '', source: 'traceback' };
}

/** Where threads are that do not wait, but run in the function, or else in the file, in which others wait for a lock. */
function holdersOf(threads, frame) {
  const others = threads.filter((thread) => thread.activity !== 'lock');
  for (const isSame of [(one) => one.file === frame.file && one.function === frame.function, (one) => one.file === frame.file]) {
    const places = others.map((thread) => (thread.frames || []).find(isSame)).filter((one) => one);
    if (places.length) return { count: places.length, frame: places[0] };
  }
  return null;
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
    const slow = ((history && history.slow) || []).filter((request) => isMeant(request) && request.began >= from - 10 && request.began + request.seconds >= Math.max(from, now ? now.now - SAMPLE_SECONDS : 0));
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
  const frame = group ? group.frame : null;
  return { activity: activity(top.text), count: inside.length, total: threads.length, share: top.share, frame, label: most, source, holders: top.text === 'lock' && frame ? holdersOf(threads, frame) : null };
}

/** All that the top of the page says: of now, also if a range is selected. */
function diagnose(state) {
  const { now, data, long } = state, history = state.whole || state.history;
  const events = state.events || [];
  const list = findings(now, data, long, events);
  const [worst] = list.filter((one) => one.level !== 'note');
  const { since: from, change } = worst ? beginOf(worst, events) : { since: null, change: null };
  const place = placeFor(worst, from, now, data, history, events);
  const result = { level: worst ? worst.level : 'fine', title: '', since: from, place, change, list: list.filter((one) => one !== worst), worst };
  result.title = worst ? titleOf(result, now && now.now) : calmTitle(now, recently(ofInstance(data, now)));
  return result;
}

/** Where the cause of a finding is, in samples that are not older than it; null if it has none in the code. */
function placeFor(worst, from, now, data, history, events) {
  if (!worst) return null;
  if (worst.kind === 'reload') {
    const failed = events.filter((event) => ['reload_failed', 'rolled_back'].includes(event.kind));
    return tracebackPlace(now.reload.why) || (failed.length ? tracebackPlace(failed[failed.length - 1].text) : null);
  }
  const raised = worst.kind === 'errors' && data ? mostRaised(data) : null;
  if (raised) return placeOfFailure(raised, dominant(now, history, from, raised.label));
  return OF_REQUESTS.includes(worst.kind) ? dominant(now, history, from, worst.label) : null;
}

/** The code that has raised, and what the threads do that run the same path, if there are some. */
function placeOfFailure(raised, running) {
  const frame = ownFrame(raised.frames);
  if (running) return { ...running, frame: frame || running.frame };
  return { activity: activity(''), count: 0, total: 0, share: 0, frame, label: raised.label, source: 'failure', exception: raised.exception };
}

function calmTitle(now, recent) {
  const workers = (now && now.workers) || [];
  const busy = sum(workers.map((worker) => worker.threads_busy)), all = sum(workers.map(threadsOf));
  if (recent && recent.total) return `Nothing stands out: ${count(recent.rate)} requests/s, p95 ${duration(recent.p95)}${all ? `, ${busy} of ${all} threads busy` : ''}`;
  if (!now || now.now - now.started >= 120) return 'No requests';
  return `Started ${duration(now.now - now.started)} ago; ${busy || (now.threads || []).length ? 'no figures yet' : 'no requests yet'}`;
}

/** What happens at one moment, and does not last. */
const INSTANT = ['died', 'reload'];

/** The first line: what is wrong, since when, after what, and what most threads do. */
function titleOf({ worst, since: from, change, place }, time) {
  const text = capital(shortened(worst.text, 90));
  if (INSTANT.includes(worst.kind)) return `${text}${from == null ? '' : ` at ${clock(from, time)}`}${worst.detail}`;
  const when = from == null ? '' : ` since ${clock(from, time)}`;
  const after = change ? `, ${from - change.time < 0.5 ? 'at' : `${duration(from - change.time)} after`} ${eventWords(change)}` : '';
  return `${text}${when}${after}${worst.detail}${placeWords(place)}`;
}

/** Seconds for which a finding stays after it was last true: requests in step look fine between two of them. */
const HOLD_SECONDS = 8;

/** What is shown: slow responses that have just ended are so called for a while, and what lasts keeps its begin. */
function steady(result, held, time) {
  const isHeld = held.result && time - held.at < HOLD_SECONDS && time >= held.at;
  if (!result.worst) {
    if (!isHeld || held.result.worst.kind !== 'slow') return result;
    return { ...held.result, level: 'warn', title: `Was slow until ${clock(held.at, time)}: ${shortened(held.result.worst.text, 90)}`, place: null, isPast: true };
  }
  const last = isHeld && held.result.worst.kind === result.worst.kind && !INSTANT.includes(result.worst.kind) ? held.result : null;
  if (last) {
    // Its change may have become known later than the first bad figure: then that is the begin.
    const isRefined = result.change && result.since === result.change.time && result.since - last.since <= last.worst.within;
    if (last.since != null && result.since != null && result.since > last.since - Math.max(2, 2 * result.worst.within) && !isRefined) {
      result.since = last.since;
      result.change = last.change;
    }
    result.place = result.place || last.place;
    result.title = titleOf(result, time);
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
  if (place.source === 'failure') return ['this application: it raises', shortened(place.exception, 60)];
  const part = `${place.count} of ${place.total} ${place.source === 'samples' ? 'samples of slow requests' : 'running threads'}`;
  const { kind, name } = place.activity;
  if (place.share < 0.4) return ['no single thing', `${part}: ${place.activity.short}`];
  if (kind === 'network') return [name ? `not this server: ${name}` : 'the network', `${part} wait for it`];
  if (kind === 'running') return ['this application: its code runs', part];
  if (kind === 'GIL') return ['this application: the GIL', `${part} wait for it`];
  if (kind === 'lock') {
    const { holders } = place;
    const inside = holders ? `; ${plural(holders.count, 'other is', 'others are')} in it at ${placeOf(holders.frame)}` : '';
    return ['this application: a lock', `${part} wait for it${inside}`];
  }
  if (kind === 'disk') return ['a disk of this host', `${part} wait for it`];
  if (kind === 'sleep') return ['this application: it sleeps', part];
  if (kind === 'child process') return ['a child process', `${part} wait for it`];
  return ['the system does not say', part];
}
