/** Less than 0 where `a` comes before `b`, 0 where they are the same. */
export type Order<Item> = (a: Item, b: Item) => number

/** The index of the first of `items`, which are in `order`, that comes after `item`; their length where none does. */
export function firstAfter<Item>(items: readonly Item[], item: Item, order: Order<Item>): number {
  let [low, high] = [0, items.length]
  while (low < high) {
    const middle = (low + high) >>> 1
    if (order(items[middle]!, item) > 0) high = middle
    else low = middle + 1
  }
  return low
}

/** Puts `item` at its place among `items`, which are in `order`, each once. @returns false when it is there already */
export function insert<Item>(items: Item[], item: Item, order: Order<Item>): boolean {
  const at = firstAfter(items, item, order)
  if (at > 0 && order(items[at - 1]!, item) === 0) return false
  items.splice(at, 0, item)
  return true
}

/** Takes `item` from among `items`, which are in `order`, each once. @returns false when it is not there */
export function remove<Item>(items: Item[], item: Item, order: Order<Item>): boolean {
  const at = firstAfter(items, item, order) - 1
  if (at < 0 || order(items[at]!, item) !== 0) return false
  items.splice(at, 1)
  return true
}

/** Strings by their code units, as `sort` has them. */
export function byCodeUnits(a: string, b: string): number {
  return a < b ? -1 : Number(a > b)
}
