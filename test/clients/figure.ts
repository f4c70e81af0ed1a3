/** Prints a figure that a test asserts, in a line that can be copied from the log. */
export function figure(what: string, value: number | string, unit = ''): void {
  const text = typeof value === 'number' ? String(Math.round(value * 1000) / 1000) : value
  console.log(`figure: ${what}: ${text}${unit && ` ${unit}`}`)
}

export const MIB = 1024 * 1024
