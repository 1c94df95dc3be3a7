import { type Client, connect } from '../../client/client.js'
import type { Command, Commands } from '../../client/commands.js'
import { type HubHttp, reasonOf } from '../hub-http.js'
import type { Child } from './child.js'

/** Applies a command. @returns the reason if it cannot be applied */
export type Obey = (command: Command) => string | undefined

/** Follows the commands to a session and its workers, and publishes the receipt of each. */
export class Steering {
  readonly #client: Client
  readonly #session: string
  readonly #refused: (reason: string) => void
  readonly #followed: Commands[] = []
  #told = false
  readonly #receipts = new Set<Promise<void>>()

  /** @param refused is called with the reason that commands to a topic cannot be followed */
  constructor(hub: HubHttp, session: string, refused: (reason: string) => void) {
    this.#client = connect(hub.name, {
      transport: 'sse',
      ...(hub.token !== undefined && { token: hub.token }),
    })
    this.#session = session
    this.#refused = refused
  }

  /** @param worker absent: the session itself */
  follow(worker: string | undefined, obey: Obey): void {
    const session = `sessions/${this.#session}`
    const commands = this.#client.commands(worker === undefined ? session : `${session}/workers/${worker}`)
    this.#followed.push(commands)
    void this.#obey(commands, obey).catch((error: unknown) => {
      if (this.#told) return
      this.#told = true
      this.#refused(reasonOf(error))
    })
  }

  async #obey(commands: Commands, obey: Obey): Promise<void> {
    for await (const command of commands) {
      const reason = obey(command)
      const receipt = (reason === undefined ? command.applied() : command.refused(reason))
        // The client is closed: nobody waits for the answer.
        .catch(() => {})
        .finally(() => this.#receipts.delete(receipt))
      this.#receipts.add(receipt)
    }
  }

  /** @returns when the hub has all receipts so far */
  async settled(): Promise<void> {
    await Promise.all(this.#receipts)
  }

  close(): void {
    for (const commands of this.#followed) commands.close()
    this.#client.close()
  }
}

/** Applies a watcher's command to running commands. @returns the reason if it cannot be applied */
export function obey(
  children: readonly Child[],
  { name, data }: Command,
  graceMs: number,
): string | undefined {
  const running = children.filter(({ ended }) => !ended)
  if (running.length === 0) return 'it has ended'
  const { text = data['value'] } = data
  switch (name) {
    case 'cancel':
      for (const child of running) child.cancel(graceMs)
      return undefined
    case 'pause':
    case 'resume':
      if (process.platform === 'win32') return 'Windows cannot pause processes'
      for (const child of running) child.signal(name === 'pause' ? 'SIGSTOP' : 'SIGCONT')
      return undefined
    case 'input': {
      if (text === undefined) return 'input: expected text or value'
      const line = `${typeof text === 'string' ? text : JSON.stringify(text)}\n`
      const taken = running.map((child) => child.write(line))
      return taken.includes(true) ? undefined : 'its input is closed; runcast run --input keeps it open'
    }
    default:
      return `expected cancel, pause, resume or input, got ${name}`
  }
}
