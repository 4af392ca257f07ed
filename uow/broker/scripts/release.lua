-- End the leases of jobs whose worker is dead, so that they need not run out first.
-- ARGV     triples: queue, job id, score
-- returns  how many there were
-- Invariant: afterwards the job stands where its row says; its worker had moved it to the end of
-- its lease; it has run, so it is due, by Redis's clock, too. Safe even if the worker lives after
-- all: the row decides which attempt may commit. A queue that is none holds up no other.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local released = 0
for i = 1, #ARGV, 3 do
  released = released + redis.call('DEL', 'arq:in-progress:' .. ARGV[i + 1])
  try('ZADD', ARGV[i], 'XX', math.min(ARGV[i + 2], now), ARGV[i + 1])
end
return released
