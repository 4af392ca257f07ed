-- Put back what Redis has lost of a running job, or what a stock worker's zombie has deleted.
-- KEYS[1]  the queue
-- ARGV     job id, token, lease in milliseconds, payload (empty: none to put back)
-- returns  0 if the lease is another's by now, else 1
local id, token, lease, payload = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local holder = redis.call('GET', 'arq:in-progress:' .. id)
if holder and holder ~= token then
  return 0
end
local time = redis.call('TIME')
redis.call('SET', 'arq:in-progress:' .. id, token, 'PX', lease)
try('ZADD', KEYS[1], time[1] * 1000 + math.floor(time[2] / 1000) + lease, id)
if payload ~= '' then
  redis.call('SET', 'arq:job:' .. id, payload, 'NX')
end
return 1
