import { defaultLimits, type Limits } from '../../protocol/limits.js'
import { CommandError, exitCodes } from '../exit-codes.js'

/** Files that the process opens in addition to its links: the store's, the listening socket, Node's own. */
const ownFiles = 256
/** The minimum of files for a hub. */
const filesMin = 256
/** A smaller number of connections is reported even if nobody has configured more. */
export const connectionsTold = 10_000

export const howToRaise = 'ulimit -n, LimitNOFILE= of systemd or --ulimit nofile= of a container'

/**
 * Beyond the system's limit of open files, connections would wait unanswered. If the limit
 * is low, each use gets a part of it.
 *
 * @throws CommandError if it is too low for a hub
 */
export function linksMaxOf(
  {
    connectionsMax = defaultLimits.connectionsMax,
    idleLinksMax = defaultLimits.idleLinksMax,
  }: Partial<Limits>,
  files: number | undefined,
): { readonly files: number | undefined; readonly connectionsMax: number; readonly idleLinksMax: number } {
  if (files === undefined) return { files, connectionsMax, idleLinksMax }
  if (files < filesMin) {
    throw new CommandError(
      exitCodes.failure,
      `the process may open only ${files} files, and a hub needs at least ${filesMin}: raise this with ${howToRaise}`,
    )
  }
  const left = files - Math.min(ownFiles, Math.floor(files / 4))
  const idle = Math.min(idleLinksMax, Math.floor(left / 4))
  return { files, connectionsMax: Math.min(connectionsMax, left - idle), idleLinksMax: idle }
}

/** @returns the value of `ulimit -n`; nothing if it is unknown or unlimited */
export function openFilesMax(): number | undefined {
  const { userLimits } = process.report.getReport() as {
    readonly userLimits?: { readonly open_files?: { readonly soft: number | string } }
  }
  const soft = userLimits?.open_files?.soft
  return typeof soft === 'number' ? soft : undefined
}
