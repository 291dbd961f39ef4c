export type Choice = 'system' | 'light' | 'dark';

const key = 'holdfast.theme';

function stored(): Choice {
  try {
    const value = localStorage.getItem(key);
    return value === 'light' || value === 'dark' ? value : 'system';
  } catch {
    return 'system';
  }
}

class Theme {
  choice = $state<Choice>(stored());

  choose(choice: Choice) {
    this.choice = choice;
    const root = document.documentElement;
    if (choice === 'system') delete root.dataset.theme;
    else root.dataset.theme = choice;
    try {
      if (choice === 'system') localStorage.removeItem(key);
      else localStorage.setItem(key, choice);
    } catch {
      // Blocked storage: the choice lasts as long as the page.
    }
  }
}

export const theme = new Theme();
