// The chat page. Everything that comes from the server enters the document as text, never as markup.

const TOKEN = "alchemy.token";
const USER = "alchemy.user";
const SIGNED_OUT_CODES = new Set(["auth_failed", "token_expired"]);

const byId = (id) => document.getElementById(id);
const state = { session: null, socket: null, turn: null, turns: 0 };

// ---------------------------------------------------------------- server

class Fault extends Error {
  constructor(body) {
    super([body.message, body.remedy].filter(Boolean).join(". "));
    this.code = body.code;
  }
}

async function api(method, path, body) {
  const headers = {};
  const token = sessionStorage.getItem(TOKEN);
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
  } catch {
    throw new Fault({ code: "not_ready", message: "The service does not answer", remedy: "Try again in a moment" });
  }
  const answer = await response.json().catch(() => ({ code: "internal", message: `The service answered ${response.status}` }));
  if (!response.ok) throw new Fault(answer);
  return answer;
}

// One socket for all questions; a closed one is opened again by the next question.
function openSocket() {
  const open = state.socket;
  if (open && open.readyState === WebSocket.OPEN) return Promise.resolve(open);
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const socket = new WebSocket(`${scheme}://${location.host}/api/ws`);
  state.socket = socket;
  socket.addEventListener("message", (message) => receive(JSON.parse(message.data)));
  return new Promise((resolve, reject) => {
    socket.addEventListener("open", () => {
      socket.send(JSON.stringify({ type: "auth", token: sessionStorage.getItem(TOKEN) }));
      resolve(socket);
    });
    socket.addEventListener("close", () => {
      const fault = new Fault({ code: "not_ready", message: "The connection was lost", remedy: "Ask again" });
      reject(fault);
      if (state.socket === socket) {
        state.socket = null;
        if (state.turn) fail(fault);
      }
    });
  });
}

function receive(event) {
  const turn = state.turn;
  if (!turn) {
    if (event.type === "error" && SIGNED_OUT_CODES.has(event.error.code)) signOut(new Fault(event.error).message);
    return;
  }
  if (event.type === "status") showStep(turn, event.step);
  else if (event.type === "token") showToken(turn, event.text);
  else if (event.type === "answer") finish(turn, event.answer);
  else if (event.type === "error") fail(new Fault(event.error));
}

// ---------------------------------------------------------------- signing in

function showSignIn(message) {
  byId("workspace").hidden = byId("who").hidden = byId("menu").hidden = true;
  byId("sign-in").hidden = false;
  showFault(byId("sign-in-error"), message);
  byId("sign-in-form").elements.user.focus();
}

function showWorkspace() {
  byId("sign-in").hidden = true;
  byId("workspace").hidden = byId("who").hidden = byId("menu").hidden = false;
  byId("user").textContent = sessionStorage.getItem(USER);
  byId("question").focus();
  refreshSessions();
}

function signOut(message) {
  sessionStorage.removeItem(TOKEN);
  sessionStorage.removeItem(USER);
  state.turn = null;
  const socket = state.socket;
  state.socket = null;
  socket?.close();
  newSession();
  byId("session-list").replaceChildren();
  showSignIn(message);
}

byId("sign-in-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target;
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    const { user, password } = Object.fromEntries(new FormData(form));
    const login = await api("POST", "/api/login", { user, password });
    sessionStorage.setItem(TOKEN, login.token);
    sessionStorage.setItem(USER, login.user);
    form.reset();
    showFault(byId("sign-in-error"), "");
    showWorkspace();
  } catch (error) {
    showFault(byId("sign-in-error"), error.message);
  } finally {
    button.disabled = false;
  }
});

byId("sign-out").addEventListener("click", () => signOut());

// ---------------------------------------------------------------- asking

byId("ask-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const field = byId("question");
  const question = field.value.trim();
  if (!question || state.turn) return;
  field.value = "";
  const turn = addTurn(question);
  state.turn = turn;
  busy(true);
  try {
    const socket = await openSocket();
    socket.send(JSON.stringify({ question, session: state.session }));
  } catch (error) {
    fail(error);
  }
});

byId("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    byId("ask-form").requestSubmit();
  }
});

function addTurn(question) {
  byId("welcome").hidden = true;
  const turn = byId("turn").content.firstElementChild.cloneNode(true);
  turn.id = `turn-${++state.turns}`;
  turn.querySelector(".asked").textContent = question;
  byId("log").append(turn);
  turn.scrollIntoView({ block: "start" });
  return turn;
}

function showStep(turn, step) {
  const items = [...turn.querySelectorAll(".steps li")];
  // retrieving and consulting run side by side; fusing begins when both are done
  for (const item of items) {
    if (step === "fusing" && item.dataset.step !== step) item.className = "done";
    if (item.dataset.step === step) item.className = "active";
  }
}

function showToken(turn, text) {
  turn.querySelector(".answer").append(text);
}

function finish(turn, answer) {
  showAnswer(turn, answer);
  if (state.turn !== turn) return;
  state.session = answer.session;
  state.turn = null;
  busy(false);
  refreshSessions();
}

function fail(error) {
  const turn = state.turn;
  state.turn = null;
  busy(false);
  if (SIGNED_OUT_CODES.has(error.code)) return signOut(error.message);
  if (!turn) return;
  turn.querySelector(".steps").hidden = true;
  showFault(turn.querySelector(".fault"), error.message);
}

