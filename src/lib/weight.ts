/** What many things weigh together; each of them adds to it, and takes away again. Bytes. */
export class Weight {
  bytes = 0
}
