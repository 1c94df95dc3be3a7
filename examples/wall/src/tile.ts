/** How much text a tile keeps: more than it can show. */
const textMax = 4_000

/** The panel of one worker: its name, what became of it, and the end of what it says. */
export class Tile {
  readonly #element = document.createElement('article')
  readonly #heading = document.createElement('h2')
  readonly #status = document.createElement('p')
  readonly #text = document.createElement('pre')

  constructor(wall: HTMLElement, name: string) {
    this.#heading.textContent = name
    this.#element.append(this.#heading, this.#status, this.#text)
    wall.append(this.#element)
  }

  append(text: string): void {
    this.#text.textContent = `${this.#text.textContent}${text}`.slice(-textMax)
    this.#text.scrollTop = this.#text.scrollHeight
  }

  mark(status: string): void {
    this.#element.dataset['status'] = status
    this.#status.textContent = status
  }

  remove(): void {
    this.#element.remove()
  }
}
