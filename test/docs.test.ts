import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import ts from 'typescript'
import { catalogTypes, catalogTypesPath } from '../scripts/catalog.js'
import { plots, readResults } from '../scripts/plots.js'
import { pages, withTables } from '../scripts/tables.js'
import { closeCodes, requestCodes } from '../src/protocol/codes.js'
import { parseDialogues } from './kit/dialogue.js'

const root = fileURLToPath(new URL('..', import.meta.url))
const read = (path: string): string => readFileSync(join(root, path), 'utf8')
const protocol = read('docs/protocol.md')
/** Pages that are shown where the packages are published. */
const published = ['README.md', 'packages/client/README.md']

interface Manifest {
  readonly dependencies: Readonly<Record<string, string>>
  readonly optionalDependencies: Readonly<Record<string, string>>
  readonly devDependencies: Readonly<Record<string, string>>
}

t.test('tables of the docs are those of the source', async (t) => {
  for (const page of pages) t.equal(withTables(read(page)), read(page), `${page}: run npm run docs`)
  t.equal(catalogTypes(), read(catalogTypesPath), `${catalogTypesPath}: run npm run docs`)
})

t.test('plots of the docs are those of the results', async (t) => {
  for (const [path, text] of Object.entries(plots(readResults()))) {
    t.equal(read(path), text, `${path}: run npm run docs`)
    t.match(text, />runcast</)
  }
})

t.test('a table that is not the source’s is put right, and one that is unknown is refused', async (t) => {
  const stale = 'a\n<!-- table: limits -->\n| old |\n<!-- end -->\nb\n'
  t.notSame(withTables(stale), stale)
  t.match(withTables(stale), /^a\n<!-- table: limits -->\n\n\| limit [^]*\|\n\n<!-- end -->\nb\n$/)
  t.throws(() => withTables('<!-- table: guesses -->\n<!-- end -->'), { message: /no table guesses/ })
  t.throws(() => withTables('nothing'), { message: /has no table/ })
})

t.test('the protocol lists every code with its number', async (t) => {
  const rows = [...protocol.matchAll(/^\| (?:(\d{4}) \| `(\w+)`|`(\w+)` \| (\d{3})) \| .+ \|$/gm)]
  const listed = rows.map(([, close, closeName, name, status]) => [
    closeName ?? name,
    Number(close ?? status),
  ])
  t.strictSame(listed, [...Object.entries(closeCodes), ...Object.entries(requestCodes)])
})

