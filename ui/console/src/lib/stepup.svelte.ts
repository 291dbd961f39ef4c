import { onStepUp } from './api';

// The question for a fresh factor: one dialog, however many requests wait for it.
class StepUp {
  open = $state(false);
  #waiting: ((shown: boolean) => void)[] = [];

  ask = (): Promise<boolean> => {
    this.open = true;
    return new Promise((resolve) => this.#waiting.push(resolve));
  };

  answer(shown: boolean) {
    this.open = false;
    for (const resolve of this.#waiting.splice(0)) resolve(shown);
  }
}

export const stepUp = new StepUp();
onStepUp(stepUp.ask);
