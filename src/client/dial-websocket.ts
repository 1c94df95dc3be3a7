import type { Dial, LinkFrame } from './link.js'
import { pack } from './pack.js'
import { readFrame } from './read-frame.js'
import type { SocketClass } from './surroundings.js'
import { unpack } from './unpack.js'

export type CodecName = 'msgpack' | 'json'

/**
 * Requests snapshots in parts, so that an interrupted join can continue. The WebSocket bounds the size of frames: `ws` accepts
 * at most 100 MiB; browsers have no bound.
 */
const receiveBytesMax = 100 * 1024 * 1024

interface Message {
  readonly data: string | ArrayBuffer
}

interface Closing {
  readonly code: number
  readonly reason: string
}

function read(data: string | ArrayBuffer): LinkFrame {
  let reason = 'a frame that is none of the protocol'
  try {
    const frame = readFrame(typeof data === 'string' ? JSON.parse(data) : unpack(new Uint8Array(data)))
    if (frame !== undefined) return frame
  } catch (error) {
    reason = `a frame that cannot be read: ${String(error)}`
  }
  return { type: 'unread', reason }
}

/** Opens a WebSocket. The token is sent as a subprotocol, because browsers cannot set headers and URLs end up in logs. */
export function dialWebSocket(Socket: SocketClass, codec: CodecName): Dial {
  return ({ base, token }, events) => {
    const protocols = [`runcast.v1.${codec}`]
    if (token !== undefined) protocols.push(`bearer.${token}`)
    const socket = new Socket(
      `${base.replace('http', 'ws')}api/ws?receiveBytesMax=${receiveBytesMax}`,
      protocols,
    )
    let open = true
    const end = (code: number, reason: string) => {
      if (!open) return
      open = false
      events.closed(code, reason)
    }
    socket.binaryType = 'arraybuffer'
    // A close event follows every error event.
    socket.onerror = () => undefined
    socket.onclose = ({ code, reason }: Closing) => end(code, reason)
    socket.onmessage = ({ data }: Message) => {
      if (open) events.frame(read(data))
    }
    return {
      transport: 'websocket',
      send(frames) {
        if (!open) return
        for (const frame of frames) socket.send(codec === 'json' ? JSON.stringify(frame) : pack(frame))
      },
      close(code, reason) {
        if (!open) return
        open = false
        socket.close(code, reason)
      },
    }
  }
}
