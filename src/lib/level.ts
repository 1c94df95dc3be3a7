/**
 * @param weights of all holders
 * @param free how much must be given back in total
 * @returns the level down to which the heaviest holders must go; holders below it give nothing
 */
export function levelOf(weights: readonly number[], free: number): number {
  const sorted = Float64Array.from(weights).sort().reverse()
  let sum = 0
  for (const [at, weight] of sorted.entries()) {
    sum += weight
    const level = (sum - free) / (at + 1)
    if (level >= (sorted[at + 1] ?? 0)) return Math.max(0, level)
  }
  return 0
}
