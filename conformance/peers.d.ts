// What the adapters use of the servers of others, so that their types are checked where those are not installed.

declare module 'better-sse' {
  import type { IncomingMessage, ServerResponse } from 'node:http'

  interface Session {
    readonly lastId: string
  }
  export interface Channel {
    register(session: Session): unknown
    broadcast(data: unknown): unknown
  }
  export function createChannel(): Channel
  export function createSession(request: IncomingMessage, response: ServerResponse): Promise<Session>
}

declare module 'resumable-stream/generic' {
  interface Context {
    createNewResumableStream(id: string, make: () => ReadableStream<string>): Promise<unknown>
    resumeExistingStream(id: string, skip: number): Promise<ReadableStream<string> | null | undefined>
  }
  export function createResumableStreamContext(options: {
    readonly waitUntil: null
    readonly publisher: unknown
    readonly subscriber: unknown
  }): Context
}

declare module 'socket.io' {
  import type { Server as HttpServer } from 'node:http'

  interface Socket {
    readonly handshake: { readonly auth: unknown }
    join(room: string): unknown
  }
  export class Server {
    constructor(server: HttpServer, options: object)
    on(event: 'connection', told: (socket: Socket) => void): void
    to(room: string): { emit(event: string, data: unknown): boolean }
    close(): Promise<void>
  }
}

declare module 'socket.io-client' {
  interface Socket {
    readonly recovered: boolean
    readonly io: { readonly engine: { close(): void } }
    on(event: string, told: (text: string) => void): void
  }
  export function io(url: string, options: object): Socket
}
