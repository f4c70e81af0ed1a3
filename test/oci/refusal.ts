import { OciError } from '../../src/oci/errors.js'

/** The code and status that `parse` refuses with. */
export function refusalOf(parse: () => unknown): [string, number] {
  try {
    parse()
  } catch (error) {
    if (error instanceof OciError) return [error.code, error.status]
    throw error
  }
  throw new Error('it was not refused')
}
