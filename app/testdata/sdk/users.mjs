// PocketBase's own JavaScript SDK, unchanged, with second factors of a tenant's users:
//   node users.mjs BASE_URL API_KEY [by-path]
import assert from "node:assert/strict";
import { createHash, createHmac, generateKeyPairSync, randomBytes, sign } from "node:crypto";
import dns from "node:dns";
import PocketBase from "pocketbase";

const lookup = dns.lookup;
dns.lookup = (host, options, done) =>
  host.endsWith(".localhost") ? lookup("127.0.0.1", options, done) : lookup(host, options, done);

const [base, key, byPath] = process.argv.slice(2);
const email = `second${process.pid}@example.com`;
const password = "correct horse battery";
const step = async (what, run) => {
  await run();
  console.log("ok", what);
};
const client = () => {
  const pb = new PocketBase(base);
  pb.autoCancellation(false);
  return pb;
};
const post = (pb, path, body = {}) => pb.send(path, { method: "POST", body });
const fails = (status) => (e) => e.status === status;

const admin = client();
admin.beforeSend = (url, options) => ({ url, options: { ...options, headers: { ...options.headers, Authorization: `Bearer ${key}` } } });
await step("switch second factors on for a collection", async () => {
  const policy = await admin.send("/api/v1/collections/users/auth-policy", { method: "PUT", body: { totp: true, passkeys: true } });
  assert.equal(policy.secondFactor, "enrolled");
});

const pb = client();
let secret, codes;
await step("sign up, sign in, add an authenticator app", async () => {
  await pb.collection("users").create({ email, password, passwordConfirm: password });
  await pb.collection("users").authWithPassword(email, password);
  ({ secret } = await post(pb, "/api/v1/collections/users/totp"));
  const answer = await confirm();
  codes = answer.meta.recoveryCodes;
  pb.authStore.save(answer.token, answer.record);
  assert.equal((await pb.collection("users").getOne(answer.record.id)).email, email);
});

// confirm shows the code before this one, so that this one is still to be used; the step may
// end on the way there.
async function confirm(tries = 3) {
  try {
    return await post(pb, "/api/v1/collections/users/totp/confirm", { code: code(secret, -1) });
  } catch (e) {
    if (e.status !== 400 || tries === 1) throw e;
    return confirm(tries - 1);
  }
}

// mfa signs in with the password and gives what the SDK throws.
async function mfa(pb) {
  try {
    await pb.collection("users").authWithPassword(email, password);
  } catch (e) {
    assert.equal(e.status, 401);
    assert.ok(e.response.mfaId);
    assert.ok(!pb.authStore.isValid);
    return e.response;
  }
  throw new Error("the password alone was enough");
}

await step("sign in with a code", async () => {
  const pb = client();
  const { mfaId, factors } = await mfa(pb);
  assert.ok(factors.includes("totp"));
  await assert.rejects(post(pb, "/api/collections/users/auth-with-totp", { mfaId, code: "000000" }), fails(400));
  const answer = await post(pb, "/api/collections/users/auth-with-totp", { mfaId, code: code(secret) });
  pb.authStore.save(answer.token, answer.record);
  assert.ok(pb.authStore.isValid);
  assert.equal((await pb.collection("users").authRefresh()).record.id, answer.record.id);
  await assert.rejects(post(pb, "/api/collections/users/auth-with-totp", { mfaId, code: code(secret, 1) }), fails(400));
});

await step("sign in with a recovery code, once", async () => {
  const pb = client();
  const answer = await post(pb, "/api/collections/users/auth-with-recovery-code", { mfaId: (await mfa(pb)).mfaId, code: codes[0] });
  assert.ok(answer.token);
  await assert.rejects(post(pb, "/api/collections/users/auth-with-recovery-code", { mfaId: (await mfa(pb)).mfaId, code: codes[0] }), fails(400));
});

await step("passkeys", async () => {
  if (byPath) return assert.rejects(post(pb, "/api/v1/collections/users/passkeys"), fails(403)); // the console's host is not the tenant's
  const device = authenticator(new URL(base));
  const { publicKey } = await post(pb, "/api/v1/collections/users/passkeys");
  const made = await post(pb, "/api/v1/collections/users/passkeys/confirm", { name: "phone", credential: device.create(publicKey) });
  pb.authStore.save(made.token, made.record);
  const guest = client();
  const asked = await post(guest, "/api/collections/users/request-passkey");
  const answer = await post(guest, "/api/collections/users/auth-with-passkey", { passkeyId: asked.passkeyId, credential: device.get(asked.publicKey) });
  guest.authStore.save(answer.token, answer.record);
  assert.equal((await guest.collection("users").authRefresh()).record.email, email);
  const { items } = await guest.send("/api/v1/collections/users/factors", { method: "GET" });
  assert.deepEqual(items.map((f) => f.kind), ["totp", "passkey"]);
});
process.exit(0);

// code is what an authenticator app shows (RFC 6238), some steps from now.
function code(secret, steps = 0) {
  const bits = [...secret].map((c) => "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".indexOf(c).toString(2).padStart(5, "0")).join("");
  const raw = Buffer.from(bits.match(/.{8}/g).map((b) => parseInt(b, 2)));
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30_000) + steps));
  const mac = createHmac("sha1", raw).update(counter).digest();
  const at = mac[19] & 15;
  return String((mac.readUInt32BE(at) & 0x7fffffff) % 1_000_000).padStart(6, "0");
}

// authenticator is a passkey in software, as a browser on that page would use it.
function authenticator(page) {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const { x, y } = publicKey.export({ format: "jwk" });
  const id = randomBytes(16);
  const b64 = (b) => Buffer.from(b).toString("base64url");
  const bytes = (b) => Buffer.concat([b.length < 256 ? Buffer.from([0x58, b.length]) : Buffer.from([0x59, b.length >> 8, b.length & 255]), b]);
  const text = (s) => Buffer.concat([Buffer.from([0x60 + s.length]), Buffer.from(s)]);
  const host = createHash("sha256").update(page.hostname).digest();
  const client = (type, challenge) => Buffer.from(JSON.stringify({ type, challenge, origin: page.origin, crossOrigin: false }));
  const answer = (response) => ({ id: b64(id), rawId: b64(id), type: "public-key", clientExtensionResults: {}, response });
  let handle, counter = 0;
  return {
    create(options) {
      handle = options.user.id;
      const cose = Buffer.concat([Buffer.from([0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21]), bytes(Buffer.from(x, "base64url")), Buffer.from([0x22]), bytes(Buffer.from(y, "base64url"))]);
      const data = Buffer.concat([host, Buffer.from([0x45, 0, 0, 0, 0]), Buffer.alloc(16), Buffer.from([0, id.length]), id, cose]);
      const object = Buffer.concat([Buffer.from([0xa3]), text("fmt"), text("none"), text("attStmt"), Buffer.from([0xa0]), text("authData"), bytes(data)]);
      return answer({ clientDataJSON: b64(client("webauthn.create", options.challenge)), attestationObject: b64(object), transports: ["internal"] });
    },
    get(options) {
      const count = Buffer.alloc(4);
      count.writeUInt32BE(++counter);
      const data = Buffer.concat([host, Buffer.from([0x05]), count]);
      const json = client("webauthn.get", options.challenge);
      const signature = sign("sha256", Buffer.concat([data, createHash("sha256").update(json).digest()]), privateKey);
      return answer({ clientDataJSON: b64(json), authenticatorData: b64(data), signature: b64(signature), userHandle: handle });
    },
  };
}
