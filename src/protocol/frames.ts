import type { JsonObject, JsonValue } from '../lib/json.js'
import type { RequestCode } from './codes.js'
import type { Cursor, Epoch, Offset } from './cursor.js'
import type { Limits } from './limits.js'
import type { Trace, TraceState } from './trace.js'

/** Which levels of events a subscription carries; `silent` carries none and keeps its position. */
export type Mode = 'full' | 'summary' | 'control' | 'silent'
export const modes: readonly Mode[] = ['full', 'summary', 'control', 'silent']

/** One immutable event that was published to a topic. */
export interface HubEvent {
  readonly offset: Offset
  readonly type: string
  /** Milliseconds since 1970: the hub's clock unless the producer gave it. */
  readonly time: number
  /** The worker that published it; absent for the session's own events. */
  readonly worker?: string
  /** The producer's own id, for idempotent publishing. */
  readonly id?: string
  /** For types with the trait `replay: latest`: the event replaces earlier ones with the same key. */
  readonly key?: string
  /** The trace that it belongs to, as the producer gave it. */
  readonly trace?: Trace
  /** The `tracestate` that came with the `traceparent`; never without `trace`. */
  readonly tracestate?: TraceState
  /** The step that it belongs to, and which attempt at it. */
  readonly attempt?: Attempt
  readonly data: JsonValue
  /** Sent again on a fresh join; it does not move the position. */
  readonly replay?: true
}

/** An attempt at a step, which replaces the attempts before it. */
export type Attempt = {
  readonly step: string
  /** Counts the attempts. */
  readonly number: number
}

/** An event as a producer publishes it. */
export interface NewEvent {
  readonly type: string
  readonly data?: JsonValue
  readonly id?: string
  readonly key?: string
  readonly time?: number
  /** A `traceparent`: the trace that the event belongs to; passed on unchanged. */
  readonly trace?: Trace
  /** A `tracestate`, passed on unchanged with `trace`; ignored without it. */
  readonly tracestate?: TraceState
  /** The step that it belongs to: a new attempt replaces the events of former ones. */
  readonly attempt?: Attempt
  /** Passes every mode (but not a `types` filter). */
  readonly force?: boolean
}

/** What led to a change of state. */
export type Cause = {
  readonly type: string
  readonly id?: string
  readonly payload?: JsonValue
}

/** Slices by name: a snapshot of a topic's state. */
export type Slices = JsonObject

/** RFC 6902. */
export type PatchOperation =
  | { readonly op: 'add' | 'replace' | 'test'; readonly path: string; readonly value: JsonValue }
  | { readonly op: 'remove'; readonly path: string }
  | { readonly op: 'move' | 'copy'; readonly path: string; readonly from: string }

/** `data` of the event `state.update`: one change of one slice. */
export type StateUpdate = {
  readonly slice: string
  /**
   * The offset of the update that it builds on: a patch applies only to that value. 0 if the slice did not exist, and for an
   * update that replaces several.
   */
  readonly base: Offset
  readonly cause?: Cause
} & (
  | { readonly patch: readonly PatchOperation[] }
  | { readonly value: JsonValue }
  | { readonly removed: true }
)

// From the client

export interface Subscribe {
  readonly type: 'subscribe'
  /** The client's own integer, unique in the connection. */
  readonly sub: number
  readonly topic: string
  readonly types?: readonly string[]
  readonly mode?: Mode
  readonly slices?: readonly string[]
  /** Resume: everything after this cursor. */
  readonly after?: Cursor
  /** On a fresh join: by the traits (default), nothing, or all retained events. */
  readonly replay?: boolean | 'all'
  /** On a fresh join, instead of `replay`: this many of the newest retained events. */
  readonly last?: number
  /** The same for the events retained since that time, milliseconds since 1970; with `last`, the newest of those. */
  readonly since?: number
}

/** Changes the filter and keeps the position. `null` resets a field to its default. */
export interface Update {
  readonly type: 'update'
  readonly sub: number
  readonly types?: readonly string[] | null
  readonly mode?: Mode
  readonly slices?: readonly string[] | null
}

export interface Unsubscribe {
  readonly type: 'unsubscribe'
  readonly sub: number
}

export interface Publish {
  readonly type: 'publish'
  readonly ref?: Ref
  readonly topic: string
  readonly events: readonly NewEvent[]
}

/** A promise to report again; an open connection renews it. */
export interface Lease {
  readonly type: 'lease'
  readonly ref?: Ref
  readonly topic: string
  /** Milliseconds; 0 gives it up. */
  readonly ms: number
}

export interface Set {
  readonly type: 'set'
  readonly ref?: Ref
  readonly topic: string
  readonly slice: string
  readonly value: JsonValue
  readonly cause?: Cause
}

