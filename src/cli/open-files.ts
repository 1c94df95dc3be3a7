import { defaultLimits, type Limits } from '../protocol/limits.js'
import { CommandError, exitCodes } from './exit-codes.js'

/** Files that the process opens beside its links: the store's, the listening socket, what Node itself holds. */
const ownFiles = 256
/** With fewer files there is no room for a hub. */
const filesMin = 256
/** Fewer connections than this are told of, also where nobody has asked for more. */
export const connectionsTold = 10_000

export const howToRaise = 'ulimit -n, LimitNOFILE= of systemd or --ulimit nofile= of a container'

/**
 * Beyond what the system lets the process open, connections would wait unanswered, and the hub for room in vain. Where
 * it is little, a part of it is for each use.
 *
 * @throws CommandError when it is too little for a hub
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

/** @returns what `ulimit -n` says; nothing where that is not known, or there is no bound */
export function openFilesMax(): number | undefined {
  const { userLimits } = process.report.getReport() as {
    readonly userLimits?: { readonly open_files?: { readonly soft: number | string } }
  }
  const soft = userLimits?.open_files?.soft
  return typeof soft === 'number' ? soft : undefined
}
