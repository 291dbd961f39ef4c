import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vitest/config';

// The console runs under `script-src 'self'; style-src 'self'`: nothing may be
// inlined, so assets are never turned into data: URIs and the module preload
// polyfill (an inline script) stays off.
export default defineConfig({
  plugins: [svelte()],
  build: {
    outDir: '../dist',
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: 'es2022',
    cssTarget: ['chrome123', 'firefox121', 'safari17.5'],
    reportCompressedSize: true,
  },
  server: {
    fs: { allow: ['..'] },
    proxy: { '/api': 'http://127.0.0.1:5190' },
  },
  test: { include: ['test/**/*.test.ts'], css: true },
});
