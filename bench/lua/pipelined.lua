-- Sixteen requests in one write; wrk counts their answers one by one.
function init()
  local one = wrk.format("GET", wrk.path)
  batch = string.rep(one, 16)
end

function request()
  return batch
end
