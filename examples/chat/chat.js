"use strict";
// The conversation is an array of turns, kept in sessionStorage, so that a reload changes nothing:
// {role, content} of a user; an answer also has its token, thumbs ("up", "down" or null)
// and comment, as shown, and in `saved` as the server has them.
const KEY = "chat";
const find = (id) => document.getElementById(id);
const part = (item, name) => item.querySelector(name);

let turns = JSON.parse(sessionStorage.getItem(KEY) ?? "[]");
let waiting = null;  // what ends the request for the answer that is on its way

const keep = () => sessionStorage.setItem(KEY, JSON.stringify(turns));
const tell = (text) => { find("told").textContent = text; };

// Posts feedback; throws an Error whose message can be shown. The posts of one answer go one after the other.
function post(turn, said) {
  const before = turn.posting ?? Promise.resolve();
  const posting = before.then(() => send({ token: turn.token, ...said }));
  Object.defineProperty(turn, "posting", { value: posting.catch(() => {}), configurable: true });  // not kept
  return posting;
}

async function send(body) {
  const json = { "content-type": "application/json", accept: "application/json" };
  let answer;
  try {
    // keepalive: a vote outlives the page that it was pressed on
    answer = await fetch("/feedback/", { method: "POST", headers: json, body: JSON.stringify(body), keepalive: true });
  } catch { throw new Error("Not saved: there is no connection."); }
  if (answer.status === 410) throw new Error("This answer is too old for a vote.");
  if (!answer.ok) throw new Error("Not saved. Please try again.");
}

// Draws what a turn says of its feedback.
function show(item, turn) {
  for (const name of ["up", "down"]) part(item, `.${name}`).setAttribute("aria-pressed", turn.thumbs === name);
  part(item, ".bar").hidden = !turn.token;
  part(item, ".undo").hidden = !turn.thumbs;
  part(item, ".why").hidden = turn.thumbs !== "down" || Boolean(turn.comment);
  part(item, "blockquote").hidden = !turn.comment;
  part(item, "blockquote").textContent = turn.comment ?? "";
}

function note(item, text, wrong = false) {
  part(item, ".note").textContent = text;
  part(item, ".note").classList.toggle("wrong", wrong);
  tell(text);
}

// Changes a turn at once, and back to what the server has where it did not take the change.
async function change(item, turn, said, thanks) {
  const mine = turn.presses = (turn.presses ?? 0) + 1;  // a later press decides what is shown
  Object.assign(turn, said);
  keep();
  show(item, turn);
  note(item, thanks);
  part(item, ".why").scrollIntoView({ block: "nearest" });
  try {
    await post(turn, said);
    turn.saved = { ...turn.saved, ...said };
    keep();
    return true;
  } catch (error) {
    if (turn.presses === mine) Object.assign(turn, { thumbs: null, comment: null }, turn.saved);
    keep();
    show(item, turn);
    note(item, error.message, true);
    return false;
  }
}

const vote = (item, turn, thumbs) =>
  turn.thumbs === thumbs ? undo(item, turn) : change(item, turn, { thumbs }, "Thank you.");

function undo(item, turn) {
  const pressed = part(item, `.${turn.thumbs}`);
  pressed.focus();  // Undo goes away: the keyboard stays with the thumb
  return change(item, turn, { thumbs: null }, turn.comment ? "Vote taken back; your comment stays." : "Vote taken back.");
}

async function explain(event, item, turn) {
  event.preventDefault();
  const field = part(item, "textarea"), comment = field.value.trim();
  if (!comment) return field.focus();
  part(item, ".down").focus();
  if (await change(item, turn, { comment }, "Thank you, your comment is saved.")) field.value = "";
  else field.focus();
}

function add(turn) {
  const item = find(turn.role).content.firstElementChild.cloneNode(true);
  part(item, ".text").textContent = turn.content;
  if (turn.role === "assistant") {
    const field = part(item, "textarea");
    field.id = `why-${find("talk").children.length}`;
    part(item, "label").htmlFor = field.id;
    part(item, ".up").addEventListener("click", () => vote(item, turn, "up"));
    part(item, ".down").addEventListener("click", () => vote(item, turn, "down"));
    part(item, ".undo").addEventListener("click", () => undo(item, turn));
    part(item, ".why").addEventListener("submit", (event) => explain(event, item, turn));
    show(item, turn);
  }
  find("talk").append(item);
  find("welcome").hidden = true;
  find("restart").hidden = false;
  return item;
}

// Follows the text down, unless somebody has scrolled up to read.
function follow(step) {
  const main = find("main"), at_end = main.scrollHeight - main.scrollTop - main.clientHeight < 80;
  step();
  if (at_end) main.scrollTop = main.scrollHeight;
}

async function ask(content) {
  turns.push({ role: "user", content });
  keep();
  add(turns.at(-1));
  const turn = { role: "assistant", content: "", token: null, thumbs: null, comment: null };
  const item = add(turn), messages = turns.map(({ role, content }) => ({ role, content }));
  find("main").scrollTop = find("main").scrollHeight;
  item.setAttribute("aria-busy", "true");
  find("send").setAttribute("aria-disabled", "true");
  const mine = waiting = new AbortController();
  try {
    await read(item, turn, messages, mine.signal);
    turns.push(turn);
    tell(`Answer: ${turn.content}`);
  } catch {
    if (mine.signal.aborted) return;
    turns.pop();  // the question can be asked again
    item.classList.add("failed");
    part(item, ".text").textContent = "The answer did not come. Please ask again.";
    tell("The answer did not come. Please ask again.");
  }
  keep();
  item.setAttribute("aria-busy", "false");
  find("send").removeAttribute("aria-disabled");
  waiting = null;
  follow(() => show(item, turn));
}

async function read(item, turn, messages, signal) {
  const headers = { "content-type": "application/json" };
  const answer = await fetch("/ask", { method: "POST", headers, body: JSON.stringify({ messages }), signal });
  if (!answer.ok) throw new Error(answer.statusText);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
    turn.content += piece.value;
    follow(() => { part(item, ".text").textContent = turn.content; });
  }
  turn.token = answer.headers.get("x-feedback-token");
}

function submit(event) {
  event.preventDefault();
  const content = find("question").value.trim();
  if (!content || waiting) return;
  find("question").value = "";
  ask(content);
}

function restart() {
  waiting?.abort();
  waiting = null;
  turns = [];
  keep();
  find("talk").replaceChildren();
  find("send").removeAttribute("aria-disabled");
  find("welcome").hidden = false;
  find("restart").hidden = true;
  tell("Started over.");
  find("question").focus();
}

find("ask").addEventListener("submit", submit);
find("restart").addEventListener("click", restart);
find("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) submit(event);
});
for (const idea of find("ideas").children) {
  idea.addEventListener("click", () => { find("question").focus(); ask(idea.textContent); });
}
if (turns.at(-1)?.role === "user") turns.pop();  // a reload came before its answer
turns.forEach(add);
find("main").scrollTop = find("main").scrollHeight;
