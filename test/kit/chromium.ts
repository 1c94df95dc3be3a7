import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core'
import type { Test } from 'tap'

const root = fileURLToPath(new URL('../..', import.meta.url))
const executablePath = process.env['RUNCAST_CHROMIUM'] ?? '/usr/bin/chromium'

/** Why tests in Chromium are skipped; `false` where it is installed. */
export const skip = existsSync(executablePath)
  ? false
  : `no Chromium at ${executablePath}: install it, or name one in RUNCAST_CHROMIUM`

/** Closed at the end of the test. */
export async function launch(t: Test): Promise<Browser> {
  const browser = await chromium.launch({
    executablePath,
    args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'].concat(
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ),
  })
  t.teardown(() => browser.close())
  return browser
}

/**
 * @param modules where packages other than this project's own come from, by name
 * @returns a script that makes the exports of a module, or of a text in TypeScript and JSX, the global `bundle`
 */
export async function bundle(
  from: string | { readonly tsx: string },
  modules: Readonly<Record<string, string>> = {},
): Promise<string> {
  const { outputFiles } = await build({
    absWorkingDir: root,
    ...(typeof from === 'string'
      ? { entryPoints: [from] }
      : { stdin: { contents: from.tsx, loader: 'tsx', resolveDir: root } }),
    jsx: 'automatic',
    // As users import them.
    alias: { '@runcast/client': './src/client.ts', '@runcast/client/react': './src/react.ts', ...modules },
    bundle: true,
    format: 'iife',
    globalName: 'bundle',
    platform: 'browser',
    target: 'es2022',
    define: { 'process.env.NODE_ENV': '"development"' },
    write: false,
    logLevel: 'error',
  })
  return outputFiles[0]?.text ?? ''
}

/** Opens an empty page of the hub's own origin with a script in it; closed at the end of the test. */
export async function openWith(
  t: Test,
  context: Browser | BrowserContext,
  { url, script }: { readonly url: string; readonly script: string },
): Promise<{ readonly page: Page; readonly complaints: string[] }> {
  const page = await context.newPage()
  t.teardown(() => page.close())
  const complaints = complaintsOf(page)
  await page.goto(`${url}/healthz`)
  await page.addScriptTag({ content: script })
  return { page, complaints }
}

/** What the browser says against a page, as it comes: errors, and violations of its policy. */
export function complaintsOf(page: Page): string[] {
  const complaints: string[] = []
  page.on('pageerror', (error) => complaints.push(String(error)))
  page.on('console', (message) => {
    // Asked for by the browser itself where a page names none.
    if (message.location().url.endsWith('/favicon.ico')) return
    if (message.type() === 'error') complaints.push(message.text())
  })
  return complaints
}
