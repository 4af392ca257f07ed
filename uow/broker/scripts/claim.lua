-- Claim due jobs for one process.
-- KEYS     queues, the one to be served first in front
-- ARGV     how many jobs at most, lease in milliseconds, token; then per queue, if the scan is to go
--          on: the rank from which on
-- returns  {now, when the next job is due (0: none), {per queue the rank at which its scan stopped,
--          -1: at its end}, {queues that are none, each with the reason},
--          queue number, id, score, payload, starts, …}
--          payload: false if there is none, or if it is no string
-- Invariants: a job with a lease is nobody else's, whatever its score. What is claimed here stands
-- at the end of its lease, so that it does not lie in front of what is due; what another kind of
-- worker has claimed is not moved. There is no score that is never run. Time is Redis's.
-- The queues are read last: the server tells a connection of changes since its last read.
local SCANNED, PAGE = 1000, 100
local COUNTED_SECONDS = 88400  -- as arq counts starts
local NEVER = '9007199254740992'  -- scores beyond this are no time
local free, lease, token = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local stopped, refused = {}, {}
local out = {now, 0, stopped, refused}

-- arq counts the starts of a job here; a row counts for itself.
local function count_start(id, payload)
  if not payload or string.find(payload, '"$row"', 1, true) then
    return 0
  end
  local key, starts = 'arq:retry:' .. id, 1
  if not redis.call('SET', key, 1, 'NX', 'EX', COUNTED_SECONDS) then
    starts = redis.pcall('INCR', key)
    if type(starts) ~= 'number' then  -- somebody has put something else there
      redis.call('SET', key, 1)
      starts = 1
    end
    redis.call('EXPIRE', key, COUNTED_SECONDS)
  end
  return starts
end

-- Claims what nobody holds of these, as long as there is room; returns how many that were.
local function take(number, due)
  local taken, payloads, moves = {}, {}, {}
  for i = 1, #due, 2 do
    local id = due[i]
    if #taken == free then
      break
    elseif redis.call('SET', 'arq:in-progress:' .. id, token, 'NX', 'PX', lease) then
      taken[#taken + 1] = i
      payloads[#payloads + 1] = 'arq:job:' .. id
      moves[#moves + 1] = now + lease
      moves[#moves + 1] = id
    end
  end
  if #taken > 0 then
    redis.call('ZADD', KEYS[number], 'XX', unpack(moves))
    payloads = redis.call('MGET', unpack(payloads))
    for n, i in ipairs(taken) do
      local id, payload = due[i], payloads[n]
      for _, value in ipairs({number, id, due[i + 1], payload, count_start(id, payload)}) do
        out[#out + 1] = value
      end
    end
  end
  return #taken
end

for number, queue in ipairs(KEYS) do
  local from = tonumber(ARGV[3 + number] or 0)
  local last = from + SCANNED
  stopped[number] = from
  while free > 0 and stopped[number] >= 0 and stopped[number] < last do
    local rank = stopped[number]
    local page = rank == from and free or PAGE  -- what is held lies together
    local due, why = try('ZRANGEBYSCORE', queue, '-inf', now, 'WITHSCORES', 'LIMIT', rank, page)
    if not due then
      refused[#refused + 1] = queue
      refused[#refused + 1] = why
    end
    if not due or #due == 0 then
      stopped[number] = -1
    else
      local taken = take(number, due)
      free = free - taken
      stopped[number] = rank + #due / 2 - taken
    end
  end
end
for _, queue in ipairs(KEYS) do
  local next = (try('ZRANGEBYSCORE', queue, '(' .. now, NEVER, 'WITHSCORES', 'LIMIT', 0, 1) or {})[2]
  if next and (out[2] == 0 or tonumber(next) < out[2]) then
    out[2] = tonumber(next)
  end
end
return out
