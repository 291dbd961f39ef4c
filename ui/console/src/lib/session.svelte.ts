import { asProblem, get, onProblem, path, post, remove, type Problem } from './api';
import type { PendingSignIn, Shown } from './factors';
import { writeAs } from './format';
import type { Me, Status } from './shapes';

export type Phase = 'loading' | 'down' | 'setup' | 'sealed' | 'signed-out' | 'ready';

// What the appliance said about itself and who is signed in.
class Session {
  status = $state.raw<Status>();
  #me = $state.raw<Me>();
  trouble = $state.raw<Problem>();
  loaded = $state(false);
  #checking = false;

  get me() {
    return this.#me;
  }

  set me(me: Me | undefined) {
    writeAs(me?.profile?.language ?? '', me?.profile?.timeZone ?? '');
    this.#me = me;
  }

  phase: Phase = $derived.by(() => {
    if (this.trouble) return 'down';
    if (!this.loaded || !this.status) return 'loading';
    if (this.status.sealed) return 'sealed';
    if (this.me) return 'ready';
    return this.status.setupNeeded ? 'setup' : 'signed-out';
  });

  async start() {
    try {
      this.status = await get<Status>(path('status'));
      this.trouble = undefined;
      this.me = this.status.sealed || this.status.setupNeeded ? undefined : await this.#who();
    } catch (cause) {
      this.trouble = asProblem(cause);
    }
    this.loaded = true;
  }

  async #who(): Promise<Me | undefined> {
    try {
      return await get<Me>(path('session'));
    } catch (cause) {
      const problem = asProblem(cause);
      if (problem.status === 401 || problem.status === 403) return undefined;
      throw problem;
    }
  }

  async setup(form: { token: string; email: string; name: string; password: string }) {
    await post(path('setup'), form);
    await this.start();
  }

  // signIn gives what else is to be shown, where a password is not enough.
  async signIn(email: string, password: string): Promise<PendingSignIn | undefined> {
    const answer = await post<Me | PendingSignIn>(path('session'), { email, password });
    if ('factors' in answer) return answer;
    this.me = answer;
    return undefined;
  }

  async showFactor(shown: Shown) {
    this.me = await post<Me>(path('session', 'factor'), shown);
  }

  // check asks whether the session still is: one request may have met the old cookie
  // of a session that goes on under a new one.
  async check() {
    if (this.#checking) return;
    this.#checking = true;
    try {
      const me = await this.#who();
      if (JSON.stringify(me) !== JSON.stringify(this.me)) this.me = me; // else nothing is loaded anew
    } catch {
      // Not known; the next request will tell.
    }
    this.#checking = false;
  }

  async signOut() {
    await remove(path('session')).catch(() => undefined);
    this.me = undefined;
  }

  // unseal sends one secret, or one share of several.
  async unseal(secret: Record<string, string>) {
    await post(path('unseal'), secret);
    await this.start();
  }

  // Whether the reader has a role on the appliance itself, not only in a tenant.
  get operator(): boolean {
    return this.me?.grants.some((grant) => grant.scope === 'appliance') ?? false;
  }

  // canIn asks within one tenant: what reaches records comes of the tenant's own roles alone.
  canIn(permission: string, slug: string): boolean {
    return this.me?.grants.some((grant) => (grant.scope === slug || grant.scope === 'appliance') && (grant.permissions ?? []).includes(permission)) ?? false;
  }

  can(permission: string): boolean {
    const me = this.me;
    if (!me) return false;
    return me.permissions.includes(permission) || me.permissions.includes('*');
  }
}

export const session = new Session();

// A session or a grant that ended, or an appliance that was sealed, while the console was open.
const doubts = ['forbidden', 'factor-required', 'password-due'];
onProblem((problem) => {
  if ((problem.status === 401 || doubts.includes(problem.code)) && session.me) void session.check();
  if (problem.status === 503 && problem.code === 'sealed' && session.status && !session.status.sealed) void session.start();
});
