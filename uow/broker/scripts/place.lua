-- Where a job stands in its queue.
-- KEYS[1]  the queue
-- ARGV     job id, how many of those in front are looked at
-- returns  {now, its score (false: it is not there), whether somebody holds it, how many stand in
--          front of it that nobody holds}
-- What our own workers hold stands at the end of its lease; what stock arq holds is not moved, and
-- stands in front of all: so it is enough to look at the first ones. Time is Redis's.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held = redis.call('EXISTS', 'arq:in-progress:' .. ARGV[1])
local rank = redis.call('ZRANK', KEYS[1], ARGV[1])
if not rank then
  return {now, false, held, 0}
end
local front = redis.call('ZRANGE', KEYS[1], 0, math.min(rank, tonumber(ARGV[2])) - 1)
if rank == 0 then
  front = {}
end
local leases = {}
for i, id in ipairs(front) do
  leases[i] = 'arq:in-progress:' .. id
end
if #leases > 0 then
  rank = rank - redis.call('EXISTS', unpack(leases))
end
return {now, redis.call('ZSCORE', KEYS[1], ARGV[1]), held, rank}
