// Runs the tests of the npm package http-cache-tests against a base URL: DIRECTORY BASE [ID…].
// Prints one JSON object per test: its group, its kind, what it depends on, its result.
import { pathToFileURL } from 'node:url'

const [directory, base, ...ids] = process.argv.slice(2)
const load = async path => import(pathToFileURL(`${directory}/${path}`).href)
const groups = (await load('tests/index.mjs')).default
// The package's own program adds this group; newer versions have CDN-Cache-Control in its place.
await load('tests/surrogate-control.mjs').then(({ default: group }) => groups.push(group), () => {})
// Published on npm, the suite lies in the root; its repository has it in test-engine.
const [engine, fetcher] = await load('client/runner.mjs').then(
  async runner => [runner, (await load('../node-fetch/lib/index.mjs')).default],
  async () => [await load('test-engine/client/runner.mjs'), null]
)
const chosen = groups.map(group => ({
  ...group,
  tests: group.tests.filter(test => ids.length === 0 || ids.includes(test.id))
}))
await (fetcher ? engine.runTests(chosen, fetcher, false, base) : engine.runTests(chosen, false, base))
const results = engine.getResults()
const lines = []
for (const group of chosen) {
  for (const test of group.tests.filter(test => test.id in results)) {
    const [failure, reason] = results[test.id] === true ? [null, null] : results[test.id]
    lines.push(JSON.stringify({
      group: group.id,
      id: test.id,
      name: test.name,
      kind: test.kind ?? 'required',
      depends_on: test.depends_on ?? [],
      failure,
      reason
    }))
  }
}
// An exit would cut off what waits for a full pipe.
process.stdout.write(lines.join('\n') + '\n', () => process.exit(0))
