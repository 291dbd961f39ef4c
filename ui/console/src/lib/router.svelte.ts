import { match } from './routes';

// Where the reader is. The address is the state: what a page shows (sort,
// filter, page, open record) can be linked and survives a reload.
class Router {
  path = $state(location.pathname);
  search = $state(location.search);
  route = $derived(match(this.path));

  sync = () => {
    this.path = location.pathname;
    this.search = location.search;
  };

  go(address: string, replace = false) {
    if (replace) history.replaceState(null, '', address);
    else history.pushState(null, '', address);
    const before = this.path;
    this.sync();
    if (before !== this.path) scrollTo(0, 0);
  }

  param(name: string): string {
    return new URLSearchParams(this.search).get(name) ?? '';
  }

  // set changes query parameters; an empty value removes one. Paging starts
  // anew unless the page itself is set.
  set(values: Record<string, string>, replace = false) {
    const search = new URLSearchParams(this.search);
    if (!('page' in values) && !('open' in values)) search.delete('page');
    for (const [name, value] of Object.entries(values)) {
      if (value) search.set(name, value);
      else search.delete(name);
    }
    const text = search.toString();
    this.go(text ? `${this.path}?${text}` : this.path, replace);
  }
}

export const router = new Router();

const outside = ['/api/', '/docs/', '/t/'];

function ours(link: HTMLAnchorElement): boolean {
  if (link.origin !== location.origin || link.target || link.hasAttribute('download')) return false;
  if (link.hash && link.pathname === location.pathname) return false;
  return !outside.some((prefix) => link.pathname.startsWith(prefix));
}

// follow turns plain clicks on links of the console into client navigation.
export function follow(event: MouseEvent) {
  if (event.defaultPrevented || event.button !== 0) return;
  if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const link = (event.target as Element | null)?.closest?.('a');
  if (!link || !ours(link)) return;
  event.preventDefault();
  router.go(link.pathname + link.search);
}
