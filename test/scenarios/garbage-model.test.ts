import fc from 'fast-check'
import { expect, test } from 'vitest'
import { step } from '../helpers/model-actions.js'
import { HOUR, Run } from '../helpers/model-run.js'

/** `npm run test:model` does 1,000. */
const INTERLEAVINGS = Number(process.env.INTERLEAVINGS ?? 15)
const SEED = Number(process.env.MODEL_SEED ?? 20_261_124)

function property(graceMs: number) {
  return fc.asyncProperty(fc.array(step, { minLength: 2, maxLength: 9 }), async (steps) => {
    const run = new Run(graceMs)
    await run.start()
    try {
      for (const each of steps) await run.take(each)
      await run.settle()
    } finally {
      await run.end()
    }
  })
}

test(`${INTERLEAVINGS} interleavings, seed ${SEED}: nothing needed or lately pushed is lost, no orphan is left, no tag dangles`, {
  timeout: 30_000 + INTERLEAVINGS * 3000,
}, async () => {
  await fc.assert(property(HOUR), { numRuns: INTERLEAVINGS, seed: SEED, endOnFailure: true, verbose: 1 })
})

test('without a grace period the same finds what is lost', { timeout: 120_000 }, async () => {
  const { failed } = await fc.check(property(0), { numRuns: 200, seed: SEED, endOnFailure: true })

  expect(failed).toBe(true)
})
