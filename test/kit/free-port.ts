import { type AddressInfo, createServer } from 'node:net'

/** @returns a port to listen on again later: one that the machine chose while listening cannot be, for a minute. */
export async function freePort(): Promise<number> {
  const probe = createServer()
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve))
  const { port } = probe.address() as AddressInfo
  await new Promise((resolve) => probe.close(resolve))
  return port
}
