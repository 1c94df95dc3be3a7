import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'

/** A TCP proxy on the loopback interface that cuts each connection after a number of bytes from the server. */
export class CuttingProxy {
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  /** Of the connections to come. Bytes; undefined: never. */
  cutAfter: number | undefined = undefined
  /** Bytes of the last connection. */
  carried = 0
  /** Connections that were cut since `cutAfter` was set. */
  cuts = 0

  private constructor(port: number) {
    this.#server = createServer((client) => {
      const server = connect(port, '127.0.0.1')
      const limit = this.cutAfter
      this.carried = 0
      this.cuts = 0
      let left = limit ?? Number.POSITIVE_INFINITY
      const end = (): void => {
        client.destroy()
        server.destroy()
      }
      for (const socket of [client, server]) {
        this.#sockets.add(socket)
        socket.on('error', end)
        socket.on('close', () => {
          this.#sockets.delete(socket)
          end()
        })
      }
      client.pipe(server)
      server.on('data', (chunk: Buffer) => {
        const part = chunk.subarray(0, left)
        left -= part.length
        this.carried += part.length
        if (left > 0) {
          if (!client.write(part)) {
            server.pause()
            client.once('drain', () => server.resume())
          }
          return
        }
        server.removeAllListeners('data')
        client.end(part, () => {
          this.cuts++
          end()
        })
      })
    })
  }

  static async open(port: number): Promise<CuttingProxy> {
    const proxy = new CuttingProxy(port)
    await new Promise<void>((resolve) => proxy.#server.listen(0, '127.0.0.1', resolve))
    return proxy
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await new Promise<void>((resolve) => this.#server.close(() => resolve()))
  }
}
