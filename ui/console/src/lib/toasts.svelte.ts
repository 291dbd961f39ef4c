export interface Toast {
  id: number;
  tone: 'ok' | 'danger' | 'info';
  text: string;
  link?: { href: string; text: string };
}

class Toasts {
  list = $state<Toast[]>([]);
  #next = 1;

  #add(toast: Omit<Toast, 'id'>, milliseconds: number) {
    const id = this.#next++;
    this.list.push({ ...toast, id });
    setTimeout(() => this.dismiss(id), milliseconds);
  }

  done(text: string, link?: Toast['link']) {
    this.#add({ tone: 'ok', text, link }, 5000);
  }

  info(text: string, link?: Toast['link']) {
    this.#add({ tone: 'info', text, link }, 6000);
  }

  failed(text: string) {
    this.#add({ tone: 'danger', text }, 9000);
  }

  dismiss(id: number) {
    this.list = this.list.filter((t) => t.id !== id);
  }
}

export const toasts = new Toasts();
