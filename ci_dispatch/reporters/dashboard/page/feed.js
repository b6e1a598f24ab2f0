// Keeps the page up to date: a stream where that is possible, asking every 2 seconds where it is not.

const POLL = 2000; // milliseconds
const STREAM_AGAIN = 30_000; // while polling: try a stream again after this long
const SILENT = 40_000; // a stream pings every 15 s: after this long it is dead, whatever the browser believes
const NO_STREAM = !("EventSource" in window);
const BACKOFF = [1000, 1000, 2000, 4000, 8000];

/** `hooks`: state(all), delta(changes), clock(now), connection(word). */
export function follow(hooks) {
  let id = "";
  let source = null;
  let timer = 0;
  let watchdog = 0;
  let failures = 0;
  let streamAgainAt = NO_STREAM ? Infinity : 0;

  const number = (text) => Number(text.slice(text.lastIndexOf("-") + 1));
  const epoch = (text) => text.slice(0, text.lastIndexOf("-"));

  function take(delta) {
    if (epoch(delta.id) === epoch(id) && number(delta.id) <= number(id)) return;
    id = delta.id;
    hooks.delta(delta);
  }

  async function ask() {
    const answer = await fetch(`/api/state?since=${encodeURIComponent(id)}`, {
      headers: id ? { "If-None-Match": `"${id}"` } : {},
      cache: "no-store",
      signal: AbortSignal.timeout(15_000),
    });
    if (answer.status === 403) throw new AccessRefused();
    if (answer.status === 304) return;
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    const update = await answer.json();
    if (update.deltas) update.deltas.forEach(take);
    else {
      id = update.id;
      hooks.state(update);
    }
  }

  async function sync() {
    clearTimeout(timer);
    try {
      await ask();
    } catch (error) {
      if (error instanceof AccessRefused) return hooks.connection("refused");
      hooks.connection("disconnected");
      streamAgainAt = NO_STREAM ? Infinity : 0; // the server is gone: it did not refuse a stream
      timer = setTimeout(sync, BACKOFF[Math.min(failures++, BACKOFF.length - 1)]);
      return;
    }
    failures = 0;
    if (document.hidden) return;
    if (Date.now() >= streamAgainAt) stream();
    else {
      hooks.connection("polling");
      timer = setTimeout(sync, POLL);
    }
  }

  function stream() {
    stop();
    source = new EventSource(`/api/events?since=${encodeURIComponent(id)}`);
    let opened = false;
    const alive = () => {
      clearTimeout(watchdog);
      watchdog = setTimeout(again, SILENT);
    };
    const again = () => {
      stop();
      sync();
    };
    alive();
    source.onopen = () => {
      opened = true;
      hooks.connection("live");
    };
    source.onmessage = (event) => {
      alive();
      take(JSON.parse(event.data));
    };
    source.addEventListener("ping", (event) => {
      alive();
      hooks.clock(Number(event.data));
    });
    source.addEventListener("reset", () => {
      id = "";
      again();
    });
    source.addEventListener("bye", () => {
      stop();
      hooks.connection("over");
      if (!hooks.finished()) timer = setTimeout(sync, BACKOFF[0]);
    });
    source.onerror = () => {
      stop();
      if (!opened) streamAgainAt = Date.now() + STREAM_AGAIN; // refused: too many pages, or a proxy in between
      timer = setTimeout(sync, opened ? BACKOFF[0] / 4 : 0);
    };
  }

  function stop() {
    clearTimeout(timer);
    clearTimeout(watchdog);
    source?.close();
    source = null;
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? stop() : sync()));
  sync();
}

class AccessRefused extends Error {}
