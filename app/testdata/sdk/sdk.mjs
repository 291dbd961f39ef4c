// PocketBase's own JavaScript SDK, unchanged, against a Holdfast tenant:
//   node sdk.mjs BASE_URL API_KEY
// The key needs the admin scope: the script makes a collection and removes it.
import assert from "node:assert/strict";
import dns from "node:dns";
import { EventSource } from "eventsource";
import PocketBase from "pocketbase";

// Browsers send every *.localhost to the loopback by themselves; Node asks the
// resolver, which may not know them.
const lookup = dns.lookup;
dns.lookup = (host, options, done) =>
  host.endsWith(".localhost") ? lookup("127.0.0.1", options, done) : lookup(host, options, done);
globalThis.EventSource = EventSource;

const [base, key] = process.argv.slice(2);
const pb = new PocketBase(base);
pb.autoCancellation(false);
pb.beforeSend = (url, options) => {
  options.headers = { ...options.headers, Authorization: `Bearer ${key}` };
  return { url, options };
};

const name = "sdk_" + process.pid;
const step = async (what, run) => {
  await run();
  console.log("ok", what);
};

await step("create a collection", () =>
  pb.collections.create({
    name,
    type: "base",
    listRule: "",
    viewRule: "",
    fields: [
      { name: "title", type: "text", required: true },
      { name: "size", type: "number" },
      { name: "attachment", type: "file", maxSelect: 1, maxSize: 30 << 20 },
      { name: "created", type: "autodate", onCreate: true },
    ],
  }),
);
const records = pb.collection(name);

await step("create, list with filter and sort, view", async () => {
  for (const [title, size] of [["alpha", 3], ["beta", 1], ["gamma", 2], ["alphabet", 4]])
    await records.create({ title, size });
  const page = await records.getList(1, 2, { filter: 'title ~ "alpha"', sort: "-size" });
  assert.deepEqual(page.items.map((r) => r.title), ["alphabet", "alpha"]);
  assert.equal(page.totalItems, 2);
  const all = await records.getFullList({ sort: "size", batch: 2 });
  assert.deepEqual(all.map((r) => r.size), [1, 2, 3, 4]);
  const safe = await records.getFirstListItem(pb.filter("size = {:size}", { size: 2 }));
  assert.equal(safe.title, "gamma");
  assert.equal((await records.getOne(safe.id)).title, "gamma");
});

await step("refuse a record that breaks its schema, with the field named", async () => {
  await assert.rejects(records.create({ size: 1 }), (e) => e.status === 400 && !!e.response.data.title);
});

await step("update and delete, with realtime events", async () => {
  const seen = [];
  const arrived = (action) => () => seen.some((e) => e.action === action);
  const leave = await records.subscribe("*", (e) => seen.push({ action: e.action, title: e.record.title }));
  const r = await records.create({ title: "watched", size: 9 });
  await records.update(r.id, { title: "changed" });
  assert.equal((await records.getOne(r.id)).title, "changed");
  await records.delete(r.id);
  await until(arrived("delete"), "the delete event");
  assert.deepEqual(seen.map((e) => e.action), ["create", "update", "delete"]);
  await leave();
  await assert.rejects(records.getOne(r.id), (e) => e.status === 404);
});

await step("batch", async () => {
  const batch = pb.createBatch();
  batch.collection(name).create({ title: "one of two", size: 50 });
  batch.collection(name).create({ title: "two of two", size: 51 });
  const answers = await batch.send();
  assert.deepEqual(answers.map((a) => a.status), [200, 200]);
});

await step("upload, download, replace a file", async () => {
  const bytes = new Uint8Array(3 << 20).map((_, i) => (i * 31) & 255);
  const r = await records.create({ title: "with a file", attachment: new File([bytes], "report.bin") });
  assert.match(r.attachment, /^report_.*\.bin$/);
  const got = new Uint8Array(await (await download(r)).arrayBuffer());
  assert.deepEqual(Buffer.from(got), Buffer.from(bytes));
  const part = await download(r, { Range: "bytes=1000-1999" });
  assert.equal(part.status, 206);
  assert.deepEqual(Buffer.from(await part.arrayBuffer()), Buffer.from(bytes.subarray(1000, 2000)));
  const emptied = await records.update(r.id, { attachment: null });
  assert.equal(emptied.attachment, "");
  assert.equal((await download(r)).status, 404);
});

await step("sign up and sign in a user of the tenant", async () => {
  const email = `user${process.pid}@example.com`;
  await pb.collection("users").create({ email, password: "correct horse battery", passwordConfirm: "correct horse battery" });
  const guest = new PocketBase(base);
  const signedIn = await guest.collection("users").authWithPassword(email, "correct horse battery");
  assert.ok(guest.authStore.isValid);
  assert.equal((await guest.collection("users").getOne(signedIn.record.id)).email, email);
  await assert.rejects(guest.collection("users").authWithPassword(email, "wrong"), (e) => e.status === 400);
});

await step("delete the collection", () => pb.collections.delete(name));
process.exit(0);

function download(record, headers = {}) {
  return fetch(pb.files.getURL(record, record.attachment), { headers: { ...headers, Authorization: `Bearer ${key}` } });
}

async function until(holds, what) {
  for (const end = Date.now() + 60_000; Date.now() < end; ) {
    if (holds()) return;
    await new Promise((done) => setTimeout(done, 20));
  }
  throw new Error(`waited in vain for ${what}`);
}
