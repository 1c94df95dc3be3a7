import type { Ingested } from '../../src/ingest/ingest.js'
import { Translation } from '../../src/ingest/translate.js'
import type { JsonObject } from '../../src/lib/json.js'
import { defaultLimits as bounds } from '../../src/protocol/limits.js'

/** What an agent's output was translated to. */
export interface Run {
  readonly events: readonly Ingested[]
  readonly text: string
  readonly types: readonly string[]
  of(type: string): JsonObject[]
}

export function runOf(events: readonly Ingested[]): Run {
  const of = (type: string) =>
    events.filter(({ event }) => event.type === type).map(({ event }) => event.data as JsonObject)
  return {
    events,
    of,
    types: events.map(({ event }) => event.type),
    text: of('client_output_delta')
      .map(({ content }) => content as string)
      .join(''),
  }
}

export function translate(from: string, objects: readonly object[], worker?: string): Run {
  const translation = new Translation(from, { bounds, ...(worker !== undefined && { worker }) })
  const found = objects.flatMap((object) => translation.line(JSON.stringify(object)))
  return runOf([...found, ...translation.end()])
}
