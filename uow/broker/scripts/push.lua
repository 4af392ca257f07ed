-- Push jobs unless they are already there.
-- KEYS[1]  the queue (sorted set)
-- ARGV     per job: id, score, 1 if it is due (else 0), payload
-- returns  {how many were not there, {ids that the queue does not take, each with the reason}}
-- Invariant: afterwards each job has a payload without TTL and an entry in the queue. An entry that
-- is there keeps its score: only the holder of a job moves it. A payload that is there is kept.
-- What is due by Postgres's clock is due by Redis's, too, whichever of them is slow.
local FIELDS = 4
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local pushed, refused = 0, {}
for i = 1, #ARGV, FIELDS do
  local id, score, is_due = ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2] == '1'
  local payload = redis.call('SET', 'arq:job:' .. id, ARGV[i + 3], 'NX')
  local entry, why = try('ZADD', KEYS[1], 'NX', is_due and math.min(score, now) or score, id)
  if not entry then
    refused[#refused + 1] = id
    refused[#refused + 1] = why
    if payload then
      redis.call('DEL', 'arq:job:' .. id)
    end
  elseif payload or entry == 1 then
    pushed = pushed + 1
  end
end
return {pushed, refused}
