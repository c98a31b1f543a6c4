// Answers for each line of standard input, a JSON object with a case, what http-cache-semantics would do.
const CachePolicy = require(process.argv[2])

let now = 0
class Policy extends CachePolicy {
  now () { return now * 1000 }
}

function reuse ({ first, response, second, after, start }) {
  now = start
  const policy = new Policy({ method: 'GET', url: '/', headers: first }, response)
  if (!policy.storable()) return 'call'
  now = start + after
  const found = policy.evaluateRequest({ method: 'GET', url: '/', headers: second })
  if (!found.response) return 'call'
  return `${found.revalidation ? 'stale' : 'use'} ${found.response.headers.age}`
}

function freshen ({ response, validation, start }) {
  now = start
  const request = { method: 'GET', url: '/', headers: {} }
  const policy = new Policy(request, response)
  return String(policy.revalidatedPolicy(request, validation).matches === true)
}

const lines = require('fs').readFileSync(0, 'utf8').split('\n').filter(line => line)
for (const line of lines) {
  const given = JSON.parse(line)
  console.log(given.validation ? freshen(given) : reuse(given))
}
