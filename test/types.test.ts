import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import ts from 'typescript'

const root = fileURLToPath(new URL('..', import.meta.url))

/** Modules of others that examples use, which this project does not install. */
const others = ['@ai-sdk/react', '@durable-streams/client', '@vitejs/plugin-react', 'vite']

/** Programs that do not stand on any disk, beside the project's own source. */
function complaintsOf(files: ReadonlyMap<string, string>): string[] {
  const shims = join(root, 'examples/others.d.ts')
  const all = new Map(files).set(shims, others.map((name) => `declare module '${name}'\n`).join(''))
  const options: ts.CompilerOptions = {
    noEmit: true,
    strict: true,
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    jsx: ts.JsxEmit.ReactJSX,
    allowImportingTsExtensions: true,
    lib: ['lib.es2022.d.ts', 'lib.esnext.disposable.d.ts', 'lib.dom.d.ts', 'lib.dom.iterable.d.ts'],
    types: ['node'],
    skipLibCheck: true,
    paths: {
      runcast: [join(root, 'src/index.ts')],
      'runcast/client': [join(root, 'src/client.ts')],
      '@runcast/client': [join(root, 'src/client.ts')],
      '@runcast/client/react': [join(root, 'src/react.ts')],
      'runcast/react': [join(root, 'src/react.ts')],
    },
  }
  const host = ts.createCompilerHost(options)
  const { fileExists, readFile, getSourceFile } = host
  host.fileExists = (name) => all.has(name) || fileExists(name)
  host.readFile = (name) => all.get(name) ?? readFile(name)
  host.getSourceFile = (name, version) => {
    const text = all.get(name)
    return text === undefined ? getSourceFile(name, version) : ts.createSourceFile(name, text, version)
  }
  const program = ts.createProgram([...all.keys()], options, host)
  // The project checks its own source, by its own options.
  const own = ts
    .getPreEmitDiagnostics(program)
    .filter(({ file }) => file === undefined || all.has(file.fileName))
  return own.map(({ file, start = 0, messageText }) => {
    const line = file === undefined ? 0 : file.getLineAndCharacterOfPosition(start).line + 1
    return `${file?.fileName.replace(root, '')}:${line} ${ts.flattenDiagnosticMessageText(messageText, '\n')}`
  })
}

/** @returns the pages of the documentation, by path */
function pages(): string[] {
  const folders = ['docs', 'docs/guide', 'docs/operations', 'packages/client']
  const found = folders.flatMap((folder) =>
    readdirSync(join(root, folder)).map((name) => `${folder}/${name}`),
  )
  return ['README.md', ...found].filter((path) => path.endsWith('.md'))
}

const uses = `
import { connect, type BuiltInCatalog } from 'runcast/client'
import { createRuncastHooks, useEvents } from 'runcast/react'

interface Plan { goal: string; done?: boolean; since: Date }
declare const plan: Plan
const client = connect('http://127.0.0.1:4600')
void client.setState('sessions/s', 'plan', plan)
void client.mergeState('sessions/s', 'plan', { done: undefined })
void client.publish('sessions/s', { type: 'note', data: plan })
const known = connect<BuiltInCatalog>('http://127.0.0.1:4600')
void known.publish('sessions/s', { type: 'process.output', data: { stream: 'stdout', text: 'a' } })

const hooks = createRuncastHooks<BuiltInCatalog, { plan: Plan }>()
const text: string | undefined = hooks.useEvents('sessions/s', { types: ['process.output'] }).events[0]?.data.text
const goal: string | undefined = hooks.useSessionState('sessions/s', 'plan')?.goal
hooks.useEvents('sessions/s', { types: ['process.*', '!note'], mode: 'summary' })
hooks.useEvents('sessions/s')
useEvents<BuiltInCatalog>('sessions/s', { types: ['process.output'] })
console.log(text, goal)
`

const mistakes = `
import { connect } from 'runcast/client'
import { createRuncastHooks } from 'runcast/react'
import type { BuiltInCatalog } from 'runcast/client'
const { useEvents, useSessionState } = createRuncastHooks<BuiltInCatalog, { plan: number }>()
useEvents('sessions/s', { types: ['proces.output'] })
useSessionState('sessions/s', 'plans')
void connect('http://127.0.0.1:4600').setState('sessions/s', 'plan', () => 1)
void connect<BuiltInCatalog>('http://127.0.0.1:4600').publish('sessions/s', { type: 'process.output', data: { text: 1 } })
`

t.test('the types help those who use them, and the examples of the docs have no error', async (t) => {
  const files = new Map([[join(root, 'examples/uses.ts'), uses]])
  for (const path of pages()) {
    const blocks = readFileSync(join(root, path), 'utf8').matchAll(/^```(tsx?)(?: \S+)?\n(.*?)^```/gms)
    for (const [, language, code = ''] of blocks) {
      // What imports nothing is a line of a program that stands elsewhere on the page.
      if (!code.includes('import ')) continue
      const name = `examples/${path.replaceAll(/\W/g, '-')}-${files.size}.${language}`
      files.set(join(root, name), `${code}\nexport {}\n`)
    }
  }
  const inExamples = readdirSync(join(root, 'examples'), { recursive: true, encoding: 'utf8' }).filter(
    (path) => /\.tsx?$/.test(path) && !path.includes('node_modules'),
  )
  t.ok(inExamples.length > 6, 'the examples were found')
  for (const path of inExamples) {
    files.set(join(root, 'examples', path), readFileSync(join(root, 'examples', path), 'utf8'))
  }
  t.ok(files.size - inExamples.length > 6, `${files.size} examples were found`)
  t.strictSame(complaintsOf(files), [])
})

t.test('a mistake is an error that says what is wrong', async (t) => {
  const complaints = complaintsOf(new Map([[join(root, 'examples/mistakes.ts'), mistakes]]))
  t.match(complaints, [
    /mistakes.ts:6 [^]*Did you mean '"process.output"'/,
    /mistakes.ts:7 .*"plans"/s,
    /mistakes.ts:8 /,
    /mistakes.ts:9 /,
  ])
  t.equal(complaints.length, 4, complaints.join('\n'))
})
