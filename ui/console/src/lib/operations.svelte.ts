import { asProblem, get, path } from './api';
import type { Operation } from './shapes';

const pause = 700;

// Watch follows one operation while the component that made it is there.
export class Watch {
  operation = $state.raw<Operation>();
  trouble = $state('');
  #timer: ReturnType<typeof setTimeout> | undefined;
  #ended: ((operation: Operation) => void) | undefined;

  constructor(ended?: (operation: Operation) => void) {
    this.#ended = ended;
    $effect(() => () => this.stop());
  }

  get running(): boolean {
    return this.operation?.state === 'running';
  }

  // follow begins with an operation that the API just gave.
  follow(operation: Operation) {
    this.stop();
    this.operation = operation;
    if (operation.state === 'running') this.#wait();
    else this.#ended?.(operation);
  }

  stop() {
    clearTimeout(this.#timer);
  }

  clear() {
    this.stop();
    this.operation = undefined;
  }

  #wait() {
    this.#timer = setTimeout(() => void this.#look(), pause);
  }

  async #look() {
    const id = this.operation?.id;
    if (!id) return;
    try {
      const now = await get<Operation>(path('operations', id));
      if (this.operation?.id !== id) return;
      this.trouble = '';
      this.operation = now;
    } catch (cause) {
      // A lost connection does not stop the work: look again.
      this.trouble = asProblem(cause).message;
    }
    if (this.running) this.#wait();
    else if (this.operation) this.#ended?.(this.operation);
  }
}

export function failure(operation: Operation | undefined): string {
  const error = operation?.error;
  if (!error) return '';
  return typeof error === 'string' ? error : error.detail || error.title || '';
}

// fraction is between 0 and 1, or undefined where the total is not known.
export function fraction(operation: Operation | undefined): number | undefined {
  const progress = operation?.progress;
  if (!progress || !progress.total) return undefined;
  return Math.min(1, progress.done / progress.total);
}