t.test('the protocol has a section for every frame, with its fields', async (t) => {
  const frames = framesOf(read('src/protocol/frames.ts'))
  t.ok(frames.has('subscribe') && frames.has('welcome'), 'the frames were found')
  const described = new Map(
    protocol
      .split(/^#{2,3} /m)
      .map((section): [string, string[]] => [
        section.split('\n', 1)[0] ?? '',
        [...section.matchAll(/^\| `(\w+\??)` \|/gm)].map(([, field]) => field ?? ''),
      ])
      .filter(([heading]) => frames.has(heading)),
  )
  t.strictSame([...described], [...frames], 'in the order of the source')
})

t.test('the dialogues of the protocol are of the form, and speak of frames that exist', async (t) => {
  const frames = framesOf(read('src/protocol/frames.ts'))
  const dialogues = parseDialogues(protocol)
  t.ok(dialogues.length > 0)
  for (const { heading, line, lines } of dialogues) {
    t.ok(frames.has(heading), `line ${line}: stands under a frame`)
    const unknown = lines.filter(({ frame }) => typeof frame.type !== 'string' || !frames.has(frame.type))
    t.ok(
      unknown.every(({ from }) => from === 'client') && (unknown.length === 0 || heading === 'error'),
      `line ${line}: only the section on errors has a frame that does not exist`,
    )
  }
})

t.test('links between the pages lead somewhere', async (t) => {
  for (const page of markdown()) {
    const own = read(page).replaceAll(
      /https:\/\/(github\.com\/runcast\/runcast\/(blob|tree)|raw\.githubusercontent\.com\/runcast\/runcast)\/main\//g,
      '/',
    )
    const targets = own.matchAll(/(?:\]\((?!https?:)| (?:src|srcset)=")([^)\s"]+)[)"]/g)
    for (const [, target] of targets) {
      const [path = '', anchor] = (target ?? '').split('#')
      const file = path === '' ? page : path.startsWith('/') ? path : join(dirname(page), path)
      t.ok(existsSync(join(root, file)), `${page} → ${target}`)
      if (anchor === undefined || !file.endsWith('.md')) continue
      t.ok(anchorsOf(read(file)).includes(anchor), `${page} → ${target}: the heading is there`)
    }
  }
})

t.test('what a registry shows has no relative link', async (t) => {
  for (const page of published) {
    const relative = [...read(page).matchAll(/(?:\]\(|(?:src|srcset)=")(?!https:|#)[^)"]+/g)]
    t.same(relative.flat(), [], page)
  }
})

t.test('every dependency has its reason in a decision', async (t) => {
  const { dependencies, optionalDependencies, devDependencies } = JSON.parse(read('package.json')) as Manifest
  const [installed = '', bundled = ''] = read('docs/adr/0006-dependencies.md').split('What is bundled')
  const listed = (part: string) => {
    const rows = [...part.matchAll(/^\| `([^`]+)` \| (\S+) \|/gm)]
    return Object.fromEntries(rows.map(([, name, version]) => [name, version]))
  }
  const plain = Object.entries({ ...dependencies, ...optionalDependencies }).map(([name, range]) => [
    name,
    range.split('@').at(-1),
  ])
  t.strictSame(listed(installed), Object.fromEntries(plain))
  const names = Object.keys(listed(bundled))
  t.ok(names.length > 0, 'and what is bundled')
  t.strictSame(listed(bundled), Object.fromEntries(names.map((name) => [name, devDependencies[name]])))
})

/** @returns the fields of each frame by the frame's `type`, `?` after those that may be absent. */
function framesOf(source: string): Map<string, string[]> {
  const file = ts.createSourceFile('frames.ts', source, ts.ScriptTarget.Latest, true)
  const interfaces = file.statements.filter(ts.isInterfaceDeclaration)
  const fieldsOf = (declaration: ts.InterfaceDeclaration): string[] => {
    const bases = (declaration.heritageClauses ?? []).flatMap(({ types }) =>
      types.map((type) => type.getText()),
    )
    const inherited = interfaces.filter(({ name }) => bases.includes(name.text)).flatMap(fieldsOf)
    const own = declaration.members
      .filter(ts.isPropertySignature)
      .map(({ name, questionToken }) => `${name.getText()}${questionToken === undefined ? '' : '?'}`)
    // Base fields come after `type` and `sub`, as one reads them.
    const last = own.filter((field) => ['slices?', 'parts?'].includes(field) && inherited.length > 0)
    return [...own.filter((field) => !last.includes(field)), ...inherited, ...last]
  }
  const frames = new Map<string, string[]>()
  for (const declaration of interfaces) {
    const discriminator = declaration.members.find((member) => member.name?.getText() === 'type')?.getText()
    const type = /^readonly type: '(\w+)'$/.exec(discriminator ?? '')?.[1]
    if (type !== undefined) frames.set(type, fieldsOf(declaration))
  }
  return frames
}

function markdown(): string[] {
  const docs = readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' })
  const inDocs = docs.filter((path) => path.endsWith('.md')).map((path) => join('docs', path))
  return [...published, 'CONTRIBUTING.md', 'SECURITY.md', ...inDocs]
}

/** @returns the anchors that a page's headings get where it is shown. */
function anchorsOf(page: string): string[] {
  return [...page.matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  )
}

t.test('llms.txt lists every guide and page of operations, and nothing that is not there', async (t) => {
  const listed = [...read('docs/llms.txt').matchAll(/\]\(https:\/\/[^)]*\/main\/([^)]+)\)/g)].map(
    ([, path]) => path ?? '',
  )
  for (const path of listed) t.ok(existsSync(join(root, path)), path)
  for (const folder of ['docs/guide', 'docs/operations']) {
    for (const name of readdirSync(join(root, folder)).filter((name) => name.endsWith('.md'))) {
      t.ok(listed.includes(`${folder}/${name}`), `${folder}/${name}: add it to docs/llms.txt`)
    }
  }
})
