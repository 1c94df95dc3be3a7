/** What has an offset. */
export interface HasOffset {
  readonly offset: number
}

const nothing: never[] = []

/** A lane for those who only read it. */
export type ReadLane<T extends HasOffset> = Pick<Lane<T>, 'length' | 'first' | 'at' | 'indexAfter'>

/** A queue of things in ascending order of offset: push at the end, shift at the front, search by offset. */
export class Lane<T extends HasOffset> {
  // A ring buffer whose length is a power of two. It grows with its contents, so that an idle topic is small. All lanes begin
  // with the same empty array, which is never written to.
  #items: (T | undefined)[] = nothing
  #head = 0
  #length = 0

  get length(): number {
    return this.#length
  }

  get first(): T | undefined {
    return this.#length === 0 ? undefined : this.at(0)
  }

  get last(): T | undefined {
    return this.#length === 0 ? undefined : this.at(this.#length - 1)
  }

  /** @param index from 0, the oldest, to `length - 1` */
  at(index: number): T {
    return this.#items[(this.#head + index) & (this.#items.length - 1)] as T
  }

  push(item: T): void {
    if (this.#length === this.#items.length) this.#grow()
    this.#items[(this.#head + this.#length) & (this.#items.length - 1)] = item
    this.#length++
  }

  shift(): T | undefined {
    if (this.#length === 0) return undefined
    const item = this.#items[this.#head]
    this.#items[this.#head] = undefined
    this.#head = (this.#head + 1) & (this.#items.length - 1)
    this.#length--
    return item
  }

  /** @returns the index of the first item whose offset is above `offset`; `length` when there is none. */
  indexAfter(offset: number): number {
    let low = 0
    let high = this.#length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.at(middle).offset > offset) high = middle
      else low = middle + 1
    }
    return low
  }

  /** The simple equivalent is `Array.from({ length })`, which takes ten times as long for the first four. */
  #grow(): void {
    if (this.#items.length === 0) {
      this.#items = [undefined, undefined, undefined, undefined]
      return
    }
    const items =
      this.#head === 0
        ? this.#items.slice()
        : [...this.#items.slice(this.#head), ...this.#items.slice(0, this.#head)]
    for (let i = this.#length; i > 0; i--) items.push(undefined)
    this.#items = items
    this.#head = 0
  }
}
