import { Packr } from 'msgpackr'
import {
  benchTopic,
  benchType,
  digits,
  formatMark,
  numberDigits,
  padFor,
  stampDigits,
} from '../harness/event.js'

/** A frame whose bytes are ready, but for the numbers that differ from turn to turn. */
export interface StampedFrame {
  /** Writes the numbers of a turn's events in place. @returns the frame; it is valid until the next call. */
  stamp(first: number, stamp: number): Buffer
}

// Offsets are as wide as those of a session that has run for a while, so that the width never changes.
const offsetBase = 1_000_000
const time = 1_700_000_000_000
const epoch = 'benchEpoch00'
// Maps as short as Runcast's own.
const packr = new Packr({ useRecords: false, variableMapSize: true })

/** @returns a WebSocket message as Runcast sends it to a subscriber of the bench's topic. */
export function packedFrame(events: number, bytes: number): StampedFrame {
  const pad = padFor(bytes)
  return packedFrameOf(
    Array.from({ length: events }, (_, index) => ({
      type: benchType,
      data: { mark: formatMark(index + 1, 0), pad },
    })),
  )
}

/**
 * @param contents type and data of each event; the mark of the one at `index` is that of number `index + 1`
 * @param stride how far apart the numbers of events are
 */
export function packedFrameOf(
  contents: readonly { readonly type: string; readonly data: object }[],
  stride = 1,
): StampedFrame {
  const events = contents.length
  const offsets = Array.from({ length: events }, (_, index) => placeholder(index + 1))
  const after = placeholder(0)
  const last = placeholder(events)
  const frame = packr.pack({
    type: 'events',
    feed: 1,
    after,
    last,
    events: offsets.map((offset, index) => ({
      offset,
      type: contents[index]?.type,
      time,
      data: contents[index]?.data,
    })),
  })
  const afterAt = find(frame, uint32(after), 0) + 1
  const lastAt = find(frame, uint32(last), afterAt) + 1
  const places = findPlaces(frame, lastAt, offsets.map(uint32), 1)
  return {
    stamp(first, stamp) {
      const stampText = digits(stamp, stampDigits)
      frame.writeUInt32BE(offsetBase + first - 1, afterAt)
      frame.writeUInt32BE(offsetBase + first + events - 1, lastAt)
      for (let index = 0; index < events; index += 1) {
        const { offsetAt, markAt } = places[index] as Place
        frame.writeUInt32BE(offsetBase + first + index, offsetAt)
        writeMark(frame, markAt, first + index * stride, stampText)
      }
      return frame
    },
  }
}

/** @returns the SSE blocks that Runcast writes for a turn's events of the bench's topic. */
export function textFrame(events: number, bytes: number): StampedFrame {
  const pad = padFor(bytes)
  const offsets = Array.from({ length: events }, (_, index) => String(placeholder(index + 1)))
  const blocks = offsets.map((offset, index) => {
    const data = { mark: formatMark(index + 1, 0), pad }
    const event = { topic: benchTopic, offset: Number(offset), type: benchType, time, data }
    return `id: ${epoch}:${offset}\nevent: ${benchType}\ndata: ${JSON.stringify(event)}\n\n`
  })
  const frame = Buffer.from(blocks.join(''))
  const inIds = findPlaces(
    frame,
    0,
    offsets.map((offset) => Buffer.from(`:${offset}\n`)),
    1,
  )
  const inData = findPlaces(
    frame,
    0,
    offsets.map((offset) => Buffer.from(`:${offset},`)),
    1,
  )
  return {
    stamp(first, stamp) {
      const stampText = digits(stamp, stampDigits)
      for (let index = 0; index < events; index += 1) {
        const { offsetAt, markAt } = inData[index] as Place
        const offset = String(offsetBase + first + index)
        frame.write(offset, (inIds[index] as Place).offsetAt, 'latin1')
        frame.write(offset, offsetAt, 'latin1')
        writeMark(frame, markAt, first + index, stampText)
      }
      return frame
    },
  }
}

interface Place {
  readonly offsetAt: number
  readonly markAt: number
}

function placeholder(index: number): number {
  return offsetBase + index
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(5)
  bytes[0] = 0xce
  bytes.writeUInt32BE(value, 1)
  return bytes
}

/** @param head bytes of each needle before the offset itself */
function findPlaces(frame: Buffer, from: number, needles: readonly Buffer[], head: number): Place[] {
  let at = from
  return needles.map((needle, index) => {
    const offsetAt = find(frame, needle, at) + head
    const markAt = find(frame, Buffer.from(formatMark(index + 1, 0)), at)
    at = offsetAt
    return { offsetAt, markAt }
  })
}

function find(frame: Buffer, needle: Buffer, from: number): number {
  const at = frame.indexOf(needle, from)
  if (at < 0) throw new Error('the ready-made frame does not hold the number it should')
  return at
}

function writeMark(frame: Buffer, at: number, number: number, stampText: string): void {
  frame.write(digits(number, numberDigits), at, 'latin1')
  frame.write(stampText, at + numberDigits + 1, 'latin1')
}
