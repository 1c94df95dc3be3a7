import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import ts from 'typescript'
import { closeCodes } from '../src/protocol/codes.js'
import { served } from './kit/served.js'

const docs = fileURLToPath(new URL('../docs/operations/', import.meta.url))
const read = (page: string): string => readFileSync(docs + page, 'utf8')

/** The series of one answer of `/metrics`: the labels that each name comes with. */
function seriesOf(text: string): Map<string, Set<string>> {
  const series = new Map<string, Set<string>>()
  for (const [, name = '', labels = ''] of text.matchAll(/^([a-z_][\w]*)(?:\{(.*)\})? \S+$/gm)) {
    const known = series.get(name) ?? new Set()
    for (const [, label = ''] of labels.matchAll(/(\w+)="/g)) known.add(label)
    series.set(name, known)
  }
  return series
}

/** What Prometheus gives every series. */
const given = ['job', 'instance']

/** The faults of a query: names that are no series, labels that its series do not have. */
function faultsOf(query: string, series: ReadonlyMap<string, ReadonlySet<string>>): string[] {
  const bare = query.replaceAll(/"[^"]*"/g, '""')
  const names = [...bare.matchAll(/\b(?:runcast|process|nodejs)_\w+/g)].map(([name]) => name)
  const labels = [
    ...[...bare.matchAll(/\{([^}]*)\}/g)].flatMap(([, text = '']) => [...text.matchAll(/(\w+)\s*[=!]/g)]),
    ...[...bare.matchAll(/\b(?:by|on)\s*\(([^)]*)\)/g)].flatMap(([, text = '']) => [
      ...text.matchAll(/(\w+)/g),
    ]),
  ].map(([, label = '']) => label)
  const known = new Set([...given, ...names.flatMap((name) => [...(series.get(name) ?? [])])])
  return [
    ...names.filter((name) => !series.has(name)).map((name) => `no metric ${name}`),
    ...labels.filter((label) => !known.has(label)).map((label) => `no label ${label}`),
    ...(names.length === 0 && !/\bup\{/.test(query) ? ['no metric at all'] : []),
  ].map((fault) => `${fault}: ${query}`)
}

interface Panel {
  readonly id: number
  readonly type: string
  readonly title: string
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number }
  readonly fieldConfig?: { readonly defaults: { readonly unit?: string } }
  readonly targets?: readonly { readonly refId: string; readonly expr: string }[]
}

interface Dashboard {
  readonly panels: readonly Panel[]
  readonly templating: { readonly list: readonly { readonly name: string; readonly query: unknown }[] }
}

t.test('the dashboard and the alerts ask for metrics that there are', async (t) => {
  const { url } = await served(t)
  // An answer has been counted when the next one is asked for.
  await (await fetch(`${url}/metrics`)).text()
  const text = await (await fetch(`${url}/metrics`)).text()
  const series = seriesOf(text)
  t.ok(series.has('runcast_flush_seconds_bucket') && series.get('runcast_closed_total')?.has('code'))
  const dashboard = JSON.parse(read('grafana.json')) as Dashboard
  const queries = dashboard.panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr))
  t.ok(queries.length > 40)
  t.same(
    queries.flatMap((query) => faultsOf(query, series)),
    [],
  )
  const variables = dashboard.templating.list.map(({ name }) => name)
  const used = [...JSON.stringify(dashboard.panels).matchAll(/\$\{?(\w+)/g)].map(([, name = '']) => name)
  t.same([...new Set(used)].filter((name) => !name.startsWith('__')).toSorted(), variables.toSorted())
  const own = [...series.keys()].filter((name) => name.startsWith('runcast_') && !name.endsWith('_bucket'))
  const unseen = own.filter((name) => {
    const histogram = name.replace(/_(sum|count)$/, '_bucket')
    return !queries.some((query) => query.includes(name) || query.includes(histogram))
  })
  t.same(unseen, [], 'and every metric of ours is on it')

  const alerts = read('alerts.yml')
  const rules = [...alerts.matchAll(/expr: (?:\|\n)?\s*(.+)/g)].map(([, query = '']) => query)
  t.equal(rules.length, alerts.split('- alert:').length - 1)
  t.same(
    rules.flatMap((query) => faultsOf(query, series)),
    [],
  )
  t.match(faultsOf('sum by (coed) (runcast_closd_total{cod="1"})', series), [
    /no metric runcast_closd_total/,
    /no label cod/,
    /no label coed/,
  ])
})

/** The columns of a dashboard of Grafana. */
const columns = 24

function overlap({ gridPos: a }: Panel, { gridPos: b }: Panel): boolean {
  return a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h
}

t.test('every panel of the dashboard has an id and a place of its own, and a unit', async (t) => {
  const { panels } = JSON.parse(read('grafana.json')) as Dashboard
  t.ok(panels.length > 30)
  t.equal(new Set(panels.map(({ id }) => id)).size, panels.length)
  for (const [index, panel] of panels.entries()) {
    const { id, type, title, gridPos, fieldConfig, targets = [] } = panel
    const name = `${id} ${title}`
    const { x, y, w, h } = gridPos
    t.ok(x >= 0 && y >= 0 && w > 0 && h > 0 && x + w <= columns, `${name}: lies within the columns`)
    const under = panels.slice(0, index).filter((other) => overlap(other, panel))
    t.same(under, [], `${name}: lies on no other`)
    if (type === 'row') continue
    t.ok(fieldConfig?.defaults.unit, `${name}: has a unit`)
    t.ok(targets.length > 0, `${name}: asks for something`)
    t.equal(new Set(targets.map(({ refId }) => refId)).size, targets.length, `${name}: names each query`)
  }
})

