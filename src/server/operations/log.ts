/** The fields of a log line. They never contain a token, a query, or data of events. */
export type Fields = Readonly<Record<string, unknown>>

/**
 * A logger for the operator, such as one of `pino`. Errors are in the field `err`. There is one line for each closed
 * connection, and none for events.
 */
export interface Log {
  debug(fields: Fields, message: string): void
  info(fields: Fields, message: string): void
  warn(fields: Fields, message: string): void
  error(fields: Fields, message: string): void
}

const ignore = (): void => undefined

export const noLog: Log = { debug: ignore, info: ignore, warn: ignore, error: ignore }
