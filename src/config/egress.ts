import { z } from 'zod'
import { parseBytes, UnitError } from '../lib/units.js'
import { proxyUrl } from './proxy-url.js'
import { flag, kindOf, quantity } from './scalars.js'

/** How an upstream, its token service and its stores are reached. */
export interface EgressConfig {
  /** http, https or socks5, with credentials if it needs them; undefined: none. */
  proxy: string | undefined
  /** Hosts, domains, addresses and networks that are asked directly all the same. */
  noProxy: readonly string[]
  /** PEM, not a path. */
  ca: string | undefined
  cert: string | undefined
  key: string | undefined
  family: 'auto' | 4 | 6
  /** Whether redirects and token realms may lead inside. */
  allowInternal: boolean
  maxBytesPerSecond: number | undefined
}

/** Under `upstream` and in each upstream. Empty text is none, so that one upstream can be without what holds for all. */
export const egressKeys = {
  proxy: quantity(proxyUrl).optional(),
  noProxy: z
    .union([z.string(), z.array(z.string())], {
      error: ({ input }) => `expected a list of hosts, found ${kindOf(input)}`,
    })
    .transform((written) =>
      [written]
        .flat()
        .flatMap((text) => text.split(/[\s,]+/))
        .filter((entry) => entry !== ''),
    )
    .optional(),
  // by now what is in the file that was named: pem-files.ts
  ca: z.string().optional(),
  cert: z.string().optional(),
  key: z.string().optional(),
  family: quantity(familyOf).optional(),
  allowInternal: flag().optional(),
  maxBytesPerSecond: quantity(capOf).optional(),
}

type FileEgress = z.output<z.ZodObject<typeof egressKeys>>

/** What holds for one upstream: its own keys before those for all. */
export function egressOf(own: FileEgress, all: FileEgress): EgressConfig {
  const pick = <Key extends keyof FileEgress>(key: Key): FileEgress[Key] => (key in own ? own : all)[key]
  // a certificate is nothing without its own key
  const pair = 'cert' in own ? own : all
  return {
    proxy: pick('proxy'),
    noProxy: pick('noProxy') ?? [],
    ca: pick('ca') || undefined,
    cert: pair.cert || undefined,
    key: pair.key || undefined,
    family: pick('family') ?? 'auto',
    allowInternal: pick('allowInternal') ?? false,
    maxBytesPerSecond: pick('maxBytesPerSecond'),
  }
}

function capOf(text: string): number | undefined {
  if (text === '') return undefined
  const bytes = parseBytes(text)
  if (bytes === 0) throw new UnitError(`${JSON.stringify(text)} is too small: leave the key out for no cap`)
  return bytes
}

function familyOf(text: string): 'auto' | 4 | 6 {
  if (text === 'auto') return 'auto'
  if (text === '4' || text === '6') return text === '4' ? 4 : 6
  throw new UnitError(`${JSON.stringify(text)} is not one of auto, 4, 6`)
}
