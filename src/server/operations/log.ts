/** What a line says beside its message. Never a token, a query, or what an event carries. */
export type Fields = Readonly<Record<string, unknown>>

/**
 * Takes lines for whoever runs the hub; a `pino` logger is one. What goes wrong stands in the field `err`.
 * There is a line for each life of a connection, and none for an event.
 */
export interface Log {
  debug(fields: Fields, message: string): void
  info(fields: Fields, message: string): void
  warn(fields: Fields, message: string): void
  error(fields: Fields, message: string): void
}

const ignore = (): void => undefined

export const noLog: Log = { debug: ignore, info: ignore, warn: ignore, error: ignore }