export interface Patch {
  readonly type: 'patch'
  readonly ref?: Ref
  readonly topic: string
  readonly slice: string
  readonly patch: readonly PatchOperation[]
  readonly cause?: Cause
}

export interface Merge {
  readonly type: 'merge'
  readonly ref?: Ref
  readonly topic: string
  readonly slice: string
  /** RFC 7386. */
  readonly merge: JsonValue
  readonly cause?: Cause
}

export interface Authorize {
  readonly type: 'authorize'
  readonly token: string
}

export interface Ping {
  readonly type: 'ping'
  readonly ref?: Ref
}

/** A client's own mark on a request, returned with its answer. */
export type Ref = string | number

export type ClientFrame =
  | Subscribe
  | Update
  | Unsubscribe
  | Publish
  | Lease
  | Set
  | Patch
  | Merge
  | Authorize
  | Ping

// From the hub

export interface Welcome {
  readonly type: 'welcome'
  readonly connection: string
  /** The protocol's version: 1. */
  readonly version: number
  /** The silence after which the hub pings. */
  readonly heartbeatMs: number
  readonly limits: Pick<Limits, 'frameBytesMax' | 'subscriptionsMax' | 'filterTypesMax'>
}

/** Part of what follows a position can no longer be delivered. */
export interface GapNotice {
  readonly reason: GapReason
  /** The position after which something is missing. */
  readonly after: Offset
  /** No event after this offset is missing. Events between the two that are still retained follow. */
  readonly offset: Offset
  /** How many events of the topic are missing, where the hub can tell. */
  readonly dropped?: number
}

export type GapReason = 'epoch' | 'evicted' | 'lagging'

export interface Subscribed {
  readonly type: 'subscribed'
  readonly sub: number
  /** The integer that names the feed in `events`; the same for all subscriptions of the feed. */
  readonly feed: number
  readonly topic: string
  readonly epoch: Epoch
  /** The subscription's position: the first `events` frame that moves it says the same `after` or less. */
  readonly offset: Offset
  /** Everything after the given cursor follows. */
  readonly resumed: boolean
  readonly slices?: Slices
  /** Instead of `slices`: so many `part` frames follow. */
  readonly parts?: number
  readonly gap?: GapNotice
}

export interface Events {
  readonly type: 'events'
  readonly feed: number
  /** The feed's position before and after this batch. A replayed batch has neither. */
  readonly after?: Offset
  readonly last?: Offset
  readonly replay?: true
  readonly events: readonly HubEvent[]
}

/** Everything due on join or resume has been sent. */
export interface Live {
  readonly type: 'live'
  readonly sub: number
  readonly offset: Offset
}

export interface Gap extends GapNotice {
  readonly type: 'gap'
  readonly sub: number
  readonly slices?: Slices
  /** Instead of `slices`: so many `part` frames follow. */
  readonly parts?: number
}

/** A piece of a snapshot, for clients that cannot receive large frames. Slices come in the order of their names. */
export interface Part {
  readonly type: 'part'
  readonly sub: number
  readonly slice: string
  /** Which piece of the slice, from 0. */
  readonly index: number
  /** A part of the value as JSON. */
  readonly text: string
  /** The slice is complete. */
  readonly last?: true
}

export interface Unsubscribed {
  readonly type: 'unsubscribed'
  readonly sub: number
  readonly code: UnsubscribedCode
  readonly reason: string
}

export type UnsubscribedCode = 'asked' | 'removed' | 'forbidden' | 'damaged'

export interface Published {
  readonly type: 'published'
  readonly ref?: Ref
  readonly first: Offset
  readonly last: Offset
  readonly duplicates: number
}

export interface Leased {
  readonly type: 'leased'
  readonly ref?: Ref
  readonly topic: string
  readonly ms: number
}

export interface Updated {
  readonly type: 'updated'
  readonly ref?: Ref
  readonly offset: Offset
  readonly changed: boolean
}

export interface Authorized {
  readonly type: 'authorized'
  /** How long the token is valid; absent: without limit, or until its key is withdrawn. */
  readonly expiresInMs?: number
}

export interface Pong {
  readonly type: 'pong'
  readonly ref?: Ref
}

/** The connection is about to be closed, and the hub asks the client to wait before it reconnects. */
export interface Closing {
  readonly type: 'closing'
  /** The close code that follows. */
  readonly code: number
  readonly retryMs: number
}

/** One request failed; the connection stays open. */
export interface Failed {
  readonly type: 'error'
  readonly ref?: Ref
  readonly sub?: number
  readonly code: RequestCode
  readonly message: string
}

/** Frames for one subscription or connection: all but `events`. */
export type ControlFrame =
  | Welcome
  | Subscribed
  | Part
  | Live
  | Gap
  | Unsubscribed
  | Published
  | Leased
  | Updated
  | Authorized
  | Pong
  | Closing
  | Failed

export type HubFrame = ControlFrame | Events
