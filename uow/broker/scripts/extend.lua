-- Extend the leases of a process.
-- KEYS     queues
-- ARGV     lease in milliseconds; then per job: queue number, id, token
-- returns  {ids of jobs whose lease is another's, ids of jobs of which something is gone}
-- Invariant: while a job runs it stands at the end of its lease, whatever somebody has made of its
-- score. What is gone may just have been finished: the caller knows, and calls retake. A queue that
-- is none ends no lease.
local FIELDS = 3
local lease, time = tonumber(ARGV[1]), redis.call('TIME')
local ends = time[1] * 1000 + math.floor(time[2] / 1000) + lease
local leases, payloads = {}, {}
for i = 2, #ARGV, FIELDS do
  leases[#leases + 1] = 'arq:in-progress:' .. ARGV[i + 1]
  payloads[#payloads + 1] = 'arq:job:' .. ARGV[i + 1]
end
local holders, bodies = redis.call('MGET', unpack(leases)), redis.call('MGET', unpack(payloads))
local foreign, gone = {}, {}
for i = 2, #ARGV, FIELDS do
  local n = (i - 2) / FIELDS + 1
  local queue, id, token = KEYS[tonumber(ARGV[i])], ARGV[i + 1], ARGV[i + 2]
  if holders[n] and holders[n] ~= token then
    foreign[#foreign + 1] = id
  else
    local moved = try('ZADD', queue, 'XX', 'CH', ends, id)
    local kept = holders[n] and redis.call('PEXPIRE', leases[n], lease)
    if not kept or not bodies[n] or (moved == 0 and not redis.call('ZSCORE', queue, id)) then
      gone[#gone + 1] = id
    end
  end
end
return {foreign, gone}
