/** What is made from the catalog: the tables of `docs/catalog.md`, and the types of events that the client exports. */
import { readFileSync } from 'node:fs'
import ts from 'typescript'
import { createCatalog, type SectionName } from '../src/catalog/catalog.js'
import type { Traits } from '../src/catalog/traits.js'

const catalog = createCatalog()

export const sectionNames = Object.keys(catalog.sections) as SectionName[]

/** @returns a row for each type of a section: its cells */
export function catalogRows(section: SectionName): string[][] {
  return catalog.sections[section].map((type) => rowOf(type, catalog.traitsOf(type)))
}

export const catalogHead = ['type', 'level', 'critical', 'replay', 'rollup', 'merges', 'status', 'says']

function rowOf(type: string, traits: Traits): string[] {
  const { level, critical, replay, key, rollup, merge, status, ends, asks, answers, usage, command, tool } =
    traits
  const by = key === undefined ? '' : ` by ${key}`
  const latest = replay === 'latest' && key !== undefined ? `latest per ${code(key)}` : replay || 'no'
  const says = [
    command && `command ${command}`,
    tool && `tool ${tool}`,
    ends && `ends ${ends}`,
    asks && `asks ${asks}${by}`,
    answers && `answers ${answers}${by}`,
    usage && 'counts usage',
  ]
  const merges =
    merge === undefined
      ? ''
      : [merge.text, merge.ignore ?? []].flatMap((names) => listed(names)).join(' but ')
  return [
    code(type),
    level,
    critical ? 'yes' : 'no',
    latest,
    rollup ? 'yes' : 'no',
    merges,
    status ?? '',
    says.filter(Boolean).join(', '),
  ]
}

function listed(names: string | readonly string[]): string[] {
  const list = [names].flat()
  return list.length === 0 ? [] : [list.map(code).join(', ')]
}

function code(text: string): string {
  return `\`${text}\``
}

/** The sections whose types the client exports, and under which name. The others are the types of dialects. */
const exported: readonly (readonly [SectionName, string])[] = [
  ['process', 'ProcessEvents'],
  ['task-log', 'TaskLogEvents'],
  ['runtime', 'RuntimeEvents'],
  ['session-bus', 'SessionBusEvents'],
  ['stream-event', 'StreamEvents'],
  ['command', 'CommandEvents'],
]

export const catalogTypesPath = 'src/client/catalog-types.ts'

/** @returns the source of `client/catalog-types.ts`: of each event type the shape that is known of its data, or any object */
export function catalogTypes(): string {
  const shapes = shapeNames()
  const sections = exported.map(([section, name]) => {
    const fields = catalog.sections[section].map((type) => {
      const field = /^[A-Za-z_]\w*$/.test(type) ? type : `'${type}'`
      return `  ${field}: ${shapes.has(type) ? `CatalogShapes['${type}']` : 'JsonObject'}`
    })
    return `/** The section \`${section}\` of the catalog. */\nexport interface ${name} {\n${fields.join('\n')}\n}\n`
  })
  return `// Made of src/catalog and catalog-shapes.ts by \`npm run docs\`: do not change it by hand.
import type { JsonObject } from '../lib/json.js'
import type { CatalogShapes } from './catalog-shapes.js'

${sections.join('\n')}
/** The built-in catalog: \`connect<BuiltInCatalog>(url)\`. Extend it with your own types by \`&\`. */
export type BuiltInCatalog = ${exported.map(([, name]) => name).join(' &\n  ')}
`
}

/** @returns the event types that \`CatalogShapes\` has */
function shapeNames(): ReadonlySet<string> {
  const path = new URL('../src/client/catalog-shapes.ts', import.meta.url)
  const source = ts.createSourceFile('shapes.ts', readFileSync(path, 'utf8'), ts.ScriptTarget.Latest)
  const names = new Set<string>()
  for (const statement of source.statements) {
    if (!ts.isInterfaceDeclaration(statement) || statement.name.text !== 'CatalogShapes') continue
    for (const { name } of statement.members) {
      if (name !== undefined && (ts.isIdentifier(name) || ts.isStringLiteral(name))) names.add(name.text)
    }
  }
  return names
}
