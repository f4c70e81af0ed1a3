import { expect, test } from 'vitest'
import { dyingManifests } from '../../src/gc/liveness.js'
import { type Digest, digestOf } from '../../src/oci/digest.js'

const digest = (name: string) => digestOf(Buffer.from(name))

/** Manifests by name: `a: 'b c'` is an index of b and c, `s: '>a'` refers to a, `j: '>a b'` is an index that does. */
function graph(parts: Record<string, string>) {
  return new Map(
    Object.entries(parts).map(([name, hangs]) => {
      const names = hangs.split(' ').filter((each) => each !== '')
      const subject = names[0]?.startsWith('>') ? digest(names.shift()!.slice(1)) : undefined
      const manifests = names.map(digest)
      return [digest(name), { digest: digest(name), manifests, subject }]
    }),
  )
}

async function dying(
  parts: Record<string, string>,
  { condemned, tagged = [], young = [] }: { condemned: string[]; tagged?: string[]; young?: string[] },
): Promise<string[]> {
  const names = new Map(Object.keys(parts).map((name) => [digest(name), name]))
  const has = (list: string[]) => (each: Digest) => list.includes(names.get(each)!)
  const gone = await dyingManifests(graph(parts), {
    condemned: condemned.map(digest),
    isTagged: has(tagged),
    isYoung: async (each) => has(young)(each),
  })
  return gone.map((each) => names.get(each)!)
}

test.each<[string, Record<string, string>, Parameters<typeof dying>[1], string[]]>([
  ['nothing is condemned, nothing goes', { a: '' }, { condemned: [] }, []],
  ['what is condemned goes', { a: '', b: '' }, { condemned: ['a'] }, ['a']],
  ['the children of an index go after it', { i: 'a b', a: '', b: '' }, { condemned: ['i'] }, ['i', 'b', 'a']],
  ['a child with a tag stays', { i: 'a b', a: '', b: '' }, { condemned: ['i'], tagged: ['a'] }, ['i', 'b']],
  ['a child of another index stays', { i: 'a', j: 'a', a: '' }, { condemned: ['i'] }, ['i']],
  ['a condemned child of an index that stays stays', { i: 'a', a: '' }, { condemned: ['a'] }, []],
  ['a nested index goes whole', { i: 'j', j: 'a', a: '' }, { condemned: ['i'] }, ['i', 'j', 'a']],
  ['a referrer goes with its subject', { a: '', s: '>a', t: '>s' }, { condemned: ['a'] }, ['a', 's', 't']],
  ['a referrer of what stays stays', { a: '', s: '>a' }, { condemned: ['s'] }, []],
  ['a referrer of what is not here stays', { s: '>x' }, { condemned: [] }, []],
  [
    'a referrer of what is not here stays when an index that lists it goes',
    { i: 's', s: '>x' },
    { condemned: ['i'] },
    ['i'],
  ],
  ['a referrer of what stays does so too', { i: 's', s: '>a', a: '' }, { condemned: ['i'] }, ['i']],
  ['a referrer that an index that stays lists stays', { i: 's', s: '>a', a: '' }, { condemned: ['a'] }, ['a']],
  ['an index that lists its own referrer takes it along', { i: 's', s: '>i' }, { condemned: ['i'] }, ['i', 's']],
  ['an index of referrers is a referrer itself', { j: '>a s', s: '>a', a: '' }, { condemned: ['a'] }, ['a', 'j', 's']],
  ['a young index holds its children', { i: 'a', a: '' }, { condemned: ['i', 'a'], young: ['i'] }, []],
  ['a young child stays and holds nobody', { i: 'a b', a: '', b: '' }, { condemned: ['i'], young: ['a'] }, ['i', 'b']],
  ['what an index names and is not here is nothing', { i: 'x' }, { condemned: ['i'] }, ['i']],
])('%s', async (_case, parts, marks, gone) => {
  expect(await dying(parts, marks)).toEqual(gone)
})

/** So many manifests with digests that cost nothing to make, the first the subject of what `subjectOf` says. */
function many(count: number, subjectOf: (at: number) => number) {
  const of = (at: number) => `sha256:${at.toString(16).padStart(64, '0')}` as Digest
  const nodes = Array.from({ length: count }, (_, at) => {
    return { digest: of(at), manifests: [], subject: at === 0 ? undefined : of(subjectOf(at)) }
  })
  return new Map(nodes.map((node) => [node.digest, node]))
}

test.each([
  ['a chain of referrers that is deeper than the stack', 30_000, (at: number) => at - 1],
  ['more referrers of one subject than a call takes arguments', 130_000, () => 0],
])('%s goes whole, the subject first', async (_case, count, subjectOf) => {
  const nodes = many(count, subjectOf)
  const [subject] = nodes.keys()

  const gone = await dyingManifests(nodes, {
    condemned: [subject!],
    isTagged: () => false,
    isYoung: async () => false,
  })

  expect(gone.length).toBe(count)
  expect(gone[0]).toBe(subject)
})
