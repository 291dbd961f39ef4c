// Trades the one-use code in the fragment for a token and hands it to the
// dashboard under the name that it keeps its token by.
const say = document.getElementById("say");

async function post(path, body, token) {
  const headers = { "Content-Type": "application/json" };
  if (token) headers.Authorization = token;
  const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
  const value = await answer.json();
  if (!answer.ok) throw new Error(value.detail || value.message || answer.statusText);
  return value;
}

async function open() {
  const code = location.hash.slice(1);
  history.replaceState(null, "", "/open");
  if (!code) throw new Error("This link is incomplete. Open the studio from the console again.");
  const { token } = await post("/open", { code });
  const auth = await post("/api/collections/_superusers/auth-refresh", {}, token);
  localStorage.setItem("__pb_superusers__/_", JSON.stringify({ token: auth.token, record: auth.record }));
  location.replace("/_/");
}

open().catch((error) => { say.textContent = error.message; });
