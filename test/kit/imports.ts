import ts from 'typescript'

/** The folders of `src`, each allowed to import from those before it. */
const order = [
  'lib',
  'protocol',
  'codec',
  'catalog',
  'history',
  'state',
  'ingest',
  'mask',
  'store',
  'log',
  'redis',
  'session',
  'sessions',
  'delivery',
  'hub',
  'dialect',
  'transport',
  'server',
  'cli',
]

/** What else than itself a folder, or a file of `src` itself, may import from. */
const allowed: ReadonlyMap<string, readonly string[]> = new Map([
  ...order.map((folder, at) => [folder, order.slice(0, at)] as const),
  ['cli', [...order, 'client']],
  ['client', ['lib', 'protocol', 'codec', 'state']],
  ['react', ['lib', 'protocol', 'client']],
  ['panels', ['client']],
  ['index.ts', order.filter((folder) => folder !== 'cli')],
  ['client.ts', ['client', 'lib', 'protocol', 'codec', 'state']],
  ['react.ts', ['react']],
  ['chat.ts', ['client']],
])

/** Where time, chance and timers may be taken from the machine itself. */
const assembly = /^(lib\/clock\.ts|lib\/random\.ts|client\/surroundings\.ts|cli\/.+|index\.ts|client\.ts)$/

/** Modules that bring time, chance or timers with them. */
const machineModules = /^(nanoid|(node:)?timers(\/promises)?|(node:)?perf_hooks)$/

const machineCalls = new Set([
  'setTimeout',
  'setInterval',
  'setImmediate',
  'Date',
  'Date.now',
  'Math.random',
  'performance.now',
  'process.hrtime',
  'process.hrtime.bigint',
  'crypto.randomUUID',
  'crypto.getRandomValues',
  'randomUUID',
  'randomBytes',
  'randomInt',
])

/**
 * Reads the sources of `src` and checks what they import and what they take from the machine.
 *
 * @param files the text of each file by its path below `src`, with `/`
 * @returns one sentence for each thing that does not belong where it is, in the order of the files
 */
export function misplaced(files: ReadonlyMap<string, string>): string[] {
  const found: string[] = []
  for (const [path, text] of files) {
    for (const { fileName } of ts.preProcessFile(text, true, true).importedFiles) {
      const reason = fileName.startsWith('.') ? wrongFolder(path, fileName) : wrongModule(path, fileName)
      if (reason !== undefined) found.push(`${path} imports ${fileName}: ${reason}`)
    }
    if (assembly.test(path)) continue
    for (const call of callsOf(path, text)) {
      if (machineCalls.has(call)) found.push(`${path} calls ${call}: ask the Clock or Random it was given`)
    }
  }
  return found
}

/**
 * Finds the files that import each other, directly or through others; imports of types count.
 *
 * @param files the text of each file by its path below `src`, with `/`
 * @returns for each group of them its files in order, as one sentence
 */
export function circles(files: ReadonlyMap<string, string>): string[] {
  const imported = new Map([...files].map(([path, text]) => [path, importsOf(path, text, files)]))
  const reached = new Map([...files.keys()].map((path) => [path, reachedFrom(path, imported)]))
  const groups = new Set<string>()
  for (const [path, others] of reached) {
    const group = [...others].filter((other) => reached.get(other)?.has(path) === true)
    if (group.length > 0) groups.add(`${group.toSorted().join(', ')} import each other`)
  }
  return [...groups]
}

/** Beyond this a file of `src` says in its first comment why it is not split. */
const linesMax = 350

/**
 * Finds the files that are longer than the rest, and do not begin with `// Longer than 350 lines: ` and why.
 *
 * @param files the text of each file by its path below `src`
 * @returns one sentence for each of them
 */
export function tooLong(files: ReadonlyMap<string, string>): string[] {
  return [...files].flatMap(([path, text]) => {
    const lines = text.trimEnd().split('\n').length
    if (lines <= linesMax || new RegExp(`^// Longer than ${linesMax} lines: \\S`).test(text)) return []
    return [
      `${path} has ${lines} lines: split it along the way of its data, or begin it with "// Longer than ${linesMax} lines: " and why`,
    ]
  })
}

/** @returns the files that a file imports. */
function importsOf(path: string, text: string, files: ReadonlyMap<string, string>): string[] {
  const { importedFiles } = ts.preProcessFile(text, true, true)
  return importedFiles.flatMap(({ fileName }) => {
    if (!fileName.startsWith('.')) return []
    const target = new URL(fileName, `src:/${path}`).pathname.slice(1)
    return [target.replace(/\.js$/, '.ts'), target.replace(/\.js$/, '.tsx')].filter((file) => files.has(file))
  })
}

/** @returns the files that a file imports, directly or through others; itself only when one of them imports it. */
function reachedFrom(path: string, imported: ReadonlyMap<string, readonly string[]>): ReadonlySet<string> {
  const reached = new Set<string>()
  const left = [path]
  for (let next = left.pop(); next !== undefined; next = left.pop()) {
    for (const file of imported.get(next) ?? []) {
      if (reached.has(file)) continue
      reached.add(file)
      left.push(file)
    }
  }
  return reached
}

function wrongFolder(path: string, specifier: string): string | undefined {
  const from = folderOf(path)
  const target = new URL(specifier, `src:/${path}`).pathname.slice(1)
  const to = folderOf(target.replace(/\.js$/, '.ts'))
  const mayImport = allowed.get(from)
  if (mayImport === undefined) return `${from} is not a folder of the design`
  if (from === to || mayImport.includes(to)) return undefined
  return `${from} may import from ${['itself', ...mayImport].join(', ')}`
}

function wrongModule(path: string, specifier: string): string | undefined {
  if (/^uwebsockets(\.js)?$/i.test(specifier) && !/^transport\/uws(-[a-z]+)?\.ts$/.test(path)) {
    return 'only transport/uws*.ts knows uWebSockets.js'
  }
  if (machineModules.test(specifier) && !assembly.test(path)) return 'ask the Clock or Random it was given'
  return undefined
}

/** @returns the first segment of a path: a folder, or a file of `src` itself. */
function folderOf(path: string): string {
  return path.split('/', 1)[0] ?? path
}

/** @returns what is called, as it is written: `Date.now`, `setTimeout`, `Date` for `new Date()`. */
function callsOf(path: string, text: string): string[] {
  const source = ts.createSourceFile(path, text, ts.ScriptTarget.Latest)
  const calls: string[] = []
  const visit = (node: ts.Node): void => {
    if (ts.isCallExpression(node)) calls.push(node.expression.getText(source).replace(/^globalThis\./, ''))
    // `new Date(ms)` only formats; `new Date()` reads the clock.
    if (ts.isNewExpression(node) && !node.arguments?.length) calls.push(node.expression.getText(source))
    ts.forEachChild(node, visit)
  }
  visit(source)
  return calls
}
