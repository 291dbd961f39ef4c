import { asProblem, type Problem } from './api';

// Resource is one thing that a page reads from the API. It loads when the page
// opens and again whenever a reactive value that the reader used changes; what
// was shown stays until the new answer is here. Make it during component setup.
export class Resource<T> {
  data = $state.raw<T>();
  problem = $state.raw<Problem>();
  loading = $state(true);
  #turn = $state(0);

  constructor(read: (signal: AbortSignal) => Promise<T> | undefined) {
    $effect(() => {
      void this.#turn;
      const abort = new AbortController();
      const answer = read(abort.signal);
      if (answer) void this.#take(answer, abort.signal);
      return () => abort.abort();
    });
  }

  async #take(answer: Promise<T>, signal: AbortSignal) {
    this.loading = true;
    try {
      const data = await answer;
      if (signal.aborted) return;
      this.data = data;
      this.problem = undefined;
    } catch (cause) {
      if (signal.aborted) return;
      this.problem = asProblem(cause);
    }
    this.loading = false;
  }

  reload = () => {
    this.#turn++;
  };
}
