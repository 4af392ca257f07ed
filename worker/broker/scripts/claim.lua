-- Claim due jobs for one process.
-- KEYS     queues, the one to be served first in front
-- ARGV     how many jobs at most, lease in milliseconds, token
-- returns  {now, when the next job is due (0: none), queue number, id, score, payload, starts, …}
--          payload: false if there is none, or if it is no string
-- Invariants: a job with a lease is nobody else's, whatever its score. What is claimed here stands
-- at the end of its lease, so that it does not lie in front of what is due; what another kind of
-- worker has claimed is not moved. Score 0 is never run: stock arq does not. Time is Redis's.
-- The queues are read last: the server tells a connection of changes since its last read.
local SCANNED = 1000
local COUNTED_SECONDS = 88400  -- as arq counts starts
local NEVER = '9007199254740992'  -- scores beyond this are no time
local free, lease, token = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local out = {now, 0}
for number, queue in ipairs(KEYS) do
  local skipped = 0
  while free > 0 and skipped < SCANNED do
    local due = redis.call('ZRANGEBYSCORE', queue, '-inf', now, 'WITHSCORES', 'LIMIT', skipped, free)
    local ids, moves, payloads = {}, {}, {}
    for i = 1, #due, 2 do
      local id = due[i]
      if due[i + 1] ~= '0' and redis.call('SET', 'arq:in-progress:' .. id, token, 'NX', 'PX', lease) then
        ids[#ids + 1] = i
        payloads[#payloads + 1] = 'arq:job:' .. id
        moves[#moves + 1] = now + lease
        moves[#moves + 1] = id
      end
    end
    if #ids > 0 then
      redis.call('ZADD', queue, 'XX', unpack(moves))
      payloads = redis.call('MGET', unpack(payloads))
      for n, i in ipairs(ids) do
        local id, payload, starts = due[i], payloads[n], 0
        -- A row counts for itself; for the others arq counts starts here.
        if payload and not string.find(payload, '"$row"', 1, true) then
          local key = 'arq:retry:' .. id
          starts = 1
          if not redis.call('SET', key, 1, 'NX', 'EX', COUNTED_SECONDS) then
            starts = redis.pcall('INCR', key)
            if type(starts) ~= 'number' then  -- somebody has put something else there
              redis.call('SET', key, 1)
              starts = 1
            end
            redis.call('EXPIRE', key, COUNTED_SECONDS)
          end
        end
        for _, value in ipairs({number, id, due[i + 1], payload, starts}) do
          out[#out + 1] = value
        end
      end
    end
    free = free - #ids
    skipped = skipped + #due / 2 - #ids
    if #due == 0 then
      break
    end
  end
end
for _, queue in ipairs(KEYS) do
  local next = redis.call('ZRANGEBYSCORE', queue, '(' .. now, NEVER, 'WITHSCORES', 'LIMIT', 0, 1)[2]
  if next and (out[2] == 0 or tonumber(next) < out[2]) then
    out[2] = tonumber(next)
  end
end
return out
