import {
  isAlias,
  isMap,
  isNode,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  parseDocument,
  Scalar,
  visit,
  type YAMLError,
} from 'yaml'
import { BROKEN } from './issues.js'

interface Place {
  line: number
  column: number
}

/** A fault with its place, both counted from 1. */
export interface Located extends Place {
  message: string
}

/** The text of a configuration file: what it says, and where it says it. */
export class YamlSource {
  readonly #text: string
  readonly #lines = new LineCounter()
  readonly #document
  readonly #aliasFaults: { offset: number; message: string }[] = []

  constructor(text: string) {
    this.#text = text
    this.#document = parseDocument(text, { lineCounter: this.#lines, prettyErrors: false })
    this.#dropBadAliases()
  }

  /** An alias that leads nowhere, or to what it stands in, is most often text that begins with `*`. */
  #dropBadAliases(): void {
    visit(this.#document, {
      Alias: (_key, alias, ancestors) => {
        const target = alias.resolve(this.#document)
        if (target && !ancestors.includes(target)) return undefined
        const message = 'an alias (*) without its anchor (&): put text that begins with * in quotes'
        this.#aliasFaults.push({ offset: rangeStart(alias) ?? 0, message })
        const broken = new Scalar(BROKEN)
        if (alias.range) broken.range = alias.range
        return broken
      },
    })
  }

  /** What YAML itself objects to. */
  faults(): Located[] {
    const { errors, warnings } = this.#document
    const faults = [...errors, ...warnings].map((error) => ({ offset: error.pos[0], message: this.#explain(error) }))
    return [...faults, ...this.#aliasFaults].map(({ offset, message }) => ({ ...this.#placeAt(offset), message }))
  }

  /** Where the text stopped making sense; what stands before it was read as it was meant. */
  brokenFrom(): Place | undefined {
    const offsets = this.#document.errors.filter(({ code }) => code !== 'DUPLICATE_KEY').map(({ pos }) => pos[0])
    return offsets.length === 0 ? undefined : this.#placeAt(Math.min(...offsets))
  }

  /** The content as plain values; `BROKEN` stands for an alias that leads nowhere. */
  content(): unknown {
    try {
      return this.#document.toJS()
    } catch (error) {
      if (!(error instanceof ReferenceError)) throw error
      this.#aliasFaults.push({ offset: 0, message: 'aliases (*) that multiply without bound' })
      return {}
    }
  }

  /**
   * The place of the value at `path`, or of its key; of what surrounds it when it is not in the file.
   *
   * @returns the place, and how many steps of the path are `missing` from the file
   */
  placeOf(path: PropertyKey[], atKey = false): Place & { missing: number } {
    let node: unknown = this.#document.contents
    let offset = rangeStart(node) ?? 0
    for (const [depth, key] of path.entries()) {
      const found = this.#child(node, key)
      if (!found) return { ...this.#placeAt(offset), missing: path.length - depth }
      const last = depth === path.length - 1
      const start = last && !atKey ? (rangeStart(found.value) ?? found.offset) : found.offset
      offset = start ?? offset
      node = found.value
    }
    return { ...this.#placeAt(offset), missing: 0 }
  }

  /** A key or item below `node`; `offset` is the key's, or the item's where there is no key. */
  #child(node: unknown, key: PropertyKey): { value: unknown; offset: number | undefined } | undefined {
    const at = isAlias(node) ? node.resolve(this.#document) : node
    if (isSeq(at)) {
      const value = at.items[key as number]
      return value === undefined ? undefined : { value, offset: rangeStart(value) }
    }
    const pair: Pair | undefined = isMap(node)
      ? node.items.findLast((item) => keyText(item) === String(key))
      : undefined
    return pair && { value: pair.value, offset: rangeStart(pair.key) }
  }

  #placeAt(offset: number): Place {
    const { line, col } = this.#lines.linePos(offset)
    return { line: Math.max(line, 1), column: Math.max(col, 1) }
  }

  /** Without what the parser quotes of the text, which may be a secret. */
  #explain({ code, message, pos }: YAMLError): string {
    if (code === 'DUPLICATE_KEY') {
      const [key = ''] = /^[^\s:]+/.exec(this.#text.slice(pos[0])) ?? []
      return `duplicate key ${JSON.stringify(key)}`
    }
    if (code === 'TAG_RESOLVE_FAILED') return 'YAML: unknown tag: text that begins with ! is put in quotes'
    if (code === 'BAD_DQ_ESCAPE') return 'YAML: invalid escape sequence in double quotes'
    return `YAML: ${message.replace(/: (?!between ).*$/s, '')}`
  }
}

function keyText({ key }: Pair): string {
  return isNode(key) && 'value' in key ? String(key.value) : String(key)
}

function rangeStart(node: unknown): number | undefined {
  return isNode(node) ? (node as Node).range?.[0] : undefined
}
