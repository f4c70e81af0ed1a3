import fc from 'fast-check'
import type { Digest } from '../../src/oci/digest.js'
import { ARTIFACTS, BLOBS, isRuled, isTakenByRule, REPOSITORIES, SIGNATURE_TAG } from './model-world.js'

const repository = fc.constantFrom(...REPOSITORIES)
const name = fc.constantFrom(...ARTIFACTS.keys())
const blob = fc.constantFrom(...BLOBS.keys())
const tag = fc.constantFrom('v1', 'v2', 'nightly1', 'nightly2')
/** So many other requests come first: where in a collection it falls. */
const after = fc.nat(12)
const stage = fc.constantFrom<Stage>('whole', 'midway', 'abandoned')

export type Stage = 'whole' | 'midway' | 'abandoned'

export type Action =
  /** `midway`: a collection runs when its blobs are there and its manifest is not; `abandoned`: that never comes. */
  | { do: 'push'; repository: string; name: string; tag: string | undefined; stage: Stage }
  | { do: 'blob'; repository: string; blob: Digest }
  | { do: 'mount'; repository: string; from: string; blob: Digest }
  | { do: 'pull'; repository: string; tag: string; after: number }
  | { do: 'ask'; repository: string; name: string; after: number }
  | { do: 'untag'; repository: string; tag: string }
  | { do: 'delete'; repository: string; name: string }
  | { do: 'collect' }

/** Actions of one step are under way together. */
export type Step =
  | { kind: 'together'; actions: Action[] }
  | { kind: 'later'; hours: number }
  | { kind: 'restart' | 'settle' }

const is = <Kind extends string>(kind: Kind) => fc.constant(kind)
const action = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: is('push'),
      repository,
      name,
      tag: fc.option(tag, { nil: undefined }),
      stage,
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: is('push'),
      repository,
      name: fc.constant('cosign'),
      tag: fc.constant(SIGNATURE_TAG),
      stage,
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: is('blob'), repository, blob }) },
  { weight: 1, arbitrary: fc.record({ do: is('mount'), repository, from: repository, blob }) },
  { weight: 2, arbitrary: fc.record({ do: is('pull'), repository, tag, after }) },
  { weight: 2, arbitrary: fc.record({ do: is('ask'), repository, name, after }) },
  { weight: 2, arbitrary: fc.record({ do: is('untag'), repository, tag }) },
  { weight: 2, arbitrary: fc.record({ do: is('delete'), repository, name }) },
  { weight: 4, arbitrary: fc.record({ do: is('collect') }) },
) as fc.Arbitrary<Action>
export const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ kind: is('together'), actions: fc.array(action, { minLength: 1, maxLength: 5 }) }),
  },
  { weight: 3, arbitrary: fc.record({ kind: is('later'), hours: fc.constantFrom(0.5, 2) }) },
  { weight: 1, arbitrary: fc.record({ kind: is('restart') }) },
  { weight: 1, arbitrary: fc.record({ kind: is('settle') }) },
) as fc.Arbitrary<Step>

/** Of two that change the same thing at the same time nobody knows who was last: only the first of them is taken. */
export function collide(one: Action, other: Action): boolean {
  const known = (each: Action) => !['collect', 'blob', 'mount'].includes(each.do)
  if (!known(one) || !known(other) || !('repository' in one && 'repository' in other)) return false
  if (one.repository !== other.repository) return false
  if (one.do === 'delete' || other.do === 'delete') return true
  const [tag, another] = [one, other].map((each) => ('tag' in each ? each.tag : undefined))
  if (tag === undefined || another === undefined) return false
  const pulls = [one, other].filter((each) => each.do === 'pull').length
  if (pulls > 0) return pulls === 1 && tag === another
  // By a rule it counts which was put last.
  return tag === another || (isRuled(one.repository) && isTakenByRule(tag) && isTakenByRule(another))
}
