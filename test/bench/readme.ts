import { readFile, writeFile } from 'node:fs/promises'

const BEGIN = '<!-- bench: what stands between these two lines is written by npm run bench -- --readme -->'
const END = '<!-- bench: end -->'

/** Replaces what stands between the two marks. @throws when they are not there */
export async function putIntoReadme(file: string, text: string): Promise<void> {
  const readme = await readFile(file, 'utf8')
  const [begin, end] = [readme.indexOf(BEGIN), readme.indexOf(END)]
  if (begin < 0 || end < begin)
    throw new Error(`${file} lacks the lines\n${BEGIN}\n${END}\nput them where the table belongs`)
  await writeFile(file, `${readme.slice(0, begin + BEGIN.length)}\n\n${text}\n\n${readme.slice(end)}`)
}
