/** What a reader got, in order. */
export type Received =
  | { readonly kind: 'message'; readonly text: string }
  /** The server says that messages are missing here. */
  | { readonly kind: 'gap' }
  /** The channel has ended; `failed` if the server says that it failed. */
  | { readonly kind: 'ended'; readonly failed: boolean }

/** One connection of a reader. */
export interface Reading {
  /** What came so far. */
  readonly received: readonly Received[]
  /** Where a later connection of the same reader continues; undefined before the first position. */
  readonly position: unknown
  /** Resolves when the connection has closed, whoever closed it. */
  readonly closed: Promise<void>
  /** Stops and continues taking bytes from the connection. */
  pause?(): void
  resume?(): void
  close(): void
}

export interface ReadOptions {
  readonly channel: string
  /** The port to connect to: the server's, or a proxy's in front of it. */
  readonly port: number
  /** `position` of an earlier reading. Without it the reader joins with everything that the server replays. */
  readonly after?: unknown
  /** Only messages whose text begins with one of these. */
  readonly only?: readonly string[]
  readonly token?: string
}

/** A running server. */
export interface Started {
  readonly port: number
  /** Before a channel is read that nothing was published to, where it has to exist for that. */
  create?(channel: string): Promise<void>
  publish(channel: string, text: string): Promise<void>
  read(options: ReadOptions): Reading
  /** Ends a channel as failed. */
  fail?(channel: string): Promise<void>
  /**
   * Ends the server, by `SIGKILL` if it runs in a process of its own, and starts it again at the same port with what it has kept.
   *
   * @returns how it was ended
   */
  restart?(): Promise<'killed' | 'stopped'>
  /** A new token with which every channel can be read. It expires after at least `lifeMs`, and at most 2 s later. */
  token?(lifeMs: number): Promise<string>
  close(): Promise<void>
}

export interface StartOptions {
  /** An empty directory for what the server keeps. */
  readonly directory: string
  /** How many messages of a channel are to be retained, where the server can be told. */
  readonly retain?: number
  /** Whether the server is going to be restarted: then it runs in a process of its own, if the adapter can do that. */
  readonly restarts?: boolean
  /** Whether reading needs a token, where the server has tokens. */
  readonly tokens?: boolean
}

/** One server and its reader, as the suite sees them. */
export interface Adapter {
  readonly name: string
  /** What its documentation promises to a reader that was cut off. One sentence. */
  readonly promises: string
  /** Whether the server can be told how many messages to retain. */
  readonly canEvict: boolean
  readonly canFilter: boolean
  /** Whether a reader that was cut off can come back and get what it has missed. */
  readonly resumes: boolean
  /** Whether a reader that joins late gets what was published before. */
  readonly replays: boolean
  /** Why it cannot run here; undefined if it can. */
  missing?(): string | undefined
  start(options: StartOptions): Promise<Started>
}

/** `cannot`: the server does not offer it, or it cannot be asked of this adapter. */
export interface Outcome {
  readonly result: 'yes' | 'no' | 'cannot'
  readonly why?: string
}
