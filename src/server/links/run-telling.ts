import type { Catalog } from '../../catalog/catalog.js'
import { type RunPoint, type Step, withIds } from '../../codec/run-codec.js'
import type { Block, DialectRuns, RunEnding } from '../../codec/runs.js'
import type { Epoch } from '../../protocol/cursor.js'
import type { HubEvent } from '../../protocol/frames.js'
import { turnOf } from '../../session/result.js'

/** Of whose run is told, in which dialect, to which kind of its clients. */
export interface RunSubject {
  readonly runs: DialectRuns
  readonly variant: string
  readonly session: string
  /** Whose run it is; absent for the session's own. */
  readonly worker: string | undefined
  readonly catalog: Catalog
  /** How the session ended, once it has. */
  readonly ended: () => RunEnding
}

/** What one event has told. */
export interface ToldEvent {
  readonly point: RunPoint
  readonly blocks: readonly Block[]
  /** The run begins, or ends, with it; or another one begins although this one has not ended. */
  readonly turn: 'begins' | 'ends' | 'another' | undefined
}

/** What an event makes of the run that it is of. */
type RunTurn =
  | { readonly kind: 'pauses' }
  /** `repeats`: it may say so again and again in one run. */
  | { readonly kind: 'opens'; readonly repeats: boolean }
  | { readonly kind: 'ends'; readonly ending: RunEnding }
  | undefined

/** Tells one event after the other. */
export class RunTelling {
  readonly #subject: RunSubject

  constructor(subject: RunSubject) {
    this.#subject = subject
  }

  /** @returns what is known before the first event of a run, or of the session where the fold goes over all of it */
  begin(from: RunPoint['from'], phase: RunPoint['phase']): RunPoint {
    const { runs, variant } = this.#subject
    return { from, phase, state: runs.begin(variant) }
  }

  tell(point: RunPoint, event: HubEvent): ToldEvent {
    const { runs, session, worker } = this.#subject
    const own = event.worker === worker
    const turn = own ? this.#turn(event) : undefined
    const isActive = point.phase === 'running' || point.phase === 'paused'
    const isOpener = event.offset === point.from
    const opens =
      turn?.kind === 'opens' && (!isActive || isOpener || (point.phase === 'running' && !turn.repeats))
    // A fold over one run begins anew with each.
    const { state: before } = opens && runs.prelude === undefined ? this.begin(point.from, 'running') : point
    if (!isActive && !opens && runs.prelude === undefined) return { point, blocks: [], turn: undefined }
    const ending = turn?.kind === 'ends' && isActive ? turn.ending : undefined
    const { state, blocks } = runs.tell(before, event, { session, own, opens, ...(ending && { ending }) })
    const from = opens ? event.offset : point.from
    const phase = phaseAfter(point.phase, turn)
    const next =
      state === point.state && phase === point.phase && from === point.from ? point : { from, phase, state }
    if (ending !== undefined) return { point: next, blocks, turn: 'ends' }
    if (!opens) return { point: next, blocks, turn: undefined }
    // The first one of a session that has told before it began is its own.
    return { point: next, blocks, turn: isActive && point.from > 0 && !isOpener ? 'another' : 'begins' }
  }

  /** @returns how a whole frame is told to clients that are in the midst of a run */
  stepOf(epoch: Epoch): Step {
    const { ids } = this.#subject.runs
    return (before, events) => {
      let point = before
      let text = ''
      for (const event of events) {
        const made = this.tell(point, event)
        if (made.turn === 'another') return { point, bytes: encoder.encode(text), broken: true }
        point = made.point
        text += ids === 'cursor' ? withIds(made.blocks, epoch, event.offset) : textOf(made.blocks)
        if (made.turn === 'ends') break
      }
      return { point, bytes: encoder.encode(text) }
    }
  }

  #turn({ type, data }: HubEvent): RunTurn {
    const { catalog, ended } = this.#subject
    if (type === 'complete') return { kind: 'ends', ending: ended() }
    if (type === 'session.lost' || type === 'worker.lost') {
      return { kind: 'ends', ending: { result: 'lost', reason: 'The agent was not heard of any more.' } }
    }
    const traits = catalog.traitsOf(type)
    const turn = traits.status === undefined && traits.ends === undefined ? undefined : turnOf(traits, data)
    switch (turn?.status) {
      case 'running':
        return { kind: 'opens', repeats: traits.ends !== undefined }
      case 'paused':
        return { kind: 'pauses' }
      case 'ended':
        return { kind: 'ends', ending: turn.ending ?? { result: 'succeeded' } }
      case undefined:
        return undefined
    }
  }
}

export function textOf(blocks: readonly Block[]): string {
  return blocks.map(({ text }) => text).join('')
}

function phaseAfter(phase: RunPoint['phase'], turn: RunTurn): RunPoint['phase'] {
  switch (turn?.kind) {
    case 'opens':
      return 'running'
    case 'pauses':
      return phase === 'running' ? 'paused' : phase
    case 'ends':
      return phase === 'running' || phase === 'paused' ? 'ended' : phase
    case undefined:
      return phase
  }
}

const encoder = new TextEncoder()
