-- Nine instant requests, then a slow one: by count, so that every server gets the same mixture.
local sent = 0

function init()
  instant = wrk.format("GET", "/instant")
  slow = wrk.format("GET", "/slow")
end

function request()
  sent = sent + 1
  return sent % 10 == 0 and slow or instant
end
