import type { NeedKind } from '../catalog/traits.js'
import type { JsonObject } from '../lib/json.js'
import type { Epoch, Offset } from '../protocol/cursor.js'
import type { Progress } from './progress.js'
import { type Outcome, reasonText, type Turn } from './result.js'
import type { Stalled } from './stall.js'

/** The kinds of notices, for those who do not watch. */
export const noticeKinds = ['failed', 'ended', 'needs', 'lost', 'stalled', 'command'] as const
export type NoticeKind = (typeof noticeKinds)[number]

/** The fields of a notice without its session and worker. */
export interface NoticeFacts {
  readonly kind: NoticeKind
  /** The type of the event that reports it. */
  readonly type: string
  readonly offset: Offset
  /** Milliseconds since 1970. */
  readonly time: number
  /** Of `failed`, `ended` and `lost`. */
  readonly result?: Outcome
  readonly reason?: string
  /** Of `needs`. */
  readonly need?: { readonly kind: NeedKind; readonly key: string; readonly text: string }
  readonly stalled?: Stalled & { readonly tool?: string }
  /** Of `command`, which nobody follows. */
  readonly command?: { readonly id?: string; readonly text?: string; readonly expiresAt: number }
}

/** Something has happened in a session, or to one of its workers. */
export interface Notice extends NoticeFacts {
  readonly session: string
  readonly epoch: Epoch
  readonly worker?: string
  /** From the session's metadata. */
  readonly title?: string
}

/** The session of a notice. */
interface Noticed {
  readonly id: string
  readonly epoch: Epoch
  readonly metadata: JsonObject
}

/** Passes a notice of the session, or of a worker, to all listeners. Without listeners nothing is made. */
export function notify(
  listeners: ReadonlySet<(notice: Notice) => void>,
  { session, worker }: { readonly session: Noticed; readonly worker: string | undefined },
  facts: NoticeFacts,
): void {
  if (listeners.size === 0) return
  const { title } = session.metadata
  const notice = {
    session: session.id,
    epoch: session.epoch,
    ...(worker !== undefined && { worker }),
    ...(typeof title === 'string' && title !== '' && { title: reasonText(title) }),
    ...facts,
  }
  for (const listener of listeners) listener(notice)
}

/** @returns the notices of a question or an end, by the publisher's progress after the event */
export function noticesOfTurn(
  { needs, ending }: Pick<Progress, 'needs' | 'ending'>,
  found: Turn | 'noted',
  event: Pick<NoticeFacts, 'type' | 'offset' | 'time'>,
): NoticeFacts[] {
  const notices: NoticeFacts[] = []
  const asked = needs.at(-1)
  if (asked?.offset === event.offset) {
    const { kind, key, text } = asked
    notices.push({ ...event, kind: 'needs', need: { kind, key, text } })
  }
  if (found !== 'noted' && found.status === 'ended')
    notices.push({ ...event, kind: ending?.result === 'failed' ? 'failed' : 'ended', ...ending })
  return notices
}
