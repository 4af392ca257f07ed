-- Which jobs are not there.
-- KEYS[1]  the queue
-- ARGV     job ids
-- returns  the ids without a payload or without an entry
local missing = {}
for i = 1, #ARGV do
  local id = ARGV[i]
  if redis.call('EXISTS', 'arq:job:' .. id) == 0 or not redis.call('ZSCORE', KEYS[1], id) then
    missing[#missing + 1] = id
  end
end
return missing
