import { spawnSync } from 'node:child_process'

/**
 * The Python that runs clients which others wrote: Debian's own, because it alone sees Debian's `python3-*`
 * modules. `RUNCAST_PYTHON` names another.
 */
export const python = process.env.RUNCAST_PYTHON ?? '/usr/bin/python3'

/** @returns what is missing to run a script that imports these modules, as a reason to skip; or nothing. */
export function withoutPython(...modules: readonly string[]): string | undefined {
  const { status } = spawnSync(python, ['-c', `import ${modules.join(', ')}`])
  return status === 0 ? undefined : `${python} with ${modules.join(', ')} is not installed`
}
