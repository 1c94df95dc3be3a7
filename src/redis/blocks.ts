import { deflateRawSync, inflateRawSync } from 'node:zlib'
import { Packr } from 'msgpackr'
import { type Append, type Delivered, spareOffsets } from '../log/shared-log.js'
import type { Epoch, Offset } from '../protocol/cursor.js'
import { StoreError } from '../store/store.js'

/** How what a lane holds is made up: one batch, or several that were packed together and compressed. */
const one = 1
const several = 2
/** What packed batches may become; more is not what this hub wrote. */
const inflatedMax = 64 << 20

const packr = new Packr({ useRecords: false, variableMapSize: true, useToJSON: false })

type Lane = 'critical' | 'droppable'

/** A batch in one lane, without what the entry that holds it says. */
type Single = readonly [version: typeof one, hub: string, number: number, at: number, lane: Uint8Array]
type Packed = readonly [
  to: number,
  width: number,
  known: readonly number[],
  hub: string,
  number: number,
  at: number,
  lane: Uint8Array,
]

/** @returns a lane of a batch as it is stored and told; empty where there is none */
export function laneBytes(
  { hub, number, at }: Pick<Append, 'hub' | 'number' | 'at'>,
  lane: Uint8Array | undefined,
): Buffer {
  if (lane === undefined) return empty
  return packr.pack([one, hub, number, at, lane] satisfies Single)
}

const empty = Buffer.alloc(0)

/** What a stream answers: the id of an entry, and its fields. */
export type Entry = readonly [id: Buffer, fields: readonly Buffer[]]

/** @returns the batches of both lanes, in order */
export function batchesOf(
  epoch: Epoch,
  critical: readonly Entry[],
  droppable: readonly Entry[],
): readonly Delivered[] {
  const byEnd = new Map<number, Delivered>()
  for (const [lane, entries] of [
    ['critical', critical],
    ['droppable', droppable],
  ] as const) {
    for (const entry of entries) {
      for (const packed of packedOf(entry)) {
        const batch = delivered(epoch, lane, packed)
        const other = byEnd.get(batch.to)
        byEnd.set(batch.to, other === undefined ? batch : { ...other, [lane]: batch[lane] })
      }
    }
  }
  return [...byEnd.values()].toSorted((a, b) => a.to - b.to)
}

function delivered(epoch: Epoch, lane: Lane, [to, width, known, hub, number, at, bytes]: Packed): Delivered {
  const from = (to - width - spareOffsets) as Offset
  return { hub, number, epoch, at, from, to: to as Offset, known, [lane]: bytes }
}

function packedOf([id, fields]: Entry): readonly Packed[] {
  const [, width, , bytes, , known] = fields as [Buffer, Buffer, Buffer, Buffer, Buffer?, Buffer?]
  const read = packr.unpack(bytes) as Single | readonly [version: typeof several, deflated: Uint8Array]
  switch (read[0]) {
    case one:
      return [
        [
          Number.parseInt(id.toString('latin1'), 10),
          Number(width.toString('latin1')),
          numbersOf(known),
          ...tail(read),
        ],
      ]
    case several:
      return packr.unpack(inflateRawSync(read[1], { maxOutputLength: inflatedMax })) as readonly Packed[]
    default:
      throw newer(read[0])
  }
}

function tail([, hub, number, at, lane]: Single): [string, number, number, Uint8Array] {
  return [hub, number, at, lane]
}

function numbersOf(text: Buffer | undefined): readonly number[] {
  return text === undefined || text.length === 0 ? [] : text.toString('latin1').split(' ').map(Number)
}

function newer(version: unknown): StoreError {
  return new StoreError(
    'refused',
    `the log has blocks of version ${String(version)}, and this hub reads 1 and 2: update it`,
  )
}

/** @returns how a lane is added again as one entry: its id, width and bytes; nothing where there is nothing to gain */
export function packLane(entries: readonly Entry[]): [id: string, width: number, bytes: Buffer] | undefined {
  const last = entries.at(-1)
  if (entries.length < 2 || last === undefined) return undefined
  const all = entries.flatMap((entry) => packedOf(entry))
  const width = all.reduce((sum, packed) => sum + packed[1], 0)
  const bytes = packr.pack([several, deflateRawSync(packr.pack(all))])
  return [last[0].toString('latin1'), width, bytes]
}

/** What the feed brings of a session. */
export type PublishedMessage =
  | { readonly kind: 'batch'; readonly batch: Delivered }
  | { readonly kind: 'removed'; readonly epoch: Epoch }

/** @returns what a message of the append script says */
export function readPublished(message: Buffer): PublishedMessage {
  const end = message.indexOf(10)
  const header = message.toString('latin1', 0, end < 0 ? message.length : end).split(' ')
  const [epoch = '', to = '', width = '', criticalLength = '', ...rest] = header
  if (to === '-') return { kind: 'removed', epoch }
  const isHeld = rest[0]?.startsWith('h') === true
  const known = isHeld ? rest.slice(1) : rest
  const heldFrom = isHeld ? message.length - Number(rest[0]?.slice(1)) : message.length
  const divide = end + 1 + Number(criticalLength)
  const critical = message.subarray(end + 1, divide)
  const droppable = message.subarray(divide, heldFrom)
  let batch: Delivered | undefined
  for (const [lane, bytes] of [
    ['critical', critical],
    ['droppable', droppable],
  ] as const) {
    if (bytes.length === 0) continue
    const read = packr.unpack(bytes) as Single
    if (read[0] !== one) throw newer(read[0])
    const places = known.filter((place) => place !== '').map(Number)
    const made = delivered(epoch, lane, [Number(to), Number(width), places, ...tail(read)])
    batch = batch === undefined ? made : { ...batch, [lane]: made[lane] }
  }
  if (batch === undefined) throw new StoreError('failed', 'the feed brought a batch without entries')
  return { kind: 'batch', batch: isHeld ? { ...batch, held: message.subarray(heldFrom) } : batch }
}

/** @returns the number of arguments of the critical lane, and the entries of both lanes: id, width, bytes, known places */
export function laneArguments(batches: readonly Delivered[]): (string | number | Buffer)[] {
  const lanes = [[], []] as [(string | number | Buffer)[], (string | number | Buffer)[]]
  for (const batch of batches) {
    const { from, to, known } = batch
    for (const [at, lane] of [batch.critical, batch.droppable].entries()) {
      if (lane === undefined) continue
      lanes[at as 0 | 1].push(to, to - from - spareOffsets, laneBytes(batch, lane), known.join(' '))
    }
  }
  return [lanes[0].length, ...lanes[0], ...lanes[1]]
}
