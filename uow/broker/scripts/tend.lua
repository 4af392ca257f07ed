-- Keep a page of the queue from harm that stock arq's own time limits do.
-- KEYS[1]  the queue
-- ARGV     first rank, last rank, longest lease in milliseconds
-- returns  how many entries the page had
-- Invariants: a waiting job does not expire (a stock client's payload has a TTL of a day); no job
-- of ours is locked for longer than a lease (stock arq locks for as long as its longest task may
-- run; an attempt that lives has shortened that by its first act and renews it).
local page = try('ZRANGE', KEYS[1], ARGV[1], ARGV[2]) or {}
local longest = tonumber(ARGV[3])
for _, id in ipairs(page) do
  local payload = 'arq:job:' .. id
  if redis.call('TYPE', payload).ok == 'string' then
    redis.call('PERSIST', payload)
    local lease = 'arq:in-progress:' .. id
    local left = redis.call('PTTL', lease)  -- -1: for ever
    if (left > longest or left == -1) and redis.call('GETRANGE', payload, 0, 0) == '{' then
      redis.call('PEXPIRE', lease, longest)
    end
  end
end
return #page
