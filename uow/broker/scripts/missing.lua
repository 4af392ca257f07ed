-- Which jobs are not there.
-- KEYS[1]  the queue
-- ARGV     job ids
-- returns  the ids without a payload or without an entry; all of them if the queue is none: whoever
--          pushes them is told why that cannot be
local payloads, missing = {}, {}
for i, id in ipairs(ARGV) do
  payloads[i] = 'arq:job:' .. id
end
if #ARGV == 0 then
  return missing
end
local all = redis.call('EXISTS', unpack(payloads)) == #payloads
local scores = try('ZMSCORE', KEYS[1], unpack(ARGV)) or {}
for i, id in ipairs(ARGV) do
  if not scores[i] or not (all or redis.call('EXISTS', payloads[i]) == 1) then
    missing[#missing + 1] = id
  end
end
return missing
