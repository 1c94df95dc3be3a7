/** The exit codes of commands, from `sysexits.h` where it has a fitting one. */
export const exitCodes = {
  ok: 0,
  failure: 1,
  usage: 2,
  hubUnavailable: 69,
  crashed: 70,
  hubRefused: 76,
} as const

/** For `--help` of every command that talks to a hub. */
export const exitCodesHelp = `
Exit codes:
  0    success
  1    the command failed
  2    the command line is invalid
  69   no hub answers, or it stayed unreachable for too long
  76   the hub refused the request
  128+n  ended by signal n (130 for Ctrl-C)`

/** An expected end of a command: the message and the exit code. */
export class CommandError extends Error {
  override readonly name = 'CommandError'
  readonly exitCode: number

  constructor(exitCode: number, message: string) {
    super(message)
    this.exitCode = exitCode
  }
}