t.test('Prometheus can read the metrics and the alerts', async (t) => {
  const { url } = await served(t)
  const text = await (await fetch(`${url}/metrics`)).text()
  const promtool = (words: string[], input: string): string => {
    try {
      return execFileSync('promtool', words, { input, encoding: 'utf8', stdio: 'pipe' })
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') throw error
      const { stdout, stderr } = error as { stdout: string; stderr: string }
      return stdout + stderr
    }
  }
  try {
    // What it says of the names that prom-client gives the process's own is not for us.
    const said = promtool(['check', 'metrics'], text)
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('nodejs_'))
    t.same(said, [])
    t.match(promtool(['check', 'rules', `${docs}alerts.yml`], ''), /SUCCESS/)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    t.pass('Prometheus', { skip: 'no promtool on this machine' })
  }
})

t.test('troubleshooting has every close code, by its number and name', async (t) => {
  const rows = [...read('troubleshooting.md').matchAll(/^\| (\d{4}) `(\w+)` \|/gm)]
  t.same(
    rows.map(([, code, name]) => [name, Number(code)]),
    Object.entries(closeCodes),
  )
})

/** Numbers that bound nothing: codes, sizes of a format, weights, and what something is counted from. */
const noBounds = (
  'newline carriageReturn space colon quote backslash emptyArray kib ' +
  'mapFull noSpace fileTooLarge quotaExceeded inputOutput ' +
  'defaultPort start format headBytes extentBytes recordsFrom ' +
  'byteOrderMark bigData corrupted pageNotFound headerBytes metaBytes magic mark nodeBytes numberKeys treeFlags overflowBytes sealBytes subTable version ' +
  'blocksPerEvent farthest cutJoinPace rounding levelsAround levelsInPatch itemWork memberWork overheadBytes idBytes smallLength hashBytes markBytes stepBytes nudgeBytes frameBytes unsignedMax headBytesMax unitBytesMax shortTextMax batchNumbersBytes ' +
  'topicsNamed nonceBytes tagBytes sealedVersion erasBegin hashChars one several shardsMax slotsMax versionMin ' +
  'pieceShare touchPart cursorIntervalMs'
).split(' ')

/** @returns what an expression of numbers and constants of its file comes to; nothing for any other */
function numberOf(node: ts.Expression, known: ReadonlyMap<string, number>): number | undefined {
  if (ts.isNumericLiteral(node)) return Number(node.text)
  if (ts.isIdentifier(node)) return known.get(node.text)
  if (ts.isAsExpression(node) || ts.isParenthesizedExpression(node)) return numberOf(node.expression, known)
  if (ts.isPrefixUnaryExpression(node) && node.operator === ts.SyntaxKind.MinusToken) {
    const value = numberOf(node.operand, known)
    return value === undefined ? undefined : -value
  }
  if (!ts.isBinaryExpression(node)) return undefined
  const [left, right] = [numberOf(node.left, known), numberOf(node.right, known)]
  if (left === undefined || right === undefined) return undefined
  switch (node.operatorToken.kind) {
    case ts.SyntaxKind.AsteriskToken:
      return left * right
    case ts.SyntaxKind.SlashToken:
      return left / right
    case ts.SyntaxKind.PlusToken:
      return left + right
    case ts.SyntaxKind.MinusToken:
      return left - right
    case ts.SyntaxKind.LessThanLessThanToken:
      return left << right
    default:
      throw new Error(`numberOf: does not know the operator of ${node.getText()}`)
  }
}

/** The constants of a file that are numbers, those of functions left out. */
function numbersOf(text: string): Map<string, number> {
  const found = new Map<string, number>()
  for (const statement of ts.createSourceFile('', text, ts.ScriptTarget.Latest, true).statements) {
    if (!ts.isVariableStatement(statement)) continue
    for (const { name, initializer } of statement.declarationList.declarations) {
      const value = initializer && numberOf(initializer, found)
      if (value !== undefined) found.set(name.getText(), value)
    }
  }
  return found
}

t.test('the table of what cannot be changed has every bound within the hub, with its value', async (t) => {
  const source = fileURLToPath(new URL('../src/', import.meta.url))
  const bounds: string[] = []
  const others = new Set<string>()
  for (const path of readdirSync(source, { recursive: true, encoding: 'utf8' })) {
    if (!path.endsWith('.ts') || /^(?:cli|client|panels|react)\b|^protocol\/limits/.test(path)) continue
    for (const [name, value] of numbersOf(readFileSync(join(source, path), 'utf8'))) {
      if (noBounds.includes(name)) others.add(name)
      else bounds.push(`\`${name}\`, \`${path}\` | ${value.toLocaleString('en-US')}`)
    }
  }
  t.ok(bounds.length > 40)
  const [, table = ''] = read('limits.md').split('## Inside, not to be changed')
  const rows = [...table.matchAll(/^\| (`\w+`, `[\w/.-]+` \| \S+) [^|]+\| [^|]+ \| [^|]+ \|$/gm)]
  t.equal(rows.length, table.match(/^\| `/gm)?.length, 'every row is of the form')
  t.same(rows.map(([, row = '']) => row).toSorted(), bounds.toSorted())
  t.same([...others].toSorted(), noBounds.toSorted(), 'and all that bound nothing are there')
})
