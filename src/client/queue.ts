/** Items waiting for a `for await` loop. It ends or fails once; earlier items are read first. */
export class Queue<Item> {
  #items: Item[] = []
  /** The number of read items in `#items`: they are removed in batches, not one by one. */
  #read = 0
  #end: { readonly error: Error | undefined } | undefined
  #waiting: ((taken: 'again') => void)[] = []

  get length(): number {
    return this.#items.length - this.#read
  }

  put(item: Item): void {
    if (this.#end !== undefined) return
    this.#items.push(item)
    this.#wake()
  }

  end(error?: Error): void {
    if (this.#end !== undefined) return
    this.#end = { error }
    this.#wake()
  }

  async next(): Promise<IteratorResult<Item, undefined>> {
    for (;;) {
      if (this.#read < this.#items.length) {
        const value = this.#items[this.#read] as Item
        this.#read += 1
        if (this.#read >= 1_000 || this.#read === this.#items.length) {
          this.#items.splice(0, this.#read)
          this.#read = 0
        }
        return { done: false, value }
      }
      if (this.#end?.error !== undefined) throw this.#end.error
      if (this.#end !== undefined) return { done: true, value: undefined }
      await new Promise((resolve) => this.#waiting.push(resolve))
    }
  }

  #wake(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const resolve of waiting) resolve('again')
  }
}
