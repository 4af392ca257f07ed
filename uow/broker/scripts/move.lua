-- Move jobs that nobody holds to where their rows say; push those that are not there.
-- KEYS[1]  the queue (sorted set)
-- ARGV     per job: id, score (empty: it is to leave the queue), 1 if it is due (else 0), payload
-- returns  {ids of jobs that somebody holds, {ids that the queue does not take, each with the reason}}
-- Invariants: only the holder of a job moves it. What leaves the queue keeps its payload, which the
-- relay's push uses later. What is due by Postgres's clock is due by Redis's, too.
local FIELDS = 4
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local leases, held, refused = {}, {}, {}
for i = 1, #ARGV, FIELDS do
  leases[#leases + 1] = 'arq:in-progress:' .. ARGV[i]
end
local holders = redis.call('MGET', unpack(leases))
for i = 1, #ARGV, FIELDS do
  local id, score, is_due = ARGV[i], ARGV[i + 1], ARGV[i + 2] == '1'
  local moved, why = true, nil
  if holders[(i - 1) / FIELDS + 1] then
    held[#held + 1] = id
  elseif score == '' then
    moved, why = try('ZREM', KEYS[1], id)
  else
    score = tonumber(score)
    moved, why = try('ZADD', KEYS[1], is_due and math.min(score, now) or score, id)
    if moved then
      redis.call('SET', 'arq:job:' .. id, ARGV[i + 3], 'NX')
    end
  end
  if not moved then
    refused[#refused + 1] = id
    refused[#refused + 1] = why
  end
end
return {held, refused}
