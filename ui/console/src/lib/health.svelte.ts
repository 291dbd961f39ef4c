import { asProblem, get, path, type Problem } from './api';
import type { Doctor } from './recovery';
import { session } from './session.svelte';

// What the doctor found; the shell shows how much, the page shows what.
class Health {
  doctor = $state.raw<Doctor>();
  problem = $state.raw<Problem>();
  busy = $state(false);

  // Findings that somebody should do something about.
  count = $derived((this.doctor?.findings ?? []).filter((f) => f.severity !== 'info').length);
  serious = $derived((this.doctor?.findings ?? []).some((f) => f.severity === 'critical' || f.severity === 'error'));

  get may(): boolean {
    return session.operator && session.can('doctor.read');
  }

  reload = async () => {
    if (!this.may) return;
    this.busy = true;
    try {
      this.doctor = await get<Doctor>(path('doctor'));
      this.problem = undefined;
    } catch (cause) {
      this.problem = asProblem(cause);
    }
    this.busy = false;
  };
}

export const health = new Health();
