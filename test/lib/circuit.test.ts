import { beforeEach, describe, expect, test } from 'vitest'
import { Circuit } from '../../src/lib/circuit.js'

describe('Circuit', () => {
  let now: number
  let circuit: Circuit

  beforeEach(() => {
    now = 1_000_000
    circuit = new Circuit({ now: () => now, threshold: 3, coolDownMs: 10_000, maxCoolDownMs: 120_000 })
  })

  test('opens after three failures in a row', () => {
    const states = [1, 2, 3].map(() => {
      circuit.fail()
      return circuit.state
    })

    expect(states).toEqual(['closed', 'closed', 'open'])
  })

  test('a success between starts the count anew, an answer alone does not', () => {
    circuit.fail()
    circuit.fail()
    circuit.succeed()
    circuit.fail()
    circuit.fail()
    circuit.alive()
    expect(circuit.state).toBe('closed')

    circuit.fail()

    expect(circuit.state).toBe('open')
  })

  test('is due when its cool-down is over, and one failure then opens it for twice as long, up to the limit', () => {
    const coolDowns = Array.from({ length: 6 }, (_, times) => {
      if (times % 2 === 0) circuit.trip()
      else circuit.fail()
      const coolDown = circuit.openUntil - now
      now = circuit.openUntil - 1
      expect(circuit.state).toBe('open')
      now++
      expect(circuit.state).toBe('due')
      return coolDown
    })

    expect(coolDowns).toEqual([10_000, 20_000, 40_000, 80_000, 120_000, 120_000])
  })

  test('many failures at once are one', () => {
    for (let i = 0; i < 20; i++) circuit.trip()

    expect(circuit.openUntil - now).toBe(10_000)
  })

  test('an answer closes an open one, and the next time is the first again', () => {
    circuit.trip()
    now = circuit.openUntil
    circuit.trip()
    circuit.alive()
    expect(circuit.state).toBe('closed')

    circuit.trip()

    expect(circuit.openUntil - now).toBe(10_000)
  })
})
