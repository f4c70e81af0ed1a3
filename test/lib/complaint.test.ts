import { expect, test } from 'vitest'
import { Complaint } from '../../src/lib/complaint.js'

test('a trouble is said once, and once more when it comes back', () => {
  const complaint = new Complaint()

  const during = [complaint.raise(), complaint.raise()]
  complaint.over()
  const again = [complaint.raise(), complaint.raise()]

  expect([during, again]).toEqual([
    [true, false],
    [true, false],
  ])
})
