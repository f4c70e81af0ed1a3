/** The text of an htpasswd file with another hash for `name`, in its place or at the end; every other line as it was. */
export function withUser(text: string, name: string, hash: string): string {
  const line = `${name}:${hash}`
  const lines = linesOf(text)
  const at = lines.findIndex((each) => each.startsWith(`${name}:`))
  const changed = at < 0 ? [...lines, line] : lines.with(at, line)
  return `${changed.join('\n')}\n`
}

/** @returns `undefined` when `name` is not in it */
export function withoutUser(text: string, name: string): string | undefined {
  const lines = linesOf(text)
  const left = lines.filter((each) => !each.startsWith(`${name}:`))
  if (left.length === lines.length) return undefined
  return left.map((line) => `${line}\n`).join('')
}

function linesOf(text: string): string[] {
  const lines = text.split('\n')
  return lines.at(-1) === '' ? lines.slice(0, -1) : lines
}
