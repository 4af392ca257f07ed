-- Push jobs unless they are already there.
-- KEYS[1]  the queue (sorted set)
-- ARGV     triples: job id, score, payload
-- returns  how many were not there
-- Invariant: afterwards each job has a payload without TTL and an entry in the queue. An entry that
-- is there keeps its score: only the holder of a job moves it. A payload that is there is kept.
local pushed = 0
for i = 1, #ARGV, 3 do
  local id = ARGV[i]
  local payload = redis.call('SET', 'arq:job:' .. id, ARGV[i + 2], 'NX')
  local entry = redis.call('ZADD', KEYS[1], 'NX', ARGV[i + 1], id)
  if payload or entry == 1 then
    pushed = pushed + 1
  end
end
return pushed
