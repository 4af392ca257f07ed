-- End the leases of jobs whose worker is dead, so that they need not run out first.
-- ARGV     triples: queue, job id, score
-- returns  how many there were
-- Invariant: afterwards the job stands where its row says; its worker had moved it to the end of
-- its lease. Safe even if the worker lives after all: the row decides which attempt may commit.
local released = 0
for i = 1, #ARGV, 3 do
  released = released + redis.call('DEL', 'arq:in-progress:' .. ARGV[i + 1])
  redis.call('ZADD', ARGV[i], 'XX', ARGV[i + 2], ARGV[i + 1])
end
return released
