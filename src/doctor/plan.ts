/** One thing that is shown; says what was seen, or throws. */
export interface Step {
  name: string
  run: () => Promise<string>
}

/** Steps to be taken in order, and what must be cleared away after them. */
export interface Plan {
  steps: Step[]
  close: () => Promise<void>
}
