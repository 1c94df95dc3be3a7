import type { NeedKind } from '../catalog/traits.js'
import type { Epoch, Offset } from '../protocol/cursor.js'
import type { Outcome } from './result.js'
import type { Stalled } from './stall.js'

/** What somebody who does not watch may want to be told of. */
export const noticeKinds = ['failed', 'ended', 'needs', 'lost', 'stalled', 'command'] as const
export type NoticeKind = (typeof noticeKinds)[number]

/** What is told beside where and when it happened. */
export interface NoticeFacts {
  readonly kind: NoticeKind
  /** Of the event that says so. */
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
