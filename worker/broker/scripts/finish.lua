-- Finish jobs, or deliver them again.
-- KEYS     queues
-- ARGV     per job: queue number, id, token, action, a number, bytes
--            done     the number: how long the result is kept, in milliseconds (0: for ever,
--                     -1: there is none); the bytes: the result, in arq's shape
--            settled  as done without a result, and whoever waits for the task's end is told
--            cron     as done, but the lease stays for a minute, as arq does it: another worker
--                     may push the same tick a little later; ours remember it for an hour
--            again    the number: milliseconds until it is due, or the score that it is given
--                     back, negated; the bytes: the payload
--            unrun    as again, and the start that arq counts is taken back
-- returns  the ids of jobs whose lease is another's by now; nothing was done with those
-- Invariant: only its holder finishes a job. A lease that is gone, because Redis has lost it or a
-- stock worker's zombie has deleted it, is the holder's still.
local FIELDS, CRON_MS, TICKED_MS = 6, 60000, 3600000
local leases, lost, gone = {}, {}, {}
local removed, moved = {}, {}
for i = 1, #ARGV, FIELDS do
  leases[#leases + 1] = 'arq:in-progress:' .. ARGV[i + 1]
end
local holders = redis.call('MGET', unpack(leases))
for i = 1, #ARGV, FIELDS do
  local queue, id, token = tonumber(ARGV[i]), ARGV[i + 1], ARGV[i + 2]
  local action, number, bytes = ARGV[i + 3], tonumber(ARGV[i + 4]), ARGV[i + 5]
  local holder = holders[(i + FIELDS - 1) / FIELDS]
  if holder and holder ~= token then
    lost[#lost + 1] = id
  elseif action == 'again' or action == 'unrun' then
    moved[#moved + 1] = {KEYS[queue], id, number}
    gone[#gone + 1] = 'arq:in-progress:' .. id
    if bytes ~= '' then
      redis.call('SET', 'arq:job:' .. id, bytes, 'NX')
    end
    if action == 'unrun' then
      local starts = redis.pcall('DECR', 'arq:retry:' .. id)
      if type(starts) ~= 'number' or starts <= 0 then
        gone[#gone + 1] = 'arq:retry:' .. id
      end
    end
  else
    removed[queue] = removed[queue] or {}
    table.insert(removed[queue], id)
    gone[#gone + 1] = 'arq:job:' .. id
    if action == 'settled' then
      redis.call('PUBLISH', 'worker:settled:' .. id, '')
    else
      gone[#gone + 1] = 'arq:retry:' .. id
    end
    if action == 'cron' then
      redis.call('SET', 'arq:in-progress:' .. id, token, 'PX', CRON_MS)
      redis.call('SET', 'worker:ticked:' .. id, '', 'PX', TICKED_MS)
    else
      gone[#gone + 1] = 'arq:in-progress:' .. id
    end
    if action ~= 'settled' and number == 0 then
      redis.call('SET', 'arq:result:' .. id, bytes)
    elseif action ~= 'settled' and number > 0 then
      redis.call('SET', 'arq:result:' .. id, bytes, 'PX', number)
    end
  end
end
if #gone > 0 then
  redis.call('DEL', unpack(gone))
end
for queue, ids in pairs(removed) do
  redis.call('ZREM', KEYS[queue], unpack(ids))
  redis.pcall('ZREM', 'arq:abort', unpack(ids))  -- not ours: whatever it is, it stops nothing
end
if #moved > 0 then
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  for _, move in ipairs(moved) do
    redis.call('ZADD', move[1], move[3] < 0 and -move[3] or now + move[3], move[2])
  end
end
-- A connection that is told of changes is told of those after its last read.
for _, queue in ipairs(KEYS) do
  redis.call('ZCARD', queue)
end
return lost
