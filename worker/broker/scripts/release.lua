-- End the leases of jobs whose worker is dead, so that they need not run out first.
-- ARGV     job ids
-- returns  how many there were
-- Safe even if the worker lives after all: the row decides which attempt may commit.
local released = 0
for i = 1, #ARGV do
  released = released + redis.call('DEL', 'arq:in-progress:' .. ARGV[i])
end
return released
