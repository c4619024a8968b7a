import { Link } from "/link.js";

const $ = (id) => document.getElementById(id);
const PROBE_MS = 2000; // how often the latency is measured
const PATIENCE_MS = 8000; // after that an answer is not coming, and the connection is as good as lost
const LOG_LINES = 300;
const MUSHROOMS = ["Chanterelle", "Enoki", "Inkcap", "Maitake", "Morel", "Oyster", "Porcini", "Shiitake", "Truffle"];

const people = new Map(); // name → its list item
let me = ""; // the name that the server gave us
let wanted = sessionStorage.getItem("name") ?? MUSHROOMS[Math.floor(Math.random() * MUSHROOMS.length)];

const link = new Link(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`, {
  opened: join,
  changed: showLink,
  event: ({ event, data }) => happenings[event]?.(data),
  stray: showReply,
});

// --- the chat: what the server tells ----------------------------------------------------------------------

const happenings = {
  "chat.joined"({ name, formerly }) {
    if (name === formerly) return;
    removePerson(formerly);
    if (formerly === me) beCalled(name);
    addPerson(name);
    note(formerly === null ? `${name} joined` : `${formerly} is now ${name}`);
  },
  "chat.left"({ name }) {
    removePerson(name);
    note(`${name} left`);
  },
  "chat.said"({ name, text, at }) {
    const time = element("time", "", new Date(at).toLocaleTimeString([], { timeStyle: "short" }));
    time.dateTime = at;
    const by = element("div", "by", element("bdi", "", name), " ", time);
    show(tint(element("li", name === me ? "said own" : "said", mark(name), by, element("p", "", text)), name));
  },
};

async function join() {
  try {
    const { name, people: here } = await link.request("chat://join", { name: wanted }, PATIENCE_MS);
    beCalled(name);
    sessionStorage.setItem("name", wanted);
    $("people").replaceChildren();
    people.clear();
    here.forEach(addPerson);
  } catch (error) {
    $("name").value = me;
    wanted = me || wanted;
    note(error.message, true);
  }
}

function beCalled(name) {
  me = name;
  if (document.activeElement !== $("name")) $("name").value = name; // somebody may be typing there
}

function addPerson(name) {
  if (people.has(name)) return;
  const item = tint(element("li", "", mark(name), element("bdi", "", name)), name);
  if (name === me) item.append(element("small", "", "(you)"));
  const next = [...people.keys()].filter((other) => other.localeCompare(name) > 0).sort((a, b) => a.localeCompare(b))[0];
  $("people").insertBefore(item, people.get(next) ?? null);
  people.set(name, item);
  countPeople();
}

function removePerson(name) {
  people.get(name)?.remove();
  people.delete(name);
  countPeople();
}

function countPeople() {
  $("count").textContent = people.size;
}

function note(text, fault = false) {
  show(element("li", fault ? "note fault" : "note", text));
}

function show(line) {
  const view = $("scroll");
  const atEnd = view.scrollHeight - view.scrollTop - view.clientHeight < 40;
  $("empty").hidden ||= line.classList.contains("said");
  $("log").append(line);
  if ($("log").childElementCount > LOG_LINES) $("log").firstElementChild.remove();
  if (atEnd || line.classList.contains("own")) view.scrollTop = view.scrollHeight;
}

// Text only ever becomes text: nothing here parses markup, and the page's policy would not let it.
function element(tag, className, ...content) {
  const made = document.createElement(tag);
  made.className = className;
  made.append(...content);
  return made;
}

function mark(name) {
  const made = element("span", "mark", [...name][0].toUpperCase());
  made.ariaHidden = "true";
  return made;
}

function tint(made, name) {
  let hash = 0;
  for (const sign of name) hash = (hash * 31 + sign.codePointAt(0)) % 360;
  made.style.setProperty("--hue", hash);
  return made;
}

// --- the chat: what we do ---------------------------------------------------------------------------------

$("say").addEventListener("submit", async (submit) => {
  submit.preventDefault();
  const field = $("text");
  const text = field.value;
  field.value = "";
  try {
    await link.request("chat://say", { text }, PATIENCE_MS);
  } catch (error) {
    field.value ||= text;
    note(`not sent: ${error.message}`, true);
  }
});

$("rename").addEventListener("submit", (submit) => {
  submit.preventDefault();
  wanted = $("name").value;
  $("text").focus();
  join();
});

// --- the connection ---------------------------------------------------------------------------------------

function showLink(state, { until = 0, reason = "" } = {}) {
  const words = { connecting: "Connecting…", open: "Connected", waiting: "Connection lost", refused: `Closed: ${reason}` };
  $("link").dataset.state = state;
  $("status").textContent = words[state];
  $("retry").hidden = state !== "waiting" && state !== "refused";
  for (const button of document.querySelectorAll("form button")) button.disabled = state !== "open";
  countDown(until);
}

let ticking;
function countDown(until) {
  clearTimeout(ticking);
  const left = until - performance.now();
  $("countdown").textContent = left > 0 ? `retry in ${Math.ceil(left / 1000)} s` : "";
  if (left > 0) ticking = setTimeout(countDown, 250, until);
}

$("retry").addEventListener("click", () => link.connect());
addEventListener("online", () => link.connect());

async function probe() {
  if (link.state === "open") {
    const sent = performance.now();
    try {
      await link.request("demo://echo", null, PATIENCE_MS);
      $("latency").textContent = milliseconds(sent);
    } catch (error) {
      if (error.code === "TIMEOUT") link.drop(); // a page cannot ping: this is how it notices a dead connection
    }
  }
  setTimeout(probe, PROBE_MS);
}

function milliseconds(since) {
  return `${(performance.now() - since).toFixed(1)} ms`;
}

// --- envelopes by hand ------------------------------------------------------------------------------------

const request = (path, body) => JSON.stringify({ path, body, correlationId: "by-hand" }, null, 2);
const EXAMPLES = {
  "Echo a body": request("demo://echo", { hello: "world" }),
  "Add two numbers": request("demo://add", { a: 2, b: 40 }),
  "Add what is no number": request("demo://add", { a: 2, b: "forty" }),
  "Ask for the time": request("demo://clock"),
  "Ask who is here": request("chat://who"),
  "Say something": request("chat://say", { text: "said by hand" }),
  "A path that does not exist": request("demo://nowhere"),
  "A path that is private": request("websocket://broadcast", { event: "chat.said" }),
  "Not JSON at all": "hello?",
};

let sentAt = 0;
let overdue;

$("example").append(...Object.keys(EXAMPLES).map((name) => new Option(name)));
$("example").addEventListener("change", fillExample);

function fillExample() {
  $("envelope").value = EXAMPLES[$("example").value];
}

$("panel").addEventListener("submit", (submit) => {
  submit.preventDefault();
  clearTimeout(overdue);
  $("reply").removeAttribute("data-success");
  $("reply").textContent = "Waiting for the reply…";
  $("reply-time").textContent = "";
  overdue = setTimeout(() => {
    $("reply").textContent = "No reply. An event gets none, and neither does a request that asks for none.";
  }, PATIENCE_MS);
  sentAt = performance.now();
  link.sendText($("envelope").value);
});

$("envelope").addEventListener("keydown", (key) => {
  if (key.key === "Enter" && (key.ctrlKey || key.metaKey)) $("panel").requestSubmit();
});

function showReply(reply) {
  clearTimeout(overdue);
  $("reply-time").textContent = milliseconds(sentAt);
  $("reply").dataset.success = reply.success;
  $("reply").replaceChildren(...coloured(JSON.stringify(reply, null, 2)));
}

function* coloured(json) {
  const token = /("(?:[^"\\]|\\.)*")(\s*:)?|(-?\d[\d.eE+-]*|true|false|null)/g;
  let done = 0;
  for (const found of json.matchAll(token)) {
    yield json.slice(done, found.index);
    const [all, text, colon = ""] = found;
    yield element("span", text ? (colon ? "key" : "string") : "number", text ?? all);
    yield colon;
    done = found.index + all.length;
  }
  yield json.slice(done);
}

fillExample();
link.connect();
probe();
