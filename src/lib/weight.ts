/** The total weight of many holders; each adds its own and subtracts it again. Bytes. */
export class Weight {
  bytes = 0
}
