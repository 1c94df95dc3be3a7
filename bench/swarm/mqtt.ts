import { parseMark } from '../harness/event.js'
import type { Dialect } from './dialect.js'
import { clientFrame, opcodes, upgradeRequest } from './websocket.js'

// The few packets of MQTT 3.1.1 that the bench needs (OASIS standard, section 3). All at QoS 0.
const types = { connect: 0x10, publish: 0x30, subscribe: 0x82, subscribed: 0x90 }
const cleanSession = 2

/** @returns a packet by which a client says who it is; an empty name lets the server choose one. */
export function mqttConnect(name: string): Buffer {
  const keepAlive = [0, 0]
  return packet(types.connect, [text('MQTT'), Buffer.from([4, cleanSession, ...keepAlive]), text(name)])
}

export function mqttPublish(topic: string, payload: string): Buffer {
  return packet(types.publish, [text(topic), Buffer.from(payload)])
}

function mqttSubscribe(topics: readonly string[]): Buffer {
  const id = Buffer.from([0, 1])
  return packet(types.subscribe, [id, ...topics.flatMap((topic) => [text(topic), Buffer.from([0])])])
}

/** Packets come in a WebSocket message each. */
export function mqtt(channels: readonly string[]): Dialect {
  return {
    framing: 'websocket',
    request: upgradeRequest('/mqtt', 'mqtt'),
    opening: [mqttConnect(''), mqttSubscribe(channels)].map((bytes) => clientFrame(opcodes.binary, bytes)),
    read(payload) {
      const type = payload[0]
      if (type === types.subscribed) return { events: [], live: true }
      if (type !== types.publish) return { events: [] }
      let at = 1
      while (((payload[at] as number) & 0x80) !== 0) at += 1
      at += 1
      at += 2 + payload.readUInt16BE(at)
      const { mark } = JSON.parse(payload.toString('utf8', at)) as { mark: string }
      return { events: [parseMark(mark)] }
    },
  }
}

function packet(type: number, parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat(parts)
  const head = [type]
  let length = body.length
  do {
    head.push((length & 0x7f) | (length > 0x7f ? 0x80 : 0))
    length >>= 7
  } while (length > 0)
  return Buffer.concat([Buffer.from(head), body])
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value)
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 0xff]), bytes])
}