function busy(is) {
  byId("ask-form").querySelector("button").disabled = is;
  byId("log").setAttribute("aria-busy", String(is));
}

// ---------------------------------------------------------------- an answer

function showAnswer(turn, answer) {
  turn.querySelector(".steps").hidden = true;
  turn.querySelector(".answer").replaceChildren(...withMarkers(turn, answer));
  const badge = turn.querySelector(".badge");
  badge.textContent = answer.abstained
    ? "Not answered: the evidence is too weak"
    : `Confidence ${Math.round(answer.confidence * 100)} %`;
  badge.classList.toggle("weak", answer.abstained || answer.confidence < 0.5);
  turn.querySelector(".release").textContent = `release ${answer.release}`;
  turn.querySelector(".trust").hidden = false;
  const list = turn.querySelector(".sources ol");
  list.replaceChildren(...answer.citations.map((citation, index) => source(turn, citation, index + 1)));
  turn.querySelector(".sources").hidden = answer.citations.length === 0;
  turn.querySelector(".rating").hidden = false;
  bindRating(turn, answer.id);
}

function withMarkers(turn, answer) {
  return answer.text.split(/(\[\d+\])/).map((piece) => {
    const number = Number(/^\[(\d+)\]$/.exec(piece)?.[1]);
    if (!number || number > answer.citations.length) return piece;
    const link = document.createElement("a");
    link.href = `#${turn.id}-source-${number}`;
    link.className = "marker";
    link.textContent = piece;
    link.title = answer.citations[number - 1].title;
    return link;
  });
}

function source(turn, citation, number) {
  const item = byId("source").content.firstElementChild.cloneNode(true);
  item.id = `${turn.id}-source-${number}`;
  const title = item.querySelector(".title");
  if (/^https?:\/\//i.test(citation.uri)) {
    const link = document.createElement("a");
    link.href = citation.uri;
    link.rel = "noopener noreferrer";
    link.target = "_blank";
    link.textContent = citation.title;
    title.append(link);
  } else {
    title.textContent = citation.title;
  }
  const page = citation.page ? `page ${citation.page}` : "";
  item.querySelector(".place").textContent = [citation.document_id, citation.section, page].filter(Boolean).join(" · ");
  item.querySelector("blockquote").textContent = citation.quote;
  return item;
}

function bindRating(turn, answerId) {
  const said = turn.querySelector(".rated");
  const form = turn.querySelector(".correction");
  const rate = async (rating, correction) => {
    try {
      const receipt = await api("POST", "/api/feedback", { answer_id: answerId, rating, correction: correction || null });
      for (const button of turn.querySelectorAll("[data-rating]")) {
        button.setAttribute("aria-pressed", String(button.dataset.rating === rating));
      }
      said.textContent = `Thank you. Your rating is ${receipt.status}.`;
      form.hidden = rating === "up" || Boolean(correction);
    } catch (error) {
      if (SIGNED_OUT_CODES.has(error.code)) return signOut(error.message);
      said.textContent = error.message;
    }
  };
  for (const button of turn.querySelectorAll("[data-rating]")) {
    button.addEventListener("click", () => rate(button.dataset.rating));
  }
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    rate("down", form.elements.correction.value.trim());
  });
}

// ---------------------------------------------------------------- conversations

async function refreshSessions() {
  try {
    const sessions = await api("GET", "/api/sessions");
    byId("session-list").replaceChildren(...sessions.map(sessionEntry));
  } catch (error) {
    if (SIGNED_OUT_CODES.has(error.code)) signOut(error.message);
  }
}

function sessionEntry(session) {
  const item = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  button.className = "quiet";
  button.textContent = session.title;
  button.title = session.updated_at;
  button.setAttribute("aria-current", String(session.id === state.session));
  button.addEventListener("click", () => openSession(session.id));
  item.append(button);
  return item;
}

async function openSession(id) {
  if (state.turn) return;
  try {
    const detail = await api("GET", `/api/sessions/${encodeURIComponent(id)}`);
    newSession();
    state.session = id;
    for (const { answer } of detail.turns) showAnswer(addTurn(answer.question), answer);
    showMenu(false);
    refreshSessions();
  } catch (error) {
    if (SIGNED_OUT_CODES.has(error.code)) signOut(error.message);
  }
}

function newSession() {
  state.session = null;
  for (const turn of byId("log").querySelectorAll(".turn")) turn.remove();
  byId("welcome").hidden = false;
  for (const button of byId("session-list").querySelectorAll("button")) button.setAttribute("aria-current", "false");
}

byId("new-session").addEventListener("click", () => {
  if (state.turn) return;
  newSession();
  showMenu(false);
  byId("question").focus();
});

function showMenu(open) {
  byId("workspace").classList.toggle("menu-open", open);
  byId("menu").setAttribute("aria-expanded", String(open));
}

byId("menu").addEventListener("click", () => showMenu(!byId("workspace").classList.contains("menu-open")));

// ---------------------------------------------------------------- helpers

function showFault(element, message) {
  element.textContent = message || "";
  element.hidden = !message;
}

if (sessionStorage.getItem(TOKEN)) showWorkspace();
else showSignIn();
