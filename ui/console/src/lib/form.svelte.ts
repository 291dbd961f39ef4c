import { tick } from 'svelte';
import { asProblem, type Problem } from './api';

// Form is the state of one form: busy while it is sent, then the problem, with
// one message for each field that the server refused.
export class Form {
  busy = $state(false);
  problem = $state.raw<Problem>();

  error(field: string): string {
    return this.problem?.field(field) ?? '';
  }

  // note is what is wrong apart from the fields.
  get note(): string {
    const problem = this.problem;
    if (!problem) return '';
    if (problem.errors.length > 0) return 'Check the marked fields.';
    return problem.detail || problem.title;
  }

  submit = (send: () => Promise<unknown>) => async (event?: Event) => {
    event?.preventDefault();
    if (this.busy) return;
    this.busy = true;
    this.problem = undefined;
    try {
      await send();
    } catch (cause) {
      this.problem = asProblem(cause);
      void this.#lead(event?.target);
    }
    this.busy = false;
  };

  // lead goes to the first field that was refused: in a long form it may be out of sight.
  async #lead(form: EventTarget | null | undefined) {
    await tick();
    if (form instanceof HTMLElement) form.querySelector<HTMLElement>('[aria-invalid="true"]')?.focus();
  }

  reset() {
    this.problem = undefined;
  }
}
