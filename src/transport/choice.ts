import type { Service, Transport, TransportOptions } from './transport.js'

export type MakeTransport = (service: Service, options: TransportOptions) => Transport

/** `auto`: uWebSockets.js if its addon loads, otherwise Node's own HTTP. */
export const transportNames = ['auto', 'uws', 'node'] as const
export type TransportName = (typeof transportNames)[number]

/** The chosen transport, and the reason for the choice. */
export interface TransportChoice {
  readonly name: string
  readonly why: string
}

export interface ChosenTransport extends TransportChoice {
  readonly make: MakeTransport
}

/**
 * @param headBytesMax as in `TransportOptions`
 * @throws Error when `uws` is wanted and does not load
 */
export async function chooseTransport(
  wanted: TransportName,
  { headBytesMax }: Pick<TransportOptions, 'headBytesMax'>,
): Promise<ChosenTransport> {
  if (wanted === 'node') return ofNode('it was asked for')
  // The addon reads this once, when it is loaded; without it, heads that arrive in pieces may have 4 KiB.
  process.env['UWS_HTTP_MAX_HEADERS_SIZE'] ??= String(headBytesMax)
  try {
    const { uwsTransport } = await import('./uws.js')
    return {
      name: 'uws',
      why: `${wanted === 'uws' ? 'it was asked for' : 'uWebSockets.js loads here'}${fault()}`,
      make: uwsTransport,
    }
  } catch (error) {
    const reason = reasonOf(error)
    if (wanted === 'uws')
      throw new Error(`uWebSockets.js does not load: ${reason}; use the transport auto or node`)
    return ofNode(`uWebSockets.js does not load: ${reason}`)
  }
}

async function ofNode(why: string): Promise<ChosenTransport> {
  const { nodeTransport } = await import('./node.js')
  return { name: 'node', why, make: nodeTransport }
}

/** @returns the known defect of the loaded build: uWebSockets, issue 1776 */
function fault(): string {
  // The builds for Node 20 and older are of uWebSockets.js v20.34 to v20.43.
  if (Number(process.versions.modules) > 115) return ''
  return '; this build answers 505 to a request line that comes in two pieces'
}

/** The message of `uWebSockets.js` begins with what it supports and ends with the error. */
function reasonOf(error: unknown): string {
  const lines = String(error instanceof Error ? error.message : error).split('\n')
  const said = lines.find((line) => line.startsWith('Error: ')) ?? lines[0] ?? ''
  return said.replace(/^Error: /, '').slice(0, 200)
}
