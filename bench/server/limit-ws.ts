// The limit for WebSocket: uWebSockets' own publish of bytes that are ready.

import uWS from 'uWebSockets.js'
import { Packr } from 'msgpackr'
import { benchTopic, formatMark, type Spread, typeOf } from '../harness/event.js'
import type { Round } from '../harness/messages.js'
import { readTokens } from '../harness/tokens.js'
import { answerText, answerTokens, answerType } from './answer.js'
import { benchSlice, dataFor, firstPlan, patchOf, tokenType } from './content.js'
import { compete } from './contestant.js'
import { packedFrame, packedFrameOf, type StampedFrame } from './stamped.js'

const packr = new Packr({ useRecords: false })
const live = packr.pack({ type: 'live', sub: 1, offset: 0 })
/** Frames for those who join later: ready as well. */
const history: Buffer[] = []
let keeps = false
let publish: (first: number, events: number, stamp: number) => void

const app = uWS.App()
app.ws('/api/ws', {
  idleTimeout: 0,
  sendPingsAutomatically: false,
  maxBackpressure: 64 * 1024 * 1024,
  // A client that filters says what it is due; it says so in `topic`.
  message(socket, message) {
    const { topic } = packr.unpack(new Uint8Array(message)) as { topic: string }
    socket.subscribe(topic)
    socket.cork(() => {
      for (const kept of history) socket.send(kept, true)
      socket.send(live, true)
    })
  },
})
app.listen('127.0.0.1', 0, (socket) => {
  if (socket === false) throw new Error('could not listen')
  compete({
    port: uWS.us_socket_local_port(socket),
    prepare(round) {
      keeps = round.type !== undefined
      publish = publisherFor(round)
    },
    publish: (first, events, stamp) => publish(first, events, stamp),
  })
})

function publisherFor(round: Round): typeof publish {
  const { events, bytes, spread, content } = round
  if (content === 'answer') {
    history.push(packr.pack(wholeAnswer()))
    return () => {}
  }
  if (spread !== undefined) return spreadPublisher(round, spread)
  const frame = content === undefined ? packedFrame(events, bytes) : stateFrame(round)
  return (first, _events, stamp) => {
    const bytes = frame.stamp(first, stamp)
    if (keeps) history.push(Buffer.from(bytes))
    app.publish(benchTopic, bytes, true)
  }
}

function wholeAnswer(): object {
  const event = { offset: answerTokens, type: answerType, time: 0, data: { content: answerText() } }
  return { type: 'events', feed: 1, replay: true, events: [event] }
}

/** A change of state as a patch or as the whole value; ready but for its mark. */
function stateFrame({ bytes, content }: Round): StampedFrame {
  const plan = firstPlan(bytes)
  const mark = formatMark(1, 0)
  const data =
    content === 'patch'
      ? { slice: benchSlice, base: 1_000_000, patch: patchOf(plan, 1, 0) }
      : { slice: benchSlice, base: 1_000_000, value: { ...plan, mark } }
  return packedFrameOf([{ type: 'state.update', data }])
}

/** One frame a turn for each class of clients that are due the same events. */
function spreadPublisher(round: Round, spread: Spread): typeof publish {
  const { stride } = spread
  const perClass = Math.max(1, round.events / stride)
  const type = (number: number) => (round.content === 'tokens' ? tokenType : typeOf(number, spread))
  const frameFor = (first: number) => {
    const data = dataFor(round)
    const contents = Array.from({ length: perClass }, (_, index) => ({
      type: type(first + index * stride),
      data: { ...data(first + index * stride, 0), mark: formatMark(index + 1, 0) },
    }))
    return packedFrameOf(contents, stride)
  }
  // What events hold comes again after some time; frames are made for as many, and stamped in place.
  const count = round.content === 'tokens' ? readTokens().texts.length : 1_000
  const frames = Array.from({ length: count }, (_, index) => frameFor(index))
  return (first, events, stamp) => {
    for (let number = first; number < first + Math.min(events, stride); number += 1) {
      const frame = frames[number % frames.length] as StampedFrame
      app.publish(`class/${number % stride}`, frame.stamp(number, stamp), true)
    }
  }
}
