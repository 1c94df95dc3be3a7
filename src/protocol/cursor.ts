import { ProtocolError, quote } from './codes.js'

/** Integer place of an event in its session: 1 for the first, strictly increasing; 0 is before all. */
export type Offset = number & { readonly offset: unique symbol }

/** Random id of one lifetime of a session's offsets: letters, digits, `_` and `-`. */
export type Epoch = string

/** Text form of a position: `<epoch>:<offset>`. */
export type Cursor = string

/** Everything up to here has been received. */
export interface Position {
  readonly epoch: Epoch
  readonly offset: Offset
}

export const start = 0 as Offset

const cursorPattern = /^([A-Za-z0-9_-]{1,64}):(0|[1-9]\d{0,15})$/

/** @returns `<epoch>:<offset>` */
export function formatCursor(epoch: Epoch, offset: Offset): Cursor {
  return `${epoch}:${offset}`
}

/**
 * @param field where the text came from, for the message
 * @throws ProtocolError `badFrame` when it is not a cursor
 */
export function parseCursor(text: string, field: string): Position {
  const match = cursorPattern.exec(text)
  const offset = Number(match?.[2])
  if (match === null || !Number.isSafeInteger(offset)) {
    throw new ProtocolError('badFrame', `${field}: expected a cursor <epoch>:<offset>, got ${quote(text)}`)
  }
  return { epoch: match[1] as Epoch, offset: offset as Offset }
}

/** @returns `<session>=<epoch>:<offset>,…`: one position for each session of a response over several. */
export function formatCombinedCursor(positions: ReadonlyMap<string, Position>): Cursor {
  return [...positions].map(([session, { epoch, offset }]) => `${session}=${epoch}:${offset}`).join(',')
}

/** @throws ProtocolError `badFrame` when it is not a combined cursor, or one of too many sessions */
export function parseCombinedCursor(text: string, field: string, sessionsMax: number): Map<string, Position> {
  const parts = text.split(',')
  if (parts.length > sessionsMax) {
    throw new ProtocolError(
      'badFrame',
      `${field}: expected at most ${sessionsMax} sessions in a combined cursor, got ${parts.length}`,
    )
  }
  const positions = new Map<string, Position>()
  for (const part of parts) {
    const at = part.indexOf('=')
    if (at < 1) {
      throw new ProtocolError(
        'badFrame',
        `${field}: expected <session>=<epoch>:<offset>,…, got ${quote(text)}`,
      )
    }
    positions.set(part.slice(0, at), parseCursor(part.slice(at + 1), field))
  }
  return positions
}
